"""Updates of parameters in place: Adam's step, and the moving average of weights.

A network has many arrays, most of them small, and a call of a compiled loop takes as long as some
ten thousand numbers. So one call walks them all, as if they lay one behind another: it is given a
table of their addresses. Each array is walked in the order of its memory, whatever the order of its
axes; an array with gaps is left to the reference.
"""

import math

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from .. import reference
from ..layout import dense
from .compiler import TYPES, jit
from .host import like
from .packing import address
from .threads import split


@intrinsic
def _pointer(typing, number, place):
    """An address, a whole number, as a pointer to numbers of that number's type."""

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[1], context.get_value_type(signature.return_type))

    return types.CPointer(number)(number, place), generate


@jit
def _some(table, k, j, start, stop):
    """Of array j in row k, what is among the numbers from start to stop of all rows."""
    bounds, places, options = table
    begin, end = bounds[k], bounds[k + 1]
    whole = carray(_pointer(options[k, 0], places[k, j]), (end - begin,))
    return whole[max(start - begin, 0) : max(stop - begin, 0)]


def _together(kernel, rows, *args):
    """kernel(start, stop, table, *args) over the numbers of all rows, as if they were one array.

    A row has the arrays that belong together, dense and of one layout, and their options: numbers
    that the kernel takes. The table: where each row begins among the numbers of all, and the last
    ends; the addresses, (rows, arrays of each); and the options, (rows, options of each).
    """
    for dtype in TYPES:
        own = [row for row in rows if row[0][0].dtype == dtype]
        if own:
            arrays, options = zip(*own)
            bounds = np.cumsum([0, *(p.size for p, *_ in arrays)])
            places = np.array([[address(a, 0) for a in row] for row in arrays])
            table = bounds, places, np.array(options, dtype)
            split(kernel, int(bounds[-1]), int(bounds[-1]), table, *args)


@jit
def _adam(start, stop, table, amsgrad):
    for k in range(len(table[0]) - 1):
        p = _some(table, k, 0, start, stop)
        g = _some(table, k, 1, start, stop)
        m = _some(table, k, 2, start, stop)
        v = _some(table, k, 3, start, stop)
        peak = v if amsgrad is None else _some(table, k, 4, start, stop)
        # the first and the fourth correct for a start at zero
        lr, beta1, beta2, root, eps = table[2][k]
        one = p.dtype.type(1)
        for i in range(p.size):
            m[i] += (one - beta1) * (g[i] - m[i])
            v[i] += (one - beta2) * (g[i] * g[i] - v[i])
            top = v[i]
            if amsgrad is not None:  # decided when it is compiled, for an argument alone
                if not peak[i] >= v[i] and peak[i] == peak[i]:  # a NaN in either stays
                    peak[i] = v[i]
                top = peak[i]
            p[i] -= lr * m[i] / (math.sqrt(top) * root + eps)


def _addressable(p, *others):
    """Whether p may be written to by its address, and the others are of its type: an address has
    none. What has no axes may be a number.
    """
    alike = p.dtype in TYPES and all(a.dtype == p.dtype for a in others)
    return alike and dense(p) and p.flags.writeable


def adam(params, grads, ms, vs, lr, steps, beta1, beta2, eps, peaks=None):
    rate, counts = float(lr), steps.tolist()
    options = {
        t: (rate / (1 - beta1**t), beta1, beta2, (1 - beta2**t) ** -0.5, eps) for t in set(counts)
    }
    rows = []
    for i, (p, g, *kept) in enumerate(zip(params, grads, ms, vs, *([peaks] if peaks else []))):
        if _addressable(p, g, *kept) and all(a.strides == p.strides for a in kept):
            rows.append(((p, np.asarray(like(g, p)), *kept), options[counts[i]]))
        else:
            m, v, *peak = ([a] for a in kept)
            own = steps[i : i + 1]
            reference.adam([p], [g], m, v, lr, own, beta1, beta2, eps, *peak)
    _together(_adam, rows, True if peaks else None)


@jit
def _lerp(start, stop, table):
    for k in range(len(table[0]) - 1):
        p = _some(table, k, 0, start, stop)
        q = _some(table, k, 1, start, stop)
        weight = table[2][k, 0]
        for i in range(p.size):
            p[i] += weight * (q[i] - p[i])


def lerp(averages, values, weight):
    rows = []
    for p, q in zip(averages, values):
        if _addressable(p, q):
            rows.append(((p, np.asarray(like(q, p))), (float(weight),)))
        else:
            reference.lerp([p], [q], weight)
    _together(_lerp, rows)
