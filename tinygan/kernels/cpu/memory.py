"""Memory that is used again, for new arrays in the place of old ones, and for tables.

It is there because a training step makes arrays of the same sizes each time. What is kept is
bounded, in bytes and in time. This file knows bytes, no kernel and nothing that is in an array.
"""

import contextlib
import functools
import math
import mmap
import os
import sys
import threading
import time

import numpy as np

from .threads import start

LEAST = 1 << 18  # bytes: less memory than this is cheap
HUGE = 1 << 22  # bytes: from here on in pages of 2 MB, as NumPy's own arrays
SPARE = 1 << 25  # bytes that may always lie idle
KEPT = 10.0  # seconds that memory waits to be asked for


class _Buffer:
    """Bytes, and the time when they were last handed out."""

    __slots__ = "memory", "used"

    def __init__(self, size):
        self.memory = _mapped(size) if hasattr(mmap, "MAP_ANONYMOUS") else np.empty(size, np.uint8)


def _mapped(size):
    """So many bytes from the system itself: malloc would keep what is given back to it."""
    try:
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as e:
        raise MemoryError(f"no memory for an array of {size} bytes: {e}") from e
    if size >= HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a system built without
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, np.uint8)


_buffers = {}  # {size: [buffer, ...]}
_most = 0  # bytes that were in use at a time
_watching = False
_lock = threading.Lock()


def _forked():
    """A child has no watcher, and a lock that nobody holds."""
    global _watching, _lock
    _watching, _lock = False, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def empty(shape, dtype):
    """An uninitialised array, a large one in the memory of an earlier one that nobody refers to.

    Memory fresh from the system is paid for page by page, each time: a fifth of a training step.
    So a buffer outlives its array, and serves the next array of about its size. Where another one
    would bring their sum to more than half as much again as was ever in use, idle ones go, the
    longest idle first; and at any time those that no array asked for in KEPT seconds. A training
    step finds all that it needs after its first calls: it makes no more buffers, and loses none.
    """
    dtype = np.dtype(dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < LEAST or dtype.hasobject:
        return np.empty(shape, dtype)
    step = 1 << nbytes.bit_length() - 4  # eight sizes from a power of two to the next
    size = -(-nbytes // step) * step
    if not _lock.acquire(blocking=False):  # another thread, or a signal that came in the middle
        return np.empty(shape, dtype)
    try:
        buffers = _buffers.get(size, [])
        counts = _references(buffers)
        buffer = buffers[counts.index(_ALONE)] if _ALONE in counts else _another(size)
        buffer.used = time.monotonic()
        return np.ndarray(shape, dtype, buffer.memory)
    finally:
        _lock.release()


def _another(size):
    global _most, _watching
    idle = _idle()
    total = size + sum(each * len(buffers) for each, buffers in _buffers.items())
    _most = max(_most, total - sum(b.memory.nbytes for b in idle))
    excess = total - _most - max(_most // 2, SPARE)
    while idle and excess > 0:
        excess -= _drop(idle.pop(0))
    try:
        buffer = _Buffer(size)
    except MemoryError:  # it may be what lies idle that is missing
        while idle:
            _drop(idle.pop())
        buffer = _Buffer(size)
    _buffers.setdefault(size, []).append(buffer)
    _watching = _watching or start(_watch) is not None
    return buffer


def _watch():
    """Drop what nobody asked for in a while, until nothing is left."""
    global _most, _watching
    while True:
        time.sleep(KEPT / 10)
        with _lock:
            for buffer in _idle():
                if buffer.used < time.monotonic() - KEPT:
                    _drop(buffer)
            if not _buffers:
                _most, _watching = 0, False
                return


def _idle():
    """The buffers whose memory nobody refers to, the longest idle first."""
    every = [b for buffers in _buffers.values() for b in buffers]
    free = (b for b, count in zip(every, _references(every)) if count == _ALONE)
    return sorted(free, key=lambda b: b.used)


def _drop(buffer):
    size = buffer.memory.nbytes
    _buffers[size].remove(buffer)
    if not _buffers[size]:
        del _buffers[size]
    return size


def _references(buffers):
    return [sys.getrefcount(b.memory) for b in buffers]


_ALONE = _references([_Buffer(1)])[0]  # the count of memory that only a buffer holds


TABLES = 1 << 25  # bytes of results that a function keeps


def kept(f):
    """f, which gives an array or a tuple of them, with its last results kept: TABLES bytes, or one.

    `functools.lru_cache` counts results, and one table can be as large as a thousand others.
    """
    results = {}  # the longest unused first

    @functools.wraps(f)
    def found(*args):
        result = results.pop(args, None)
        if result is None:
            result = f(*args)
            excess = _nbytes(result) + sum(map(_nbytes, list(results.values()))) - TABLES
            for key in list(results):
                if excess > 0:
                    excess -= _nbytes(results.pop(key, ()))
        results[args] = result
        return result

    return found


def _nbytes(x):
    if isinstance(x, (tuple, list)):
        return sum(map(_nbytes, x))
    return getattr(x, "nbytes", 0)
