"""Dropout: the one operation that draws random numbers, from `random.default`."""

import numpy as np

from .. import device, random
from ..autograd import describe
from .arith import multiply, raw


def dropout(x, p=0.5, training=True):
    """x with each element zeroed with probability p, and the rest divided by 1 - p.

    x itself unless `training`. (Srivastava 2014)
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be from 0 to 1, got {p} (x: {describe(x)})")
    if not training or p == 0:
        return x
    scale = 1 / (1 - p) if p < 1 else 0.0
    # channels last, as convolutions leave images in memory
    shape = (*x.shape[:1], *x.shape[2:], *x.shape[1:2])
    data = raw(x)
    dtype = data.dtype if data.dtype.kind == "f" else np.float32
    mask = random.default.bernoulli(1 - p, shape, dtype, device.of(data), scale)
    return multiply(x, np.moveaxis(mask, -1, 1) if x.ndim > 2 else mask)
