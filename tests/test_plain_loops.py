"""Each hard compiled loop against the plain one in its docstring, which is what a learner reads.

The numbers are small integers, so that sums are exact in any order, and sizes are around those of
tiles and of parts, on whatever processor the tests run.
"""

import inspect
import itertools
import re
import textwrap

import numba
import numpy as np
import pytest

from tinygan.kernels.cpu import conv_direct, conv_loops, copies, host, matmul, microkernel, packing
from tinygan.kernels.cpu.microkernel import MR, VECTOR_BYTES

rng = np.random.default_rng(2)
DTYPES = pytest.mark.parametrize("dtype", ["f4", "f8"])


def integers(shape, dtype):
    return rng.integers(-8, 9, shape).astype(dtype)


def run_plain_loop(function, **names):
    """Run the first indented lines of a function's docstring, with these names; all names after."""
    code = re.search(r"\n\n((?:    .*\n)+)", inspect.getdoc(function) + "\n")[1]
    names = {"np": np, "MR": MR} | names
    exec(textwrap.dedent(code), names)
    return names


@DTYPES
@pytest.mark.parametrize("vectors", [1, 2])
@pytest.mark.parametrize("k", [0, 1, 7])
@pytest.mark.parametrize("accumulate", [False, True])
def test_microkernel(dtype, vectors, k, accumulate):
    instructions = microkernel.tile(vectors)

    @numba.njit
    def compiled(a, rows, columns, b, start, c, to, accumulate):
        addresses = microkernel.Addresses(
            a.ctypes.data,
            rows.ctypes.data,
            columns.ctypes.data,
            b.ctypes.data,
            len(start),
            start.ctypes.data,
            c.ctypes.data,
            to.ctypes.data,
        )
        instructions(c.dtype.type(0), addresses, len(columns), accumulate)

    nr = vectors * VECTOR_BYTES // np.dtype(dtype).itemsize
    a, b, start = (integers(size, dtype) for size in (90, k * nr, nr))
    rows, columns = rng.integers(0, 45, MR), rng.integers(0, 45, k)
    to = rng.permutation(MR) * nr
    c = integers(MR * nr, dtype)
    expected = c.copy()
    compiled(a, rows, columns, b, start, c, to, accumulate)
    run_plain_loop(
        microkernel.tile,
        a=a,
        rows=rows,
        columns=columns,
        b=b,
        start=start,
        to=to,
        k=k,
        NR=nr,
        b_rows=nr,
        c=expected,
        accumulate=accumulate,
    )
    np.testing.assert_array_equal(c, expected)


@DTYPES
@pytest.mark.parametrize("vectors", [1, 2])
@pytest.mark.parametrize("k", [0, 1, 7])
@pytest.mark.parametrize("accumulate", [False, True])
def test_direct_microkernel(dtype, vectors, k, accumulate):
    instructions = microkernel.tile(vectors, direct=True)

    @numba.njit
    def compiled(a, rows, columns, b, b_rows, start, c, k, step, accumulate):
        addresses = microkernel.Addresses(
            a.ctypes.data,
            rows,
            columns,
            b.ctypes.data,
            b_rows,
            start.ctypes.data,
            c.ctypes.data,
            step,
        )
        instructions(c.dtype.type(0), addresses, k, accumulate)

    nr = vectors * VECTOR_BYTES // np.dtype(dtype).itemsize
    for rows, columns, b_rows in (1, MR, nr), (k, 1, nr + 2), (1, MR + 3, nr):
        a, b = (integers(size, dtype) for size in (MR * k + (k + MR) * columns, k * b_rows))
        start, c = integers(nr, dtype), integers(MR * (nr + 3), dtype)
        expected = c.copy()
        compiled(a, rows, columns, b, b_rows, start, c, k, nr + 3, accumulate)
        tables = {"rows": np.arange(MR) * rows, "columns": np.arange(k) * columns}
        tables |= {"to": np.arange(MR) * (nr + 3), "b_rows": b_rows, "NR": nr}
        tables |= {"k": k, "accumulate": accumulate}
        run_plain_loop(microkernel.tile, a=a, b=b, start=start, c=expected, **tables)
        np.testing.assert_array_equal(c, expected)


@DTYPES
def test_transpose(dtype):
    @numba.njit
    def compiled(x, x_stride, out, out_stride):
        transpose(x.dtype.type(0), x.ctypes.data, x_stride, out.ctypes.data, out_stride)

    transpose, lanes = microkernel.transpose, VECTOR_BYTES // np.dtype(dtype).itemsize
    x = np.arange((lanes + 3) * lanes, dtype=dtype)
    for gap in (0, 5):
        out = np.zeros(lanes * (lanes + gap), dtype)
        expected, strides = out.copy(), {"x_stride": lanes + 3, "out_stride": lanes + gap}
        compiled(x, lanes + 3, out, lanes + gap)
        run_plain_loop(transpose, side=lanes, x=x, out=expected, **strides)
        np.testing.assert_array_equal(out, expected)


@DTYPES
@pytest.mark.parametrize("k", [1, 37, 300, 700])
@pytest.mark.parametrize("n", [1, VECTOR_BYTES // 8, 70])
@pytest.mark.parametrize("side", ["A", "B"])
def test_pack(dtype, k, n, side):
    itemsize = np.dtype(dtype).itemsize
    nr = MR if side == "A" else packing.tile_width(n, itemsize)
    width = packing.ceil_div(n, nr) * nr
    for memory in (
        integers((k, n), dtype),
        integers((n, k), dtype).T,
        integers((2 * k, 3 * n), dtype),
    ):
        b = memory[: 2 * k : len(memory) // k, :: memory.shape[1] // n]
        strides = tuple(s // itemsize for s in b.strides)
        flat = np.lib.stride_tricks.as_strided(
            b, (1 + (k - 1) * strides[0] + (n - 1) * strides[1],), (itemsize,)
        )
        panels, expected = np.full((2, k * width), 9, dtype)
        for start, stop in (0, 1), (1, width // nr):  # as by two threads
            if side == "A":
                packing.pack_panels(start, stop, (k, n), flat, strides, nr, panels)
            else:
                packing.pack(start, stop, (k, n), flat, strides, panels)
        run_plain_loop(
            packing.pack,
            k=k,
            n=n,
            nr=nr,
            width=width,
            part=packing.k_part(k),
            B=b,
            panels=expected,
            start=0,
            stop=width // nr,
        )
        np.testing.assert_array_equal(panels, expected)


@DTYPES
@pytest.mark.parametrize("shape", [(MR, 70, 300), (MR + 1, 5, 1), (2 * MR - 1, 33, 700), (1, 1, 5)])
def test_multiply(dtype, shape):
    @numba.njit
    def compiled(shape, a, rows, columns, panels, bias, numbers, to, accumulate):
        source = conv_loops.Source(a.ctypes.data, rows, columns)
        conv_loops.multiply(shape, source, panels, bias, conv_loops.Target(numbers, to), accumulate)

    m, n, k = shape
    a, b, numbers = integers((m, k), dtype), integers((k, n), dtype), integers(m * (n + 3), dtype)
    rows, columns = conv_direct.offsets(m, k, MR), conv_direct.offsets(k, 1)
    to = conv_direct.whole_tiles(rng.permutation(m) * (n + 3), MR)
    panels = packing.packed(b)
    bias = np.zeros(packing.padded_width(n, a.itemsize), dtype)
    bias[:n] = integers(n, dtype)
    none = bias[:0]
    for accumulate in (False, True):
        for given, added in (bias, bias), (none, np.zeros(n)):
            expected = numbers.copy()
            compiled(shape, a, rows, columns, panels, given, numbers, to, accumulate)
            c = conv_loops.Target(expected, to)
            run_plain_loop(
                conv_loops.multiply, m=m, n=n, A=a, B=b, bias=added, accumulate=accumulate, c=c
            )
            np.testing.assert_array_equal(numbers, expected)


@DTYPES
@pytest.mark.parametrize("shape", [(MR, 70, 200), (MR + 1, 5, 1), (2 * MR - 1, 64, 70), (1, 1, 5)])
@pytest.mark.parametrize("layout", ["rows", "columns", "packed"])
def test_multiply_direct(dtype, shape, layout):
    m, n, k = shape
    a, b = integers((m, k), dtype), integers((k, n), dtype)
    nr, high = packing.tile_width(n, a.itemsize), packing.ceil_div(m, MR)
    panels, b_panels = np.empty(high * MR * k, dtype), packing.packed(b)
    whole = 0 if layout == "packed" else m // MR
    packing.pack_panels(whole, high, (k, m), a.ravel(), (1, k), MR, panels)
    there, steps = (a.T.ravel(), (1, m)) if layout == "columns" else (a.ravel(), (k, 1))
    scratch = np.zeros((MR + 1) * nr, dtype)
    for of_b in (b.ravel(), n, 0, b_panels), (b.ravel(), n, n // nr * nr, b_panels):
        c = integers((m, n + 3), dtype)
        for accumulate in (False, True):
            expected = c.copy()
            of_a = there, *steps, whole * MR, panels
            c_flat, step = c.reshape(-1), n + 3
            matmul._multiply_direct(shape, nr, of_a, of_b, c_flat, step, scratch, accumulate)
            names = {"A": a, "B": b, "C": expected[:, :n], "accumulate": accumulate}
            run_plain_loop(matmul._multiply_direct, **names)
            np.testing.assert_array_equal(c, expected)


@DTYPES
@pytest.mark.parametrize("shape", [(2, 35, 49), (1, 16, 16), (3, 5, 100), (2, 64, 1)])
def test_exchange(dtype, shape):
    n, columns, rows = shape
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    strips = packing.ceil_div(rows, lanes)
    x, out = integers(shape, dtype), np.zeros((n, rows, columns), dtype)
    for start, stop in (0, 1), (1, n * strips):  # as by two threads
        copies._exchange(start, stop, (rows, columns), x.reshape(-1), out.reshape(-1))
    expected, names = np.zeros_like(out), {"start": 0, "stop": n * strips, "strips": strips}
    run_plain_loop(copies._exchange, x=x, out=expected, LANES=lanes, **names)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_copies_from_any_order_into_any(dtype):
    exchanged = 0
    for shape in (3, 4, 20, 26), (2, 3, 60, 47), (70, 90):
        for order in itertools.permutations(range(len(shape))):
            x = integers(shape, dtype).transpose(order)
            exchanged += copies._exchanged(x) is not None
            np.testing.assert_array_equal(host.contiguous(x), x)
            assert host.contiguous(x).flags.c_contiguous
            for other in itertools.permutations(range(len(shape))):
                model = np.zeros([x.shape[i] for i in other]).transpose(np.argsort(other))
                found = host.like(x, model)
                assert found.strides == model.astype(dtype, "K").strides and found.dtype == dtype
                np.testing.assert_array_equal(found, x)
        for part in x[:, 1:], x[::-1], x[:, ::2]:  # not all of their memory, or not forwards
            np.testing.assert_array_equal(host.contiguous(part), part)
    assert exchanged > 5


class Padding:
    """The padding of a group's images, as the docstrings of `conv_loops` speak of it."""

    def __init__(self, group, corner):
        self.shape, (self.top, self.left) = group[1:], corner

    def _places(self, image):
        """Where each of an image's pixels lies, and which of them do at all."""
        i, j = np.ogrid[: image.shape[0], : image.shape[1]]
        i, j = i + self.top, j + self.left
        inside = (0 <= i) & (i < self.shape[0]) & (0 <= j) & (j < self.shape[1])
        i, j = np.broadcast_arrays(i, j)
        return inside, (i[inside], j[inside])

    def padded(self, image):
        out = np.zeros(self.shape, image.dtype)
        inside, places = self._places(image)
        out[places] = image[inside]
        return out

    def unpadded(self, padded, image):
        """`image`, with what of it lies in the padding taken from there."""
        inside, places = self._places(image)
        out = image.copy()
        out[inside] = padded[places]
        return out


def unpacked(panels, k, n):
    """A packed matrix."""
    nr, width = packing.tile_width(n, panels.itemsize), packing.padded_width(n, panels.itemsize)
    part = packing.k_part(k)
    parts = [panels[i * width : min(i + part, k) * width] for i in range(0, k, part)]
    rows = [p.reshape(width // nr, -1, nr).swapaxes(0, 1).reshape(-1, width) for p in parts]
    return np.concatenate(rows)[:, :n] if rows else np.zeros((0, n))


def plain_gather(start, stop, x, tables, filters, out):
    group, corner, rows, columns, to, phases = tables
    c = out.shape[3]
    weights = [unpacked(filters[0][panel:], k, c) for _, k, _, _, panel in phases]
    run_plain_loop(
        conv_loops.gather,
        start=start,
        stop=stop,
        x=x,
        rows=rows,
        columns=columns,
        to=to,
        phases=phases,
        filters=weights,
        bias=filters[1][:c],
        out=out,
        padded=Padding(group, corner).padded,
    )


def plain_scatter(start, stop, y, tables, filters, out):
    group, corner, rows, columns = tables
    weights = unpacked(filters[0], y.shape[3], len(columns))
    run_plain_loop(
        conv_loops.scatter,
        start=start,
        stop=stop,
        y=y,
        group=group,
        rows=rows,
        columns=columns,
        weights=weights,
        begin=filters[1],
        out=out,
        unpadded=Padding(group, corner).unpadded,
    )


def plain_correlate(start, stop, x, tables, y, partial):
    group, corner, rows, columns = tables
    run_plain_loop(
        conv_loops.correlate,
        start=start,
        stop=stop,
        x=x,
        y=y,
        rows=rows,
        columns=columns[: partial.shape[1]],
        partial=partial,
        parts=len(partial),
        padded=Padding(group, corner).padded,
    )


PLAIN = {
    conv_loops.gather: plain_gather,
    conv_loops.scatter: plain_scatter,
    conv_loops.correlate: plain_correlate,
}


@DTYPES
@pytest.mark.parametrize(
    "image, kernel, stride, padding, dilation, channels",
    [
        ((5, 7, 6, 3), (3, 2), (2, 1), (1, 0), (1, 2), 18),
        ((1, 9, 9, 1), (5, 5), (2, 2), (2, 2), (1, 1), 5),
        ((3, 4, 8, 2), (2, 3), (1, 1), (3, 4), (2, 2), 40),
        ((3, 9, 9, 1), (5, 5), (2, 2), (2, 2), (1, 1), 200),  # back to few channels: scattered
    ],
)
def test_convolutions(dtype, image, kernel, stride, padding, dilation, channels, monkeypatch):
    met = set()

    def both(compiled, n, cost, *args):
        if compiled in PLAIN:
            met.add(compiled)
            *others, out = args
            expected = np.full_like(out, 9) if compiled is conv_loops.gather else out.copy()
            compiled(0, n, *others, out)
            PLAIN[compiled](0, n, *others, expected)
            np.testing.assert_array_equal(out, expected)
        else:
            compiled(0, n, *args)

    monkeypatch.setattr(conv_direct, "split", both)
    geometry = stride, padding, dilation
    size = tuple(
        (h + 2 * p - d * (k - 1) - 1) // s + 1
        for h, k, s, p, d in zip(image[1:3], kernel, *geometry)
    )
    x, w = integers(image, dtype), integers((*kernel, image[3], channels), dtype)
    y = integers((image[0], *size, channels), dtype)
    conv_direct.conv(x, w, size, *geometry, integers(channels, dtype))
    conv_direct.conv_transpose(y, w, image[1:3], *geometry, integers(image[3], dtype))
    conv_direct.conv_filter(x, y, kernel, *geometry)
    assert {conv_loops.gather, conv_loops.correlate} <= met
    assert conv_loops.scatter in met or channels < 200


@pytest.mark.parametrize("count", [0, 1, 5])
def test_sum_of_lanes(count):
    @numba.njit
    def compiled(x, count):
        return microkernel.sum_of_lanes(x.ctypes.data, count)

    lanes = microkernel.LANES
    x = rng.standard_normal(count * lanes + 3).astype("f4")
    meant = run_plain_loop(microkernel.sum_of_lanes, x=x, count=count, LANES=lanes)
    assert compiled(x, count) == meant["total"]
