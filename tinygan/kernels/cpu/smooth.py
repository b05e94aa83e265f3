"""Loops over every number that take an exponential: SiLU, GELU and their derivatives, and what
compares logits with a target.

`exp` of Numba calls the C library for each number; written out as below, it becomes vector code.
That is for float32. Other numbers, and few of them, are NumPy's.
"""

import numpy as np

from .. import reference
from .. import smooth as formulas
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


def _each(loop, f, *arrays):
    """f of arrays of one shape, by a compiled loop where they are float32 and many."""
    if max(map(np.size, arrays)) < SMALL_LOOP:
        return f(*arrays)
    x = arrays[-1]
    if any(getattr(a, "dtype", None) != f4 or a.shape != np.shape(x) for a in arrays):
        return elementwise(f, *arrays)
    x = x if dense(x) else contiguous(x)
    out = empty_like(x)
    split(loop, x.size, 2 * x.size, *(flat(like(a, x)) for a in arrays), flat(out))
    return out


@jit
def _silu(start, stop, x, out):
    x, out = x[start:stop], out[start:stop]
    for i in range(x.size):
        out[i] = x[i] / _one_and_exp(-x[i])


def silu(x):
    return _each(_silu, reference.silu, x)


@jit
def _silu_grad(start, stop, g, x, out):
    g, x, out = g[start:stop], x[start:stop], out[start:stop]
    for i in range(x.size):
        s = ONE / _one_and_exp(-x[i])
        out[i] = g[i] * (s * (ONE + x[i] * (ONE - s)))


def silu_grad(g, x):
    return _each(_silu_grad, reference.silu_grad, g, x)


@jit
def _normal_below(x, e):
    """The standard normal distribution function at -|x|, where e = exp(-x * x / 2): e times a
    polynomial in r = 1 / (1 + RATE * |x|), which is from 0 to 1. It is a factor r and what lies
    nearest, by its largest relative error, 1e-8, to the rest (Remez; as Cody 1969 has rational
    functions).
    """
    r = ONE / (ONE + RATE * abs(x))
    p = P4 + r * (P5 + r * (P6 + r * (P7 + r * P8)))
    return e * (r * (P0 + r * (P1 + r * (P2 + r * (P3 + r * p)))))


RATE, DENSITY, HALF = f4(0.35), f4((2 * np.pi) ** -0.5), f4(0.5)
P0, P1, P2 = f4(0.139619777), f4(0.139893163), f4(0.119584047)
P3, P4, P5 = f4(0.106581228), f4(-0.0258684135), f4(0.163513018)
P6, P7, P8 = f4(-0.259800601), f4(0.146082655), f4(-0.0296048701)


@jit
def _gelu(start, stop, x, out):
    x, out = x[start:stop], out[start:stop]
    for i in range(x.size):
        below = _normal_below(x[i], exp(-HALF * x[i] * x[i]))
        out[i] = x[i] * (ONE - below if x[i] > ZERO else below)


def gelu(x):
    return _each(_gelu, reference.gelu, x)


@jit
def _gelu_grad(start, stop, g, x, out):
    g, x, out = g[start:stop], x[start:stop], out[start:stop]
    for i in range(x.size):
        e = exp(-HALF * x[i] * x[i])
        below = _normal_below(x[i], e)
        out[i] = g[i] * ((ONE - below if x[i] > ZERO else below) + x[i] * (e * DENSITY))


def gelu_grad(g, x):
    return _each(_gelu_grad, reference.gelu_grad, g, x)


SLOPE, CUBE, CUBES = f4(formulas.SLOPE), f4(formulas.CUBE), f4(3 * formulas.CUBE)
LOW, HIGH = f4(-20), f4(20)  # beyond, a sigmoid of x or more is 0 or 1


@jit
def _gelu_tanh(start, stop, x, out):
    x, out = x[start:stop], out[start:stop]
    for i in range(x.size):
        out[i] = x[i] / _one_and_exp(-x[i] * (SLOPE + CUBE * (x[i] * x[i])))


def gelu_tanh(x):
    return _each(_gelu_tanh, reference.gelu_tanh, x)


@jit
def _gelu_tanh_grad(start, stop, g, x, out):
    g, x, out = g[start:stop], x[start:stop], out[start:stop]
    for i in range(x.size):
        s = ONE / _one_and_exp(-x[i] * (SLOPE + CUBE * (x[i] * x[i])))
        near = LOW if x[i] < LOW else HIGH if x[i] > HIGH else x[i]
        out[i] = g[i] * (s + s * (ONE - s) * near * (SLOPE + CUBES * (near * near)))


def gelu_tanh_grad(g, x):
    return _each(_gelu_tanh_grad, reference.gelu_tanh_grad, g, x)


@jit
def _log1p(e):
    """log(1 + e), for e from 0 to 1: 2 artanh(u) by its series, where u = e / (2 + e) <= 1/3."""
    u = e / (TWO + e)
    s = u * u
    rest = A3 + s * (A5 + s * (A7 + s * (A9 + s * (A11 + s * A13))))
    return u * (TWO + s * rest)


TWO = f4(2)
A3, A5, A7, A9, A11, A13 = (f4(2 / n) for n in range(3, 15, 2))


@jit
def _softplus(start, stop, x, out):
    x, out = x[start:stop], out[start:stop]
    for i in range(x.size):
        out[i] = (x[i] if x[i] > ZERO else ZERO) + _log1p(exp(-abs(x[i])))


def softplus(x):
    return _each(_softplus, reference.softplus, x)


@jit
def _bce(start, stop, x, t, out):
    x, t, out = x[start:stop], t[start:stop], out[start:stop]
    for i in range(x.size):
        above = x[i] if x[i] > ZERO else ZERO
        out[i] = above - x[i] * t[i] + _log1p(exp(-abs(x[i])))


def bce(x, t):
    return _each(_bce, reference.bce, x, t)


@jit
def _bce_grad(start, stop, x, t, out):
    x, t, out = x[start:stop], t[start:stop], out[start:stop]
    for i in range(x.size):
        e = exp(-abs(x[i]))
        above, below = (ONE if x[i] >= ZERO else e), (ONE if x[i] <= ZERO else e)
        out[i] = ((ONE - t[i]) * above - t[i] * below) / (ONE + e)


def bce_grad(x, t):
    return _each(_bce_grad, reference.bce_grad, x, t)
