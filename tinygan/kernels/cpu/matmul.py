"""Matrix products and convolutions for NumPy arrays: nearly all the arithmetic of a training step,
in one inner loop.

A product is computed tile by tile, each small enough to stay in the vector registers while a column
of A times a row of B is added to it for every k (Goto & van de Geijn 2008, "Anatomy of
high-performance matrix multiplication"). B is packed: as many columns as a tile is wide lie side by
side. A is read through two tables, entry (i, k) at rows[i] + columns[k]. For a matrix these are
multiples of its strides. For the matrix that `im2col` would write, rows point to patches and
columns to taps within a patch, in an image with its padding: a convolution is a product whose
matrix is never written down.
"""

import numpy as np

from ..layout import dense, flat
from .compiler import TYPES, jit
from .memory import empty, kept
from .threads import CORES, split
from .microkernel import BYTES, ROWS, tile, turn

DEPTH = 256  # so many k at a time: a packed block of B stays in the cache
SMALL = 1 << 18  # multiplications: below, NumPy's own product is as fast, and stays on one thread

word = np.uintp

_narrow, _wide = tile(1), tile(2)


def lanes_of(n, itemsize):
    """The width of the tiles for n columns."""
    return BYTES // itemsize * (1 if n <= BYTES // itemsize else 2)


lanes_of = jit(lanes_of)


def _depth(k):
    """So many k at a time, in equal parts."""
    parts = max(1, (k + DEPTH // 2) // DEPTH)
    return max(1, (k + parts - 1) // parts)


_depth = jit(_depth)


def _multiply(m, n, k, a, rows, columns, b, bias, c, to, add):
    """c[to[i] + j] (+)= bias[j] + sum over p of a[rows[i] + columns[p]] * b[p, j]; a: an address,
    b: packed, c: flat.

    Tables of rows and a bias are as long as whole tiles; an empty bias is none.
    """
    zero, size = c.dtype.type(0), c.itemsize
    lanes = lanes_of(n, size)
    width, spot, spots = (
        (n + lanes - 1) // lanes * lanes,
        np.zeros((ROWS + 1) * lanes, c.dtype),
        np.arange(ROWS) * lanes,
    )
    for first in range(0, max(k, 1), _depth(k)):
        depth, more = min(_depth(k), k - first), add or first > 0
        for i in range(0, m, ROWS):
            for j in range(0, n, lanes):
                row, column = rows.ctypes.data + 8 * i, columns.ctypes.data + 8 * first
                panel = b.ctypes.data + size * (first * width + j * depth)
                begin = (
                    bias.ctypes.data + size * j
                    if len(bias) and first == 0
                    else spot.ctypes.data + size * ROWS * lanes
                )
                whole = i + ROWS <= m and j + lanes <= n
                out = c.ctypes.data + size * j if whole else spot.ctypes.data
                places = to.ctypes.data + 8 * i if whole else spots.ctypes.data
                if n <= BYTES // size:
                    _narrow(zero, a, row, column, depth, panel, begin, out, places, more and whole)
                else:
                    _wide(zero, a, row, column, depth, panel, begin, out, places, more and whole)
                if not whole:  # from the spot to where it belongs
                    for u in range(min(ROWS, m - i)):
                        for v in range(min(lanes, n - j)):
                            place = to[i + u] + j + v
                            c[place] = spot[u * lanes + v] + (c[place] if more else zero)


_multiply = jit(_multiply)


def _pack(start, stop, b, at, down, across, k, n, out):
    size, lanes, side = out.itemsize, lanes_of(n, out.itemsize), BYTES // out.itemsize
    width = (n + lanes - 1) // lanes * lanes
    for first in range(0, k, _depth(k)):
        depth = min(_depth(k), k - first)
        for j in range(start * lanes, stop * lanes, lanes):
            here, of, some = (
                first * width + j * depth,
                at + first * down + j * across,
                min(lanes, n - j),
            )
            for p in range(depth if across == 1 else 0):
                for q in range(some):
                    out[word(here + p * lanes + q)] = b[word(of + p * down + q)]
                for q in range(some, lanes):
                    out[word(here + p * lanes + q)] = 0
            for q in range(0 if across == 1 else lanes):
                squares = depth - depth % side if down == 1 and q - q % side + side <= some else 0
                for p in range(0, squares if q % side == 0 else 0, side):
                    source, target = (
                        b.ctypes.data + size * (of + p + q * across),
                        out.ctypes.data + size * (here + p * lanes + q),
                    )
                    turn(out.dtype.type(0), source, across, target, lanes)
                for p in range(squares, depth):
                    out[word(here + p * lanes + q)] = (
                        b[word(of + p * down + q * across)] if q < some else 0
                    )


_pack = jit(_pack)


def _some_blocks(
    start, stop, m, n, k, height, width, a, a_stride, rows, columns, b, b_strides, c, c_stride, to
):
    (step, down, across), packed = b_strides, np.empty(min(k, 2 * DEPTH) * width, c.dtype)
    wide, high = (n + width - 1) // width, (m + height - 1) // height
    for block in range(start, stop):
        t, i, j = block // wide // high, block // wide % high * height, block % wide * width
        lanes, some, address = (
            lanes_of(n - j, c.itemsize),
            min(width, n - j),
            a.ctypes.data + c.itemsize * t * a_stride,
        )
        for first in range(0, k, _depth(k)):
            depth, out = min(_depth(k), k - first), c[t * c_stride + j :]
            _pack(
                0,
                (some + lanes - 1) // lanes,
                b,
                t * step + first * down + j * across,
                down,
                across,
                depth,
                some,
                packed,
            )
            _multiply(
                min(height, m - i),
                some,
                depth,
                address,
                rows[i:],
                columns[first:],
                packed,
                c[:0],
                out,
                to[i:],
                first > 0,
            )


_some_blocks = jit(_some_blocks)


def gemm(a, b, out=None):
    m, k, n, kind = *a.shape[-2:], b.shape[-1], a.dtype
    if not (
        1 < k == b.shape[-2]
        and m * n * k >= SMALL
        and kind == b.dtype
        and kind in TYPES
        and max(a.ndim, b.ndim) < 4
    ):
        return (np.multiply if k == b.shape[-2] == 1 else np.matmul)(a, b, out=out)
    if m < ROWS <= n and out is None:  # B would be packed for too few rows
        return gemm(b.swapaxes(-1, -2), a.swapaxes(-1, -2)).swapaxes(-1, -2)
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), m, n)
    out = empty(shape, a.dtype) if out is None else out
    if (
        out.shape != shape
        or out.dtype != a.dtype
        or not dense(out)
        or out.strides[-1] != out.itemsize
    ):
        out[...] = gemm(a, b)
        return out
    (a, (at, *along)), (b, (bt, *strides)), (c, (ct, ci, _)) = map(memory, (a, b, out))
    tables, to, size = (
        (line(m, along[0], ROWS), line(k, along[1])),
        line(m, ci, ROWS),
        out.size * k >> 4,
    )
    # of a block of the result: its share of B stays in the cache
    width = lanes_of(n, a.itemsize) * max(1, DEPTH // k)
    blocks = out.size // (m * n) * -(-n // width)
    height = m if blocks >= 2 * CORES else -(-m * blocks // (2 * CORES * ROWS)) * ROWS
    split(
        _some_blocks,
        blocks * -(-m // height),
        size,
        m,
        n,
        k,
        height,
        width,
        a,
        at,
        *tables,
        b,
        (bt, *strides),
        c,
        ct,
        to,
    )
    return out


def memory(x):
    """x as one axis in the order of its memory, and its strides in numbers, the first 0 for one
    matrix; a copy if it has gaps.
    """
    x = x if dense(x) else np.ascontiguousarray(x)
    return flat(x), (0,) * (3 - x.ndim) + tuple(s // x.itemsize for s in x.strides)


@kept
def line(n, step, multiple=1):
    """0, step, 2*step, ...: n of them, and the last again up to a `multiple`."""
    return whole(np.arange(n) * step, multiple)


def whole(table, multiple):
    """A table, its last entry repeated up to a multiple: for a tile that is not full."""
    table = table.ravel()
    return np.append(table, np.repeat(table[-1:], -len(table) % multiple))


def packed(b):
    """A matrix in panels of a tile's width."""
    lanes, (numbers, (_, *strides)) = lanes_of(b.shape[1], b.itemsize), memory(b)
    panels = -(-b.shape[1] // lanes)
    out = empty((panels * lanes * len(b),), b.dtype)
    split(_pack, panels, out.size, numbers, 0, *strides, *b.shape, out)
    return out


def _place(x, padded, top, left):
    """x (h, w, c) into `padded`, its corner at (top, left), what does not fit cut off."""
    c, skip = x.shape[2], max(0, -left)
    n = (min(x.shape[1], padded.shape[1] - left) - skip) * c
    for i in range(max(0, -top), min(x.shape[0], padded.shape[0] - top)):
        of, to = x[i].reshape(-1)[skip * c :], padded[i + top].reshape(-1)[(skip + left) * c :]
        for q in range(n):
            to[q] = of[q]


_place = jit(_place)


def gather(start, stop, x, group, corner, phases, rows, columns, to, b, bias, out):
    padded = np.zeros(group, x.dtype)
    for first in range(start, stop, len(padded)):
        count = min(len(padded), stop - first)
        for t in range(count):
            _place(x[first + t], padded[t], corner[0], corner[1])
        for m, k, row, column, at in phases:
            c, a, n = out[first:].reshape(-1), padded.ctypes.data, out.shape[3]
            _multiply(
                m * count, n, k, a, rows[row:], columns[column:], b[at:], bias, c, to[row:], False
            )


gather = jit(gather)


def scatter(start, stop, y, group, corner, rows, columns, b, begin, out):
    positions, o, k = y.shape[1] * y.shape[2], y.shape[3], len(columns)
    lanes = lanes_of(k, y.itemsize)
    width, m = (k + lanes - 1) // lanes * lanes, (positions + ROWS - 1) // ROWS * ROWS
    padded, cols = np.empty(group, y.dtype), np.empty(m * width, y.dtype)
    own, across, to = (
        np.minimum(np.arange(m), positions - 1) * o,
        np.arange(o),
        np.arange(m) * width,
    )
    image = padded.reshape(-1)
    for i in range(start, stop):
        _multiply(m, width, o, y[i].ctypes.data, own, across, b, cols[:0], cols, to, False)
        image[:] = begin
        for r in range(positions):
            for q in range(k):
                image[word(rows[r] + columns[q])] += cols[word(r * width + q)]
        _place(padded[0], out[i], -corner[0], -corner[1])


scatter = jit(scatter)


def correlate(start, stop, x, group, corner, rows, columns, k, y, partial):
    n, o, positions = len(x), y.shape[3], y.shape[1] * y.shape[2]
    lanes = lanes_of(o, y.itemsize)
    panels = (o + lanes - 1) // lanes
    padded, packed = np.zeros(group, x.dtype), np.empty(panels * lanes * len(rows), y.dtype)
    to = np.arange((k + ROWS - 1) // ROWS * ROWS) * o
    for part in range(start, stop):
        partial[part] = 0
        last = (part + 1) * n // len(partial)
        for first in range(part * n // len(partial), last, len(padded)):
            count = min(len(padded), last - first)
            for t in range(count):
                _place(x[first + t], padded[t], corner[0], corner[1])
            _pack(0, panels, y[first:].reshape(-1), 0, o, 1, positions * count, o, packed)
            c, a = partial[part].reshape(-1), padded.ctypes.data
            _multiply(k, o, positions * count, a, columns, rows, packed, c[:0], c, to, True)


correlate = jit(correlate)
