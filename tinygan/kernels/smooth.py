"""More of the reference: SiLU, GELU and their derivatives, softplus and what is made of it, number
by number.
"""

import math

import numpy as np


def _one_and_exp(x):
    """1 + exp(x), which may be inf."""
    with np.errstate(over="ignore"):
        e = np.exp(x)
        e += 1
    return e


def silu(x):
    """x * sigmoid(x)."""
    return x / _one_and_exp(-x)


def silu_grad(g, x):
    """g times the derivative of `silu` at x: s * (1 + x * (1 - s)), where s = sigmoid(x)."""
    s = 1 / _one_and_exp(-x)
    slope = 1 - s
    slope *= x
    slope += 1
    slope *= s
    return slope * g


def _normal(x):
    """The standard normal distribution function, to rounding, and its density.

    The former is erfc(t) / 2 or, above 0, 1 less that, where t = |x| / sqrt(2). erfc(t) by the
    trapezoidal rule, in steps h, on its integral over exp(-s**2) / (s**2 + t**2), whose error falls
    as exp(-(pi / h)**2), and the residue of the pole at s = it (Matta & Reichel 1971; Al Azah &
    Chandler-Wilde 2021).
    """
    t = np.minimum(np.abs(x) * math.sqrt(0.5), 40)  # beyond, it is 0 or 1
    terms = 6 if t.dtype == np.float32 else 13
    h = math.sqrt(math.pi / terms)
    squares = [((n + 0.5) * h) ** 2 for n in range(terms)]
    integral = sum(math.exp(-s) / (s + t * t) for s in squares)
    pole = np.exp(t * (-2 * math.pi / h)) * (t < math.pi / h)
    e = np.exp(-t * t)
    below = t * e * integral * (h / math.pi)
    below = below + pole / (1 + pole)
    return np.where(x > 0, 1 - below, below), e * (1 / math.sqrt(2 * math.pi))


def gelu(x):
    """x times the standard normal distribution function at x."""
    return x * _normal(x)[0]


def gelu_grad(g, x):
    """g times the derivative of `gelu` at x."""
    below, density = _normal(x)
    return g * (below + x * density)


# sigmoid(x * (SLOPE + CUBE * x * x)) is nearly the normal distribution function
SLOPE = math.sqrt(8 / math.pi)
CUBE = 0.044715 * SLOPE


def _sigmoid(x):
    """Of x * (SLOPE + CUBE * x * x)."""
    with np.errstate(over="ignore"):
        return 1 / _one_and_exp(-x * (SLOPE + CUBE * (x * x)))


def gelu_tanh(x):
    """The approximation of `gelu` that others write with tanh: (1 + tanh(u)) / 2 = sigmoid(2 u)."""
    return x * _sigmoid(x)


def gelu_tanh_grad(g, x):
    """g times the derivative of `gelu_tanh` at x."""
    s = _sigmoid(x)
    x = np.minimum(np.maximum(x, -20), 20)  # beyond, s is 0 or 1
    return g * (s + s * (1 - s) * x * (SLOPE + 3 * CUBE * (x * x)))


def softplus(x):
    """log(1 + exp(x)), without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def bce(x, t):
    """The binary cross-entropy -t log(s) - (1 - t) log(1 - s), where s = sigmoid(x)."""
    return np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))


def bce_grad(x, t):
    """Its derivative, (1 - t) sigmoid(x) - t sigmoid(-x): sigmoid(x) - t, exact near 0 too."""
    e = np.exp(-np.abs(x))
    above, below = np.maximum(e, x >= 0), np.maximum(e, x <= 0)
    return ((1 - t) * above - t * below) / (1 + e)
