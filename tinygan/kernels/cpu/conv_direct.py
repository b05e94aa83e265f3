"""Convolution and its two gradients as products of a matrix that is never written down: where its
entries lie.

The entries of the matrix that `im2col` would write are pixels, one for each pair of a row (an
output position) and a column (a tap and a channel). A row's offset plus a column's is the pixel's
place in a group of images that lie in zeros: the padding is written out, a few images at a time,
and no bounds are left to check (Dukhan 2019, "The indirect convolution algorithm"). The tables of
offsets hold for any weights, and are kept. The compiled loops over them stand in `conv_loops`.

Worked example: a 6x6 image of one channel, kernel 4, stride 2, padding 1, gives 3x3 outputs. In its
padding it is 8x8, so a step down is 8 numbers (of 4 bytes, which decides how many images fit):

    >>> geometry = Geometry(kernel=(4, 4), stride=(2, 2), padding=(1, 1), dilation=(1, 1))
    >>> table = patches((1, 6, 6, 1), (3, 3), geometry, 4)
    >>> table.group, table.corner
    ((1, 8, 8, 1), (1, 1))
    >>> table.rows.tolist()  # where the nine patches begin
    [0, 2, 4, 16, 18, 20, 32, 34, 36]
    >>> table.columns.tolist()  # where the sixteen taps lie in a patch
    [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27]

Output (1, 2) begins at 20 and reads its tap (3, 0) at 20 + 24 = 44, which is row 5, column 4 of the
padded image, pixel (4, 3) of the image itself. The convolution and its filter's gradient are

    out[i] = sum over q of  padded[rows[i] + columns[q]] w[q]
    w[q]   = sum over i of  padded[rows[i] + columns[q]] y[i]

The transposed convolution back to 6x6 falls into 2x2 phases, by whether a pixel's row and column
are even or odd (`phases`). An even row 2t is met by taps 1 and 3 alone, of outputs t and t - 1; an
odd row 2t + 1 by taps 0 and 2, of outputs t + 1 and t. So each phase is a convolution at stride 1
with four of the sixteen taps, over 3x3 outputs that lie in zeros, 5x5:

    >>> table = phases((1, 3, 3, 1), (1, 6, 6, 1), geometry, 4)
    >>> table.group, table.corner
    ((1, 5, 5, 1), (1, 1))
    >>> [(p.positions, p.terms) for p in table.phases]
    [(9, 4), (9, 4), (9, 4), (9, 4)]
    >>> even, odd = table.phases[0], table.phases[3]
    >>> [table.taps[0][axis].ravel().tolist() for axis in (0, 1)]  # of even rows and columns
    [[1, 3], [1, 3]]
    >>> table.rows[even.row :][:9].tolist(), table.columns[even.column :][:4].tolist()
    ([0, 1, 2, 5, 6, 7, 10, 11, 12], [6, 5, 1, 0])
    >>> table.columns[odd.column :][:4].tolist()  # where both are odd: taps 0 and 2
    [12, 11, 7, 6]
    >>> table.to[even.row :][:9].tolist(), table.to[odd.row :][:9].tolist()  # pixels of the image
    ([0, 2, 4, 12, 14, 16, 24, 26, 28], [7, 9, 11, 19, 21, 23, 31, 33, 35])

    image[to[i]] = sum over q of  padded[rows[i] + columns[q]] w[taps[q]]

A transposed convolution to few channels takes another way: its product with the filters comes
first, and `scatter` adds each row to the pixels of its patch, image[rows[i] + columns[q]].
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from .conv_loops import correlate, gather, scatter
from .host import contiguous
from .memory import empty, kept
from .microkernel import MR
from .packing import ceil_div, packed, padded_width
from .threads import split
from .thresholds import FILTER_SUMS, MULTIPLICATIONS_PER_ELEMENT, PADDED_GROUP, SCATTERED_ADDITION


class Geometry(NamedTuple):
    """How a filter lies on an image: each (down, across)."""

    kernel: tuple
    stride: tuple
    padding: tuple
    dilation: tuple


class Patches(NamedTuple):
    """Where a convolution reads."""

    group: tuple  # the shape of the padded images taken at a time, (n, height, width, channels)
    corner: tuple  # where an image lies in its padding, (top, left)
    rows: np.ndarray  # the offset of each output position's patch in the group
    columns: np.ndarray  # the offset of each tap and channel in a patch


class Phase(NamedTuple):
    """Pixels of an image that the same taps reach."""

    positions: int  # how many such pixels an image has
    terms: int  # taps times channels: what each of them sums
    row: int  # where its part of `rows` and `to` begins
    column: int  # where its part of `columns` begins
    panel: int = 0  # where its filters begin, once they are packed


class Phases(NamedTuple):
    """Where a transposed convolution reads and writes."""

    group: tuple  # as in Patches
    corner: tuple
    phases: list  # of Phase
    rows: np.ndarray  # where each pixel reads; of each phase, up to whole tiles
    columns: np.ndarray
    to: np.ndarray  # for each entry of `rows`, the pixel's place in the result
    taps: list  # for each phase, an index into the filters (kh, kw, c, o)


@kept
def offsets(n, stride, multiple=1):
    """A table 0, stride, 2 * stride, ...: n entries, and the last again up to a `multiple`."""
    return whole_tiles(np.arange(n) * stride, multiple)


def whole_tiles(table, multiple):
    """A table, its last entry repeated up to a multiple: for an edge tile, which is read whole."""
    table = table.ravel()
    return np.append(table, np.repeat(table[-1:], -len(table) % multiple))


@kept
def patches(image, size, geometry, itemsize):
    """For a convolution of images (n, h, w, c) to `size`."""
    n, _, _, c = image
    kernel, (sh, sw), _, (dh, dw) = geometry
    hp = (size[0] - 1) * sh + (kernel[0] - 1) * dh + 1
    wp = (size[1] - 1) * sw + (kernel[1] - 1) * dw + 1
    group = _group(n, hp, wp, c, itemsize)
    t, i, j = np.ogrid[: group[0], : size[0], : size[1]]
    u, v, q = np.ogrid[: kernel[0], : kernel[1], :c]
    rows = ((t * hp + i * sh) * wp + j * sw) * c
    columns = (u * dh * wp + v * dw) * c + q
    return Patches(group, geometry.padding, rows=rows.ravel(), columns=columns.ravel())


def _group(n, height, width, channels, itemsize):
    """The shape of as many padded images of n as a cache holds, at least one."""
    most = PADDED_GROUP // (height * width * channels * itemsize)
    images = max(1, min(n, most))
    return images, height, width, channels


class _Along(NamedTuple):
    """A phase along one axis: pixels first, first + stride, first + 2*stride, ..."""

    first: int
    count: int  # how many pixels
    taps: list  # the taps that reach them
    outputs: list  # those that pixel `first` meets through the taps; the next meets the next ones


class _Axis(NamedTuple):
    phases: list  # of _Along
    before: int  # zeros before the first output
    length: int  # of the outputs with zeros on both sides


def _along(extent, kernel, stride, padding, dilation):
    """The phases of a transposed convolution along one axis.

    Pixel `first + t*stride` takes part in tap u of output t + (first + padding - u*dilation) /
    stride, where that is a whole number: of all t or of none.
    """
    found = []
    for first in range(min(stride, extent)):
        taps = [u for u in range(kernel) if (first + padding - u * dilation) % stride == 0]
        outputs = [(first + padding - u * dilation) // stride for u in taps]
        count = ceil_div(extent - first, stride)
        found.append(_Along(first, count, taps, outputs))
    low = min((m for phase in found for m in phase.outputs), default=0)
    high = max((phase.count + m for phase in found for m in phase.outputs), default=1)
    return _Axis(found, -low, high - low)


@kept
def phases(source, image, geometry, itemsize):
    """For a transposed convolution from (n, oh, ow, o) to images (n, h, w, c)."""
    n, _, _, o = source
    _, h, w, c = image
    sh, sw = geometry.stride
    down, across = map(_along, (h, w), *geometry)
    hp, wp = down.length, across.length
    group = _group(n, hp, wp, o, itemsize)
    found, rows, columns, to, taps = [], [], [], [], []
    row = column = 0
    for a, b in itertools.product(down.phases, across.phases):
        t, i, j = np.ogrid[: group[0], : a.count, : b.count]
        reads = ((t * hp + i) * wp + j) * o
        writes = ((t * h + a.first + i * sh) * w + b.first + j * sw) * c
        y, x, q = np.ix_(a.outputs, b.outputs, range(o))
        terms = ((y + down.before) * wp + x + across.before) * o + q
        found.append(Phase(a.count * b.count, terms.size, row=row, column=column))
        rows.append(whole_tiles(reads, MR))
        to.append(whole_tiles(writes, MR))
        columns.append(terms.ravel())
        taps.append(np.ix_(a.taps, b.taps))
        row += len(rows[-1])
        column += terms.size
    return Phases(
        group,
        corner=(down.before, across.before),
        phases=found,
        rows=np.concatenate(rows),
        columns=np.concatenate(columns),
        to=np.concatenate(to),
        taps=taps,
    )


def conv(x, w, size, stride, padding, dilation, bias=None):
    kernel, o = w.shape[:2], w.shape[3]
    x = contiguous(x)
    geometry = Geometry(kernel, stride, padding, dilation)
    table = patches(x.shape, size, geometry, x.itemsize)
    rows, terms = whole_tiles(table.rows, MR), len(table.columns)
    to = offsets(len(table.rows), o, MR)
    one = np.array([Phase(math.prod(size), terms, row=0, column=0)])  # of all taps
    filters = packed(w.reshape(-1, o))
    bias = _whole_tiles(bias, o, x)
    out = empty((len(x), *size, o), x.dtype)
    cost = out.size * terms // MULTIPLICATIONS_PER_ELEMENT
    tables = table.group, table.corner, rows, table.columns, to, one
    split(gather, len(x), cost, x, tables, (filters, bias), out)
    return out


def conv_transpose(y, w, size, stride, padding, dilation, bias=None):
    *kernel, c, o = w.shape
    taps = math.prod(kernel)
    y = contiguous(y)
    geometry = Geometry(tuple(kernel), stride, padding, dilation)
    out = empty((len(y), *size, c), y.dtype)
    bias = _whole_tiles(bias, c, y)
    cost = y.size * taps * c // MULTIPLICATIONS_PER_ELEMENT
    # What an output costs: a product with all filters and then additions (scattered), against a
    # product whose tiles few channels leave mostly empty (gathered).
    scattered = o * padded_width(taps * c, y.itemsize) + SCATTERED_ADDITION * taps * c
    gathered = taps * o * padded_width(c, y.itemsize)
    if scattered < gathered:
        _scatter(y, w, geometry, cost, bias[:c], out)
    else:
        _gather(y, w, geometry, cost, bias, out)
    return out


def _scatter(y, w, geometry, cost, bias, out):
    table = patches(out.shape, y.shape[1:3], geometry, y.itemsize)
    _, hp, wp, c = table.group
    out[...] = bias  # no tap may reach the last rows of out
    begin = np.tile(bias, hp * wp)
    filters = packed(w.reshape(-1, w.shape[3]).T)
    tables = (1, hp, wp, c), table.corner, table.rows, table.columns
    split(scatter, len(y), cost, y, tables, (filters, begin), out)


def _gather(y, w, geometry, cost, bias, out):
    table = phases(y.shape, out.shape, geometry, y.itemsize)
    some = (w[taps].swapaxes(2, 3) for taps in table.taps)  # (kh, kw, o, c) of each phase
    filters = [packed(phase.reshape(-1, phase.shape[3])) for phase in some]
    starts = itertools.accumulate(map(len, filters), initial=0)
    found = [phase._replace(panel=start) for phase, start in zip(table.phases, starts)]
    tables = table.group, table.corner, table.rows, table.columns, table.to, np.array(found)
    filters = np.concatenate(filters)
    split(gather, len(y), cost, y, tables, (filters, bias), out)


def _whole_tiles(bias, n, x):
    """A bias (n,), zeros for None, and zeros up to whole tiles."""
    out = np.zeros(padded_width(n, x.itemsize), x.dtype)
    out[:n] = 0 if bias is None else bias
    return out


def conv_filter(x, y, size, stride, padding, dilation):
    x, y = contiguous(x), contiguous(y)
    c, o = x.shape[3], y.shape[3]
    geometry = Geometry(size, stride, padding, dilation)
    table = patches(x.shape, y.shape[1:3], geometry, x.itemsize)
    terms = len(table.columns)
    partial = empty((FILTER_SUMS, terms, o), x.dtype)
    cost = y.size * terms // MULTIPLICATIONS_PER_ELEMENT
    tables = table.group, table.corner, table.rows, whole_tiles(table.columns, MR)
    split(correlate, FILTER_SUMS, cost, x, tables, y, partial)
    return partial.sum(axis=0).reshape(*size, c, o)
