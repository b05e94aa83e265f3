"""The host under the Numba kernels: a team of threads that shares out loops, and memory used again.

Both are there because a training step does the same work on arrays of the same sizes each time. This file knows threads and
bytes, and compiles nothing.
"""

import math
import os
import queue
import sys
import threading

import numpy as np

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
ALONE = 1 << 19  # below so many elements one core is as fast: it is done in the time, 70 microseconds, that another takes to wake

_jobs, _workers = queue.SimpleQueue(), []


def split(kernel, n, size, *args):
    """kernel(start, stop, *args) over 0..n, shared among the cores; in one part if it touches few elements (`size`).

    The team are Python threads that sleep when idle, and the kernels release the interpreter. Numba's own parallel loops
    would be shorter to write, but their threads spin between loops, as BLAS's do, and take the cores from whatever else
    runs. The caller works too and takes whatever part is next: a thread that wakes late on a busy machine is not waited for.
    """
    if size < ALONE or CORES == 1:
        return kernel(0, n, *args)
    parts, todo, done = CORES * (2 if size < 8 * ALONE else 4), queue.SimpleQueue(), queue.SimpleQueue()
    for i in range(parts):
        todo.put((n * i // parts, n * (i + 1) // parts))
    while len(_workers) < CORES - 1:
        _workers.append(threading.Thread(target=_serve, daemon=True, name="tinygan"))
        _workers[-1].start()
    for _ in range(CORES - 1):
        _jobs.put((kernel, args, todo, done))
    _work(kernel, args, todo, done)
    for error in [done.get() for _ in range(parts)]:
        if error is not None:
            raise error


def _work(kernel, args, todo, done):
    while True:
        try:
            start, stop = todo.get_nowait()
        except queue.Empty:
            return
        try:
            kernel(start, stop, *args)
            done.put(None)
        except BaseException as e:
            done.put(e)


def _serve():
    while True:
        _work(*_jobs.get())  # keeps no array while it sleeps


if hasattr(os, "register_at_fork"):  # threads do not survive a fork: the child starts its own
    os.register_at_fork(after_in_child=_workers.clear)


_buffers, _lock = {}, threading.Lock()


def empty(shape, dtype):
    """An uninitialised array. A large one takes over the memory of an earlier one that nobody refers to any more.

    Memory fresh from the system is paid for page by page, each time: a fifth of a training step.
    """
    dtype = np.dtype(dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < 1 << 18:
        return np.empty(shape, dtype)
    with _lock:
        buffers = _buffers.setdefault(nbytes, [])
        counts = _references(buffers)
        if _ALONE not in counts:
            buffers.append(np.empty(nbytes, np.uint8))
        return buffers[counts.index(_ALONE) if _ALONE in counts else -1].view(dtype).reshape(shape)


def _references(arrays):
    return [sys.getrefcount(a) for a in arrays]


_ALONE = _references([np.empty(0)])[0]  # the count of an array that only a list holds


def _memory_order(x):
    if x.flags.c_contiguous:
        return range(x.ndim)
    return sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))


def dense(x):
    """Whether x fills its memory forwards and without gaps, in some order of its axes."""
    return x.transpose(_memory_order(x)).flags.c_contiguous


def flat(x):
    """A dense x as one axis, in the order of its memory: a view."""
    return x.transpose(_memory_order(x)).reshape(-1)


def empty_like(x, dtype=None):
    """`empty` with x's shape, and its axes in x's order in memory."""
    order = _memory_order(x)
    return empty(tuple(x.shape[i] for i in order), dtype or x.dtype).transpose(sorted(range(x.ndim), key=order.__getitem__))


def like(g, x):
    """g laid out in memory as the dense x is."""
    if g.strides == x.strides:
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
    """f(*args), where f works element by element on arrays that broadcast: block by block, shared among the cores."""
    shape = np.broadcast_shapes(*(np.shape(a) for a in args))
    model = next((a for a in args if np.shape(a) == shape and dense(a)), None)
    if model is None:
        return f(*args)
    if all(a.shape == shape and a.strides == model.strides for a in args if np.ndim(a)):
        laid = [flat(a) if np.ndim(a) else a for a in args]
    else:
        order = _memory_order(model)
        laid = [np.broadcast_to(a, shape).transpose(order) if np.ndim(a) else a for a in args]
    like = next(a for a in laid if np.ndim(a))
    nothing = f(*(a[:0] if np.ndim(a) else a for a in laid))
    out = empty_like(model, nothing.dtype)
    rows = flat(out) if like.ndim == 1 else out.transpose(order)
    split(_blocks, len(rows), out.size >> 1, f, laid, rows, np.geterr())
    return out


def _blocks(start, stop, f, args, out, errors):
    step = max(1, BLOCK * len(out) // max(out.size, 1))
    repeated = [np.ndim(a) > 0 and a.strides[0] == 0 for a in args]  # a block of it, written out, serves for all
    args = [np.ascontiguousarray(a[:step]) if same else a for a, same in zip(args, repeated)]
    with np.errstate(**errors):  # as in the thread that asked
        for i in range(start, stop, step):
            n = min(step, stop - i)
            out[i : i + n] = f(*((a[:n] if same else a[i : i + n]) if np.ndim(a) else a for a, same in zip(args, repeated)))
