"""The differentiable operations, under their NumPy and PyTorch names.

`methods` makes Tensor's operators of them. On raw arrays every operation computes and records
nothing. This room knows gradients and no layers.
"""

from .activations import leaky_relu, relu, sigmoid, softplus, tanh
from .attention import attention_weights, scaled_dot_product_attention
from .arith import (
    abs, add, astype, broadcast_to, clip, cos, divide, exp, log, maximum, minimum, multiply,
    negative, power, raw, sin, sqrt, subtract, where,
)  # fmt: skip
from .augment import augment
from .conv import conv2d, conv_transpose2d
from .image import (
    adaptive_avg_pool2d, avg_pool2d, interpolate, max_pool2d, pad2d, pixel_shuffle,
    pixel_unshuffle,
)  # fmt: skip
from .derived import xlogy
from .dropout import dropout
from .einsum import einsum
from .linear import linear, matmul
from .methods import (
    concatenate, cumsum, flip, log_softmax, logsumexp, max, mean, min, missing as _missing,
    prod, softmax, squeeze, stack, std, sum, unsqueeze, var, vector_norm,
)  # fmt: skip
from .groups import group_norm, layer_norm
from .norm import batch_norm
from .rectifiers import elu, gelu, silu
from .shape import flatten, getitem, pad, reshape, swapaxes, transpose
from .signals import conv1d, conv_transpose1d

__all__ = [name for name, f in globals().copy().items() if callable(f) and name[0].islower()]


def __getattr__(name):
    _missing(__name__, name, __all__)
