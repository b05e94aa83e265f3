"""NumPy arrays under the Numba kernels: how they lie in memory, and elementwise work on large ones.

This file compiles nothing. The memory itself comes from `memory`, the cores from `threads`.
"""

import numpy as np

from ..layout import dense, flat, memory_order
from .memory import empty
from .threads import split


def empty_like(x, dtype=None):
    """`empty` with x's shape, and its axes in x's order in memory."""
    order = memory_order(x)
    return empty(tuple(x.shape[i] for i in order), dtype or x.dtype).transpose(
        sorted(range(x.ndim), key=order.__getitem__)
    )


def like(g, x):
    """g laid out in memory as the dense x is, and with its shape."""
    if g.strides == x.strides and g.shape == x.shape:
        return g
    out = empty_like(x)
    out[...] = g
    return out


def contiguous(x):
    """x with its axes in their own order in memory."""
    if x.flags.c_contiguous:
        return x
    out = empty(x.shape, x.dtype)
    out[...] = x
    return out


BLOCK = 1 << 16  # elements at a time: what f makes on the way stays in the cache


def elementwise(f, *args):
    """f(*args), where f works element by element on arrays that broadcast.

    It is done block by block, shared among the cores.
    """
    shape = np.broadcast_shapes(*(np.shape(a) for a in args))
    model = next((a for a in args if np.shape(a) == shape and dense(a)), None)
    if model is None:
        return f(*args)
    if all(a.shape == shape and a.strides == model.strides for a in args if np.ndim(a)):
        laid = [flat(a) if np.ndim(a) else a for a in args]
    else:
        order = memory_order(model)
        laid = [np.broadcast_to(a, shape).transpose(order) if np.ndim(a) else a for a in args]
    like = next(a for a in laid if np.ndim(a))
    nothing = f(*(a[:0] if np.ndim(a) else a for a in laid))
    out = empty_like(model, nothing.dtype)
    rows = flat(out) if like.ndim == 1 else out.transpose(order)
    split(_blocks, len(rows), out.size >> 1, f, laid, rows, np.geterr())
    return out


def _blocks(start, stop, f, args, out, errors):
    step = max(1, BLOCK * len(out) // max(out.size, 1))
    # a block of it, written out, serves for all
    repeated = [np.ndim(a) > 0 and a.strides[0] == 0 for a in args]
    args = [np.ascontiguousarray(a[:step]) if same else a for a, same in zip(args, repeated)]
    with np.errstate(**errors):  # as in the thread that asked
        for i in range(start, stop, step):
            n = min(step, stop - i)
            out[i : i + n] = f(
                *(
                    (a[:n] if same else a[i : i + n]) if np.ndim(a) else a
                    for a, same in zip(args, repeated)
                )
            )
