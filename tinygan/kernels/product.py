"""Matrix products and convolutions for NumPy arrays: nearly all the arithmetic of a training step, in one inner loop.

A product is computed tile by tile, each small enough to stay in the vector registers while a column of A times a row of B
is added to it for every k (Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication"). B is packed: as
many columns as a tile is wide lie side by side. A is read through two tables, entry (i, k) at rows[i] + columns[k]. For a
matrix these are multiples of its strides. For the matrix that `im2col` would write, rows point to patches and columns to
taps within a patch, in an image with its padding: a convolution is a product whose matrix is never written down.
"""

import functools

import llvmlite.ir as ir
import numba
import numpy as np
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from .host import dense, empty, flat, split

_features = cpu_target.target_context.codegen().magic_tuple()
BYTES = 64 if "+avx512f" in _features[2] else 32 if "+avx2" in _features[2] else 16  # of a vector register
ROWS = 10 if BYTES == 64 or "aarch64" in _features[0] else 6  # of a tile: two vectors each in 20 of 32 registers, or 12 of 16
DEPTH = 256  # so many k at a time: a packed block of B stays in the cache
SMALL = 1 << 18  # multiplications: below, NumPy's own product is as fast, and stays on one thread

word = np.uintp
jit = numba.njit(cache=True, nogil=True, error_model="numpy")


def _tile(vectors):
    """The tile `vectors` registers wide: c[to[i] + j] (+)= begin[j] + sum over p < k of a[rows[i] + columns[p]] * b[p, j].

    `zero` is a number of the type to compute in, `add` says whether to keep what is in c, the others are addresses and k. It
    is written in LLVM's language, because Numba has no vectors that stay in registers.
    """

    @intrinsic
    def tile(typing, zero, a, rows, columns, k, b, begin, c, to, add):
        number, index, size = (ir.FloatType() if zero.bitwidth == 32 else ir.DoubleType()), ir.IntType(64), zero.bitwidth // 8
        width = BYTES // size
        vector, lanes = ir.VectorType(number, width), ir.VectorType(ir.IntType(32), width)

        def generate(context, builder, signature, args):
            def at(base, i):
                return builder.gep(base, [i if isinstance(i, ir.Value) else index(i)])

            def line(base):  # the places of its vectors
                return [builder.bitcast(at(base, j * width), vector.as_pointer()) for j in range(vectors)]

            def load(place):
                (value := builder.load(place)).align = size
                return value

            _, a, rows, columns, k, b, begin, c, to, add = args
            a, b, begin, c = (builder.inttoptr(x, number.as_pointer()) for x in (a, b, begin, c))
            rows, columns, to = (builder.inttoptr(x, index.as_pointer()) for x in (rows, columns, to))
            starts = [at(a, builder.load(at(rows, i))) for i in range(ROWS)]
            first = [index(0)] + [load(place) for place in line(begin)] * ROWS
            before, test, body, after = builder.block, *map(builder.append_basic_block, ("test", "body", "after"))
            builder.branch(test)
            builder.position_at_end(test)
            p, sums = builder.phi(index), [builder.phi(vector) for _ in range(ROWS * vectors)]
            builder.cbranch(builder.icmp_signed("<", p, k), body, after)
            builder.position_at_end(body)
            column, more = builder.load(at(columns, p)), []
            loaded = [load(place) for place in line(at(b, builder.mul(p, index(vectors * width))))]
            for start in starts:
                one = builder.insert_element(vector(ir.Undefined), builder.load(at(start, column)), ir.IntType(32)(0))
                every = builder.shuffle_vector(one, vector(ir.Undefined), lanes([0] * width))
                for v in loaded:  # "contract": multiply and add in one instruction
                    product = builder.fmul(every, v, flags=("contract",))
                    more.append(builder.fadd(product, sums[len(more)], flags=("contract",)))
            for phi, value, then in zip([p, *sums], first, [builder.add(p, index(1)), *more]):
                phi.add_incoming(value, before)
                phi.add_incoming(then, body)
            builder.branch(test)
            builder.position_at_end(after)
            for i in range(ROWS):
                for place, total in zip(line(at(c, builder.load(at(to, i)))), sums[vectors * i :]):
                    total = builder.select(add, builder.fadd(load(place), total), total)
                    builder.store(total, place).align = size
            return context.get_dummy_value()

        return numba.types.void(zero, *[numba.types.intp] * 8, numba.types.boolean), generate

    return tile


_narrow, _wide = _tile(1), _tile(2)


def lanes_of(n, itemsize):
    """The width of the tiles for n columns."""
    return BYTES // itemsize * (1 if n <= BYTES // itemsize else 2)


lanes_of = jit(lanes_of)


def _depth(k):
    """So many k at a time, in equal parts."""
    parts = max(1, (k + DEPTH // 2) // DEPTH)
    return max(1, (k + parts - 1) // parts)


_depth = jit(_depth)


def _multiply(m, n, k, a, rows, columns, b, bias, c, to, step, add):
    """c[to[i] + j * step] (+)= bias[j] + sum over p of a[rows[i] + columns[p]] * b[p, j]; a: an address, b: packed, c: flat.

    Tables of rows and a bias are as long as whole tiles; an empty bias is none.
    """
    zero, size = c.dtype.type(0), c.itemsize
    lanes = lanes_of(n, size)
    width, spot, spots = (n + lanes - 1) // lanes * lanes, np.zeros((ROWS + 1) * lanes, c.dtype), np.arange(ROWS) * lanes
    for first in range(0, max(k, 1), _depth(k)):
        depth, more = min(_depth(k), k - first), add or first > 0
        for i in range(0, m, ROWS):
            for j in range(0, n, lanes):
                row, column = rows.ctypes.data + 8 * i, columns.ctypes.data + 8 * first
                panel = b.ctypes.data + size * (first * width + j * depth)
                begin = bias.ctypes.data + size * j if len(bias) and first == 0 else spot.ctypes.data + size * ROWS * lanes
                whole = i + ROWS <= m and j + lanes <= n and step == 1
                out = c.ctypes.data + size * j if whole else spot.ctypes.data
                places = to.ctypes.data + 8 * i if whole else spots.ctypes.data
                if n <= BYTES // size:
                    _narrow(zero, a, row, column, depth, panel, begin, out, places, more and whole)
                else:
                    _wide(zero, a, row, column, depth, panel, begin, out, places, more and whole)
                if not whole:  # from the spot to where it belongs
                    for v in range(min(lanes, n - j)):
                        for u in range(min(ROWS, m - i)):
                            place = to[i + u] + (j + v) * step
                            c[place] = spot[u * lanes + v] + (c[place] if more else zero)


_multiply = jit(_multiply)


def _pack(start, stop, b, at, down, across, k, n, out):
    lanes = lanes_of(n, out.itemsize)
    width = (n + lanes - 1) // lanes * lanes
    for first in range(0, k, _depth(k)):
        depth = min(_depth(k), k - first)
        for j in range(start * lanes, stop * lanes, lanes):
            here, of, some = first * width + j * depth, at + first * down + j * across, min(lanes, n - j)
            if across == 1 and some == lanes:
                for p in range(depth):
                    for q in range(lanes):
                        out[word(here + p * lanes + q)] = b[word(of + p * down + q)]
            else:
                for q in range(lanes):
                    for p in range(depth):
                        out[word(here + p * lanes + q)] = b[word(of + p * down + q * across)] if q < some else 0


_pack = jit(_pack)


def _some_rows(start, stop, m, n, k, a, rows, columns, b, c, to, step):
    i = start * ROWS
    _multiply(min(stop * ROWS, m) - i, n, k, a.ctypes.data, rows[i:], columns, b, c[:0], c, to[i:], step, False)


_some_rows = jit(_some_rows)


def _some_products(start, stop, m, n, k, a, a_stride, rows, columns, b, b_strides, c, c_stride, to, step):
    lanes = lanes_of(n, c.itemsize)
    panels = (n + lanes - 1) // lanes
    packed = np.empty(panels * lanes * k, c.dtype)
    for t in range(start, stop):
        _pack(0, panels, b, t * b_strides[0], b_strides[1], b_strides[2], k, n, packed)
        address = a.ctypes.data + c.itemsize * t * a_stride
        _multiply(m, n, k, address, rows, columns, packed, c[:0], c[t * c_stride :], to, step, False)


_some_products = jit(_some_products)


def gemm(a, b, out=None):
    m, k, n, kind = *a.shape[-2:], b.shape[-1], a.dtype
    if not (1 < k == b.shape[-2] and m * n * k >= SMALL and kind == b.dtype and kind.char in "fd" and max(a.ndim, b.ndim) < 4):
        return (np.multiply if k == b.shape[-2] == 1 else np.matmul)(a, b, out=out)
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), m, n)
    out = empty(shape, a.dtype) if out is None else out
    if out.shape != shape or out.dtype != a.dtype or not dense(out):
        out[...] = gemm(a, b)
        return out
    (a, (at, ai, ak)), (b, (bt, bk, bj)), (c, (ct, ci, cj)) = map(memory, (a, b, out))
    if _overhead(m, k, n, ak, bj, cj) > _overhead(n, k, m, bk, ai, ci):  # rather out.T = b.T @ a.T
        m, n, a, at, ai, ak, b, bt, bk, bj, ci, cj = n, m, b, bt, bj, bk, a, at, ak, ai, cj, ci
    tables, to, size = (line(m, ai, ROWS), line(k, ak)), line(m, ci, ROWS), m * n * k >> 4
    if out.ndim == 2:
        split(_some_rows, -(-m // ROWS), size, m, n, k, a, *tables, packed(b, bk, bj, k, n), c, to, cj)
    else:
        split(_some_products, len(out), size * len(out), m, n, k, a, at, *tables, b, (bt, bk, bj), c, ct, to, cj)
    return out


def _overhead(m, k, n, ak, bj, cj):
    """What a product costs beside its multiplications: packing B, reading A and writing C, against their rows or along."""
    return k * n * (0.3 if bj == 1 else 1.2) + m * k * (0 if ak == 1 else 0.5) + m * n * (0 if cj == 1 else 1.2)


def memory(x):
    """x as one axis in the order of its memory, and its strides in numbers, the first 0 for one matrix; a copy if it has gaps."""
    x = x if dense(x) else np.ascontiguousarray(x)
    return flat(x), (0,) * (3 - x.ndim) + tuple(s // x.itemsize for s in x.strides)


@functools.lru_cache(1000)
def line(n, step, multiple=1):
    """0, step, 2*step, ...: n of them, and the last again up to a `multiple`."""
    return whole(np.arange(n) * step, multiple)


def whole(table, multiple):
    """A table, its last entry repeated up to a multiple: for a tile that is not full."""
    table = table.ravel()
    return np.append(table, np.repeat(table[-1:], -len(table) % multiple))


def packed(b, down, across, k, n):
    """B (k, n), given as its memory and strides, in panels of a tile's width."""
    panels = -(-n // lanes_of(n, b.itemsize))
    out = empty((panels * lanes_of(n, b.itemsize) * k,), b.dtype)
    split(_pack, panels, out.size, b, 0, down, across, k, n, out)
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
            _multiply(m * count, n, k, a, rows[row:], columns[column:], b[at:], bias, c, to[row:], 1, False)


gather = jit(gather)


def scatter(start, stop, y, group, corner, rows, columns, b, begin, out):
    positions, o, k = y.shape[1] * y.shape[2], y.shape[3], len(columns)
    lanes = lanes_of(k, y.itemsize)
    width, m = (k + lanes - 1) // lanes * lanes, (positions + ROWS - 1) // ROWS * ROWS
    padded, cols = np.empty(group, y.dtype), np.empty(m * width, y.dtype)
    own, across, to = np.minimum(np.arange(m), positions - 1) * o, np.arange(o), np.arange(m) * width
    image = padded.reshape(-1)
    for i in range(start, stop):
        _multiply(m, width, o, y[i].ctypes.data, own, across, b, cols[:0], cols, to, 1, False)
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
            b = y[first:].reshape(-1)
            if o != lanes:  # else it is packed as it is
                _pack(0, panels, b, 0, o, 1, positions * count, o, packed)
                b = packed
            c, a = partial[part].reshape(-1), padded.ctypes.data
            _multiply(k, o, positions * count, a, columns, rows, b, c[:0], c, to, 1, True)


correlate = jit(correlate)
