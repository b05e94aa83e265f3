"""A team of threads that share out a loop: what Numba's parallel loops would do.

It is there because a training step runs hundreds of loops, each a fraction of a millisecond long.
This file knows threads; what they do with a loop, `board` compiles.
"""

import ctypes
import functools
import os
import threading
import time

from ...device import cores
from .board import MOST_PARTS, WAITED, board, launcher, post, serve
from .thresholds import LONG_WAIT, LOOPS_ALONE, MOST_WAITING, PATIENCE, SHARED, SHARED_FINELY

CORES = cores()


class _Team:
    """Workers, the board they watch, and who of them sleeps."""

    def __init__(self):
        self.board = board()
        self.address = self.board.ctypes.data
        self.posting = threading.Lock()  # held by whoever has a loop on the board
        self.workers = []
        self.asleep = []  # the locks that sleeping workers wait for
        self.alone = 0  # how many loops more are not shared out
        self.look = None  # seconds that one look at the board takes

    def gather(self, size):
        """Wake all workers; start some, up to so many, where the system gives so many threads.
        False if the loop is better done alone.
        """
        if self.alone:
            self.alone -= 1
            return False
        if self.look is None:
            serve(self.address, 0.0, 0)  # compiled
            start = time.perf_counter()
            serve(self.address, 0.0, 1000)
            self.look = (time.perf_counter() - start) / 1000
        while self.asleep:
            self.asleep.pop().release()
        while (number := len(self.workers) + 1) <= size:
            share = number / (size + 1)  # where it begins; the caller begins at 0
            worker = thread(functools.partial(self.serve, share))
            if not worker:
                break
            self.workers.append(worker)
        return True

    def serve(self, share):
        """What a worker does."""
        awake = threading.Lock()
        awake.acquire()
        while True:
            serve(self.address, share, int(PATIENCE / self.look))
            self.asleep.append(awake)
            awake.acquire()

    def look_back(self, seconds):
        """After a loop that took so long: if most of it was waiting for a worker, another process
        has put that off its core. It will happen again, and takes milliseconds each time.
        """
        waited = self.board[WAITED // 8] * self.look
        if waited > max(LONG_WAIT, MOST_WAITING * seconds):
            self.alone = LOOPS_ALONE


def thread(f):
    """A thread that runs f and keeps no process alive; None where the system gives no more."""
    made = threading.Thread(target=f, daemon=True, name="tinygan")
    try:
        made.start()
    except RuntimeError:
        return None
    return made


def split(kernel, n, size, *args):
    """kernel(start, stop, *args) over 0..n, shared among the cores; in one part if `size` is small,
    which is how many elements a loop touches, or how long it takes in such units.

    The team are threads that watch for work for a moment, as long as there is between two loops of
    a training step, and then sleep; the kernels release the interpreter. Numba's own parallel loops
    would be shorter to write, but their threads watch for ever, as BLAS's do, and take the cores
    from whatever else runs. The caller works too and takes whatever part is next: a thread that
    wakes late on a busy machine, or that the system refuses to start, is not waited for.

    One loop is shared out at a time: others, of another thread or in a part of it, run alone.
    """
    team, parts, is_shared = _team, 1, False
    begun = time.perf_counter()
    try:
        is_shared = size >= SHARED and CORES > 1 and team.posting.acquire(blocking=False)
        if is_shared and team.gather(CORES - 1):
            parts = min(CORES * (2 if size < SHARED_FINELY else 8), MOST_PARTS)
        if not hasattr(kernel, "py_func"):
            _python(team, kernel, n, parts, args)
        elif launcher(kernel)(team.address, n, parts, args):
            raise MemoryError(f"{kernel.__name__}: no memory for what it makes on the way")
        seconds = time.perf_counter() - begun
        if parts > 1 and seconds > LONG_WAIT:
            team.look_back(seconds)
    finally:
        if is_shared:
            team.posting.release()


def _python(team, f, n, parts, args):
    """A loop in Python, over expressions of NumPy, which release the interpreter."""
    if parts == 1:
        return f(0, n, *args)
    done, errors = [], []

    @_Part
    def part(start, stop, _):
        try:
            f(start, stop, *args)
            done.append(start)
        except BaseException as e:
            errors.append(e)
        return 0

    post(team.address, n, parts, ctypes.cast(part, ctypes.c_void_p).value, 0)
    args = ()  # what ctypes made of `part` refers to itself, and would keep arrays from being freed
    if errors:
        raise errors[0]
    if len(done) < parts:  # a signal came before `try`, and ctypes cannot raise what it raised
        raise KeyboardInterrupt


_Part = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 4)  # as `board` has them
_team = _Team()


def _forked():
    """Threads do not survive a fork, and what they held stays locked: a child begins anew."""
    global _team
    _team = _Team()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
