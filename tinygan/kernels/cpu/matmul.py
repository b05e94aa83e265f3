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

Packed (`packing`), B would be three panels: columns 0-15, 16-31, and 32-39 with zeros beside them.
A panel's rows lie one behind the other, as a tile reads them. A would be two, rows 0-5, and 6-7
with zeros below, column by column. But to pack takes time, and a tile reads A as well where it
lies, row by row or column by column, and B where a row's numbers lie side by side. So panels are
made of three things: what edge tiles read, which would go beyond the end; a B that lies column by
column; and what would be read in steps of a multiple of ALIASED bytes.

k = 784 is done in parts of about KC, which is 256: here 262, 262 and 260. The first part begins
each tile at zero; the others accumulate, that is, add to what C has. An edge tile is computed
whole, into a scratch tile, and what lies in C is copied.

A large C is cut into blocks of at most MC rows and NC columns, which the cores share. Whoever does
a block packs what it must, into memory of its own that stays in its cache: much of `gemm`'s time is
spent waiting for A and B, and it would wait again for what it had put far away.

The A of a convolution is never written down: it is read through two tables, entry (i, p) at rows[i]
+ columns[p]. They lead to an image in the place of the matrix that `im2col` would write
(`conv_loops`), and cost the tile up to a fifth of its speed.

What comes into a compiled loop from Python is plain tuples: it takes 2 us to recognise a NamedTuple
among the arguments, and 0.1 us for a tuple. Between compiled loops a NamedTuple costs nothing.
"""

import functools
import math

import numpy as np

from ..layout import dense, flat
from .compiler import TYPES, jit
from .host import empty_like, is_of_heads
from .memory import empty
from .microkernel import MR, VECTOR_BYTES, Addresses, tile
from .packing import (
    LINE, address, aligned, ceil_div, four_strides, k_part, pack_panels, tile_width,
)  # fmt: skip
from .threads import CORES, split
from .thresholds import ALIASED, KC, MC, MULTIPLICATIONS_PER_ELEMENT, NC, SMALL_PRODUCT, SUMMED

_one_direct, _two_direct = tile(1, direct=True), tile(2, direct=True)


@jit
def store(at, count, scratch, numbers, place, accumulate):
    """So many numbers of an edge tile's row."""
    for v in range(count):
        before = numbers[place + v] if accumulate else numbers.dtype.type(0)
        numbers[place + v] = scratch[at + v] + before


@jit
def _multiply_direct(shape, nr, a, b, c, step, scratch, accumulate):
    """C = A B, or C += A B, of this shape (m, n, k). C's rows lie a step apart. The scratch holds a
    tile, and a row of zeros.

    a: A, how far apart its rows and its columns are, how many of its rows are read there, and
    panels, in which the others are. b: B, how far apart its rows are, how many of its columns are
    read there, and panels for the others. In plain NumPy, with A, B and C matrices:

        C[...] = (C if accumulate else 0) + A @ B
    """
    m, n, k = shape
    a, a_rows, a_columns, rows_there, a_panels = a
    b, b_rows, columns_there, b_panels = b
    zero = c.dtype.type(0)
    for i in range(0, m, MR):
        a_there = i < rows_there
        for j in range(0, n, nr):
            b_there = j < columns_there
            is_edge = i + MR > m or j + nr > n
            addresses = Addresses(
                a=address(a, i * a_rows) if a_there else address(a_panels, i * k),
                rows=a_rows if a_there else 1,
                columns=a_columns if a_there else MR,
                b=address(b, j) if b_there else address(b_panels, j * k),
                b_rows=b_rows if b_there else nr,
                start=address(scratch, MR * nr),
                c=address(scratch, 0) if is_edge else address(c, i * step + j),
                to=nr if is_edge else step,
            )
            if nr * c.itemsize == VECTOR_BYTES:
                _one_direct(zero, addresses, k, accumulate and not is_edge)
            else:
                _two_direct(zero, addresses, k, accumulate and not is_edge)
            if is_edge:
                for u in range(min(MR, m - i)):
                    place = (i + u) * step + j
                    store(u * nr, min(nr, n - j), scratch, c, place, accumulate)


@jit
def _multiply_blocks(start, stop, shape, grid, operands, in_place):
    """Blocks start to stop of stacks of products of this shape (m, n, k), as attention's heads are,
    a stack for each sample. The tiles of a result are shared out evenly among (down, across)
    blocks, the last two of a grid, of which the first is how many results a stack has; blocks are
    counted through the results, row by row. Of A and B, a block packs what is not read in place:
    all of them, or what edge tiles read. What it has packed of A, those beside it use too.

    operands are A, B and C, each flat with its strides (from stack to stack, from matrix to matrix,
    from row to row, from column to column); in_place says which of A and B are read so. In plain
    NumPy, with stacks of stacks A, B and C:

        for number in range(start, stop):
            s, t, row, column = np.unravel_index(number, (*C.shape[:2], down, across))
            i, below = share(row, down, high, MR, m)
            j, right = share(column, across, wide, nr, n)
            C[s, t, i:below, j:right] = A[s, t, i:below] @ B[s, t, :, j:right]
    """
    m, n, k = shape
    stack, down, across = grid
    (a, a_strides), (b, b_strides), (c, c_strides) = operands
    nr = tile_width(n, c.itemsize)
    high, wide = ceil_div(m, MR), ceil_div(n, nr)  # tiles of a result
    a_panels = aligned(np.empty(ceil_div(high, down) * MR * k + LINE, c.dtype))
    b_panels = aligned(np.empty(ceil_div(wide, across) * nr * k_part(k) + LINE, c.dtype))
    scratch = np.zeros((MR + 1) * nr, c.dtype)
    packed = -1  # the row of blocks whose A is packed
    for number in range(start, stop):
        row = number // across  # of blocks, counted through the results
        t = row // down  # which result it belongs to
        at = t // stack, t % stack  # which stack, and which of its products
        i, below = share(row % down, down, high, MR, m)
        j, right = share(number % across, across, wide, nr, n)
        a_high = ceil_div(below - i, MR)
        # tiles that read A, and B, in place
        rows_there = (below - i) // MR if in_place[0] else 0
        columns_there = (right - j) // nr if in_place[1] else 0
        if row != packed:
            a_rows = a[_place(at, i, 0, a_strides) :]
            strides = a_strides[3], a_strides[2]  # of the transpose
            pack_panels(rows_there, a_high, (k, below - i), a_rows, strides, MR, a_panels)
            packed = row
        for first in range(0, k, k_part(k)):
            depth = min(k_part(k), k - first)
            there, strides = a[_place(at, i, first, a_strides) :], a_strides[2:]
            of_a = there, *strides, rows_there * MR, a_panels[first * a_high * MR :]
            there, strides = b[_place(at, first, j, b_strides) :], b_strides[2:]
            b_shape, b_wide = (depth, right - j), ceil_div(right - j, nr)
            pack_panels(columns_there, b_wide, b_shape, there, strides, nr, b_panels)
            of_b = there, b_strides[2], columns_there * nr, b_panels
            c_part = c[_place(at, i, j, c_strides) :]
            block = below - i, right - j, depth
            _multiply_direct(block, nr, of_a, of_b, c_part, c_strides[2], scratch, first > 0)


@jit
def _place(at, i, j, strides):
    """Where entry (i, j) of a product lies."""
    s, t = at
    return s * strides[0] + t * strides[1] + i * strides[2] + j * strides[3]


@jit
def share(part, parts, tiles, size, n):
    """Where a part of n begins and ends, whose tiles of this size are shared out evenly."""
    return tiles * part // parts * size, min(n, tiles * (part + 1) // parts * size)


def gemm(a, b, out=None):
    """As NumPy's matmul."""
    m, n = a.shape[-2], b.shape[-1]
    large = _is_large(a, b)
    with_vector = large and min(m, n) == 1 and a.shape[-1] <= SUMMED
    if not large or with_vector:
        # a column times a row is faster in NumPy as numbers that broadcast than as matrices
        outer = np.multiply if a.shape[-1] == b.shape[-2] == 1 else np.matmul
        product = _with_vector if with_vector else outer
        if out is None and a.dtype == b.dtype in TYPES and a.shape[-1] == b.shape[-2]:
            out = empty((*_stacks(a, b), m, n), a.dtype)
        return product(a, b, out=out)
    shape = (*_stacks(a, b), m, n)
    if out is None:
        if len(shape) == 4 and is_of_heads(a.mT) and b.flags.c_contiguous:
            return gemm(b.mT, a.mT).mT
        # what comes of values of heads lies as they do: to join the heads is then a view
        heads = len(shape) == 4 and is_of_heads(b)
        out = empty_like(b, shape=shape) if heads else empty(shape, a.dtype)
    elif out.shape != shape or out.dtype != a.dtype or not _may_be_written(out, a, b):
        out[...] = gemm(a, b)
        return out
    _share_out(a, b, out)
    return out


# A large matrix times a vector, its sums one term after another. NumPy's matmul would share it out
# among BLAS's threads, which go on watching for work and take cores from ours, for milliseconds.
_with_vector = functools.partial(np.einsum, "...ij,...jk->...ik", casting="same_kind")


def _stacks(a, b):
    """The shape of a stack of products."""
    return () if a.ndim == b.ndim == 2 else np.broadcast_shapes(a.shape[:-2], b.shape[:-2])


def _is_large(a, b):
    """Whether a product is large enough, and of numbers, shapes and ranks that the loops know."""
    m, k = a.shape[-2:]
    rank = max(a.ndim, b.ndim)
    least = SMALL_PRODUCT >> (rank > 2)  # of a stack, each core does some
    large = 1 < k == b.shape[-2] and m * b.shape[-1] * k >= least
    large = large and a.size > 0 < b.size  # a stack may be empty
    return large and a.dtype == b.dtype and a.dtype in TYPES and rank < 5


def _may_be_written(out, a, b):
    """Whether tiles can be: it fills its memory, its rows lie in one piece, A and B elsewhere."""
    whole = dense(out) and out.strides[-1] == out.itemsize and out.flags.writeable
    return whole and not np.may_share_memory(out, a) and not np.may_share_memory(out, b)


def _share_out(a, b, out):
    """out = a b, block by block on all cores."""
    arrays = [x if dense(x) else np.ascontiguousarray(x) for x in (a, b, out)]
    strides, *plan = _plan(a.itemsize, *((x.shape, x.strides) for x in arrays))
    count, cost, shape, grid, in_place = plan
    operands = tuple(zip(map(flat, arrays), strides))
    split(_multiply_blocks, count, cost, shape, grid, operands, in_place)


@functools.lru_cache(1024)
def _plan(itemsize, *forms):
    """How products of A and B, of these (shape, strides) and the result's, are cut into blocks: the
    four strides of each, how many blocks, what they cost, and the arguments of `_multiply_blocks`.
    """
    (*_, m, k), (*_, n), stacks = forms[0][0], forms[1][0], forms[2][0]
    products = math.prod(stacks[:-2])
    # blocks whose panels stay in the cache, and more where they are too few for the cores: so that
    # the smaller of A and B is packed several times
    tiles = ceil_div(m, MR), ceil_div(n, tile_width(n, itemsize))
    across = ceil_div(n, NC)
    # A is packed for all of a long k at once: with fewer rows then, or it would take much memory
    down = min(tiles[0], ceil_div(m * ceil_div(k, 8 * KC), MC))
    wanted = ceil_div(2 * CORES, products * down * across)
    if m > n:
        down = min(tiles[0], down * wanted)
    else:
        across = min(tiles[1], across * wanted)
    cost = products * m * n * k // MULTIPLICATIONS_PER_ELEMENT
    grid = stacks[-3] if len(stacks) > 2 else 1, down, across
    strides = [four_strides(shape, steps, itemsize) for shape, steps in forms]
    along_k = strides[0][3], strides[1][2]  # through A and B
    in_place = [step * itemsize % ALIASED != 0 for step in along_k]
    in_place = in_place[0], in_place[1] and strides[1][3] == 1
    return strides, products * down * across, cost, (m, n, k), grid, in_place
