"""The losses that compare with a target, as functions and as PyTorch's classes.

`reduction` is "mean", "sum" or "none", as in PyTorch.
"""

import numpy as np

from .. import kernels, ops
from ..arrays import is_integer
from ..autograd import Tensor, describe, primitive
from ..device import is_array
from ..ops import raw, sigmoid
from ..ops.arith import elementwise, sum_to
from .functions import Stateless


def reduced(loss, reduction, weight=None):
    """The loss times `weight`, as it is, its sum or its mean."""
    if not isinstance(reduction, str) or reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    loss = loss if weight is None else loss * weight
    if reduction == "none":
        return loss
    return ops.mean(loss) if reduction == "mean" else ops.sum(loss)


def same_shape(name, input, target):
    """ValueError unless the target is a number or has input's shape."""
    if hasattr(target, "shape") and target.shape != input.shape:
        raise ValueError(
            f"{name}: input and target must have one shape"
            f" (input: {describe(input)}, target: {describe(target)})"
        )


@primitive
def _bce_grad(x, t):
    """(1 - t) sigmoid(x) - t sigmoid(-x): sigmoid(x) - t, exact where that is nearly 0 too."""
    return kernels.of(x).bce_grad(x, t)


@primitive
def _bce(x, t):
    return kernels.of(x).bce(x, t)


_bce_grad.defvjp(
    lambda g, out, x, t: g * sigmoid(x) * sigmoid(-x),
    lambda g, out, x, t: sum_to(-g, t.shape),
)
_bce.defvjp(
    lambda g, out, x, t: g * _bce_grad(x, t),
    lambda g, out, x, t: sum_to(-g * x, t.shape),
)
_bce.elementwise = _bce_grad.elementwise = True  # targets may be integers


def binary_cross_entropy_with_logits(input, target, weight=None, reduction="mean", pos_weight=None):
    """-t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x)), without overflow.

    target: an array, or one number for all; weight: a raw array that multiplies the loss;
    pos_weight: one that multiplies its first term.
    """
    same_shape("binary_cross_entropy_with_logits", input, target)
    loss = _bce(input, target)
    if is_integer(target):
        target = target.astype(input.dtype)
    if isinstance(pos_weight, Tensor):
        raise TypeError(
            "binary_cross_entropy_with_logits: pos_weight must be a raw array or a number"
        )
    if pos_weight is not None:
        loss = loss + (pos_weight - 1) * target * ops.softplus(-input)
    return reduced(loss, reduction, weight)


@elementwise(lambda g, out, x: g / ops.clip(x, 1e-12))
def _bounded_log(x):
    # PyTorch's bounds: a discriminator that is certain, and wrong, has a finite loss and slope
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(x), -100)


def binary_cross_entropy(input, target, weight=None, reduction="mean"):
    """-t log(x) - (1 - t) log(1 - x) of probabilities x; of logits it is exact.

    Each logarithm is at least -100 and its slope at most 1e12, as in PyTorch.
    """
    same_shape("binary_cross_entropy", input, target)
    x = raw(input)
    if isinstance(x, np.ndarray) and not ((x >= 0) & (x <= 1)).all():
        raise ValueError(
            "binary_cross_entropy: needs probabilities, from 0 to 1: apply a sigmoid, or take"
            f" binary_cross_entropy_with_logits (input: {describe(input)})"
        )
    loss = target * _bounded_log(input) + (1 - target) * _bounded_log(1 - input)
    return reduced(-loss, reduction, weight)


def mse(input, target, reduction="mean"):
    """(input - target)**2."""
    same_shape("mse", input, target)
    d = input - target
    return reduced(d * d, reduction)


def l1_loss(input, target, reduction="mean"):
    """|input - target|."""
    same_shape("l1_loss", input, target)
    return reduced(ops.abs(input - target), reduction)


def smooth_l1_loss(input, target, reduction="mean", beta=1.0):
    """d**2 / (2 beta) where d = |input - target| < beta, d - beta/2 elsewhere (Girshick 2015)."""
    if not beta:
        return l1_loss(input, target, reduction)
    same_shape("smooth_l1_loss", input, target)
    d = input - target
    near, far = d * d * (0.5 / beta), ops.abs(d) - 0.5 * beta
    return reduced(ops.where(np.abs(raw(d)) < beta, near, far), reduction)


def check_labels(labels, classes, ignore_index=None, what=("label", "classes")):
    """Raise unless `labels` is a raw array of integers, in host memory each of them a class.
    what: the words for one, and for what there is.

    On a GPU a look would halt the device: whoever calls makes NaN of a label that is no class.
    """
    if not is_integer(labels) or labels.dtype == bool:
        raise ValueError(f"{what[0]}s: needs a raw array of integers, got {describe(labels)}")
    if isinstance(labels, np.ndarray):
        outside = (labels < 0) | (labels >= classes)
        wrong = labels[outside & (labels != ignore_index)]
        if wrong.size:
            known = f"{classes} {what[1]}, 0 to {classes - 1}"
            raise IndexError(f"{what[0]} {wrong[0]} is none of {known}")


def nll_loss(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """-input[target]: log-probabilities (n, classes, ...), a raw array of labels (n, ...).

    weight: a raw array (classes,); "mean" divides by the sum of the labels' weights. ignore_index:
    a label that counts for nothing. Another that is no class is an IndexError, on a GPU NaN.
    label_smoothing: the part of a target that all classes share (Szegedy 2016).
    """
    options = weight, ignore_index, reduction, label_smoothing
    return _labelled(_at, input, target, *options)


def _at(x, index):
    """One number of each row."""
    return x[np.arange(index.size, like=index), index]


def _labelled(at, input, target, weight, ignore_index, reduction, label_smoothing=0.0):
    """`nll_loss`, where at(rows, index) gives the log-probability at one place of each row."""
    weight = _class_weights(input, weight)
    classes = len(weight)
    target = raw(target)
    check_labels(target, classes, ignore_index)
    if target.shape != input.shape[:1] + input.shape[2:] or not 0 <= label_smoothing <= 1:
        raise ValueError(
            "cross_entropy, nll_loss: needs x (n, classes, ...), labels (n, ...) and"
            f" label_smoothing from 0 to 1, got {describe(input)},"
            f" {describe(target)}, {label_smoothing}"
        )
    counts = target != ignore_index
    inside = (target >= 0) & (target < classes)
    index = np.where(inside, target, 0)
    scale = np.where(inside, weight[index], np.nan)
    scale = np.where(counts, scale, 0).astype(weight.dtype)
    # (n, ..., classes), and the one of each row that its label names
    rows = ops.transpose(input, (0, *range(2, input.ndim), 1))
    chosen = at(ops.reshape(rows, (-1, classes)), index.reshape(-1))
    loss = -ops.reshape(chosen, target.shape) * scale
    if label_smoothing:
        shared = ops.mean(rows * weight, axis=-1)
        loss = (1 - label_smoothing) * loss - label_smoothing * shared
    loss = ops.where(counts, loss, 0.0)
    if reduction == "mean":
        return ops.sum(loss) / scale.sum()
    return reduced(loss, reduction)


@primitive
def _log_softmax_at(x, index):
    """log_softmax(x)[row, index] for each row: nothing of x's size is made."""
    return kernels.of(x).log_softmax_at(x, index)


def _to_logits(g, out, x, index):
    row, g = np.arange(len(index), like=index), g.reshape((-1, 1))
    if isinstance(g, Tensor):
        ones = np.zeros_like(raw(x))
        ones[row, index] = 1
        return g * (ones - ops.softmax(x))
    change = kernels.of(x).softmax_rows(x, 1.0, False)
    change *= -g
    change[row, index] += g[:, 0]
    return change


_log_softmax_at.defvjp(_to_logits)


def _class_weights(x, weight):
    if x.ndim < 2:
        raise ValueError(f"cross_entropy, nll_loss: needs x (n, classes, ...), got {describe(x)}")
    weight = np.ones_like(raw(x), shape=x.shape[1:2]) if weight is None else weight
    if not is_array(weight):
        raise TypeError(f"weight must be a raw array, one number a class, got {describe(weight)}")
    if weight.shape != x.shape[1:2]:
        raise ValueError(f"weight must have shape {x.shape[1:2]}, got {describe(weight)}")
    return weight


def cross_entropy(
    input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0
):
    """-log(softmax(input)[target]): logits (n, classes, ...), and the rest as in `nll_loss`.

    Or targets are probabilities of input's shape; their "mean" divides by their number alone.
    """
    weight = _class_weights(input, weight)
    if getattr(target, "shape", None) != input.shape or target.dtype.kind != "f":
        options = weight, ignore_index, reduction
        if not label_smoothing:
            return _labelled(_log_softmax_at, input, target, *options)
        return _labelled(_at, ops.log_softmax(input, 1), target, *options, label_smoothing)
    log_p = ops.log_softmax(input, 1)
    weight = weight.reshape(-1, *[1] * (input.ndim - 2))
    target = target * (1 - label_smoothing) + label_smoothing / input.shape[1]
    return reduced(-ops.sum(target * log_p * weight, axis=1), reduction)


class MSELoss(Stateless, function=mse, inputs=2):
    """`mse`."""


class L1Loss(Stateless, function=l1_loss, inputs=2):
    """`l1_loss`."""


class SmoothL1Loss(Stateless, function=smooth_l1_loss, inputs=2):
    """`smooth_l1_loss`."""


class BCELoss(Stateless, function=binary_cross_entropy, inputs=2):
    """`binary_cross_entropy`."""


class BCEWithLogitsLoss(Stateless, function=binary_cross_entropy_with_logits, inputs=2):
    """`binary_cross_entropy_with_logits`."""


class NLLLoss(Stateless, function=nll_loss, inputs=2):
    """`nll_loss`."""


class CrossEntropyLoss(Stateless, function=cross_entropy, inputs=2):
    """`cross_entropy`."""
