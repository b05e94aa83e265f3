"""The raw functions for CuPy arrays: `reference` says what each one means, and this file loads when
the first arrives.

Nothing here waits for the device, and the kernels read what changes from step to step (`lr`,
`step`) through pointers: a training step can be captured as a CUDA graph. No kernel adds with
atomics: a sum is made in one order every time.
"""

import ctypes
import functools
import math

import cupy
import numpy as np

from ..layout import dense
from ..reference import convolutions
from .cuda import IMAGES, MANY, RANDOM, WALK

empty, contiguous, Kernel = cupy.empty, cupy.ascontiguousarray, cupy.ElementwiseKernel
# bytes that cuBLAS asks for on Hopper; its status where it gets none of its own
WORKSPACE, ALLOC_FAILED = 32 << 20, 3
# cudaDataType_t and cublasComputeType_t of float32, by precision
SINGLE = {"float32": (0, 68), "tf32": (0, 77)}
TYPES = {"f": SINGLE["float32"], "d": (1, 70)}  # ... and by dtype


def gemm(a, b, out=None):
    """`reference.gemm` through cuBLAS itself: CuPy's own products refuse to be captured
    (cupy/cupy#6290).
    """
    if (
        min(a.ndim, b.ndim) < 2
        or a.shape[-1] != b.shape[-2]
        or a.dtype != b.dtype
        or a.dtype.char not in TYPES
    ):
        raise ValueError(f"gemm: cannot multiply {a.shape} {a.dtype} with {b.shape} {b.dtype}")
    batch, (m, k), n = np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2:], b.shape[-1]
    out = empty((*batch, m, n), a.dtype) if out is None else out
    if out.shape != (*batch, m, n) or out.dtype != a.dtype:
        raise ValueError(
            f"gemm: out is {out.shape} {out.dtype}, but the product is {(*batch, m, n)} {a.dtype}"
        )
    if k == 0:
        out[...] = 0
    elif out.size and _layout(out)[0] == "rows" and (out.ndim < 4 or out.flags.c_contiguous):
        a, b = (
            cupy.broadcast_to(x, batch + x.shape[-2:]).reshape(-1, *x.shape[-2:]) for x in (a, b)
        )
        _multiply(a, b, out.reshape(-1, m, n))
    elif out.size:
        out[...] = gemm(a, b)
    return out


def _multiply(a, b, c):
    """c = a @ b, all three (batch, rows, columns). cuBLAS counts by columns, so it is told c.T =
    b.T @ a.T.
    """
    a, b = (x if _layout(x)[0] else contiguous(x) for x in (a, b))
    (count, m, n), k, (kind, compute) = c.shape, a.shape[2], TYPES[a.dtype.char]
    (turn_b, ldb), (turn_a, lda), (_, ldc) = map(_layout, (b, a, c))
    if max(m, n, k, lda, ldb, ldc) >= 1 << 31:
        raise ValueError(
            f"gemm: {a.shape} @ {b.shape} is beyond the 32-bit sizes of cuBLAS; use smaller batches"
        )
    one, zero = (ctypes.byref((ctypes.c_float, ctypes.c_double)[kind](x)) for x in (1, 0))
    handle, _ = _handle(cupy.cuda.runtime.getDevice(), cupy.cuda.get_current_stream().ptr)
    args = [handle, turn_b == "columns", turn_a == "columns", n, m, k, one]
    if count == 1:
        args += [
            b.data.ptr,
            kind,
            ldb,
            a.data.ptr,
            kind,
            lda,
            zero,
            c.data.ptr,
            kind,
            ldc,
            compute,
            -1,
        ]
        return _cublas("GemmEx", *args)
    for x, ld, scale in (b, ldb, []), (a, lda, [zero]), (c, ldc, [count]):
        args += [x.data.ptr, kind, ld, x.strides[0] // x.itemsize, *scale]
    _cublas("GemmStridedBatchedEx", *args, compute, -1)


def _layout(x):
    """How the matrices x[..., :, :] lie in memory: ("rows" or "columns", elements from each to the
    next).
    """
    for lines, across, down in ("rows", -1, -2), ("columns", -2, -1):
        length, step = x.shape[across], x.strides[down] // x.itemsize
        step = step if x.shape[down] > 1 else length
        if step >= length and (length == 1 or x.strides[across] == x.itemsize):
            return lines, step
    return None, 0


@functools.cache
def _handle(device, stream):
    """A cuBLAS handle for the stream, and its workspace: not of a graph's pool, and kept, for
    graphs know its address.
    """
    handle, pointer, workspace = (
        ctypes.c_void_p(),
        ctypes.c_void_p,
        cupy.get_default_memory_pool().malloc(WORKSPACE),
    )
    _cublas("Create_v2", ctypes.byref(handle))
    _cublas("SetStream_v2", handle, pointer(stream))  # it resets the workspace
    _cublas("SetWorkspace_v2", handle, pointer(workspace.ptr), ctypes.c_size_t(WORKSPACE))
    return handle, workspace


def _cublas(name, *args):
    if status := getattr(_library(), "cublas" + name)(*args):
        raise (MemoryError if status == ALLOC_FAILED else RuntimeError)(
            f"cublas{name} failed with status {status}"
        )


@functools.cache
def _library():
    # comes with CuPy and finds the library that CuPy finds
    from cuda.pathfinder import load_nvidia_dynamic_lib

    library = ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
    p, i, n = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
    library.cublasGemmEx.argtypes = [p, *[i] * 5, p, *[p, i, i] * 2, p, p, i, i, i, i]
    library.cublasGemmStridedBatchedEx.argtypes = [
        p,
        *[i] * 5,
        p,
        *[p, i, i, n] * 2,
        p,
        p,
        i,
        i,
        n,
        i,
        i,
        i,
    ]
    return library


def im2col(x, size, kernel, stride, padding, dilation):
    rows, width = len(x) * size[0] * size[1], kernel[0] * kernel[1] * x.shape[3]
    cols = empty((rows, width), x.dtype)
    geometry = rows, *x.shape[1:], *size, *kernel, *stride, *padding, *dilation
    walks = -(-rows // WALK)
    _launch(IMAGES, "im2col", walks, width, contiguous(x), cols, *map(np.int32, geometry))
    return cols


def col2im(cols, x, size, kernel, stride, padding, dilation):
    rows = math.prod(x.shape[:3])
    geometry = rows, *x.shape[1:], *size, *kernel, *stride, *padding, *dilation
    _launch(IMAGES, "col2im", rows, x.shape[3], contiguous(cols), x, *map(np.int32, geometry))


# 1 GB of float32 at a time
conv, conv_transpose, conv_filter = convolutions(im2col, col2im, gemm, empty, numbers=1 << 28)


def _launch(source, name, rows, width, *args):
    """A thread for each (row, column), 256 to a block."""
    if rows and width:
        across = min(256, 1 << (width - 1).bit_length())
        _start(source, name, -(-rows // (256 // across)), (across, 256 // across), *args)


def _start(source, name, grid, block, *args):
    """So many blocks of the kernel; args are arrays and NumPy scalars."""
    _kernel(source, name, args[0].dtype.char)((grid,), block, _no_hosts(name, args))


def _no_hosts(name, args):
    """The arguments of a kernel: CuPy passes a host array of size 1 by value, for it to follow."""
    for a in args:
        if isinstance(a, np.ndarray):
            raise TypeError(f"{name}: needs arrays on the GPU, got {a.shape} {a.dtype} on the host")
    return args


@functools.cache
def _kernel(source, name, char):
    return cupy.RawModule(
        code=f"typedef {'double' if char == 'd' else 'float'} real;\n{source}"
    ).get_function(name)


def elementwise(f, *args):
    """f(*args), lying in memory as its arguments do: CuPy's functions write in the order of axes."""
    arrays = [a for a in args if isinstance(a, cupy.ndarray)]
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    model = next((a for a in arrays if a.shape == shape and 0 not in a.strides), None)
    if model is None or model.flags.c_contiguous:
        return f(*args)
    order = _order(model)

    def laid(a):
        return cupy.broadcast_to(a, shape).transpose(order) if isinstance(a, cupy.ndarray) else a

    return f(*map(laid, args)).transpose(sorted(order, key=order.__getitem__))


def index_add(x, index, g):
    cupy.add.at(x, index, g)  # np.add.at is refused where the index is a tuple; in no certain order


def column_sums(x):
    return _column_sums("column_sums", 1, x)[0]


def moments(x):
    return _moments(contiguous(x), *_column_sums("moments", 2, x), len(x))


def norm_sums(g, x, mean, inv):
    return tuple(_column_sums("norm_sums", 2, g, x, mean, inv))


def _column_sums(name, count, *args):
    """The sums that a kernel makes of each column, (count, c): of parts of the rows, then of those."""
    (rows, c), dtype = args[0].shape, args[0].dtype
    across = min(32, 1 << max(c - 1, 0).bit_length())
    down, tiles = 1024 // across, -(-c // across)
    parts = max(1, min(rows // (8 * down), 256 // max(tiles, 1)))  # 8 rows a thread; a full device
    sums = empty((parts, count * c), dtype)
    if c:
        numbers = map(np.int32, (rows, c, parts))
        _start(IMAGES, name, tiles * parts, (across, down), *map(contiguous, args), sums, *numbers)
    return (sums if parts == 1 else column_sums(sums)).reshape(count, c)


affine = Kernel("T x, T scale, T shift", "T out", "out = scale * x + shift", "affine")
_moments = Kernel(  # i counts the columns, so x[i] is the first row
    "raw T x, T total, T square, T rows",
    "T mean, T var",
    """T shift = total / rows, v = square / rows - shift * shift;
    mean = rows > 0 ? x[i] + shift : shift, var = v < 0 ? 0 : v;""",
    "moments",
)
_norm_grad = Kernel(
    "T g, T x, T mean, T inv, T weight, T sum_g, T sum_gx, T rows",
    "T out",
    "out = weight * inv * (g - sum_g / rows - (x - mean) * (inv * sum_gx / rows))",
    "norm_grad",
)
_leaky = Kernel(
    "T x, T at, T slope", "T y", "y = !(at <= 0) ? x : slope == 0 ? (T)0 : slope * x", "leaky"
)


def norm_grad(g, x, mean, inv, weight, sum_g, sum_gx):
    return _norm_grad(g, x, mean, inv, weight, sum_g, sum_gx, max(len(x), 1))


def leaky(x, at, slope):
    return _run(_leaky, cupy.empty_like(at), x, at, slope)


def lerp(averages, values, weight):
    _together("lerp", zip(averages, values), weight)


def adam(params, grads, ms, vs, lr, steps, beta1, beta2, eps, peaks=None):
    logs = (math.log(beta) if beta else -math.inf for beta in (beta1, beta2))
    count = len(params)
    rows = zip(params, ms, vs, peaks or [None] * count, range(count), grads)
    _together("adam", rows, lr, steps, beta1, beta2, *logs, eps)


MOST, CHUNK = 64, 2048  # tensors in a launch, elements in a block
# as in MANY
Tensors = np.dtype([("at", "u8", (6, MOST)), ("size", "i8", MOST), ("first", "u4", MOST)])


def _together(name, rows, *args):
    """The kernel `name` of MANY on tensors of any number, 64 of one dtype to a launch.

    A row has what belongs to one tensor: arrays of one shape, numbers, None; the last is only read.
    args: arrays, and numbers that the kernel gets in the tensors' dtype. What lies in memory
    otherwise than the row's first array is copied there and back.
    """
    tables, back = {}, []
    for row in rows:
        model = row[0] if dense(row[0]) else contiguous(row[0])
        laid = [_like(a, model) if hasattr(a, "strides") else a for a in row]
        back += [(a, b) for a, b in zip(row[:-1], laid) if a is not b]
        tables.setdefault(model.dtype, []).append(laid)
    for dtype, rows in tables.items():
        if dtype.char not in TYPES:
            raise TypeError(f"{name}: needs float32 or float64, got {dtype}")
        kernel = _kernel(MANY, name, dtype.char)
        numbers = [a if hasattr(a, "shape") else dtype.type(a) for a in args]
        for start in range(0, len(rows), MOST):
            table, blocks = np.zeros((), Tensors), 0
            table["first"] = 0xFFFFFFFF
            for i, row in enumerate(rows[start : start + MOST]):
                table["at"][: len(row), i] = [
                    a.data.ptr if hasattr(a, "data") else a or 0 for a in row
                ]
                table["size"][i], table["first"][i] = row[0].size, blocks
                blocks += -(-row[0].size // CHUNK)
            if blocks:
                # CuPy passes the table, a host array of one element, by value
                kernel((blocks,), (256, 1), (table, *_no_hosts(name, numbers)))
    for a, b in back:
        a[...] = b


def _like(a, model):
    """a, or a copy that lies in memory as the dense `model` does; where an axis is 1 long its
    stride does not matter.
    """
    if all(n == 1 or s == t for n, s, t in zip(a.shape, a.strides, model.strides)):
        return a
    out = cupy.empty_like(model)
    out[...] = a
    return out


def _run(kernel, out, *args):
    """kernel(*args, out), with axes in the order in which `out` lies in memory: CuPy then walks it
    all as one run.
    """
    order = _order(out)
    kernel(
        *(a.transpose(order) if getattr(a, "shape", None) == out.shape else a for a in (*args, out))
    )
    return out


def _order(x):
    return sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))


def bits(n, key, draw, step):
    return _fill("bits", empty(n, np.uint32), key, draw, step)


def bernoulli(out, p, scale, key, draw, step):
    _fill("bernoulli", out, key, draw, step, np.float32(p), out.dtype.type(scale))


def _fill(name, out, key, draw, step, *extra):
    if step.dtype != np.int64:
        raise TypeError(f"{name}: step must be int64, got {step.dtype}")
    to = out if out.flags.c_contiguous else empty(out.shape, out.dtype)
    _launch(
        RANDOM,
        name,
        (out.size + 3) // 4,
        1,
        to,
        np.int64(out.size),
        *map(np.uint32, (*key, draw)),
        step,
        *extra,
    )
    if to is not out:
        out[...] = to
    return out


uniform, normal = functools.partial(_fill, "uniform"), functools.partial(_fill, "normal")
