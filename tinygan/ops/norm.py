"""Normalisation over a batch, which has kernels for training; `groups` has that of each sample.

A rule that has a kernel uses it when nothing is to be differentiated further; otherwise it is the
same formula, in primitives.
"""

import functools

import numpy as np

from .. import kernels
from ..arrays import adopted
from ..autograd import Tensor, describe, primitive
from .arith import raw, sqrt
from .reduce import by_channel, mean, rows, sum, sum_channels
from .shape import reshape


def _own(x):
    """The mean of x over one share of a batch, which is all of it."""
    return x


@primitive
def _batch_norm(x, weight, bias, *, center, inv, eps, across):
    """center, inv (c,): the batch's own mean and 1 / standard deviation."""
    scale = weight * inv
    out = kernels.of(x).affine(rows(x), scale, bias - center * scale)
    return image(out, x.shape)


class SharedRules:
    """One for each argument, made anew for each call visited: they share one pass over g and x.

    sums: what that pass finds; each rule has it, or the finding of it, as its first argument.
    """

    def __init__(self, sums, *rules):
        self.sums, self.rules = sums, rules

    def __iter__(self):
        found = []

        def once(*args):
            if not found:
                found.extend(self.sums(*args))
            return found

        return iter([functools.partial(rule, once) for rule in self.rules])


def _sums(g, x, center, inv, across):
    """The sums of g, and of g times the normalised x, by channel."""
    return map(across, kernels.of(x).norm_sums(rows(g), rows(x), center, inv))


def _to_x(sums, g, out, x, weight, bias, *, center, inv, eps, across):
    if not isinstance(g, Tensor):
        found = sums(g, x, center, inv, across)
        change = kernels.of(x).norm_grad(rows(g), rows(x), center, inv, weight, *found)
        return image(change, x.shape)
    axes = (0, *range(2, x.ndim))
    normal, inv = normalised(x, axes, eps, across)
    change = g - across(mean(g, axes, True)) - normal * across(mean(g * normal, axes, True))
    return reshape(weight, inv.shape[1:]) * inv * change


def _to_weight(sums, g, out, x, weight, bias, *, center, inv, eps, across):
    if not isinstance(g, Tensor):
        return sums(g, x, center, inv, across)[1]
    axes = (0, *range(2, x.ndim))
    return sum(g * normalised(x, axes, eps, across)[0], axes)


def _to_bias(sums, g, out, x, weight, bias, *, center, inv, eps, across):
    return sum_channels(g) if isinstance(g, Tensor) else sums(g, x, center, inv, across)[0]


def normalised(x, axes, eps, across=_own):
    """x normalised over some axes, and 1 / standard deviation, as functions of x."""
    d = x - across(mean(x, axes, True))
    inv = 1 / sqrt(across(mean(d * d, axes, True)) + eps)
    return d * inv, inv


_batch_norm.rules = SharedRules(_sums, _to_x, _to_weight, _to_bias)


def image(rows, shape):
    """The inverse of `rows`, or of tables of rows: an array (n, c, ...) of that shape."""
    n, c, *rest = shape
    last = len(shape) - 1
    return rows.reshape(n, *rest, c).transpose(0, last, *range(1, last))


def batch_norm(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5,
    across=None,
):  # fmt: skip
    """weight * (x - mean) / sqrt(var + eps) + bias for each channel of x (n, c, ...).

    training: mean and biased variance are x's own, and the running ones, raw arrays (c,) or None,
    move towards them by `momentum` (the unbiased variance, as in PyTorch); otherwise those are
    used. (Ioffe & Szegedy 2015) across: where x is one of equal shares of a batch, the processes
    that have the others, a `parallel.World`: moments are then the whole batch's.
    """
    if x.ndim < 2 or (running_mean is not None and running_mean.shape != x.shape[1:2]):
        channels = "c" if running_mean is None else len(running_mean)
        raise ValueError(f"batch_norm: x must be (n, {channels}, ...), got {describe(x)}")
    if isinstance(running_mean, Tensor) or isinstance(running_var, Tensor):
        raise TypeError(
            "batch_norm: running_mean and running_var must be raw arrays, changed in place"
        )
    x = adopted(x)
    data = raw(x)
    c = x.shape[1]
    check("batch_norm", (c,), weight, bias)
    weight = np.ones_like(data, shape=(c,)) if weight is None else weight
    bias = np.zeros_like(data, shape=(c,)) if bias is None else bias
    if not x.size or not training:
        if x.size and running_mean is None:
            raise ValueError("batch_norm: needs running_mean and running_var unless training")
        if x.size:  # else there is nothing to normalise
            weight = weight / np.sqrt(running_var + eps)
            bias = bias - running_mean * weight
        return x * by_channel(weight, x) + by_channel(bias, x)
    count = x.size // c * (across.size if across else 1)
    if count < 2:
        raise ValueError(
            "batch_norm: needs more than one value per channel to train on,"
            f" got {describe(x)}; use eval()"
        )
    center, variance = kernels.of(data).moments(rows(data))
    if across:
        own = center
        center = across.mean(own)
        variance = across.mean(variance + np.square(own - center))
    inv = 1 / np.sqrt(variance + eps)
    options = {"center": center, "inv": inv, "eps": eps}
    out = _batch_norm(x, weight, bias, **options, across=across.mean if across else _own)
    if running_mean is not None:
        running_mean += momentum * (center - running_mean)
        running_var += momentum * (variance * (count / (count - 1)) - running_var)
    return out


def check(name, shape, weight, bias):
    """ValueError unless weight and bias, where given, have that shape: others might broadcast."""
    for what, a in (("weight", weight), ("bias", bias)):
        if a is not None and a.shape != shape:
            raise ValueError(f"{name}: {what} must have shape {shape}, got {describe(a)}")
