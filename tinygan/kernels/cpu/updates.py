"""Updates of parameters in place: Adam's step, and the moving average of weights.

Each array is walked in the order of its memory, whatever the order of its axes; an array with gaps
is left to the reference.
"""

import math

from .. import reference
from ..layout import dense, flat
from .compiler import TYPES, jit, word
from .host import like
from .threads import split


@jit
def _adam(start, stop, arrays, peak, rates):
    p, g, m, v = arrays
    p, g, m, v = p[start:stop], g[start:stop], m[start:stop], v[start:stop]
    lr, beta1, beta2, root, eps = rates  # the first and the fourth correct for a start at zero
    one = p.dtype.type(1)
    for i in range(p.size):
        m[i] += (one - beta1) * (g[i] - m[i])
        v[i] += (one - beta2) * (g[i] * g[i] - v[i])
        top = v[i]
        if peak is not None:  # decided when it is compiled, for an argument alone
            at = word(start + i)
            if not peak[at] >= v[i] and peak[at] == peak[at]:  # a NaN in either stays
                peak[at] = v[i]
            top = peak[at]
        p[i] -= lr * m[i] / (math.sqrt(top) * root + eps)


def adam(params, grads, ms, vs, lr, steps, beta1, beta2, eps, peaks=None):
    rate, counts = float(lr), steps.tolist()
    for i, (p, g, m, v) in enumerate(zip(params, grads, ms, vs)):
        peak = peaks[i] if peaks else None
        laid_out_alike = all(a is None or a.strides == p.strides for a in (m, v, peak))
        if p.dtype not in TYPES or not dense(p) or not laid_out_alike:
            arrays = [p], [g], [m], [v]
            own = steps[i : i + 1]
            reference.adam(*arrays, lr, own, beta1, beta2, eps, peaks=peaks and [peak])
            continue
        t = counts[i]
        root = (1 - beta2**t) ** -0.5
        rates = rate / (1 - beta1**t), beta1, beta2, root, eps
        rates = tuple(map(p.dtype.type, rates))
        arrays = flat(p), flat(like(g, p)), flat(m), flat(v)
        peak = flat(peak) if peaks else None
        split(_adam, p.size, p.size, arrays, peak, rates)


@jit
def _lerp(start, stop, p, q, weight):
    p, q = p[start:stop], q[start:stop]
    for i in range(p.size):
        p[i] += weight * (q[i] - p[i])


def lerp(averages, values, weight):
    for p, q in zip(averages, values):
        if p.dtype in TYPES and dense(p):
            q = like(q, p)
            split(_lerp, p.size, p.size, flat(p), flat(q), p.dtype.type(weight))
        else:
            reference.lerp([p], [q], weight)
