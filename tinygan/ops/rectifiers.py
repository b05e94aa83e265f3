"""ELU, SiLU and GELU: smooth kin of `relu`. ELU is composed; the others have kernels."""

import math

import numpy as np

from .. import kernels
from ..autograd import primitive
from ..kernels.smooth import CUBE, SLOPE
from .activations import sigmoid
from .arith import clip, elementwise, exp, raw, where


@elementwise(lambda g, out, x: g * exp(x))
def _expm1(x):
    return np.expm1(x)


def elu(x, alpha=1.0):
    """x where x > 0, alpha * (exp(x) - 1) elsewhere (Clevert 2016)."""
    above = raw(x) > 0
    return where(above, x, alpha * _expm1(where(above, 0.0, x)))


def _curvature(h, out, g, x):
    s = sigmoid(x)
    return h * g * (s * (1 - s) * (2 + x * (1 - 2 * s)))


@primitive
def _silu_grad(g, x):
    """g times the derivative of `silu` at x."""
    return kernels.of(x).silu_grad(g, x)


_silu_grad.defvjp(lambda h, out, g, x: _silu_grad(h, x), _curvature)


@primitive
def silu(x):
    """x * sigmoid(x) (Elfwing 2018), also called swish."""
    x = x if hasattr(x, "dtype") else np.asarray(x)  # a number
    return kernels.of(x).silu(x)


silu.defvjp(lambda g, out, x: _silu_grad(g, x))


def _gelu_curvature(h, out, g, x):
    x = clip(x, -40, 40)  # beyond, it is 0
    density = exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    return h * g * ((2 - x * x) * density)


@primitive
def _gelu_grad(g, x):
    """g times the derivative of `_gelu` at x."""
    return kernels.of(x).gelu_grad(g, x)


_gelu_grad.defvjp(lambda h, out, g, x: _gelu_grad(h, x), _gelu_curvature)


@primitive
def _gelu(x):
    return kernels.of(x).gelu(x)


_gelu.defvjp(lambda g, out, x: _gelu_grad(g, x))


def _gelu_tanh_curvature(h, out, g, x):
    x = clip(x, -20, 20)  # beyond, it is 0
    s = sigmoid(x * (SLOPE + CUBE * (x * x)))
    slope = SLOPE + 3 * CUBE * (x * x)  # of the sigmoid's argument
    return h * g * (s * (1 - s) * ((2 + x * (1 - 2 * s) * slope) * slope + 6 * CUBE * (x * x)))


@primitive
def _gelu_tanh_grad(g, x):
    """g times the derivative of `_gelu_tanh` at x."""
    return kernels.of(x).gelu_tanh_grad(g, x)


_gelu_tanh_grad.defvjp(lambda h, out, g, x: _gelu_tanh_grad(h, x), _gelu_tanh_curvature)


@primitive
def _gelu_tanh(x):
    return kernels.of(x).gelu_tanh(x)


_gelu_tanh.defvjp(lambda g, out, x: _gelu_tanh_grad(g, x))


def gelu(x, approximate="none"):
    """x * P(a standard normal number < x); approximate="tanh" by a formula with tanh.

    (Hendrycks & Gimpel 2016)
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    x = x if hasattr(x, "dtype") else np.asarray(x)  # a number
    return _gelu(x) if approximate == "none" else _gelu_tanh(x)
