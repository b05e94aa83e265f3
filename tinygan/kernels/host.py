"""The host under the Numba kernels: a team of threads that shares out loops and matrix products, and memory used again.

Both are there because a training step does the same work on arrays of the same sizes each time. This file knows threads,
BLAS and bytes, and no loop of its own.
"""

import functools
import math
import os
import queue
import sys
import threading

import numpy as np

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
ALONE = 1 << 17  # below so many elements one core is as fast: waking another takes some 70 microseconds

_jobs, _workers = queue.SimpleQueue(), []


def split(kernel, n, size, *args):
    """kernel(start, stop, *args) over 0..n, shared among the cores; in one part if it touches few elements (`size`).

    The team are Python threads that sleep when idle, and the kernels release the interpreter. Numba's own parallel loops
    would be shorter to write, but their threads spin between loops and take the cores from BLAS. The caller works too and
    takes whatever part is next, so a thread that wakes late, or not at all on a busy machine, is not waited for.
    """
    if size < ALONE or CORES == 1:
        return kernel(0, n, *args)
    parts, todo, done = 2 * CORES, queue.SimpleQueue(), queue.SimpleQueue()
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


class one_blas_thread:
    """Inside it NumPy's BLAS stays on the thread that calls it: `split` shares a product out among the team instead.

    BLAS's own threads wait for each other, and for more work, by spinning: beside our loops, or any other busy program, a
    step is many times slower. The last to leave gives the threads back.
    """

    inside, before = 0, ()

    def __enter__(self):
        with _lock:
            if one_blas_thread.inside == 0:
                one_blas_thread.before = [(blas, blas.get_num_threads()) for blas in _blas()]
                for blas in _blas():
                    blas.set_num_threads(1)
            one_blas_thread.inside += 1

    def __exit__(self, *exc):
        with _lock:
            one_blas_thread.inside -= 1
            if one_blas_thread.inside == 0:
                for blas, n in one_blas_thread.before:
                    blas.set_num_threads(n)


@functools.cache
def _blas():
    from threadpoolctl import ThreadpoolController

    return [c for c in ThreadpoolController().lib_controllers if c.user_api == "blas"]


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
    return sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))


def dense(x):
    """Whether x fills its memory forwards and without gaps, in some order of its axes."""
    return x.transpose(_memory_order(x)).flags.c_contiguous


def flat(x):
    """A dense x as one axis, in the order of its memory: a view."""
    return x.transpose(_memory_order(x)).reshape(-1)


def empty_like(x):
    """`empty` with x's shape, and its axes in x's order in memory."""
    order = _memory_order(x)
    return empty(tuple(x.shape[i] for i in order), x.dtype).transpose(sorted(range(x.ndim), key=order.__getitem__))


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


def gemm(a, b, out=None):
    if a.ndim > 2 or b.ndim > 2:
        return np.matmul(a, b, out=out)
    (m, k), n = a.shape, b.shape[1]
    out = empty((m, n), a.dtype) if out is None else out
    with one_blas_thread():
        split(_gemm, max(m, n), m * n * k >> 6, a, b, out, m >= n)
    return out


def _gemm(start, stop, a, b, out, by_rows):
    if by_rows:
        np.matmul(a[start:stop], b, out=out[start:stop])
    else:
        np.matmul(a, b[:, start:stop], out=out[:, start:stop])
