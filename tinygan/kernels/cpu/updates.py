"""Updates of parameters in place: Adam's step, and the moving average of weights.

Each array is walked in the order of its memory, whatever the order of its axes; an array with gaps
is left to the reference.
"""

import math
from typing import NamedTuple

import numpy as np

from .. import reference
from ..layout import dense, flat
from .compiler import TYPES, jit, word
from .host import like
from .threads import split


class _Rates(NamedTuple):
    """The numbers of one step of Adam, the t-th, in the dtype of the parameter."""

    lr: np.floating  # lr / (1 - beta1**t): corrects m for having begun at zero
    beta1: np.floating
    beta2: np.floating
    root: np.floating  # 1 / sqrt(1 - beta2**t): the same for v
    eps: np.floating


@jit
def _adam(start, stop, arrays, peak, rates):
    p, g, m, v = arrays
    p, g, m, v = p[start:stop], g[start:stop], m[start:stop], v[start:stop]
    lr, beta1, beta2, root, eps = rates
    one = p.dtype.type(1)
    for i in range(p.size):
        m[i] += (one - beta1) * (g[i] - m[i])
        v[i] += (one - beta2) * (g[i] * g[i] - v[i])
        top = v[i]
        if peak is not None:  # decided when it is compiled, for an argument alone
            at = word(start + i)
            top = peak[at] = v[i] if not peak[at] >= v[i] else peak[at]  # NaN stays
        p[i] -= lr * m[i] / (math.sqrt(top) * root + eps)


def adam(params, grads, ms, vs, lr, steps, beta1, beta2, eps, peaks=None):
    rate, counts = float(lr), steps.tolist()
    for i, (p, g, m, v) in enumerate(zip(params, grads, ms, vs)):
        peak = peaks[i] if peaks else None
        laid_out_alike = all(a is None or a.strides == p.strides for a in (m, v, peak))
        if p.dtype not in TYPES or not dense(p) or not laid_out_alike:
            own, some = ([p], [g], [m], [v]), steps[i : i + 1]
            reference.adam(*own, lr, some, beta1, beta2, eps, peaks and [peak])
            continue
        root = (1 - beta2 ** counts[i]) ** -0.5
        numbers = rate / (1 - beta1 ** counts[i]), beta1, beta2, root, eps
        rates = _Rates(*map(p.dtype.type, numbers))
        arrays = tuple(map(flat, (p, like(g, p), m, v)))
        split(_adam, p.size, p.size, arrays, flat(peak) if peaks else None, rates)


@jit
def _lerp(start, stop, p, q, weight):
    p, q = p[start:stop], q[start:stop]
    for i in range(p.size):
        p[i] += weight * (q[i] - p[i])


def lerp(averages, values, weight):
    for p, q in zip(averages, values):
        if p.dtype in TYPES and dense(p):
            split(_lerp, p.size, p.size, flat(p), flat(like(q, p)), p.dtype.type(weight))
        else:
            reference.lerp([p], [q], weight)
