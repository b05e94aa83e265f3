"""Normalisation of each sample over its last axes, and over groups of its channels, which have
kernels as batch_norm has.

The latter sum over the pixels of each channel of each sample; what is the groups' is arithmetic on
those few numbers, (n, c).
"""

import numpy as np

from .. import kernels
from ..arrays import adopted
from ..autograd import Tensor, describe, primitive
from .arith import raw, sum_to
from .norm import SharedRules, check, image, normalised
from .reduce import mean, sum
from .shape import reshape


@primitive
def _layer_norm(x, weight, bias, *, eps):
    rows = x.reshape(-1, weight.size)
    out = kernels.of(x).layer_norm(rows, weight.reshape(-1), bias.reshape(-1), eps)
    return out.reshape(x.shape)


def _layer_sums(g, x, weight, eps):
    """The gradients to x, weight and bias, all by one pass."""
    rows = (-1, weight.size)
    k = kernels.of(x)
    found = k.layer_norm_grad(g.reshape(rows), x.reshape(rows), weight.reshape(-1), eps)
    return [a.reshape(b.shape) for a, b in zip(found, (x, weight, weight))]


def _layer_to_x(sums, g, out, x, weight, bias, *, eps):
    if not isinstance(g, Tensor):
        return sums(g, x, weight, eps)[0]
    axes = tuple(range(x.ndim - weight.ndim, x.ndim))
    normal, inv = normalised(x, axes, eps)
    g = g * weight
    return inv * (g - mean(g, axes, True) - normal * mean(g * normal, axes, True))


def _layer_to_weight(sums, g, out, x, weight, bias, *, eps):
    if not isinstance(g, Tensor):
        return sums(g, x, weight, eps)[1]
    normal, _ = normalised(x, tuple(range(x.ndim - weight.ndim, x.ndim)), eps)
    return sum_to(g * normal, weight.shape)


def _layer_to_bias(sums, g, out, x, weight, bias, *, eps):
    return sum_to(g, bias.shape) if isinstance(g, Tensor) else sums(g, x, weight, eps)[2]


_layer_norm.rules = SharedRules(_layer_sums, _layer_to_x, _layer_to_weight, _layer_to_bias)


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """weight * (x - mean) / sqrt(var + eps) + bias over the last axes of x.

    normalized_shape: their sizes, also those of weight and bias. (Ba 2016)
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"layer_norm: x must end in {shape}, got {describe(x)}")
    check("layer_norm", shape, weight, bias)
    x = adopted(x)
    if not x.size or not _of_one_kind(x, weight, bias):
        out, _ = normalised(x, tuple(range(x.ndim - len(shape), x.ndim)), eps)
        out = out if weight is None else out * weight
        return out if bias is None else out + bias
    weight = np.ones_like(raw(x), shape=shape) if weight is None else weight
    bias = np.zeros_like(raw(x), shape=shape) if bias is None else bias
    return _layer_norm(x, weight, bias, eps=eps)


def _of_one_kind(*arrays):
    """Whether they are all of float32, or all of float64; None is passed over."""
    dtypes = {str(a.dtype) for a in arrays if a is not None}
    return dtypes in ({"float32"}, {"float64"})


@primitive
def _group_norm(x, weight, bias, *, groups, center, inv, eps):
    """center, inv (n, c): the mean and 1 / standard deviation of each channel's group."""
    shift = bias + np.zeros_like(center)
    out = kernels.of(x).sample_affine(_samples(x), center, weight * inv, shift)
    return image(out, x.shape)


def _to_x(sums, g, out, x, weight, bias, *, groups, center, inv, eps):
    if not isinstance(g, Tensor):
        sum_g, sum_gx = sums(g, x, center, inv)
        pixels = x.size // center.size
        through_mean = _by_group(weight * sum_g, groups) * (inv / -pixels)
        through_inv = _by_group(weight * sum_gx, groups) * (inv * inv / -pixels)
        k = kernels.of(x)
        change = k.sample_affine(
            _samples(x), center, through_inv, through_mean, _samples(g), weight * inv
        )
        return image(change, x.shape)
    normal, inv = _normalised(x, groups, eps)
    axes = tuple(range(2, normal.ndim))
    g = reshape(g * _by_pixel(weight, x), normal.shape)
    change = g - mean(g, axes, True) - normal * mean(g * normal, axes, True)
    return reshape(inv * change, x.shape)


def _to_weight(sums, g, out, x, weight, bias, *, groups, center, inv, eps):
    if isinstance(g, Tensor):
        normal = reshape(_normalised(x, groups, eps)[0], x.shape)
        return sum(g * normal, _repeated(weight, x))
    found = sums(g, x, center, inv)[1]
    return found.sum(axis=0) if weight.ndim == 1 else found


def _to_bias(sums, g, out, x, weight, bias, *, groups, center, inv, eps):
    if isinstance(g, Tensor):
        return sum(g, _repeated(bias, x))
    found = sums(g, x, center, inv)[0]
    return found.sum(axis=0) if bias.ndim == 1 else found


def _sums(g, x, center, inv):
    """The sums of g, and of g times the normalised x, by channel of each sample: (n, c), (n, c)."""
    sum_g, sum_gx = kernels.of(x).sample_sums(_samples(g), _samples(x), center)
    return sum_g, sum_gx * inv


_group_norm.rules = SharedRules(_sums, _to_x, _to_weight, _to_bias)


def _samples(x):
    """An array (n, c, ...) as (n, p, c): no copy if the channels lie last in memory."""
    n, c, *rest = x.shape
    return x.transpose(0, *range(2, x.ndim), 1).reshape(n, -1, c)


def _by_group(a, groups):
    """The mean over the channels of each group of a (n, c), in the place of each: (n, c)."""
    n, c = a.shape
    means = a.reshape(n, groups, c // groups).mean(axis=2, keepdims=True)
    return np.broadcast_to(means, (n, groups, c // groups)).reshape(n, c)


def _by_pixel(v, x):
    """v (c,) or (n, c) in a shape that broadcasts to x's, (n, c, ...)."""
    return reshape(v, (*v.shape, *[1] * (x.ndim - 2)))


def _repeated(v, x):
    """The axes of x (n, c, ...) along which v, (c,) or (n, c), is the same."""
    return (*range(2 - v.ndim), *range(2, x.ndim))


def _normalised(x, groups, eps):
    """`normalised` with each group an axis, (n, groups, channels of each, ...)."""
    n, c, *rest = x.shape
    split = x if c == groups else reshape(x, (n, groups, c // groups, *rest))
    return normalised(split, tuple(range(2, split.ndim)), eps)


def _statistics(x, groups, eps):
    """The mean and 1 / standard deviation of each channel's group: (n, c, ...) -> (n, c), (n, c).

    The groups' variances are the means of their channels', and of those' squared distances from
    the groups' means: of no large numbers is there a difference (Chan, Golub & LeVeque 1983).
    """
    means, variances = kernels.of(x).sample_moments(_samples(x))
    center = _by_group(means, groups)
    apart = means - center
    return center, 1 / np.sqrt(_by_group(variances + apart * apart, groups) + eps)


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    """As `layer_norm`, over each of so many groups of the channels of x (n, c, ...) (Wu & He 2018).

    weight and bias: (c,), or (n, c), other ones for each sample: what a condition makes of it
    (adaptive group normalisation, Dhariwal & Nichol 2021).
    """
    if x.ndim < 2 or num_groups < 1 or x.shape[1] % num_groups:
        raise ValueError(
            f"group_norm: needs x (n, c, ...) whose channels {num_groups} groups divide,"
            f" got {describe(x)}"
        )
    x = adopted(x)
    n, c, *_ = x.shape
    for what, a in (("weight", weight), ("bias", bias)):
        if a is not None and a.shape not in ((c,), (n, c)):
            raise ValueError(
                f"group_norm: {what} must have shape {(c,)}, or {(n, c)} for each sample's own,"
                f" got {describe(a)}"
            )
    data = raw(x)
    if not x.size or not _of_one_kind(x, weight, bias):
        out = reshape(_normalised(x, num_groups, eps)[0], x.shape)
        out = out if weight is None else out * _by_pixel(weight, x)
        return out if bias is None else out + _by_pixel(bias, x)
    center, inv = _statistics(data, num_groups, eps)
    weight = np.ones_like(data, shape=(c,)) if weight is None else weight
    bias = np.zeros_like(data, shape=(c,)) if bias is None else bias
    return _group_norm(x, weight, bias, groups=num_groups, center=center, inv=inv, eps=eps)
