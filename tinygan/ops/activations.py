"""Activation functions. At a kink (x = 0 in `relu`) the slope is the left one, as in PyTorch."""

import numpy as np

from .. import kernels
from ..autograd import Tensor, describe, primitive
from .arith import elementwise, exp, raw
from .reduce import sum


@primitive
def _leaky(x, at, slope):
    """Linear in x, whose slopes are chosen by the constant `at`."""
    return kernels.of(x).leaky(x, at, slope)


_leaky.defvjp(lambda g, out, x, at, slope: _leaky(g, at, slope))


def leaky_relu(x, negative_slope=0.01):
    """x where x > 0, negative_slope * x elsewhere (Maas, Hannun & Ng 2013)."""
    if isinstance(negative_slope, Tensor) or np.ndim(negative_slope):
        got = describe(negative_slope)
        raise TypeError(f"leaky_relu: negative_slope must be a number, got {got}; see nn.PReLU")
    return _leaky(x, raw(x), negative_slope)


def relu(x):
    """max(x, 0)."""
    return leaky_relu(x, 0.0)


@elementwise(lambda g, out, x: g - g * (out * out))
def tanh(x):
    """The hyperbolic tangent."""
    return np.tanh(x)


@elementwise(lambda g, out, x: g * out * (1 - out))
def sigmoid(x):
    """1 / (1 + exp(-x)), exact and without overflow on both sides."""
    e = np.exp(-np.abs(x))
    # the numerator is 1 or e: several times faster than a choice by `where`
    return np.maximum(e, x >= 0) / (1 + e)


@primitive
def softplus(x):
    """log(1 + exp(x)), without overflow."""
    x = x if hasattr(x, "dtype") else np.asarray(x)  # a number
    return kernels.of(x).softplus(x)


softplus.defvjp(lambda g, out, x: g * sigmoid(x))


@primitive
def softmax(x, axis=-1):
    """exp(x) / sum(exp(x)) over `axis`."""
    if not x.size:
        return x.copy()
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _softmax(g, out, x, axis=-1):
    return out * (g - sum(g * out, axis, keepdims=True))


softmax.defvjp(_softmax)


@primitive
def log_softmax(x, axis=-1):
    """log(softmax(x)) over `axis`."""
    if not x.size:
        return x.copy()
    x = x - x.max(axis=axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def _log_softmax(g, out, x, axis=-1):
    return g - exp(out) * sum(g, axis, keepdims=True)  # of which it is the logarithm


log_softmax.defvjp(_log_softmax)
