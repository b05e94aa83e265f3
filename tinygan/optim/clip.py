"""Clipping of gradients, between `backward` or `grad` and an optimizer's step."""

import functools

import numpy as np

from .. import device
from ..arrays import writable
from ..autograd import Tensor, describe


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False):
    """Scale gradients in place, by one factor: their norm as one vector is then <= `max_norm`.

    parameters: Tensors, whose `grad` is meant, or raw gradients such as `grad` gives; None is
    passed over. norm_type: p, or inf for the largest element. error_if_nonfinite: RuntimeError,
    with nothing changed, for a norm that is infinite or NaN. Returns the norm before, raw, float64.
    """
    norm_type = float(norm_type)
    if not norm_type > 0:
        raise ValueError(f"clip_grad_norm_: norm_type must be above 0, got {norm_type}")
    grads = [g for g in _gradients("clip_grad_norm_", parameters, max_norm) if g.size]
    total = _norm(grads, norm_type) if grads else np.float64(0)
    if error_if_nonfinite and not np.isfinite(total):
        raise RuntimeError(f"clip_grad_norm_: the norm is {total}; nothing was changed")
    factor = np.minimum(max_norm / (total + 1e-6), 1)
    factors = {dtype: factor.astype(dtype) for dtype in {g.dtype for g in grads}}
    for g in grads:
        g *= factors[g.dtype]
    return total


def _norm(grads, p):
    """The norm in float64, where squares of float32 do not overflow."""
    if p == np.inf:
        return functools.reduce(np.maximum, [_wide(np.abs(g).max()) for g in grads], 0.0)
    if p == 2:  # much the most common, in one pass over each
        return np.sqrt(sum(np.square(g, dtype=np.float64).sum() for g in grads))
    return sum((_wide(np.abs(g)) ** p).sum() for g in grads) ** (1 / p)


def _wide(a):
    return a.astype(np.float64)


def clip_grad_value_(parameters, clip_value):
    """Bring the elements of gradients into [-clip_value, clip_value], in place.

    parameters: as in `clip_grad_norm_`.
    """
    for g in _gradients("clip_grad_value_", parameters, clip_value):
        np.minimum(np.maximum(g, -clip_value), clip_value, out=g)


def _gradients(name, parameters, limit):
    """The raw arrays that are meant."""
    if not limit >= 0:
        raise ValueError(f"{name}: the limit must be at least 0, got {limit}")
    lone = isinstance(parameters, Tensor) or device.is_array(parameters)
    grads = []
    for p in [parameters] if lone else parameters:
        g = p
        if isinstance(p, Tensor) and p.op is None:
            p.grad = g = np.asarray(p.grad) if isinstance(p.grad, np.generic) else p.grad
        if g is not None and not (device.is_array(g) and g.dtype.kind == "f"):
            raise TypeError(f"{name}: needs leaves, or raw arrays of floats, got {describe(g)}")
        if g is not None and not writable(g):
            raise ValueError(f"{name}: a gradient, {describe(g)}, is read-only: clip a copy")
        grads += [] if g is None else [g]
    return grads
