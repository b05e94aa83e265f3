"""What a type checker knows of `recording.py`: a decorated function keeps its type."""

import contextlib
import threading

class Mode(threading.local):
    recording: bool
    before: list[bool]

mode: Mode

class no_grad(contextlib.ContextDecorator):
    recording: bool

    def __enter__(self) -> None: ...
    def __exit__(self, *exc: object) -> None: ...

class enable_grad(no_grad): ...
