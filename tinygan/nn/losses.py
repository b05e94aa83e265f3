"""The losses. A discriminator gives logits; those that compare with a target are in `supervised`.

A GAN's objective is one function for both networks: given the scores of fake and real samples it is
the discriminator's loss, given those of fake samples alone the generator's.
"""

from .. import ops
from ..autograd import Tensor, grad
from ..ops import raw
from ..ops.methods import missing as _missing
from .supervised import (  # noqa: F401
    binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, l1_loss, mse, nll_loss,
    reduced, same_shape, smooth_l1_loss,
)  # fmt: skip


def gaussian_kl(mean, log_variance, reduction="mean"):
    """KL(N(mean, variance) || N(0, 1)) in nats, summed over axis 1: (n, k) each.

    (Kingma & Welling 2014, appendix B)
    """
    same_shape("gaussian_kl", mean, log_variance)
    excess = mean * mean + ops.exp(log_variance) - log_variance - 1
    return reduced(0.5 * ops.sum(excess, axis=1), reduction)


def non_saturating(fake, real=None):
    """Goodfellow 2014, section 3: D learns real -> 1 and fake -> 0; G maximises log D(fake)."""
    if real is None:
        return binary_cross_entropy_with_logits(fake, 1.0)
    return binary_cross_entropy_with_logits(real, 1.0) + binary_cross_entropy_with_logits(fake, 0.0)


def hinge(fake, real=None):
    """D pushes real above 1 and fake below -1, G raises fake (Miyato 2018, equations 16 and 17)."""
    if real is None:
        return -ops.mean(fake)
    return ops.mean(ops.relu(1 - real)) + ops.mean(ops.relu(1 + fake))


def wasserstein(fake, real=None):
    """Arjovsky 2017, equation 2: the critic widens the gap between mean scores, G narrows it."""
    return -ops.mean(fake) if real is None else ops.mean(fake) - ops.mean(real)


def gradient_penalty(critic, real, fake, mix):
    """mean((|d critic(x)/dx| - 1)**2) at x = mix*real + (1 - mix)*fake; weigh it by 10.

    real, fake: raw arrays (n, ...); mix: a raw array (n,) of numbers from [0, 1). Differentiable in
    the critic's parameters. (Gulrajani 2017, equation 3)
    """
    same_shape("gradient_penalty", real, fake)
    mix = mix.reshape(-1, *[1] * (real.ndim - 1))
    x = Tensor(mix * raw(real) + (1 - mix) * raw(fake))
    slope = grad(ops.sum(critic(x)), x, create_graph=True)
    squares = ops.sum(slope * slope, axis=tuple(range(1, x.ndim)))
    length = ops.sqrt(squares + 1e-12)  # smooth where the slope vanishes
    return ops.mean((length - 1) ** 2)


def __getattr__(name):
    _missing(__name__, name, globals())
