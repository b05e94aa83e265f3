"""NumPy arrays under the compiled loops: results laid out in memory as their arguments are, and
NumPy expressions over large arrays.

This file compiles nothing. The memory itself comes from `memory`, the cores from `threads`; the
order of axes in memory from `device`.
"""

import numpy as np

from ...device import inverse, memory_order
from ..layout import dense, flat, lie_alike
from .copies import copy_into
from .memory import empty
from .threads import split
from .thresholds import ELEMENTWISE_BLOCK, EXPRESSION


def empty_like(x, dtype=None, shape=None):
    """`empty` with x's shape, or another of as many axes, in x's order in memory."""
    order = memory_order(x)
    shape = x.shape if shape is None else shape
    stored = empty(tuple(shape[i] for i in order), dtype or x.dtype)
    return stored.transpose(inverse(order))


def like(g, x):
    """g laid out in memory as the dense x is, and with its shape: g itself if it lies so."""
    if lie_alike(g, x):
        return g
    out = empty_like(x, g.dtype)
    copy_into(out, g)
    return out


def contiguous(x):
    """x with its axes in their own order in memory: x itself if it lies so."""
    if x.flags.c_contiguous:
        return x
    out = empty(x.shape, x.dtype)
    copy_into(out, x)
    return out


def elementwise(f, *args):
    """f(*args), where f works element by element on arrays that broadcast, or on numbers.

    It is done block by block, in the order of memory, shared among the cores: what f makes on the
    way stays in the cache. The result lies in memory as the first full argument does.
    """
    shape = np.broadcast_shapes(*map(np.shape, args))
    model = next((a for a in args if np.shape(a) == shape and dense(a)), None)
    if model is not None:
        args = [like(a, model) if np.shape(a) == shape and dense(a) else a for a in args]
    if model is None or model.size < EXPRESSION:
        return f(*args)
    order = memory_order(model)
    alike = all(lie_alike(a, model) for a in args if np.ndim(a))

    def stored(a):  # as one axis where all agree, else with its axes in the model's order
        return flat(a) if alike else a.transpose(order)

    args = [stored(a if alike else np.broadcast_to(a, shape)) if np.ndim(a) else a for a in args]
    no_rows = f(*(a[:0] if np.ndim(a) else a for a in args))  # tells the dtype of the result
    out = empty_like(model, no_rows.dtype)
    rows = stored(out)
    split(_blocks, len(rows), out.size >> 1, f, args, rows, np.geterr())
    return out


def _blocks(start, stop, f, args, out, errors):
    """out[i] = f(args[i]) for the rows i from start to stop, a block of rows at a time."""
    step = max(1, ELEMENTWISE_BLOCK * len(out) // max(out.size, 1))
    # what is the same in every row: one block of it, written out, serves for all
    same = [np.ndim(a) > 0 and a.strides[0] == 0 for a in args]
    args = [np.ascontiguousarray(a[:step]) if s else a for a, s in zip(args, same)]

    def rows(a, s, i, n):
        return a if np.ndim(a) == 0 else a[:n] if s else a[i : i + n]

    with np.errstate(**errors):  # as in the thread that asked
        for i in range(start, stop, step):
            n = min(step, stop - i)
            out[i : i + n] = f(*(rows(a, s, i, n) for a, s in zip(args, same)))


def is_of_heads(x):
    """Whether it lies as attention's heads do, by samples, places and heads, in this order."""
    return x.ndim == 4 and not x.flags.c_contiguous and memory_order(x)[-1] == 3
