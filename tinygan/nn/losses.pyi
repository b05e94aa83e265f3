"""What a type checker knows of `losses.py`, and of the losses that it has from `supervised.py` and
`adversarial.py`.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from ..autograd import Array, Operand, Tensor

_Reduction: TypeAlias = Literal["mean", "sum", "none"]
_Classes: TypeAlias = Tensor | Array  # weights, one a class

def gaussian_kl(mean: Tensor, log_variance: Tensor, reduction: _Reduction = "mean") -> Tensor: ...
def minimax(fake: Tensor, real: Tensor | None = None, smoothing: float = 0.0) -> Tensor: ...
def non_saturating(fake: Tensor, real: Tensor | None = None, smoothing: float = 0.0) -> Tensor: ...
def least_squares(fake: Tensor, real: Tensor | None = None, smoothing: float = 0.0) -> Tensor: ...
def hinge(fake: Tensor, real: Tensor | None = None) -> Tensor: ...
def wasserstein(fake: Tensor, real: Tensor | None = None) -> Tensor: ...
def relativistic(fake: Tensor, real: Tensor | None = None) -> Tensor: ...
def zero_centred_penalty(scores: Tensor, x: Tensor) -> Tensor: ...
def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor | Array, fake: Tensor | Array, mix: Any
) -> Tensor: ...
def mse(input: Tensor, target: Operand, reduction: _Reduction = "mean") -> Tensor: ...
def l1_loss(input: Tensor, target: Operand, reduction: _Reduction = "mean") -> Tensor: ...
def smooth_l1_loss(
    input: Tensor, target: Operand, reduction: _Reduction = "mean", beta: float = 1.0
) -> Tensor: ...
def binary_cross_entropy(
    input: Tensor,
    target: Operand,
    weight: Operand | None = None,
    reduction: _Reduction = "mean",
) -> Tensor: ...
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Operand,
    weight: Operand | None = None,
    reduction: _Reduction = "mean",
    pos_weight: Operand | None = None,
) -> Tensor: ...
def nll_loss(
    input: Tensor,
    target: Array,
    weight: _Classes | None = None,
    ignore_index: int | None = -100,
    reduction: _Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor: ...
def cross_entropy(
    input: Tensor,
    target: Array | Tensor,
    weight: _Classes | None = None,
    ignore_index: int | None = -100,
    reduction: _Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor: ...
