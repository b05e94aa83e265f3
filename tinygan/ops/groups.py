"""Normalisation of each sample over groups of its channels."""

from ..arrays import adopted
from ..autograd import describe
from .norm import check, normalised
from .reduce import by_channel
from .shape import reshape


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    """As `layer_norm`, over each of so many groups of the channels of x (n, c, ...).

    weight and bias: (c,). (Wu & He 2018)
    """
    if x.ndim < 2 or num_groups < 1 or x.shape[1] % num_groups:
        raise ValueError(
            f"group_norm: needs x (n, c, ...) whose channels {num_groups} groups divide,"
            f" got {describe(x)}"
        )
    x = adopted(x)
    n, c, *rest = x.shape
    check("group_norm", (c,), weight, bias)
    groups = x if c == num_groups else reshape(x, (n, num_groups, c // num_groups, *rest))
    out, _ = normalised(groups, tuple(range(2, groups.ndim)), eps)
    out = out if groups is x else reshape(out, x.shape)
    out = out if weight is None else out * by_channel(weight, x)
    return out if bias is None else out + by_channel(bias, x)
