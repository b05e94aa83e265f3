"""Whose array is it, and which numbers are in it? This room imports no engine: who has its arrays
has it loaded."""

import functools
import sys

import numpy as np

OWNERS = {"torch": "torch", "jaxlib": "jax", "jax": "jax", "mygrad": "mygrad", "tinygan": "tinygan"}

# How far gradients may differ, by the spacing of their type's numbers next to 1: of float64,
# float32, float16 and bfloat16.
RTOL = {
    2.0**-52: 1e-9,
    2.0**-23: 1e-4,
    2.0**-10: 1e-2,
    2.0**-7: 5e-2,
}


def owner(x):
    """The engine, by name, that an array or an object of some class belongs to; None for NumPy."""
    return _owner(type(x))


@functools.cache
def _owner(kind):
    # its own module, or that of a class above it: a Parameter of torch's may be subclassed
    modules = [c.__module__.partition(".")[0] for c in kind.__mro__]
    return next((OWNERS[m] for m in modules if m in OWNERS), None)


def to_numpy(x):
    """The values of any engine's array, in its own memory where that can be."""
    if owner(x) == "torch":
        return _from_torch(x)
    x = x.data if owner(x) in ("tinygan", "mygrad") else x
    return np.asarray(x.get() if hasattr(x, "get") else x)


def _from_torch(x):
    torch = sys.modules["torch"]
    x = x if x.layout == torch.strided else x.to_dense()
    if x.dtype == torch.bfloat16:
        return x.detach().cpu().view(torch.int16).numpy().view(_bfloat16())
    # force=True reads a derivative too that PyTorch knows to be 0, and that has no memory
    return x.numpy(force=True)


def _bfloat16():
    try:
        import ml_dtypes
    except ImportError:
        remedy = "need the package ml_dtypes (pip install ml_dtypes)"
        raise TypeError(f"check_grads: bfloat16 arrays {remedy}") from None
    return ml_dtypes.bfloat16


def eps(dtype):
    """The spacing of numbers next to 1."""
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else 2.0**-7  # bfloat16


def usual_rtol(dtype):
    """How far gradients may differ, relative to their size, unless the caller says."""
    return RTOL.get(eps(dtype), 1e-9)


def largest(a):
    """The largest finite magnitude in an array."""
    return float(np.max(np.abs(a[np.isfinite(a)]), initial=0))


def signed(rng, shape):
    """Random numbers of both signs, no two alike and none small, of as many digits as there are."""
    return rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)


def copies(arrays, factor=1):
    """The arrays in memory of their own, times a number."""
    return [np.asarray(a * a.dtype.type(factor)) for a in arrays]


def replaced(arrays, k, x):
    """The arrays with x in place of number k."""
    return [*arrays[:k], x, *arrays[k + 1 :]]
