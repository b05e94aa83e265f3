"""Layers, losses and initial values, with PyTorch's names, arguments and state_dict keys.

This room knows operations; it knows nothing of training.
"""

from ..ops.methods import missing as _missing
from . import init, losses
from .attention import SelfAttention2d, SinusoidalEmbedding
from .conv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from .critics import Maxout, MinibatchStdDev, spectral_norm
from .functions import (
    ELU, GELU, AdaptiveAvgPool2d, AvgPool2d, Flatten, Hardtanh, Identity, LeakyReLU, LogSoftmax,
    MaxPool2d, PixelShuffle, PixelUnshuffle, ReflectionPad2d, ReLU, ReplicationPad2d, Sigmoid, SiLU,
    Softmax, Softplus, Tanh, Unflatten, Upsample, ZeroPad2d,
)  # fmt: skip
from .groups import GroupNorm, InstanceNorm1d, InstanceNorm2d
from .layers import (
    Dropout, Dropout2d, Embedding, Linear, ModuleDict, ModuleList, PReLU, Sequential,
)  # fmt: skip
from .module import Module, Parameter
from .norm import BatchNorm1d, BatchNorm2d, LayerNorm
from .supervised import (
    BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, MSELoss, NLLLoss, SmoothL1Loss,
)  # fmt: skip
from .transformer import (
    MultiheadAttention, RotaryEmbedding, TransformerEncoder, TransformerEncoderLayer,
)  # fmt: skip

__all__ = [name for name in list(globals()) if name[0] != "_"]


def __getattr__(name):
    _missing(__name__, name, __all__)
