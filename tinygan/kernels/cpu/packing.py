"""B in panels, each as many columns wide as a tile and in the order in which tiles read it
(`matmul` has an example). A tile then reads its panel from one end to the other, and a panel's part
is small enough to stay in the cache while all rows of A pass by.
"""

import numpy as np
from numba.extending import register_jitable

from ..layout import dense, flat
from .compiler import jit, word
from .memory import empty
from .microkernel import VECTOR_BYTES, transpose_square
from .threads import split
from .thresholds import KC


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
    k, n = shape
    down, across = strides
    nr = tile_width(n, panels.itemsize)
    width = padded_width(n, panels.itemsize)
    for first in range(0, k, k_part(k)):
        depth = min(k_part(k), k - first)
        for j in range(start * nr, stop * nr, nr):
            columns = min(nr, n - j)
            source = b[first * down + j * across :]
            panel = panels[first * width + j * depth :]
            if across == 1:
                _pack_rows(depth, columns, source, down, nr, panel)
            else:
                _pack_columns(depth, columns, source, strides, nr, panel)


@jit
def _pack_rows(depth, columns, source, down, nr, panel):
    """A panel, where B's rows lie in one piece."""
    for p in range(depth):
        for q in range(columns):
            panel[word(p * nr + q)] = source[word(p * down + q)]
        for q in range(columns, nr):
            panel[word(p * nr + q)] = 0


@jit
def _pack_columns(depth, columns, source, strides, nr, panel):
    """A panel, where they do not; square by square, where instead B's columns do."""
    down, across = strides
    zero = panel.dtype.type(0)
    side = VECTOR_BYTES // panel.itemsize
    for q in range(0, nr, side):
        in_squares = depth - depth % side if down == 1 and q + side <= columns else 0
        for p in range(0, in_squares, side):
            square = address(source, p + q * across)
            transpose_square(zero, square, across, address(panel, p * nr + q), nr)
        for v in range(q, q + side):
            for p in range(in_squares, depth):
                number = source[word(p * down + v * across)] if v < columns else zero
                panel[word(p * nr + v)] = number


@jit
def address(x, i):
    """The address of x[i]. A slice would have its references counted: for each tile, that costs a
    sixth of a product with 128 terms.
    """
    return x.ctypes.data + x.itemsize * i


def packed(b):
    """A matrix in panels."""
    numbers, (_, *strides) = matrices(b)
    width = padded_width(b.shape[1], b.itemsize)
    panels = empty((width * len(b),), b.dtype)
    count = width // tile_width(b.shape[1], b.itemsize)
    split(pack, count, panels.size, b.shape, numbers, tuple(strides), panels)
    return panels


def matrices(x):
    """x, a matrix or a stack of them, as one axis in the order of its memory, and its three strides
    in numbers, the first 0 for one matrix; a copy if it has gaps.
    """
    x = x if dense(x) else np.ascontiguousarray(x)
    return flat(x), (0,) * (3 - x.ndim) + tuple(s // x.itemsize for s in x.strides)
