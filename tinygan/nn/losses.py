"""The losses. `reduction` is "mean", "sum" or "none", as in PyTorch. Scores of a discriminator are logits.

A GAN's objective is one function with two faces: given the scores of fake and real samples it is the discriminator's loss,
given those of fake samples alone the generator's.
"""

import numpy as np

from .. import ops
from ..autograd import Tensor, describe, grad
from ..ops import raw, sigmoid
from ..ops.arith import elementwise


def _reduce(loss, reduction):
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    return loss if reduction == "none" else ops.mean(loss) if reduction == "mean" else ops.sum(loss)


def _same_shape(name, input, target):
    if hasattr(target, "shape") and target.shape != input.shape:
        raise ValueError(f"{name}: input and target must have one shape (input: {describe(input)}, target: {describe(target)})")


@elementwise(lambda g, out, x, t: g * sigmoid(x) * sigmoid(-x), lambda g, out, x, t: -g)
def _bce_grad(x, t):  # (1 - t) sigmoid(x) - t sigmoid(-x): sigmoid(x) - t, to the last digit where that is nearly 0
    e = np.exp(-np.abs(x))
    return ((1 - t) * np.maximum(e, x >= 0) - t * np.maximum(e, x <= 0)) / (1 + e)


@elementwise(lambda g, out, x, t: g * _bce_grad(x, t), lambda g, out, x, t: -g * x)
def _bce(x, t):
    return np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))


def binary_cross_entropy_with_logits(input, target, reduction="mean"):
    """-t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x)), without overflow; target: an array, or one number for all."""
    _same_shape("binary_cross_entropy_with_logits", input, target)
    return _reduce(_bce(input, target), reduction)


def mse(input, target, reduction="mean"):
    """(input - target)**2."""
    _same_shape("mse", input, target)
    d = input - target
    return _reduce(d * d, reduction)


def cross_entropy(input, target, reduction="mean"):
    """-log(softmax(input)[target]): logits (n, classes), a raw array of labels (n,)."""
    if input.ndim != 2 or target.shape != input.shape[:1] or target.dtype.kind not in "iu":
        both = f"got {describe(input)} and {describe(target)}"
        raise ValueError(f"cross_entropy: needs logits (n, classes) and integer labels (n,), {both}")
    rows = np.arange(len(target), like=target)
    return _reduce(-ops.log_softmax(input, 1)[rows, target], reduction)


def gaussian_kl(mean, log_variance, reduction="mean"):
    """KL(N(mean, variance) || N(0, 1)) in nats, summed over axis 1 (Kingma & Welling 2014, appendix B): (n, k) each."""
    _same_shape("gaussian_kl", mean, log_variance)
    return _reduce(0.5 * ops.sum(mean * mean + ops.exp(log_variance) - log_variance - 1, axis=1), reduction)


def non_saturating(fake, real=None):
    """Goodfellow 2014, section 3: D learns real -> 1 and fake -> 0; G maximises log D(fake)."""
    if real is None:
        return binary_cross_entropy_with_logits(fake, 1.0)
    return binary_cross_entropy_with_logits(real, 1.0) + binary_cross_entropy_with_logits(fake, 0.0)


def hinge(fake, real=None):
    """Lim & Ye 2017; Miyato 2018, equations 16 and 17: D pushes real above 1 and fake below -1; G raises fake."""
    if real is None:
        return -ops.mean(fake)
    return ops.mean(ops.relu(1 - real)) + ops.mean(ops.relu(1 + fake))


def wasserstein(fake, real=None):
    """Arjovsky 2017, equation 2: the critic widens the gap between mean scores, G narrows it."""
    return -ops.mean(fake) if real is None else ops.mean(fake) - ops.mean(real)


def gradient_penalty(critic, real, fake, mix):
    """mean((|d critic(x)/dx| - 1)**2) at x = mix*real + (1 - mix)*fake (Gulrajani 2017, equation 3; weigh it by 10).

    real, fake: raw arrays (n, ...); mix: a raw array (n,) of numbers from [0, 1). Differentiable in the critic's parameters.
    """
    _same_shape("gradient_penalty", real, fake)
    mix = mix.reshape(-1, *[1] * (real.ndim - 1))
    x = Tensor(mix * raw(real) + (1 - mix) * raw(fake))
    slope = grad(ops.sum(critic(x)), x, create_graph=True)
    length = ops.sqrt(ops.sum(slope * slope, axis=tuple(range(1, x.ndim))) + 1e-12)  # smooth where the slope vanishes
    return ops.mean((length - 1) ** 2)
