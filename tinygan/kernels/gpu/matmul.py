"""Matrix products through cuBLAS itself: CuPy's own refuse to be captured (cupy/cupy#6290).

cuBLAS counts by columns: a matrix that lies by rows is, to it, the transpose. So for c = a @ b it
is asked for c.T = b.T @ a.T, and nothing need be copied.
"""

import ctypes
import functools
from typing import NamedTuple

import cupy
import numpy as np

from ..rounding import matmul_precision
from .arrays import contiguous, empty


class Arithmetic(NamedTuple):
    """How cuBLAS is told what a product is made of."""

    scalar: type  # of alpha and beta
    data: int  # cudaDataType_t
    compute: int  # cublasComputeType_t


DOUBLE = Arithmetic(ctypes.c_double, data=1, compute=70)
SINGLE = {  # by precision
    "float32": Arithmetic(ctypes.c_float, data=0, compute=68),
    "tf32": Arithmetic(ctypes.c_float, data=0, compute=77),
}
DEFAULT_ALGORITHM = -1
WORKSPACE = 32 << 20  # bytes: what cuBLAS asks for on Hopper
ALLOC_FAILED = 3  # cuBLAS's status where it gets no memory


def gemm(a, b, out=None):
    try:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        batch = None
    meet = min(a.ndim, b.ndim) >= 2 and a.shape[-1] == b.shape[-2]
    if batch is None or not meet or a.dtype != b.dtype or a.dtype.char not in "fd":
        raise ValueError(f"gemm: cannot multiply {a.shape} {a.dtype} with {b.shape} {b.dtype}")
    (m, k), n = a.shape[-2:], b.shape[-1]
    shape = (*batch, m, n)
    out = empty(shape, a.dtype) if out is None else out
    if out.shape != shape or out.dtype != a.dtype:
        raise ValueError(
            f"gemm: out is {out.shape} {out.dtype}, but the product is {shape} {a.dtype}"
        )
    if k == 0:
        out[...] = 0
    elif out.size and _layout(out).order == "rows" and (out.ndim < 4 or out.flags.c_contiguous):
        # the axes of the batch become one; of `out` that takes no copy
        a = cupy.broadcast_to(a, (*batch, m, k)).reshape(-1, m, k)
        b = cupy.broadcast_to(b, (*batch, k, n)).reshape(-1, k, n)
        _multiply(a, b, out.reshape(-1, m, n))
    elif out.size:
        out[...] = gemm(a, b)
    return out


class Layout(NamedTuple):
    """How matrices lie in memory: their rows or their columns are runs of it."""

    order: str  # "rows", "columns" or "neither"
    leading: int  # dimension, as cuBLAS says: elements from one row, or column, to the next


def _layout(x):
    """The Layout of the matrices x[..., :, :]."""
    for order, along, across in ("rows", -1, -2), ("columns", -2, -1):
        length, lines = x.shape[along], x.shape[across]
        leading = x.strides[across] // x.itemsize if lines > 1 else length
        if leading >= length and (length == 1 or x.strides[along] == x.itemsize):
            return Layout(order, leading)
    return Layout("neither", 0)


def _multiply(a, b, c):
    """c = a @ b, all three (batch, rows, columns), and c by rows."""
    (a, of_a), (b, of_b), of_c = _readable(a), _readable(b), _layout(c)
    (count, m, n), k = c.shape, a.shape[2]
    if max(m, n, k, of_a.leading, of_b.leading, of_c.leading) >= 1 << 31:
        raise ValueError(
            f"gemm: {a.shape} @ {b.shape} is beyond the 32-bit sizes of cuBLAS; use smaller batches"
        )
    scalar, data, compute = DOUBLE if a.dtype.char == "d" else SINGLE[matmul_precision.get()]

    def matrix(x, layout):
        batch = [x.strides[0] // x.itemsize] if count > 1 else []  # from one matrix to the next
        return [x.data.ptr, data, layout.leading, *batch]

    handle, _ = _handle(cupy.cuda.runtime.getDevice(), cupy.cuda.get_current_stream().ptr)
    transposed = of_b.order == "columns", of_a.order == "columns"
    alpha, beta = (ctypes.byref(scalar(number)) for number in (1, 0))
    product = [alpha, *matrix(b, of_b), *matrix(a, of_a), beta, *matrix(c, of_c)]
    function, batch = ("GemmStridedBatchedEx", [count]) if count > 1 else ("GemmEx", [])
    _cublas(function, handle, *transposed, n, m, k, *product, *batch, compute, DEFAULT_ALGORITHM)


def _readable(x):
    """x, or a copy by rows where it lies otherwise than cuBLAS can read it; and its Layout."""
    layout = _layout(x)
    if layout.order == "neither":
        x = contiguous(x)
        layout = _layout(x)
    return x, layout


@functools.cache
def _handle(device, stream):
    """A cuBLAS handle for the stream, and the memory that it works in, which is kept for ever and
    is not of a graph's pool: graphs know its address.
    """
    handle, pointer = ctypes.c_void_p(), ctypes.c_void_p
    workspace = cupy.get_default_memory_pool().malloc(WORKSPACE)
    _cublas("Create_v2", ctypes.byref(handle))
    _cublas("SetStream_v2", handle, pointer(stream))  # first, for it resets the workspace
    _cublas("SetWorkspace_v2", handle, pointer(workspace.ptr), ctypes.c_size_t(WORKSPACE))
    return handle, workspace


def _cublas(name, *args):
    if status := getattr(_library(), "cublas" + name)(*args):
        error = MemoryError if status == ALLOC_FAILED else RuntimeError
        raise error(f"cublas{name} failed with status {status}")


@functools.cache
def _library():
    # this package comes with CuPy, and finds the library that CuPy finds
    from cuda.pathfinder import load_nvidia_dynamic_lib

    library = ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
    p, i, n = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
    start, end = [p, *[i] * 5], [i, i]  # handle, two flags and three sizes; compute and algorithm

    def matrices(one):  # alpha, two of them; beta, the third
        return [p, *one, *one, p, *one]

    one, batch = matrices([p, i, i]), matrices([p, i, i, n])  # address, type, leading, stride
    library.cublasGemmEx.argtypes = [*start, *one, *end]
    library.cublasGemmStridedBatchedEx.argtypes = [*start, *batch, i, *end]
    return library
