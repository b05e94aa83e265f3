"""A and B in panels, in the order in which tiles read them (`matmul` has an example): those of B as
many columns wide as a tile, those of A as many rows high. A tile then reads two panels from one end
to the other, and the part of a panel that it reads is small enough to stay in the cache.

Packing waits for memory. So where rows of B lie in one piece they are read along, and written to
all panels at once: what the processor reads ahead is the rest of the row. And panels begin with a
line of the cache, since a vector that lies in two lines costs two reads.
"""

import numpy as np
from numba.extending import register_jitable

from ..layout import dense, flat
from .compiler import jit, word
from .memory import empty
from .microkernel import MR, VECTOR_BYTES, copy, transpose
from .threads import split
from .thresholds import KC


LINE = 64  # bytes of a line of the cache


@register_jitable  # Python calls it as it is, a compiled loop as machine code
def ceil_div(n, d):
    """n / d, rounded up to a whole number."""
    return (n + d - 1) // d


@jit
def tile_width(n, itemsize):
    """NR, the columns of a tile, for a C of n columns: two vectors, or one if n fits into it."""
    vector = VECTOR_BYTES // itemsize
    return vector if n <= vector else 2 * vector


@jit
def padded_width(n, itemsize):
    """n columns up to whole tiles."""
    nr = tile_width(n, itemsize)
    return ceil_div(n, nr) * nr


@jit
def k_part(k):
    """How many of k rows are done at a time: about KC, in equal parts."""
    parts = max(1, (k + KC // 2) // KC)
    return max(1, ceil_div(k, parts))


@jit
def pack(start, stop, shape, b, strides, panels):
    """Panels start to stop of B, which has this shape (k, n) and lies in the flat b with these
    strides, into the flat `panels`. In plain NumPy, with B a matrix:

        for first in range(0, k, part):
            depth = min(part, k - first)
            for j in range(start * nr, stop * nr, nr):
                panel = np.zeros((depth, nr))
                panel[:, : min(nr, n - j)] = B[first : first + depth, j : j + nr]
                at = first * width + j * depth
                panels[at : at + panel.size] = panel.ravel()

    where nr is the width of a tile, width that of all panels, and part that of k.
    """
    pack_panels(start, stop, shape, b, strides, tile_width(shape[1], panels.itemsize), panels)


@jit
def pack_panels(start, stop, shape, b, strides, nr, panels):
    """As `pack`, in panels so many columns wide: a vector, two of them, or MR. The panels of A are
    those of its transpose, MR wide.
    """
    k, n = shape
    down, across = strides
    width = ceil_div(n, nr) * nr
    for first in range(0, k, k_part(k)):
        depth = min(k_part(k), k - first)
        source = b[first * down :]
        part = panels[first * width :]
        whole = max(start, min(stop, n // nr))  # panels before this one are full, and may be copied
        if across == 1:
            _copy_rows(start, whole, depth, source, down, nr, part)
        elif down == 1 and nr != MR:  # of A, such columns are read in place
            _transpose_columns(start, whole, depth, source, across, nr, part)
        else:
            whole = start
        for j in range(whole, stop):
            columns = min(nr, n - j * nr)
            numbers = source[j * nr * across :]
            _pack_numbers(0, depth, columns, numbers, strides, nr, part[j * nr * depth :])


_copy_vector, _copy_mr = copy(), copy(MR)


@jit
def _copy_rows(start, stop, depth, b, down, nr, panels):
    """Full panels, where B's rows lie in one piece."""
    zero = panels.dtype.type(0)
    for p in range(depth):
        for j in range(start * nr, stop * nr, nr):
            at = j * depth + p * nr
            if nr == MR:
                _copy_mr(zero, address(b, p * down + j), address(panels, at))
            else:
                for q in range(0, nr, VECTOR_BYTES // panels.itemsize):
                    _copy_vector(zero, address(b, p * down + j + q), address(panels, at + q))


@jit
def _transpose_columns(start, stop, depth, b, across, nr, panels):
    """Full panels, where B's columns lie in one piece."""
    zero = panels.dtype.type(0)
    lanes = VECTOR_BYTES // panels.itemsize
    whole = depth - depth % lanes
    for j in range(start * nr, stop * nr, nr):
        panel = panels[j * depth :]
        for q in range(0, nr, lanes):
            for p in range(0, whole, lanes):
                square = address(b, p + (j + q) * across)
                transpose(zero, square, across, address(panel, p * nr + q), nr)
        _pack_numbers(whole, depth, nr, b[j * across :], (1, across), nr, panel)


@jit
def _pack_numbers(first, depth, columns, b, strides, nr, panel):
    """Rows first to depth of a panel, number by number: so many columns, and zeros."""
    down, across = strides
    for p in range(first, depth):
        for v in range(columns):
            panel[word(p * nr + v)] = b[word(p * down + v * across)]
        for v in range(columns, nr):
            panel[word(p * nr + v)] = 0


@jit
def aligned(x):
    """x from its first number on that begins a line of the cache; it loses fewer than LINE."""
    return x[-x.ctypes.data % LINE // x.itemsize :]


@jit
def address(x, i):
    """The address of x[i]. A slice would have its references counted: for each tile, that costs a
    sixth of a product with 128 terms.
    """
    return x.ctypes.data + x.itemsize * i


def packed(b):
    """A matrix in panels."""
    b = b if dense(b) else np.ascontiguousarray(b)
    strides = four_strides(b.shape, b.strides, b.itemsize)[2:]
    width = padded_width(b.shape[1], b.itemsize)
    panels = aligned(empty((width * len(b) + LINE,), b.dtype))[: width * len(b)]
    count = width // tile_width(b.shape[1], b.itemsize)
    split(pack, count, panels.size, b.shape, flat(b), strides, panels)
    return panels


def four_strides(shape, strides, itemsize):
    """Those of a matrix, a stack, or a stack of stacks, of this shape and these strides in bytes:
    in numbers, from stack to stack, matrix to matrix, row to row and column to column; 0 where one
    serves for a whole stack.
    """
    steps = [s // itemsize for s in strides]
    for i in range(len(shape) - 2):
        steps[i] *= shape[i] > 1
    return (*[0] * (4 - len(shape)), *steps)
