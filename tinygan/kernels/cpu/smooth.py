"""Loops over every number that take an exponential: SiLU and its derivative.

`exp` of Numba calls the C library for each number; written out as below, it becomes vector code.
That is for float32. Other numbers, and few of them, are NumPy's.
"""

import numpy as np

from .. import reference
from ..layout import dense, flat
from .compiler import jit
from .host import contiguous, elementwise, empty_like, like
from .threads import split
from .thresholds import SMALL_LOOP

f4, i4 = np.float32, np.int32
ZERO, ONE, INF = f4(0), f4(1), f4(np.inf)
# Beyond these, exp(x) is, but for a factor of two, the least float32 of full precision, for which 0
# is taken, or the largest.
LEAST, MOST = f4(-87), f4(88)
LOG2_E = f4(1.4426950408889634)
# log(2) in two parts; the first has so few bits that its products with whole numbers are exact
LOG_2, LOG_2_REST = f4(0.693359375), f4(-2.12194440e-4)
# A float32 of this size has no fraction: adding it rounds, and the sum's last bits are the number.
ROUNDS = f4(1.5 * 2**23)
EXPONENT, ZERO_EXPONENT = i4(23), i4(127)  # where a float32's exponent lies, and that of 1
C2, C3, C4, C5, C6 = (f4(1 / n) for n in (2, 6, 24, 120, 720))


@jit
def exp(x):
    """x = n log(2) + r, and exp(x) = 2^n exp(r), of which that is Taylor's series."""
    shifted = x * LOG2_E + ROUNDS
    n = shifted - ROUNDS
    r = x - n * LOG_2 - n * LOG_2_REST  # from -log(2)/2 to log(2)/2
    e = ONE + r * (ONE + r * (C2 + r * (C3 + r * (C4 + r * (C5 + r * C6)))))
    exponent = (f4(shifted).view(np.int32) + ZERO_EXPONENT) << EXPONENT
    e *= i4(exponent).view(np.float32)
    return INF if x > MOST else (ZERO if x < LEAST else e)


@jit
def _one_and_exp(x):
    return ONE + exp(x)


@jit
def _silu(start, stop, x, out):
    x, out = x[start:stop], out[start:stop]
    for i in range(x.size):
        out[i] = x[i] / _one_and_exp(-x[i])


def silu(x):
    if x.size < SMALL_LOOP or x.dtype != f4:
        return elementwise(reference.silu, x)
    x = x if dense(x) else contiguous(x)
    out = empty_like(x)
    split(_silu, x.size, 2 * x.size, flat(x), flat(out))
    return out


@jit
def _silu_grad(start, stop, g, x, out):
    g, x, out = g[start:stop], x[start:stop], out[start:stop]
    for i in range(x.size):
        s = ONE / _one_and_exp(-x[i])
        out[i] = g[i] * (s * (ONE + x[i] * (ONE - s)))


def silu_grad(g, x):
    if x.size < SMALL_LOOP or not x.dtype == g.dtype == f4:
        return elementwise(reference.silu_grad, g, x)
    x = x if dense(x) else contiguous(x)
    out = empty_like(x)
    split(_silu_grad, x.size, 2 * x.size, flat(like(g, x)), flat(x), flat(out))
    return out
