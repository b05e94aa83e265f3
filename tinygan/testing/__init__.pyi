"""What a type checker knows of the checks; `check.py` says what each argument means."""

from collections.abc import Callable, Collection
from typing import Any

from .report import GradientError as GradientError
from .report import KinkError as KinkError

def check_grads(
    f: Any,
    *inputs: Any,
    kwargs: dict[str, Any] | None = None,
    constant: Collection[str] = (),
    order: int = 2,
    vjp: Callable[..., Any] | None = None,
    jvp: Callable[..., Any] | bool | None = None,
    engine: str | None = None,
    rtol: float | None = None,
    layouts: bool = True,
    nondeterminism: float = 0.0,
    skip: str | Collection[str] = (),
    seed: int = 0,
) -> None: ...
def check_module(net: Any, *inputs: Any, **options: Any) -> None: ...
