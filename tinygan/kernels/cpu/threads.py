"""A team of threads that share out a loop: what Numba's parallel loops would do.

It is there because a training step runs hundreds of loops, each a fraction of a millisecond long.
This file knows threads, and compiles nothing.
"""

import os
import queue
import threading

from .thresholds import SHARED, SHARED_FINELY

# Cores that this process may use, on systems that say so; elsewhere, those that there are.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

_jobs = queue.SimpleQueue()  # (kernel, args, todo, done): one for each worker who is asked to help
_workers = []
_lock = threading.Lock()  # of _workers


def split(kernel, n, size, *args):
    """kernel(start, stop, *args) over 0..n, shared among the cores; in one part if `size` is small,
    which is how many elements a loop touches, or how long it takes in such units.

    The team are Python threads that sleep when idle, and the kernels release the interpreter.
    Numba's own parallel loops would be shorter to write, but their threads spin between loops, as
    BLAS's do, and take the cores from whatever else runs. The caller works too and takes whatever
    part is next: a thread that wakes late on a busy machine, or that the system refuses to start,
    is not waited for.
    """
    if size < SHARED or CORES == 1:
        return kernel(0, n, *args)
    parts = CORES * (2 if size < SHARED_FINELY else 4)
    todo = queue.SimpleQueue()  # (start, stop) of each part
    done = queue.SimpleQueue()  # None or an error for each part
    for i in range(parts):
        todo.put((n * i // parts, n * (i + 1) // parts))
    for _ in range(_team(CORES - 1)):
        _jobs.put((kernel, args, todo, done))
    _work(kernel, args, todo, done)
    for error in [done.get() for _ in range(parts)]:
        if error is not None:
            raise error


def _team(size):
    """How many workers there are, `size` of them where the system gives so many threads."""
    with _lock:
        while len(_workers) < size and (worker := start(_serve)):
            _workers.append(worker)
        return min(len(_workers), size)


def start(f):
    """A thread that runs f and keeps no process alive; None where the system gives no more."""
    thread = threading.Thread(target=f, daemon=True, name="tinygan")
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread


def _work(kernel, args, todo, done):
    """Do parts until none is left."""
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
    """What a worker does."""
    while True:
        _work(*_jobs.get())  # keeps no array while it sleeps


def _forked():
    """Threads do not survive a fork, and what they held stays locked: a child begins anew."""
    global _jobs, _workers, _lock
    _jobs = queue.SimpleQueue()
    _workers = []
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
