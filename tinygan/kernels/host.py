"""The host under the Numba kernels: a team of threads that shares out a loop, and memory that is used again.

Both are there because a training step runs the same loops on arrays of the same sizes each time. This room knows threads
and bytes, and no kernel.
"""

import math
import os
import queue
import sys
import threading

import numpy as np

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

_tasks, _workers = queue.SimpleQueue(), []


def split(kernel, n, size, *args):
    """kernel(start, stop, *args) over 0..n, a part to each core; in one part if it touches few elements (`size`).

    The team are Python threads that sleep when idle, and the kernels release the interpreter. Numba's own parallel loops
    would be shorter to write, but their threads spin between loops and take the cores from BLAS.
    """
    parts = CORES if size >= 1 << 15 else 1
    bounds, done = [n * i // parts for i in range(parts + 1)], queue.SimpleQueue()
    while len(_workers) < parts - 1:
        _workers.append(threading.Thread(target=_work, daemon=True, name="tinygan"))
        _workers[-1].start()
    for start, stop in zip(bounds[1:], bounds[2:]):
        _tasks.put((done, kernel, start, stop, args))
    kernel(bounds[0], bounds[1], *args)
    for _ in bounds[2:]:
        error = done.get()
        if error is not None:
            raise error


def _work():
    while True:
        done, kernel, start, stop, args = _tasks.get()
        try:
            done.put(kernel(start, stop, *args))
        except BaseException as e:
            done.put(e)
        del args  # idle threads hold no arrays


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


def empty_like(x):
    """`empty` with x's shape, and its axes in x's order in memory."""
    order = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
    return empty(tuple(x.shape[i] for i in order), x.dtype).transpose(sorted(range(x.ndim), key=order.__getitem__))


def like(g, x):
    """g with its axes in x's order in memory."""
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
