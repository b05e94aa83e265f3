"""The filters of a convolution in panels, from wherever they lie.

Weights lie as PyTorch has them, (o, c, kh, kw): neither in the order in which a patch is read nor
in that of the transpose. Copying them into a matrix first took NumPy longer than packing it.
"""

import numpy as np

from ..layout import dense, flat
from .compiler import jit, word
from .host import contiguous
from .memory import empty, kept
from .packing import k_part, padded_width, tile_width
from .threads import split


def in_memory(w):
    """Filters without gaps in memory, and their strides in numbers."""
    w = w if dense(w) else contiguous(w)
    return w, tuple(stride // w.itemsize for stride in w.strides)


@kept
def taps(filters, strides):
    """Where the numbers of filters (kh, kw, c, o) to the first output lie, in the order of
    `patches`; and their order in memory.
    """
    places = sum(np.ix_(*(np.arange(n) * stride for n, stride in zip(filters[:3], strides))))
    return places.ravel(), np.argsort(places, axis=None)


def packed_filters(w, tables, columns, phases):
    """Panels of the flat w for `conv_loops.gather`: the arguments are those of the loop below."""
    n, _ = columns
    width = padded_width(n, w.itemsize)
    panels = empty((len(tables[0]) * width,), w.dtype)
    count = len(phases) * width // tile_width(n, w.itemsize)
    # numbers from all over the memory take about 8 times as long
    split(_pack, count, 8 * panels.size, flat(w), tables, columns, phases, panels)
    return panels


@jit
def _pack(start, stop, w, tables, columns, phases, panels):
    """Each phase's filters as `packing` would pack the matrix, one phase behind the other. In plain
    NumPy, with `columns` being (n, across):

        for _, terms, _, column in phases:
            places = np.add.outer(rows[column : column + terms], np.arange(n) * across)
            panels[column * width : (column + terms) * width] = packed(w[places])

    start to stop count the panels of all phases. tables: (rows, order), where `order` has each
    phase's rows in the order of memory: a line of the cache holds numbers of many.
    """
    rows, order = tables
    n, across = columns
    nr = tile_width(n, w.itemsize)
    width = padded_width(n, w.itemsize)
    count = width // nr
    for unit in range(start, stop):
        _, terms, _, column = phases[unit // count]
        j = unit % count * nr
        part = k_part(terms)
        for p in order[column : column + terms]:
            first = p // part * part
            depth = min(part, terms - first)
            to = (column + first) * width + j * depth + (p - first) * nr
            row = rows[column + p] + j * across
            for q in range(min(nr, n - j)):
                panels[word(to + q)] = w[word(row + q * across)]
            for q in range(n - j, nr):
                panels[word(to + q)] = 0
