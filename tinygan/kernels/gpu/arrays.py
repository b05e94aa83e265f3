"""CuPy arrays under the kernels: memory for them, and elementwise work that keeps their layout."""

import cupy
import numpy as np

from ...device import inverse, memory_order
from .. import reference

empty, contiguous = cupy.empty, cupy.ascontiguousarray


def elementwise(f, *args):
    """f(*args), lying in memory as its arguments do: CuPy's functions write in C order."""
    arrays = [a for a in args if isinstance(a, cupy.ndarray)]
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    model = next((a for a in arrays if a.shape == shape and 0 not in a.strides), None)
    if model is None or model.flags.c_contiguous:
        return f(*args)
    order = memory_order(model)

    def in_order(a):
        return cupy.broadcast_to(a, shape).transpose(order) if isinstance(a, cupy.ndarray) else a

    return f(*map(in_order, args)).transpose(inverse(order))


_leaky = cupy.ElementwiseKernel(
    "T x, T at, T slope", "T y", "y = !(at <= 0) ? x : slope == 0 ? (T)0 : slope * x", "leaky"
)


def leaky(x, at, slope):
    out = cupy.empty_like(at)
    order = memory_order(out)  # CuPy then walks it all as one run
    _leaky(x.transpose(order), at.transpose(order), slope, out.transpose(order))
    return out


_silu = cupy.ElementwiseKernel("T x", "T y", "y = x / (1 + exp(-x))", "silu")

_silu_grad = cupy.ElementwiseKernel(
    "T g, T x",
    "T y",
    "T s = 1 / (1 + exp(-x)); y = g * (s * (1 + x * (1 - s)))",
    "silu_grad",
)


def silu(x):
    return elementwise(_silu if x.dtype.kind == "f" else reference.silu, x)


def silu_grad(g, x):
    return elementwise(_silu_grad, g, x)


_gelu = cupy.ElementwiseKernel(
    "T x", "T y", "y = x * ((T)0.5 * erfc(x * (T)-0.7071067811865476))", "gelu"
)

_gelu_grad = cupy.ElementwiseKernel(
    "T g, T x",
    "T y",
    """T below = (T)0.5 * erfc(x * (T)-0.7071067811865476);
    y = g * (below + x * (exp((T)-0.5 * x * x) * (T)0.3989422804014327))""",
    "gelu_grad",
)


def gelu(x):
    return elementwise(_gelu if x.dtype.kind == "f" else reference.gelu, x)


def gelu_grad(g, x):
    return elementwise(_gelu_grad, g, x)


def gelu_tanh(x):
    return elementwise(reference.gelu_tanh, x)


def gelu_tanh_grad(g, x):
    return elementwise(reference.gelu_tanh_grad, g, x)


def softplus(x):
    return elementwise(reference.softplus, x)


def bce(x, t):
    return elementwise(reference.bce, x, t)


def bce_grad(x, t):
    return elementwise(reference.bce_grad, x, t)
