"""Whether operations record what they do: `no_grad`, `enable_grad`, and what holds without them.

Each thread has a mode of its own. A block may be entered recursively, by several threads, or around
a generator, and so it keeps nothing in itself. This room knows no Tensor.
"""

import contextlib
import functools
import inspect
import threading


class Mode(threading.local):
    """Whether this thread records; and whether it did before each `with` that it is in."""

    recording = True

    def __init__(self):
        self.before = []


mode = Mode()


class no_grad(contextlib.ContextDecorator):
    """Inside it, operations record nothing: their results are leaves.

    Also a decorator, of generators as well.
    """

    recording = False

    def __enter__(self):
        mode.before.append(mode.recording)
        mode.recording = self.recording

    def __exit__(self, *exc):
        mode.recording = mode.before.pop()

    def __call__(self, f):
        return _resumed_in(self, f) if inspect.isgeneratorfunction(f) else super().__call__(f)


class enable_grad(no_grad):
    """Inside it, operations record, even within a `no_grad`. Also a decorator."""

    recording = True


def _resumed_in(block, f):
    """The generator function f, inside the block while its own code runs, and not while its
    caller's does.
    """

    @functools.wraps(f)
    def generator(*args, **kwargs):
        steps = f(*args, **kwargs)
        resume, value = steps.send, None
        while True:
            with block:
                try:
                    result = resume(value)
                except StopIteration as e:
                    return e.value
            try:
                resume, value = steps.send, (yield result)
            except BaseException as e:  # thrown in from outside, or the end
                resume, value = steps.throw, e

    return generator
