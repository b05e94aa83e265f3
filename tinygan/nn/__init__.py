"""Layers, losses and initial values, with PyTorch's names. This room knows operations; it knows nothing of training."""

from . import init, losses
from .layers import (
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Flatten,
    LayerNorm,
    LeakyReLU,
    Linear,
    ReLU,
    Sequential,
    Sigmoid,
    Softplus,
    Tanh,
    Unflatten,
)
from .module import Module, Parameter

__all__ = [name for name in list(globals()) if name[0] != "_"]
