"""Matrix products, C = A B, tile by tile: nearly all the arithmetic of a training step.

A tile is MR x NR numbers of C, so few that their sums stay in vector registers while, for every k,
a column of A times a row of B is added to them: `microkernel` does that (Goto & van de Geijn 2008,
"Anatomy of high-performance matrix multiplication"; the names are those of its successor, BLIS).

An example. With AVX2 a vector is 8 float32, MR is 6 and NR is 16. A C of 8 rows and 40 columns
takes six tiles:

          0        16       32   40
        0 +--------+--------+----+----
          |  tile  |  tile  |  edge  :
        6 +--------+--------+----+....
          |  edge  |  edge  |  edge  :
        8 +--------+--------+----+   :
          :........:........:........:

B is packed (`packing`) in three panels: columns 0-15, 16-31, and 32-39 with zeros beside them. A
panel's rows lie one behind the other, as a tile reads them. k = 784 is done in parts of about KC,
which is 256: here 262, 262 and 260. So a panel's part stays in the cache while all rows of A pass
by. The first part begins each tile at zero, or at a bias; the others accumulate, that is, add to
what C has. An edge tile is computed whole, into a scratch tile, and what lies in C is copied.

A is not packed. It is read through two tables: entry (i, p) lies at rows[i] + columns[p]. For a
matrix in memory these are multiples of its strides. A convolution has other tables, and an image in
the place of the matrix that `im2col` would write (`conv_loops`).

What comes into a compiled loop from Python is plain tuples: it takes 2 us to recognise a NamedTuple
among the arguments, and 0.1 us for a tuple. Between compiled loops a NamedTuple costs nothing.
"""

from typing import NamedTuple

import numpy as np

from ..layout import dense
from .compiler import TYPES, jit
from .memory import empty, kept
from .microkernel import MR, VECTOR_BYTES, Addresses, tile
from .packing import address, ceil_div, k_part, matrices, pack, padded_width, tile_width
from .threads import CORES, split
from .thresholds import KC, MULTIPLICATIONS_PER_ELEMENT, SMALL_PRODUCT

_one_vector_wide, _two_vectors_wide = tile(1), tile(2)


class Source(NamedTuple):
    """A, of which entry (i, p) lies rows[i] + columns[p] numbers behind an address."""

    address: int
    rows: np.ndarray  # (m,), up to whole tiles
    columns: np.ndarray  # (k,)


class Target(NamedTuple):
    """C, of which entry (i, j) is numbers[rows[i] + j]."""

    numbers: np.ndarray
    rows: np.ndarray  # (m,), up to whole tiles


@jit
def multiply(shape, a, panels, bias, c, accumulate):
    """C = A B + bias, or C += A B + bias, of this shape (m, n, k), with a Source A and a Target C.
    B is packed. The bias, (n,), is as long as whole tiles are; an empty one is none. In plain
    NumPy, with A and B matrices:

        for i in range(m):
            place = c.rows[i] + np.arange(n)
            before = c.numbers[place] if accumulate else 0
            c.numbers[place] = before + bias[:n] + A[i] @ B
    """
    m, n, k = shape
    dtype = c.numbers.dtype
    size = c.numbers.itemsize
    zero = dtype.type(0)
    nr = tile_width(n, size)
    width = padded_width(n, size)
    scratch = np.zeros((MR + 1) * nr, dtype)  # a tile, and a row of zeros
    scratch_rows = np.arange(0, MR * nr, nr)
    no_bias = scratch[MR * nr :]
    for first in range(0, max(k, 1), k_part(k)):
        depth = min(k_part(k), k - first)
        begun = accumulate or first > 0
        with_bias = len(bias) > 0 and first == 0
        for i in range(0, m, MR):
            for j in range(0, n, nr):
                is_edge = i + MR > m or j + nr > n
                addresses = Addresses(
                    a=a.address,
                    rows=address(a.rows, i),
                    columns=address(a.columns, first),
                    b=address(panels, first * width + j * depth),
                    start=address(bias, j) if with_bias else address(no_bias, 0),
                    c=address(scratch, 0) if is_edge else address(c.numbers, j),
                    to=address(scratch_rows, 0) if is_edge else address(c.rows, i),
                )
                if nr * size == VECTOR_BYTES:
                    _one_vector_wide(zero, addresses, depth, begun and not is_edge)
                else:
                    _two_vectors_wide(zero, addresses, depth, begun and not is_edge)
                if is_edge:
                    for u in range(min(MR, m - i)):
                        for v in range(min(nr, n - j)):
                            place = c.rows[i + u] + j + v
                            before = c.numbers[place] if begun else zero
                            c.numbers[place] = scratch[u * nr + v] + before


@jit
def _multiply_blocks(start, stop, shape, block, operands, tables):
    """Blocks start to stop of a stack of products of this shape (m, n, k). A block is so many
    (rows, columns) of one of the results.

    operands are A, B and C, each flat with its strides (from matrix to matrix, from row to row,
    from column to column); tables A's rows and columns, and C's rows.
    """
    m, n, k = shape
    height, width = block
    (a, a_strides), (b, b_strides), (c, c_strides) = operands
    rows, columns, to = tables
    across = ceil_div(n, width)  # blocks beside each other in a result
    count = ceil_div(m, height) * across  # blocks of a result
    panels = np.empty(k_part(k) * width, c.dtype)
    no_bias = c[:0]
    for number in range(start, stop):  # of a block, counted through the results, row by row
        t = number // count  # which result of the stack it belongs to
        within = number % count  # which block of that result it is
        i = within // across * height  # its first row
        j = within % across * width  # its first column
        m_block = min(height, m - i)
        n_block = min(width, n - j)
        n_panels = padded_width(n_block, c.itemsize) // tile_width(n_block, c.itemsize)
        target = Target(c[t * c_strides[0] + j :], to[i:])
        for first in range(0, k, k_part(k)):
            depth = min(k_part(k), k - first)
            b_part = b[t * b_strides[0] + first * b_strides[1] + j * b_strides[2] :]
            pack(0, n_panels, (depth, n_block), b_part, b_strides[1:], panels)
            source = Source(address(a, t * a_strides[0]), rows[i:], columns[first:])
            multiply((m_block, n_block, depth), source, panels, no_bias, target, first > 0)


def gemm(a, b, out=None):
    """As NumPy's matmul."""
    if not _pays(a, b):
        # a column times a row is faster in NumPy as numbers that broadcast than as matrices
        product = np.multiply if a.shape[-1] == b.shape[-2] == 1 else np.matmul
        if out is None and a.dtype == b.dtype in TYPES and a.shape[-1] == b.shape[-2]:
            batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
            out = empty((*batch, a.shape[-2], b.shape[-1]), a.dtype)
        return product(a, b, out=out)
    m, n = a.shape[-2], b.shape[-1]
    if m < MR <= n and out is None:
        # B would be packed for too few rows: the transpose is B.T A.T
        return gemm(b.swapaxes(-1, -2), a.swapaxes(-1, -2)).swapaxes(-1, -2)
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), m, n)
    if out is None:
        out = empty(shape, a.dtype)
    elif out.shape != shape or out.dtype != a.dtype or not _has_whole_rows(out):
        out[...] = gemm(a, b)
        return out
    _share_out(a, b, out)
    return out


def _pays(a, b):
    """Whether a product is large enough, and of numbers, shapes and ranks that the loops know."""
    m, k = a.shape[-2:]
    n = b.shape[-1]
    large = 1 < k == b.shape[-2] and m * n * k >= SMALL_PRODUCT
    return large and a.dtype == b.dtype and a.dtype in TYPES and max(a.ndim, b.ndim) < 4


def _has_whole_rows(out):
    """Whether tiles can be written to it: it fills its memory, and each row lies in one piece."""
    return dense(out) and out.strides[-1] == out.itemsize


def _share_out(a, b, out):
    """out = a b, block by block on all cores."""
    m, k = a.shape[-2:]
    n = b.shape[-1]
    # a block is as wide as the part of B that stays in the cache
    width = tile_width(n, a.itemsize) * max(1, KC // k)
    height = m
    products = out.size // (m * n)
    blocks = products * ceil_div(n, width)
    wanted = 2 * CORES
    if blocks < wanted:  # they are cut into rows too, in whole tiles
        height = ceil_div(m * blocks, wanted * MR) * MR
    operands = matrices(a), matrices(b), matrices(out)
    (_, a_strides), _, (_, out_strides) = operands
    a_rows = offsets(m, a_strides[1], MR)
    a_columns = offsets(k, a_strides[2])
    tables = a_rows, a_columns, offsets(m, out_strides[1], MR)
    cost = out.size * k // MULTIPLICATIONS_PER_ELEMENT
    n_blocks = blocks * ceil_div(m, height)
    split(_multiply_blocks, n_blocks, cost, (m, n, k), (height, width), operands, tables)


@kept
def offsets(n, stride, multiple=1):
    """A table 0, stride, 2 * stride, ...: n entries, and the last again up to a `multiple`."""
    return whole_tiles(np.arange(n) * stride, multiple)


def whole_tiles(table, multiple):
    """A table, its last entry repeated up to a multiple: for an edge tile, which is read whole."""
    table = table.ravel()
    return np.append(table, np.repeat(table[-1:], -len(table) % multiple))
