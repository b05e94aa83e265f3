"""Initial values, drawn from `random.default`: PyTorch's for the layers, DCGAN's as an option."""

import math

import numpy as np

from .. import random
from .module import Parameter


def uniform(shape, bound, order=None):
    """A float32 Parameter uniform in [-bound, bound); order: of its axes in memory, if another."""
    a = (2 * random.default.uniform(shape) - 1) * bound
    if order is not None:
        a = np.ascontiguousarray(a.transpose(order)).transpose(np.argsort(order))
    return Parameter(a)


def bound(shape):
    """1 / sqrt(fan_in), PyTorch's bound for weight (out, in, ...) and bias.

    (He 2015, gain sqrt(1/3))
    """
    fan_in = math.prod(shape[1:])
    return 1 / math.sqrt(fan_in) if fan_in else 0.0


def dcgan(module):
    """Weights from N(0, 0.02), of batch normalisation N(1, 0.02), biases 0.

    (Radford 2016, section 3)
    """
    for name, p in module.named_parameters():
        p.data[...] = 0.0
        if name.rpartition(".")[2].startswith("weight"):  # of `spectral_norm` too: weight_orig
            center = 1.0 if p.ndim == 1 else 0.0  # 1-D: of batch normalisation
            p.data[...] = random.default.normal(p.shape) * 0.02 + center
    return module
