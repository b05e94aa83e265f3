"""More of the reference: SiLU and its derivative, number by number."""

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
