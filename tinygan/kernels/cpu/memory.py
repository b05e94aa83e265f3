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

from .threads import thread
from .thresholds import HUGE_PAGES, IDLE_SECONDS, POOLED, SPARE, TABLE_BYTES


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
    if size >= HUGE_PAGES and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a system built without
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, np.uint8)


_buffers = {}  # {size: [buffer, ...]}
_peak = 0  # the most bytes that were in use at a time
_watching = False  # whether a thread runs _watch
_lock = threading.Lock()  # of the three


def _forked():
    """A child has no watcher, and a lock that nobody holds."""
    global _watching, _lock
    _watching, _lock = False, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def empty(shape, dtype):
    """An uninitialised array, a large one in the memory of an earlier one that nobody refers to.

    Memory fresh from the system is paid for page by page, each time: a fifth of a training step.
    So a buffer outlives its array, and serves the next array of about its size. Where a new buffer
    would bring all of them to more than 1.5 times the most that was ever in use (or to SPARE bytes
    above it, if that is more), idle ones go, the longest idle first; and at any time those that no
    array asked for in IDLE_SECONDS. A training step finds all that it needs after its first calls:
    it makes no more buffers, and loses none.
    """
    dtype = np.dtype(dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < POOLED or dtype.hasobject:
        return np.empty(shape, dtype)
    step = 1 << (nbytes.bit_length() - 4)  # eight sizes from a power of two to the next
    size = -(-nbytes // step) * step  # rounded up to a whole number of steps
    if not _lock.acquire(blocking=False):  # another thread, or a signal that came in the middle
        return np.empty(shape, dtype)
    try:
        buffers = _buffers.get(size, [])
        counts = _reference_counts(buffers)
        is_idle = _IDLE_COUNT in counts
        buffer = buffers[counts.index(_IDLE_COUNT)] if is_idle else _another(size)
        buffer.used = time.monotonic()
        return np.ndarray(shape, dtype, buffer.memory)
    finally:
        _lock.release()


def _another(size):
    """A new buffer, in the place of idle ones where there would be too many."""
    global _watching
    _drop_excess(size)
    try:
        buffer = _Buffer(size)
    except MemoryError:  # it may be what lies idle that is missing
        _drop_idle(math.inf)
        buffer = _Buffer(size)
    _buffers.setdefault(size, []).append(buffer)
    _watching = _watching or thread(_watch) is not None
    return buffer


def _drop_excess(size):
    """Make room for `size` more bytes: with them, all buffers have at most 1.5 times the bytes that
    were ever in use, or SPARE more than these.
    """
    global _peak
    total = size + sum(each * len(buffers) for each, buffers in _buffers.items())
    in_use = total - sum(b.memory.nbytes for b in _idle())
    _peak = max(_peak, in_use)
    _drop_idle(total - _peak - max(_peak // 2, SPARE))


def _drop_idle(nbytes):
    """Drop buffers that nobody refers to, the longest idle first, until so many bytes are gone."""
    for buffer in _idle():
        if nbytes <= 0:
            return
        nbytes -= buffer.memory.nbytes
        _drop(buffer)


def _drop_unasked():
    """Drop what nobody asked for in a while."""
    for buffer in _idle():
        if buffer.used < time.monotonic() - IDLE_SECONDS:
            _drop(buffer)


def _watch():
    """What a thread does until no buffer is left."""
    global _peak, _watching
    while True:
        time.sleep(IDLE_SECONDS / 10)
        with _lock:
            _drop_unasked()
            if not _buffers:
                _peak = 0
                _watching = False
                return


def _idle():
    """The buffers whose memory nobody refers to, the longest idle first."""
    every = [b for buffers in _buffers.values() for b in buffers]
    counts = _reference_counts(every)
    idle = [b for b, count in zip(every, counts) if count == _IDLE_COUNT]
    return sorted(idle, key=lambda b: b.used)


def _drop(buffer):
    size = buffer.memory.nbytes
    _buffers[size].remove(buffer)
    if not _buffers[size]:
        del _buffers[size]


def _reference_counts(buffers):
    return [sys.getrefcount(b.memory) for b in buffers]


# The reference count of a buffer's memory that is in no array: the buffer alone refers to it.
_IDLE_COUNT = _reference_counts([_Buffer(1)])[0]


def kept(f):
    """f, which gives an array or tuples of them, with its last results kept: of TABLE_BYTES
    together, or one larger.

    `functools.lru_cache` counts results, and one table can be as large as a thousand others.
    """
    results = {}  # {arguments: result}, the longest unused first

    @functools.wraps(f)
    def found(*args):
        result = results.pop(args, None)
        if result is None:
            result = f(*args)
            excess = _nbytes(result) + sum(map(_nbytes, list(results.values()))) - TABLE_BYTES
            for key in list(results):
                if excess > 0:
                    excess -= _nbytes(results.pop(key, ()))
        results[args] = result  # the last used is the last
        return result

    return found


def _nbytes(x):
    if isinstance(x, (tuple, list)):
        return sum(map(_nbytes, x))
    return getattr(x, "nbytes", 0)
