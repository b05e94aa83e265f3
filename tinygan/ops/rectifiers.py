"""ELU, SiLU and GELU: smooth kin of `relu`. SiLU has kernels; the others are composed."""

import math

import numpy as np

from .. import kernels
from ..autograd import primitive
from .activations import sigmoid
from .arith import elementwise, exp, raw, where


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


def _density(g, out, x):
    return g * exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))


@elementwise(_density)
def _normal_cdf(x):
    """The standard normal distribution function, to rounding: erfc(|x| / sqrt(2)) / 2, mirrored.

    erfc(t) by the trapezoidal rule, in steps h, on its integral over exp(-s**2) / (s**2 + t**2),
    whose error falls as exp(-(pi / h)**2), and the residue of the pole at s = it (Matta & Reichel
    1971; Al Azah & Chandler-Wilde 2021).
    """
    t = np.minimum(np.abs(x) * math.sqrt(0.5), 40)  # beyond, it is 0 or 1
    terms = 6 if t.dtype == np.float32 else 13
    h = math.sqrt(math.pi / terms)
    squares = [((n + 0.5) * h) ** 2 for n in range(terms)]
    integral = sum(math.exp(-s) / (s + t * t) for s in squares)
    pole = np.exp(t * (-2 * math.pi / h)) * (t < math.pi / h)
    below = t * np.exp(-t * t) * integral * (h / math.pi)
    below = below + pole / (1 + pole)
    return np.where(x > 0, 1 - below, below)


def gelu(x, approximate="none"):
    """x * P(a standard normal number < x); approximate="tanh" by a formula with tanh.

    (Hendrycks & Gimpel 2016)
    """
    if approximate == "none":
        return x * _normal_cdf(x)
    if approximate != "tanh":
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    double = math.sqrt(8 / math.pi) * x * (1 + 0.044715 * (x * x))
    return x * sigmoid(double)  # (1 + tanh(u)) / 2 = sigmoid(2 u)
