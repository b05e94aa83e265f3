"""Whose array is it, and which numbers are in it? This room imports no engine: who has its arrays
has it loaded."""

import functools
import sys

import numpy as np

OWNERS = {"torch": "torch", "jaxlib": "jax", "jax": "jax", "mygrad": "mygrad", "tinygan": "tinygan"}


def owner(x):
    """The name of the engine that an array, or an object by its class, belongs to, None for
    NumPy."""
    return _owner(type(x))


@functools.cache
def _owner(kind):
    # a Parameter of torch's may be subclassed
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
    # of a derivative that PyTorch knows to be 0, and that has no memory, too
    return x.numpy(force=True)


def _bfloat16():
    try:
        import ml_dtypes
    except ImportError:
        raise TypeError(
            "check_grads: bfloat16 arrays need the package ml_dtypes (pip install ml_dtypes)"
        ) from None
    return ml_dtypes.bfloat16
