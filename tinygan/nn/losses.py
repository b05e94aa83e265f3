"""The losses by name: those that compare with a target are in `supervised`, those of GANs, whose
discriminators give logits, in `adversarial`, and the one of VAEs is here.
"""

from .. import ops
from ..ops.methods import missing as _missing
from .adversarial import (  # noqa: F401
    gradient_penalty, hinge, least_squares, minimax, non_saturating, relativistic, wasserstein,
    zero_centred_penalty,
)  # fmt: skip
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


def __getattr__(name):
    _missing(__name__, name, globals())
