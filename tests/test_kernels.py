"""The raw functions under Numba against the reference, and what they stand on: random bits, threads
and recycled memory.

The cases of the GPU serve here too; those below are large enough for compiled loops and threads. A
result may depend neither on how many threads share the work nor on an array's place in memory.
"""

import doctest
import math
import os
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gpu_cases import CASES, VECTORS, Case, arrays, copied
from hypothesis import given
from hypothesis import strategies as st

from tinygan import Tensor, grad, kernels, nn, ops, random
from tinygan.kernels import cpu, reference
from tinygan.kernels.cpu import board, conv_direct, conv_fft, host, matmul, memory, threads

rng = np.random.default_rng(1)
real = lambda *shape: rng.standard_normal(shape)
whole = lambda *shape: rng.integers(-8, 9, shape).astype(float)
channels_last = lambda a: np.moveaxis(a, 3, 1)  # (n, h, w, c) in memory behind (n, c, h, w)
KEY = (0xDEADBEEF, 3), 5, np.array([3 << 32 | 7], np.int64)
STRIDED = (9, 8), (3, 2), (2, 1), (1, 0), (1, 2)  # size, kernel, stride, padding, dilation
# padding larger than the reach of a tap: whole taps outside
SIDEWAYS = (6, 9), (2, 3), (1, 1), (3, 2), (2, 1)
OUTSIDE = (8, 17), (2, 2), (1, 1), (3, 4), (1, 1)  # whole kernels outside
APART = (5, 4), (1, 2), (3, 3), (0, 0), (1, 1)
SHARED = 1 << 15  # where threads begin here: sooner than they pay


@pytest.fixture(autouse=True, scope="module")
def share_early():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "SHARED", SHARED)
        yield


def large(dtype):
    """Arrays on both sides of SMALL_LOOP elements and of SHARED, of no size that divides evenly."""
    near = 2e-6 if dtype == "float32" else 2e-13

    def case(name, *args, rtol=0.0):
        def typed(a):
            return a.astype(dtype) if a.size > 1 and a.dtype.kind == "f" else a

        return Case(name, copied(args, typed), rtol, dtype)

    for n in (1, 37):
        for size, kernel, *geometry in (STRIDED, SIDEWAYS, OUTSIDE, APART):
            h, w = (
                (o - 1) * s + d * (k - 1) + 1 - 2 * p
                for o, k, s, p, d in zip(size, kernel, *geometry)
            )
            for c, o in ((1, 70), (13, 3), (33, 17)):
                x, f, y = whole(n, h + 1, w, c), whole(*kernel, c, o), whole(n, *size, o)
                yield from (
                    case("conv", a, f, size, *geometry)
                    for a in (x, np.asfortranarray(x), x[:, ::-1])
                )
                yield from (
                    case("conv", x, f, size, *geometry, whole(o)),
                    case("conv_transpose", y, f, (h + 1, w), *geometry),
                )
                yield case("conv_transpose", y, f, (h + 1, w), *geometry, whole(c).astype(dtype))
                yield case("conv_filter", x, y, kernel, *geometry)
    for shape in ((3, 5), (3, 7, 11, 19), (5, 7, 31, 33)):
        x, g = whole(*shape), whole(*shape)
        x.flat[:4] = -np.inf, np.inf, np.nan, -0.0
        for slope in (0.0, 0.5):
            yield from (
                case("leaky", a, a, slope)
                for a in (x, x.T, x[::-1, ::2], channels_last(x) if x.ndim == 4 else x)
            )
            yield from (
                case("leaky", a, b, slope)
                for a, b in ((g, x), (g.T, x.T), (np.asfortranarray(g), x))
            )
        x, g = 9 * real(*shape), real(*shape)
        x.flat[:8] = -1e30, -800, -88, -87, 87, 800, 1e30, np.nan
        for a, b in ((x, g), (np.asfortranarray(x), g), (x[::-1, ::2], g[:, ::2]), (x.T, g.T)):
            for name in ("silu", "gelu", "gelu_tanh"):
                yield case(name, a, rtol=near)
                yield case(f"{name}_grad", b, a, rtol=2 * near)
            yield case("softplus", a, rtol=near)
            for name in ("bce", "bce_grad"):
                yield case(name, a, np.clip(b, 0, 1), rtol=near)
                yield case(name, a, 1, rtol=near)
    for shape in ((5000, 1), (3, 70, 90), (2, 3, 64, 64), (9, 8, 333), (433, 9, 11)):
        x, g = 9 * real(*shape), real(*shape)
        x[0, :9], x[1, ..., 0], x[1, ..., 1:2], x[-1, 0] = -np.inf, -1e30, 800, np.nan
        for a, b in ((x, g), (np.asfortranarray(x), g), (x[::-1, ...], g[..., ::-1])):
            for causal in (False, True):
                yield case("softmax_rows", a, 0.3, causal, rtol=4 * near)
            p = reference.softmax_rows(np.nan_to_num(a), 1.0, False)
            yield case("softmax_rows_grad", b, p, -0.3, rtol=4 * near)
            rows = a.reshape(-1, a.shape[-1])
            index = rng.integers(0, rows.shape[1], len(rows))
            yield case("log_softmax_at", rows, index, rtol=4 * near)
            yield case("log_softmax_at", rows[:, ::-1] + 1e4, index[::-1], rtol=4 * near)
    for shape in ((7, 5, 33, 34), (70, 90, 6), (900, 10)):
        x, (cos, sin) = whole(*shape), whole(2, shape[-2], shape[-1] // 2)
        for a in (x, np.asfortranarray(x), x[..., ::-1], np.repeat(x, 2, 0)[::2]):
            yield case("turn", a, cos, sin)
    rows = np.random.default_rng(3).integers(-9, 9, (12, 64))
    for index in (rows % 9, rows, (rows % 9).T, (slice(None), np.arange(9) % 5), rows[0] % 2):
        table, g = real(9, 11), real(9, 9) if isinstance(index, tuple) else real(*index.shape, 11)
        for x in (table, np.asfortranarray(table), np.repeat(table, 2, 1)[:, ::2]):
            yield case("index_add", x, index, g)
    for kind in (np.int16, np.int32, np.int64):
        index = (np.arange(640).reshape(10, 64) % 65).astype(kind)
        yield case("index_add", real(65, 128), index, real(10, 64, 128))
    for n, d in ((1, 5000), (7, 333), (433, 11), (768, 128), (5000, 1)):
        x, g, w, b = real(n, d) + 3, real(n, d), real(d), real(d)
        for a, c in ((x, g), (np.asfortranarray(x), g[::-1]), (np.repeat(x, 2, 1)[:, ::2], g)):
            yield case("layer_norm", a, w, b, 1e-5, rtol=20 * near)
            yield case("layer_norm_grad", c, a, w, 1e-2, rtol=60 * near)
    for rows in (2, 433, 433 * 9):
        x, g, c = real(rows, 11) + 3, real(rows, 11), [real(11), abs(real(11)) + 1]
        for a, b in (
            (x, g),
            (np.asfortranarray(x), g[::-1]),
            (np.repeat(x, 2, 1)[:, ::2], np.asfortranarray(g)),
        ):
            yield from (
                case("affine", a, *c, rtol=near),
                case("norm_sums", b, a, *c, rtol=60 * near),
            )
            yield from (
                case("moments", a, rtol=20 * near),
                case("norm_grad", b, a, *c, *c, c[1], rtol=9 * near),
            )
        x, g, a, b = whole(rows, 11), whole(rows, 11), whole(11), whole(11)
        yield from (
            case("affine", x, a, b),
            case("norm_sums", g, x, a, np.exp2(b)),
            case("column_sums", x),
        )
    for n, p, c in ((1, 433, 11), (3, 14 * 14, 24), (7, 49, 48), (64, 1, 300), (33, 81, 17)):
        x, g, center, scale = real(n, p, c) + 3, real(n, p, c), real(n, c) + 3, real(n, c)
        for a, b in ((x, g), (np.asfortranarray(x), g[::-1]), (np.repeat(x, 2, 1)[:, ::2], g)):
            yield case("sample_moments", a, rtol=20 * near)
            yield case("sample_sums", b, a, center, rtol=60 * near)
            yield case("sample_affine", a, center, scale, center, rtol=9 * near)
            yield case("sample_affine", a, center, scale, center, b, scale, rtol=9 * near)
        x, g, center = whole(n, p, c), whole(n, p, c), whole(n, c)
        yield case("sample_sums", g, x, center)
        yield case("sample_affine", x, center, center, center, g, 2 * center)
    yield case("sample_moments", real(3, 2000, 3) / 8 + 1000, rtol=20 * near)
    yield from (
        case("moments", a, rtol=20 * near)
        for a in (np.zeros((5000, 1)), real(4096, 2) * [1, 1e-3] + [0, 10])
    )
    for shape in ((5,), (3, 7, 11, 19), (5, 7, 31, 33)):
        state = [
            channels_last(a) if a.ndim == 4 else a
            for a in (real(*shape), real(*shape), abs(real(*shape)))
        ]
        for t, g in ((1, state[0][::-1]), (1000, np.ascontiguousarray(state[1] * 2))):
            p, g, m, v, peak = ((a,) for a in (state[0], g, *state[1:], abs(state[1])))
            for amsgrad in ([], [peak]):
                yield case(
                    "adam",
                    p,
                    g,
                    m,
                    v,
                    np.array(1e-3),
                    np.array([t]),
                    0.5,
                    0.999,
                    1e-8,
                    *amsgrad,
                    rtol=near,
                )
        yield case("lerp", (state[0],), (state[1],), np.array(0.25), rtol=near)
        yield case("lerp", (whole(*shape),), (whole(*shape)[::-1],), np.array(0.5))
    many = [(90,), (111, 333), (5,), (7, 2001), (300,)]  # parts begin and end within arrays
    ps, gs, ms, vs = (tuple(abs(real(*shape)) for shape in many) for _ in range(4))
    numbers = np.array(1e-3), np.arange(1, 6), 0.5, 0.999, 1e-8
    yield case("adam", ps, gs, ms, vs, *numbers, rtol=near)
    yield case("lerp", ps, gs, np.array(0.25), rtol=near)
    sizes = (
        (60, 70, 50),
        (300, 70, 200),
        (7, 300, 300),
        (1, 600, 701),
        (100, 1, 3000),
        (61, 530, 19),
        (61, 530, 70),
    )
    for m, k, n in (*sizes, (800, 530, 1), (61, 1500, 333)):
        a, b = whole(m, k), whole(k, n)
        yield from (
            case("gemm", x, y)
            for x in (a, np.asfortranarray(a), a[:, ::-1])
            for y in (b, np.asfortranarray(b))
        )
        yield from (
            case("gemm", np.stack([a, 2 * a]), np.stack([b, b]).transpose(0, 1, 2)),
            case("gemm", np.stack([a, -a]), b),
        )
    heads = whole(3, 70, 4, 43).transpose(0, 2, 1, 3)  # as they lie in attention
    turned = heads.swapaxes(-1, -2)
    yield from (case("gemm", heads, turned), case("gemm", turned, heads))
    yield from (case("gemm", heads[:, ::2], turned[:1, :2]), case("gemm", heads[:1, :1], turned))
    yield from (case("gemm", heads, turned[1]), case("gemm", heads[2, 3], turned))
    yield case("gemm", heads[None], turned)
    scores = whole(3, 4, 70, 70)
    yield from (case("gemm", scores, heads), case("gemm", turned, scores))
    yield case("gemm", scores.swapaxes(-1, -2), scores)
    yield case("gemm", scores, np.broadcast_to(heads[:1], heads.shape))
    for shape in ((33,), (111, 5, 7), (300, 301)):
        out = np.full(shape, 9, dtype)
        yield from (case("uniform", out, *KEY), case("normal", out, *KEY, rtol=10 * near))
        yield case("bernoulli", out, 0.3, 1 / 0.7, *KEY)
        yield case("normal", out, *KEY, 7, rtol=10 * near)


LARGE = [case for dtype in ("float32", "float64") for case in large(dtype)]
LARGE += [Case("bits", (n, *KEY)) for n in (0, 1, 5, 1030, 32769)]
LARGE += [Case("bits", (n, *KEY, first)) for n, first in ((5, 1), (32769, 1000))]


@pytest.mark.parametrize("case", CASES + LARGE, ids=str)
def test_equals_reference(case):
    case.check(cpu, lambda a: a.copy("K"), lambda result: result)


def test_the_worked_example_of_conv_direct_is_so():
    assert doctest.testmod(conv_direct) == (0, 13)


def padded(images, group, corner):
    """Images in zeros as in a group, one row each: pixel (0, 0) at `corner`, cut off outside."""
    out = np.zeros((len(images), *group[1:]))
    for i, j in np.ndindex(images.shape[1:3]):
        y, x = i + corner[0], j + corner[1]
        if 0 <= y < group[1] and 0 <= x < group[2]:
            out[:, y, x] = images[:, i, j]
    return out.reshape(len(images), -1)


EXAMPLE = (3, 3), (4, 4), (2, 2), (1, 1), (1, 1)  # as in the docstring of conv_direct


@pytest.mark.parametrize("size, kernel, stride, padding, dilation", [
    EXAMPLE, STRIDED, SIDEWAYS, OUTSIDE, APART
], ids=str)  # fmt: skip
def test_the_tables_of_offsets_mean_these_loops(size, kernel, stride, padding, dilation):
    geometry = conv_direct.Geometry(kernel, stride, padding, dilation)
    image = [
        (outputs - 1) * s + d * (k - 1) + 1 - 2 * p for outputs, k, s, p, d in zip(size, *geometry)
    ]
    x, w, y = whole(2, *image, 3), whole(*kernel, 3, 5), whole(2, *size, 5)

    table = conv_direct.patches(x.shape, size, geometry, 8)
    pixels, filters = padded(x, table.group, table.corner), w.reshape(-1, 5)
    to_y, to_w = np.zeros((2, math.prod(size), 5)), np.zeros_like(filters)
    to_pixels = np.zeros_like(pixels)
    for b, i in np.ndindex(2, math.prod(size)):
        output = y[b].reshape(-1, 5)[i]
        for q, column in enumerate(table.columns):
            place = table.rows[i] + column
            to_y[b, i] += pixels[b, place] * filters[q]
            to_w[q] += pixels[b, place] * output
            to_pixels[b, place] += filters[q] @ output
    np.testing.assert_array_equal(to_y.reshape(y.shape), reference.conv(x, w, size, *geometry[1:]))
    expected = reference.conv_filter(x, y, kernel, *geometry[1:])
    np.testing.assert_array_equal(to_w.reshape(w.shape), expected)
    expected = reference.conv_transpose(y, w, tuple(image), *geometry[1:])
    of_image = padded(np.ones_like(x), table.group, table.corner)  # and not of its padding
    np.testing.assert_array_equal(to_pixels * of_image, padded(expected, table.group, table.corner))

    table = conv_direct.phases(y.shape, x.shape, geometry, 8)
    outputs, to_x = padded(y, table.group, table.corner), np.full((2, x[0].size), np.nan)
    for phase, taps in zip(table.phases, table.taps, strict=True):
        filters = w[taps].swapaxes(2, 3).reshape(-1, 3)
        columns = table.columns[phase.column : phase.column + phase.terms]
        for i in range(phase.row, phase.row + phase.positions):
            pixel = table.to[i] + np.arange(3)
            to_x[:, pixel] = outputs[:, table.rows[i] + columns] @ filters
    np.testing.assert_array_equal(to_x.reshape(x.shape), expected)


def test_a_bias_of_another_type_counts_in_that_of_the_images():
    x, w, y = (whole(*s).astype("f4") for s in ((3, 8, 8, 4), (4, 4, 4, 20), (3, 4, 4, 20)))
    geometry, bias = ((2, 2), (1, 1), (1, 1)), np.arange(20.0)
    for face, *args in (
        ("conv", x, w, (4, 4), *geometry, bias),
        ("conv_transpose", y, w, (8, 8), *geometry, bias[:4]),
    ):
        ours, expected = getattr(cpu, face)(*args), getattr(reference, face)(*args)
        assert ours.dtype == expected.dtype == "f4"
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("image, kernel, padding", [
    ((7, 7), (5, 5), (2, 2)),
    ((6, 3), (2, 3), (0, 1)),
    ((1, 4), (3, 2), (4, 1)),
    ((5, 5), (5, 5), (0, 0)),
], ids=str)  # fmt: skip
def test_convolutions_by_fft_are_as_exact_as_direct_ones(image, kernel, padding):
    size = tuple(i + 2 * p - k + 1 for i, k, p in zip(image, kernel, padding))
    x, w, y = real(9, *image, 11), real(*kernel, 11, 13), real(9, *size, 13)
    geometry = (1, 1), padding, (1, 1)
    for face, *args in (
        ("conv", x, w, size, *geometry, real(13)),
        ("conv_transpose", y, w, image, *geometry, real(11)),
        ("conv_filter", x, y, kernel, *geometry),
    ):
        exact = getattr(reference, face)(*args)
        args = [a.astype(np.float32) if isinstance(a, np.ndarray) else a for a in args]
        ours, plain = (getattr(k, face)(*args) for k in (conv_fft, reference))
        assert (
            ours.dtype == np.float32
            and np.abs(ours - exact).max() < 5e-7 * np.sqrt(x.size) * np.abs(exact).std()
        )
        assert np.abs(ours - exact).max() < 8 * np.abs(plain - exact).max() + 1e-6


def test_each_convolution_takes_the_route_with_the_fewest_multiplications():
    def route(side, c, o, kernel, stride, padding, dtype="f", dilation=1):
        size = (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        shapes = (128, side, side, c), (kernel, kernel, c, o), (128, size, size, o)
        x, w, _ = (np.zeros(shape, dtype) for shape in shapes)
        return cpu._route(x, w, shapes, (stride, stride), (padding, padding), (dilation, dilation))

    assert route(7, 128, 256, 5, 1, 2) is conv_fft
    for case in (
        (7, 128, 256, 5, 1, 2, "d"),
        (14, 64, 128, 5, 2, 2),
        (7, 128, 256, 3, 1, 2, "f", 2),
        (7, 128, 256, 1, 1, 0),
        (28, 64, 64, 3, 1, 1),
        (7, 1, 64, 5, 1, 2),
    ):
        assert route(*case) is conv_direct, case
    assert route(7, 128, 256, 5, 1, 2, np.int64) is reference


@pytest.mark.parametrize("f, shapes", [
    (lambda x, y: x * y + x, [(130, 700), (130, 700)]),
    (lambda x, y: x - y, [(7, 90, 11, 13), (90, 1, 1)]),
    (lambda x, y: x < y, [(300, 301), (1, 301)]),
    (lambda x, y: x / y, [(1,), (90_001,)]),
    (lambda x, y: np.maximum(x, y), [(300, 1), (1, 300)]),
    (np.exp, [(40, 51, 43)]),
])  # fmt: skip
def test_large_elementwise_operations_equal_numpys(f, shapes):
    arrays = [real(*s).astype(np.float32) for s in shapes]
    for layout in (
        np.copy,
        np.asfortranarray,
        lambda a: channels_last(a) if a.ndim == 4 else a[::-1],
    ):
        args = [layout(arrays[0]), *arrays[1:]]
        if layout is np.copy or len(args) == 1 or args[0].ndim < 4:
            result = host.elementwise(f, *args)
            assert result.dtype == f(*args).dtype
            np.testing.assert_array_equal(result, f(*args))
    np.testing.assert_array_equal(host.elementwise(lambda x: 2 - x, arrays[0]), 2 - arrays[0])


@pytest.mark.parametrize("dtype", ["float32", "float64", "bool", "int8"])
@pytest.mark.parametrize("shape", [(30, 40, 11, 13), (40, 1, 60, 30), (40, 60, 1, 170)])
def test_elementwise_of_arrays_that_lie_otherwise(dtype, shape):
    x, y = real(*shape).astype(np.float32), (real(*shape) > 0).astype(dtype)
    x = x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    for args in (x, y), (y, x), (x, x.copy("C")):
        result, expected = host.elementwise(np.multiply, *args), np.multiply(*args)
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result, expected)


BEYOND = """
import ctypes, mmap
import numpy as np
from tinygan.kernels import cpu
from tinygan.kernels.cpu import host

def ending(x):
    \"""x in memory that ends where a page begins that nobody may read.\"""
    pages = -(-x.nbytes // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    guard = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + pages * mmap.PAGESIZE
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(guard), mmap.PAGESIZE, 0) == 0
    begin = pages * mmap.PAGESIZE - x.nbytes
    found = np.frombuffer(memory, x.dtype, x.size, begin).reshape(x.shape)
    found[...] = x
    return found

rng = np.random.default_rng(0)
for dtype in np.float32, np.float64:
    for m, k, n in (101, 70, 77), (64, 300, 33), (203, 64, 20), (8, 600, 64):
        a, b = rng.integers(-3, 4, (m, k)).astype(dtype), rng.integers(-3, 4, (k, n)).astype(dtype)
        for a_there in (ending(a), ending(a.T.copy()).T):
            for b_there in (ending(b), ending(b.T.copy()).T):
                np.testing.assert_array_equal(cpu.gemm(a_there, b_there), a @ b)
    for shape in (5, 49, 35), (3, 70, 33):
        x = ending(rng.integers(-3, 4, shape).astype(dtype)).transpose(0, 2, 1)
        np.testing.assert_array_equal(host.contiguous(x), x)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to protect a page")
def test_nothing_is_read_beyond_an_array():
    run = subprocess.run([sys.executable, "-c", BEYOND], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr or f"it ended with signal {-run.returncode}"


def test_products_of_heads_lie_as_these_do():
    q = real(3, 70, 4, 43).transpose(0, 2, 1, 3)
    weights = real(3, 4, 70, 70)
    assert cpu.gemm(weights, q).strides == cpu.gemm(q.mT, weights).mT.strides == q.strides
    assert cpu.gemm(q, q.mT).flags.c_contiguous and cpu.gemm(weights.mT, weights).flags.c_contiguous


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_into_arrays_of_any_layout(dtype):
    a, b = whole(70, 300).astype(dtype), whole(300, 90).astype(dtype)
    empty = lambda *shape: np.empty(shape, dtype)
    for out in (empty(70, 90), empty(90, 70).T, empty(70, 180)[:, ::2], empty(70, 3, 90)[:, 1]):
        assert matmul.gemm(a, b, out=out) is out
        np.testing.assert_array_equal(out, a @ b)
    stack, out = np.stack([a, -a, 2 * a]), empty(70, 3, 90).swapaxes(0, 1)
    assert matmul.gemm(stack, b, out=out) is out
    np.testing.assert_array_equal(out, stack @ b)


def test_warnings_of_large_operations_follow_the_callers_errstate():
    x = np.full(threads.SHARED * 20, -1.0)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        ops.sqrt(x)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error")
        assert np.isnan(ops.sqrt(x)).all()


ROW, EVERY = np.broadcast_to(whole(1, 100), (100, 100)), (slice(None), slice(None, None, 2))
NUMBERS = np.array(0.1), KEY[2], 0.5, 0.9, 1e-8  # lr, steps, betas, eps
# A function and its arguments: some do not fill their memory, or have elements that share it.
SPARSE = [
    ("leaky", lambda x: (x, ROW, 0.5)),
    ("leaky", lambda x: (ROW, ROW, 0.5)),
    ("lerp", lambda x: ([x.repeat(2, 1)[EVERY]], [x[::-1]], 0.5)),
    ("adam", lambda x: ([x.repeat(2, 1)[EVERY]], [x[::-1]], [x * 0], [x * 0], *NUMBERS)),
    ("adam", lambda x: ([x.repeat(2, 1)[EVERY]], [x[::-1]], [x * 0], [x * 0], *NUMBERS, [x * 2])),
    ("adam", lambda x: ([x], [x[::-1]], [x * 0], [x * 0], *NUMBERS, [x.T * 2])),
    ("bernoulli", lambda x: (x.T, 0.5, 2, *KEY)),
]


@pytest.mark.parametrize(
    "name, make", SPARSE, ids=[f"{name}{i}" for i, (name, _) in enumerate(SPARSE)]
)
def test_layouts_that_do_not_fill_their_memory(name, make):
    (x, *ours), (y, *theirs) = make(np.eye(100) * 3 - 1), make(np.eye(100) * 3 - 1)
    a, b = getattr(cpu, name)(x, *ours), getattr(reference, name)(y, *theirs)
    np.testing.assert_allclose(x if a is None else a, y if b is None else b, rtol=1e-12)
    if name == "adam":
        np.testing.assert_allclose(ours[1:3] + ours[8:], theirs[1:3] + theirs[8:], rtol=1e-12)


def test_softplus_and_bce_are_exact_to_the_last_bits_but_a_few():
    x = np.concatenate([np.linspace(-86, 90, 90001), np.geomspace(1e-30, 1, 5000)]).astype("f4")
    t = (np.arange(x.size) % 3 / 2).astype("f4")
    for name, *args in (("softplus", x), ("bce", x, t), ("bce", x, 0 * t), ("bce_grad", x, t)):
        exact = getattr(reference, name)(*(a.astype("f8") for a in args))
        np.testing.assert_allclose(getattr(cpu, name)(*args), exact, rtol=4e-7, atol=4e-7)
        if name == "softplus":  # to relative rounding where it is small
            np.testing.assert_allclose(getattr(cpu, name)(*args), exact, rtol=4e-7)


def test_a_nan_stays_in_adams_largest_v():
    results = []
    for k in (cpu, reference):
        p, g, m, v, peak = np.ones((5, 30), "f4")
        g[3], v[7], peak[11] = np.nan, np.nan, np.nan
        for _ in range(2):
            k.adam([p], [g], [m], [v], *NUMBERS, [peak])
            g[3] = 1
        assert np.isnan(peak).nonzero()[0].tolist() == [3, 7, 11]
        results.append((p, m, v, peak))
    np.testing.assert_allclose(*results, rtol=2e-6)


@pytest.mark.parametrize("dtype", ["f2", ">f4", "i4", "g", "F"])
def test_numbers_that_no_loop_is_compiled_for_are_the_references(dtype):
    x, g, c = (np.asarray(real(*shape) * 2, dtype) for shape in ((60, 90), (60, 90), (90,)))
    image, out = x.reshape(3, 6, 10, 30), np.zeros(9000, dtype)
    w, y = np.ones((2, 2, 30, 5), dtype), np.ones((3, 5, 9, 5), dtype)
    geometry = (1, 1), (0, 0), (1, 1)
    for name, *args in (
        ("leaky", g, x.real, 0.25),
        ("silu", x),
        ("silu_grad", g, x),
        ("softplus", x),
        *((name, x, g) for name in ("bce", "bce_grad")),
        *((name, g, x) for name in ("gelu_grad", "gelu_tanh_grad")),
        *((name, x) for name in ("gelu", "gelu_tanh")),
        ("softmax_rows", x, 0.5, True),
        ("softmax_rows_grad", g, x, 0.5),
        ("log_softmax_at", x, np.arange(60)),
        ("turn", x, g[:, 45:], g[:, :45]),
        ("moments", x),
        ("column_sums", x),
        ("affine", x, c, c),
        ("norm_sums", g, x, c, c),
        ("norm_grad", g, x, c, c, c, c, c),
        ("sample_moments", image[:, 0]),
        ("sample_sums", image[:, 0], image[:, 1], image[:, 0, 0]),
        ("sample_affine", image[:, 0], *[image[:, 0, 0]] * 3, image[:, 1], image[:, 0, 0]),
        ("gemm", x, x.T),
        ("conv", image, w, (5, 9), *geometry),
        ("conv_transpose", y, w, (6, 10), *geometry),
        ("conv_filter", image, y, (2, 2), *geometry),
        ("bernoulli", out, 0.5, 2, *KEY),
    ):
        ours, plain = (getattr(k, name)(*args) for k in (cpu, reference))
        ours, plain = (
            (out.copy(), reference.bernoulli(*args) or out) if ours is None else (ours, plain)
        )
        for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (ours, plain)), strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape, name
            np.testing.assert_array_equal(a, b, name)


def test_no_rows_and_no_columns():
    for x in (np.zeros((0, 5000), "f4"), np.zeros((5000, 0), "f4")):
        c = np.ones(x.shape[1], "f4")
        assert cpu.column_sums(x).tolist() == cpu.norm_sums(x, x, c, c)[1].tolist() == [0] * len(c)
        assert cpu.affine(x, c, c).shape == cpu.norm_grad(x, x, c, c, c, c, c).shape == x.shape
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            assert np.isnan(cpu.moments(x)[0]).all() and len(cpu.moments(x)[1]) == len(c)


def test_a_gradient_of_another_shape_is_not_read_beyond_its_end():
    p, short = np.ones(5000, "f4"), np.ones(3, "f4")
    with pytest.raises(ValueError, match="broadcast"):
        cpu.lerp([p], [short], np.array(0.5))
    with pytest.raises(ValueError, match="broadcast"):
        cpu.leaky(short, p, 0.5)
    assert (p == 1).all()


def run(case):  # everything that it returns and changes, as bytes
    args = copied(case.args, lambda a: a.copy("K"))
    return [a.tobytes() for a in arrays((getattr(cpu, case.name)(*args), *args))]


def test_results_do_not_depend_on_the_number_of_cores(monkeypatch):
    before = [run(case) for case in LARGE]
    for cores in (1, 2, 5):
        monkeypatch.setattr(threads, "CORES", cores)
        assert [run(case) for case in LARGE] == before


@pytest.mark.parametrize(
    "f, shapes",
    [
        (lambda x: ops.leaky_relu(x, 0.2), [(70, 500)]),
        (lambda x: ops.silu(x), [(70, 500)]),
        (lambda x: ops.softplus(x), [(70, 500)]),
        (lambda x: nn.losses.cross_entropy(x, np.arange(70) * 7, reduction="none"), [(70, 500)]),
        (lambda x: ops.gelu(x), [(70, 500)]),
        (lambda x: ops.gelu(x, "tanh"), [(70, 500)]),
        (lambda *xs: ops.layer_norm(xs[0], (5, 30), *xs[1:]), [(60, 5, 30), (5, 30), (5, 30)]),
        (
            lambda *qkv: ops.scaled_dot_product_attention(*qkv, is_causal=True),
            [(3, 2, 40, 16), (3, 2, 50, 16), (3, 2, 50, 9)],
        ),
        (lambda x, w, b: ops.batch_norm(x, None, None, w, b, True), [(32, 5, 17, 13), (5,), (5,)]),
        (lambda x, w, b: ops.group_norm(x, 2, w, b), [(32, 6, 17, 13), (6,), (32, 6)]),
        (lambda x, w, b: ops.conv2d(x, w, b, 2, 1), [(9, 3, 33, 31), (7, 3, 4, 4), (7,)]),
        (lambda x, w, b: ops.conv_transpose2d(x, w, b, 2, 1), [(9, 3, 16, 15), (3, 7, 4, 4), (7,)]),
    ],
    ids=(
        "leaky_relu silu softplus cross_entropy gelu gelu_tanh layer_norm attention batch_norm"
        " group_norm conv2d conv_transpose2d"
    ).split(),
)
def test_large_gradients_equal_those_of_the_reference_and_of_the_formula(f, shapes, monkeypatch):
    xs = [Tensor(real(*s)) for s in shapes]
    out = f(*xs)
    g = real(*out.shape)
    found = (
        [out.data, *grad(out, xs, g)],
        [out.data, *(a.data for a in grad(out, xs, g, create_graph=True))],
    )
    monkeypatch.setattr(kernels, "_cpu", lambda: reference)
    out = f(*xs)
    for results in found:
        for a, b in zip(results, (out.data, *grad(out, xs, g)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("counter, key, words", VECTORS)
def test_philox_known_answers(counter, key, words):
    assert [int(c) for c in reference.philox(counter, key)] == words
    if counter[0] == 0:  # compiled code gets there only from element 0 on
        step = np.array([counter[2] | counter[3] << 32], np.int64)
        assert (
            cpu.bits(4, key, counter[1], step).tolist()
            == reference.bits(4, key, counter[1], step).tolist()
            == words
        )


@given(st.integers(0, 99), *[st.integers(0, 2**32 - 1)] * 3, st.integers(0, 2**63 - 1))
def test_bits_follow_their_definition(n, seed, stream, draw, step):
    step = np.array([step], np.int64)
    words = cpu.bits(n, (seed, stream), draw, step)
    assert (
        words.dtype == np.uint32
        and words.tolist() == reference.bits(n, (seed, stream), draw, step).tolist()
    )
    low, high = int(step[0]) & 0xFFFFFFFF, int(step[0]) >> 32
    for i in {0, n - 1} & set(range(n)):
        assert words[i] == reference.philox((i // 4, draw, low, high), (seed, stream))[i % 4]


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 7), st.integers(0, 99))
def test_shares_of_a_batch_draw_what_one_draws(n, shares, width, seed):
    """Whatever the sizes: a counter makes four numbers, and a share may begin with the second."""
    for dtype in (np.float32, np.float64):
        for name, options in (("normal", ()), ("uniform", ()), ("bernoulli", (0.4,))):
            whole = random.Generator(seed)
            expected = [getattr(whole, name)(*options, (shares * n, width), dtype) for _ in "ab"]
            for i in range(shares):
                own = random.Generator(seed)
                own.share = i, shares
                for want in expected:
                    found = getattr(own, name)(*options, (n, width), dtype)
                    np.testing.assert_array_equal(found, want[i * n :][:n])


@pytest.mark.parametrize(
    "name, mean, variance",
    [("normal", 0, 1), ("uniform", 0.5, 1 / 12), ("bernoulli", 1, 0.7 / 0.3)],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_generator(name, mean, variance, dtype):
    def fill(g, shape):
        return (
            g.bernoulli(0.3, shape, dtype, scale=1 / 0.3)
            if name == "bernoulli"
            else getattr(g, name)(shape, dtype)
        )

    g, n = random.Generator(7), 1 << 17
    x, y = fill(g, (n,)), fill(g, (n,))
    g.next_step()
    z = fill(g, (n,))
    others = [x, y, z, *(fill(random.Generator(*key), (n,)) for key in ((7, 1), (8, 0)))]
    for i, a in enumerate(others):  # 5 standard errors
        assert (
            a.dtype == dtype
            and abs(a.mean() - mean) < 5 * (variance / n) ** 0.5
            and abs(a.var() / variance - 1) < 0.02
        )
        assert abs(np.corrcoef(a[:-1], a[1:])[0, 1]) < 5 / n**0.5
        assert all(abs(np.corrcoef(a, b)[0, 1]) < 5 / n**0.5 for b in others[:i])
    for step, expected in ((1, z), (0, x)):
        g.seek(step)
        assert fill(g, (n,)).tobytes() == expected.tobytes()
    assert fill(g, (n // 2, 2)).tobytes() == y.tobytes()
    g = random.Generator(7)
    assert fill(g, (0, 3)).shape == (0, 3) and fill(g, (n,)).tobytes() == y.tobytes()
    # element i does not depend on the size
    assert fill(random.Generator(7), (101,)).tolist() == x[:101].tolist()
    assert g.manual_seed(7) is g and fill(g, (n,)).tobytes() == x.tobytes()


def test_what_a_generator_gives_stays_inside_its_range():
    g = random.Generator(3)
    u, b = g.uniform((1 << 17,)), g.bernoulli(0.5, (999,), scale=2)
    assert 0 <= u.min() and u.max() < 1 and (u * 2**24 % 1 == 0).all() and set(b.tolist()) == {0, 2}
    assert not g.bernoulli(0, (999,)).any() and g.bernoulli(1, (999,)).all()
    for k in cpu, reference:  # an element equal to p does not count
        k.bernoulli(b, float(u[3]), 1, (3, 0), 0, np.zeros(1, np.int64))
        assert (b == (u[:999] < u[3])).all()
    assert (
        np.isfinite(g.normal((1 << 17,))).all()
        and abs((g.normal((1 << 17,)) ** 4).mean() - 3) < 0.2
    )
    with pytest.raises(ValueError, match="seed must be"):
        random.Generator(2**32)


@given(st.integers(0, 300), st.integers(0, 2**32 - 1), st.integers(0, 2**40))
def test_permutation_is_one_and_a_pure_function(n, seed, epoch):
    p = random.permutation(n, seed, epoch)
    assert p.dtype == np.int64 and sorted(p) == list(range(n))
    assert (p == random.permutation(n, seed, epoch)).all()
    assert n < 20 or not (p == random.permutation(n, seed, epoch + 1)).all()


kinds, shapes = (
    st.sampled_from(["array", "view", "free"]),
    st.sampled_from([(256, 256), (65536,), (128, 3, 256)]),
)


@given(
    st.lists(
        st.tuples(kinds, st.integers(0, 9), shapes, st.sampled_from(["f4", "f8"])), max_size=16
    )
)
def test_memory_in_use_is_never_given_out(steps):
    held = {}
    for i, (what, which, shape, dtype) in enumerate(steps):
        if what == "array":
            held[i] = memory.empty(shape, dtype)
            assert held[i].shape == shape and held[i].dtype == dtype
            held[i][...] = i
        elif held:
            key = sorted(held)[which % len(held)]
            a = held.pop(key)
            if what == "view":  # the array itself is let go
                a = np.asarray(a)
                held[key] = a[-1:].T[::-1] if which % 2 else memoryview(a)
            del a
        for value, a in held.items():
            assert np.asarray(a).ravel()[0] == value == np.asarray(a).ravel()[-1]


def test_memory_let_go_is_used_again():
    a, b = memory.empty((1 << 18,), "f4"), memory.empty((1 << 18,), "f4")
    here = a.ctypes.data
    assert here != b.ctypes.data
    del a
    assert memory.empty((512, 256), "f8").ctypes.data == here


def fill(start, stop, out):
    out[start:stop] += np.arange(start, stop)


@given(st.integers(0, 50), st.sampled_from([0, SHARED - 1, SHARED]), st.integers(1, 7))
def test_split_covers_each_index_once(n, size, cores):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "CORES", cores)
        patch.setattr(threads, "LONG_WAIT", float("inf"))
        patch.setattr(threads._team, "alone", 0)
        calls, out = [], np.zeros(n)

        def kernel(*part):
            calls.append(part)
            fill(*part)

        threads.split(kernel, n, size, out)
    np.testing.assert_array_equal(out, np.arange(n))
    assert len(calls) == (2 * cores if size >= SHARED and cores > 1 else 1)


def test_after_a_long_wait_for_a_worker_some_loops_are_done_alone(monkeypatch):
    monkeypatch.setattr(threads, "CORES", 2)
    monkeypatch.setattr(threads, "_team", team := threads._Team())
    monkeypatch.setattr(threads, "LONG_WAIT", 100.0)
    threads.split(lambda *part: None, 10, SHARED)
    team.board[board.WAITED // 8] = 300 / team.look  # seconds
    team.look_back(900)  # a loop of a quarter of an hour may end so
    assert not team.alone
    team.look_back(400)
    shared = []
    for _ in range(threads.LOOPS_ALONE + 1):
        calls = []
        threads.split(lambda *part: calls.append(part), 10, SHARED)
        shared.append(len(calls) > 1)
    assert shared == [False] * threads.LOOPS_ALONE + [True]


@pytest.mark.parametrize("where", [0, 2])
def test_an_error_in_any_part_reaches_the_caller_and_the_team_goes_on(where, monkeypatch):
    monkeypatch.setattr(threads, "CORES", 3)
    monkeypatch.setattr(threads, "LONG_WAIT", float("inf"))
    monkeypatch.setattr(threads._team, "alone", 0)

    def fail(start, stop):
        if start == where:
            raise OverflowError(f"part {start}")

    for _ in range(3):
        with pytest.raises(OverflowError, match=f"part {where}"):
            threads.split(fail, 3, SHARED)
        out = np.zeros(100)
        threads.split(fill, 100, SHARED, out)
        np.testing.assert_array_equal(out, np.arange(100))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork_the_child_has_its_own_team(monkeypatch):
    monkeypatch.setattr(threads, "CORES", 3)
    x = whole(100, 400)
    expected = cpu.leaky(x, x, 0.5)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if all((cpu.leaky(x, x, 0.5) == expected).all() for _ in range(20)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (cpu.leaky(x, x, 0.5) == expected).all()


def test_threads_may_call_at_once(monkeypatch):
    monkeypatch.setattr(threads, "CORES", 3)

    def right(seed):
        x = np.random.default_rng(seed).integers(-9, 9, (300, 500)).astype(np.float32)
        expected = reference.leaky(x, x, 0.25), reference.affine(x, x[0], x[1])
        results = ((cpu.leaky(x, x, 0.25), cpu.affine(x, x[0], x[1])) for _ in range(40))
        return all((a == b).all() for result in results for a, b in zip(result, expected))

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(right, range(3)))


def test_without_numba_the_reference_does_the_work_and_says_so_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "tinygan.kernels.cpu", None)  # its import fails
    kernels._cpu.cache_clear()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert kernels.of(np.ones(1)) is kernels.of(np.float32(1)) is reference
            assert ops.conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))).tolist() == [
                [[[4, 4], [4, 4]]]
            ]
        assert [str(w.message)[:30] for w in caught] == ["tinygan: Numba cannot be used "]
    finally:
        kernels._cpu.cache_clear()
    monkeypatch.undo()
    assert kernels.of(np.ones(1)) is cpu


@pytest.mark.parametrize("outside", [9, -10])
def test_rows_that_are_not_there_are_refused(outside):
    x, index = np.zeros((9, 11), "f4"), np.full(500, 3)
    index[7] = outside
    with pytest.raises(IndexError):
        cpu.index_add(x, index, np.ones((500, 11), "f4"))


@pytest.mark.parametrize(
    "stacks", [((1,), (5,)), ((5,), (1,)), ((1,), (1,)), ((0,), ()), ((0,), (1,))]
)
def test_a_stack_of_one_serves_for_all_and_an_empty_one_for_none(stacks):
    a, b = (whole(*stack, 80, 80) for stack in stacks)
    np.testing.assert_array_equal(cpu.gemm(a, b), a @ b)


def test_a_product_into_its_own_factor_or_what_is_read_only():
    a = whole(80, 80)
    expected, out = a @ a, a.copy()
    np.testing.assert_array_equal(cpu.gemm(out, out, out=out), expected)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        cpu.gemm(a, a, out=out)


@pytest.mark.parametrize(
    "dtypes", ["f4 i4 f4", "f8 i8 f8", "f4 f8 f4", "f8 f4 f8", "f4 f4 f8", "f4 >f4 f4"]
)
@pytest.mark.parametrize("shape", [(), (50, 100)])
def test_updates_read_no_number_as_one_of_another_type(dtypes, shape):
    own, of_g, of_m = (np.dtype(name) for name in dtypes.split())
    found, expected = (
        [np.full(shape, 2, own), np.full(shape, 1, of_g), *np.full((2, *shape), 0.5, of_m)]
        for _ in range(2)
    )
    steps = np.array([3])
    cpu.adam(*([a] for a in found), 0.1, steps, 0.5, 0.9, 1e-8)
    reference.adam(*([a] for a in expected), 0.1, steps, 0.5, 0.9, 1e-8)
    cpu.lerp([found[0]], [found[1]], 0.25)
    reference.lerp([expected[0]], [expected[1]], 0.25)
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_updates_refuse_what_is_read_only():
    p, g, m, v = np.ones((4, 5000), np.float32)
    p.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        cpu.adam([p], [g], [m], [v], 0.1, np.array([1]), 0.5, 0.9, 1e-8)
    with pytest.raises(ValueError, match="read-only"):
        cpu.lerp([p], [g], 0.1)


def test_logits_and_targets_that_broadcast():
    x, t = whole(100, 100), np.float32([[0.5]])
    np.testing.assert_allclose(cpu.bce(x, t), reference.bce(x, t), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer here")
def test_an_interrupted_loop_in_python_never_ends_as_if_it_were_whole(monkeypatch):
    """The signal may come as a part begins, where ctypes swallows what its handler raises."""
    monkeypatch.setattr(threads, "CORES", 2)
    monkeypatch.setattr(threads, "_team", threads._Team())

    def interrupt(*_):
        raise KeyboardInterrupt

    threads.split(slowly, 400, SHARED * 64, np.zeros(400))  # compiles what it needs
    before = signal.signal(signal.SIGALRM, interrupt)
    waits = np.random.default_rng(0).uniform(1e-5, 2e-3, 300)
    try:
        for wait in waits:
            out = np.zeros(400)
            try:
                signal.setitimer(signal.ITIMER_REAL, wait)
                threads.split(slowly, 400, SHARED * 64, out)
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert out.all()
            except KeyboardInterrupt:
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def slowly(start, stop, out):
    for i in range(start, stop):
        out[i] = 1


def test_long_products_with_a_vector_are_as_exact_as_blas():
    """Not one term after another, of which 2**24 ones are as many as 2**25."""
    ones = np.ones((2**25, 1), np.float32)
    assert cpu.gemm(ones.T, ones).item() == 2**25
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((10**6, c)).astype(np.float32) for c in (4, 1))
    exact = x.T.astype(np.float64) @ y
    for found in (cpu.gemm(x.T, y), cpu.gemm(y.T, x).T, cpu.gemm(np.ascontiguousarray(x.T), y)):
        assert np.abs(found - exact).max() < 1e-5 * np.abs(exact).max()
