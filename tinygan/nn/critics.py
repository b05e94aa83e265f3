"""Layers for discriminators: spectral normalisation, the batch's deviation as a feature, maxout.

They know no loss and no training.
"""

import copy

import numpy as np

from .. import device, ops, random
from .conv import ConvTranspose1d, ConvTranspose2d
from .functions import Stateless
from .module import Module

FIRST = 15  # power iterations when a layer is wrapped, so that its first norm is about right


def spectral_norm(layer, n_power_iterations=1, eps=1e-12):
    """The layer with W / sigma(W) in place of its weight W, for linear layers and convolutions.

    sigma = u^T W v, W's largest singular value: u and v come nearer to its singular vectors by so
    many power iterations at each call in training mode, and stay in eval mode. The gradient reaches
    W both ways, and takes u and v for constants. W counts as a matrix with a row for each output
    (channel); what the result holds is what PyTorch's torch.nn.utils.spectral_norm holds: `bias`,
    `weight_orig`, `weight_u`, `weight_v`. TypeError for what has no such weight, or is wrapped.

    It bounds the slope of a dense layer by 1, of a convolution by the root of its kernel's area
    (Tsuzuku 2018): D's logits then never grow so far that G learns nothing from them, and no loss
    needs a penalty. The bound is a hard one: for a loss that wants a steeper D, as least squares
    does, leave the last layer as it is.
    (Miyato 2018, equations 6 to 8 and algorithm 1)
    """
    words = "spectral_norm: takes a layer with a weight of two axes or more, and a bias if any"
    if isinstance(layer, SpectralNorm):
        raise TypeError(f"{words}; {layer} is wrapped already")
    held = dict(layer._members()) if isinstance(layer, Module) else {}
    if held.keys() - {"bias"} != {"weight"} or held["weight"].ndim < 2:
        raise TypeError(
            f"{words}, as nn.Linear(8, 1); {type(layer).__name__} holds"
            f" {', '.join(held) or 'nothing'}: in a network, wrap each layer as it is made"
        )
    if n_power_iterations < 1:
        got = f"must be 1 or more, got {n_power_iterations}"
        raise ValueError(f"spectral_norm: n_power_iterations {got}")
    if not held["weight"].data.any():
        raise ValueError(f"spectral_norm: the weight of {layer} is 0, which no norm divides")
    return SpectralNorm(layer, n_power_iterations, eps)


class SpectralNorm(Module):
    """What `spectral_norm` makes of a layer, which lends its `forward`: what it held is held here,
    by PyTorch's names.
    """

    def __init__(self, layer, n_power_iterations, eps):
        self.layer = layer
        self.n_power_iterations = n_power_iterations
        self.eps = eps
        # the axis of W that is the layer's outputs
        self.dim = int(isinstance(layer, (ConvTranspose1d, ConvTranspose2d)))
        self.bias = vars(layer).get("bias")
        self.weight_orig = layer.weight
        w = layer.weight.data
        rows = w.shape[self.dim]
        self.weight_u = random.default.normal((rows,), w.dtype, device.of(w))
        self.weight_v = np.empty_like(w, shape=(w.size // rows,))
        self._iterate(FIRST)

    def _members(self):
        return [(name, thing) for name, thing in super()._members() if name != "layer"]

    def forward(self, x):
        u, v = self._iterate(self.n_power_iterations) if self.training else self._vectors()
        layer = copy.copy(self.layer)
        vars(layer).update(weight=self._divided(u, v), bias=self.bias)
        return layer.forward(x)

    @property
    def weight(self):
        """W / sigma, a Tensor, by the u and v there are."""
        return self._divided(*self._vectors())

    def _divided(self, u, v):
        sigma = ops.matmul(ops.matmul(v.T, self._matrix(self.weight_orig)), u)  # (1, 1)
        return self.weight_orig / sigma

    def _matrix(self, w):
        """W transposed, a column for each output: (kernel's area * other channels, outputs). In
        that order a convolution keeps its weight, so that this is a view.
        """
        axes = (*range(2, w.ndim), 1 - self.dim, self.dim)
        return ops.reshape(ops.transpose(w, axes), (-1, w.shape[self.dim]))

    def _channels_first(self):
        """weight_v as (kernel's area, other channels): a view, since PyTorch has channels first."""
        channels = self.weight_orig.shape[1 - self.dim]
        return self.weight_v.reshape(channels, -1).T

    def _vectors(self):
        """u and v as columns of length 1: those in a moving average of this layer (`optim.EMA`) are
        shorter. They have memory of their own, as a graph needs, which keeps them.
        """
        v = self._channels_first().reshape(-1, 1)
        return self._unit(self.weight_u[:, None]), self._unit(v)

    def _iterate(self, times):
        """The same after so many power iterations (algorithm 1, step 1), and kept, in place."""
        u, matrix = self.weight_u[:, None], self._matrix(self.weight_orig.data)
        for _ in range(times):
            v = self._unit(ops.matmul(matrix, u))
            u = self._unit(ops.matmul(matrix.T, v))
        self.weight_u[...] = u[:, 0]
        columns = self._channels_first()
        columns[...] = v.reshape(columns.shape)
        return u, v

    def _unit(self, a):
        """a / max(|a|, eps)."""
        return a / np.maximum(np.sqrt((a * a).sum()), self.eps)

    def extra_repr(self):
        return f"{self.layer}, n_power_iterations={self.n_power_iterations}"


def _minibatch_std(x, group_size=None, eps=1e-8):
    n, c, *pixels = x.shape
    size = max(n, 1) if group_size is None else min(group_size, max(n, 1))
    if size < 1 or n % size:
        raise ValueError(
            f"MinibatchStdDev: group_size={group_size} must divide the batch of {n};"
            " None takes it as one group"
        )
    members = ops.reshape(x, (size, n // size, c, *pixels))
    deviation = ops.sqrt(ops.var(members, axis=0) + eps)  # (n // size, c, ...)
    figure = ops.mean(deviation, axis=tuple(range(1, deviation.ndim)), keepdims=True)
    figures = ops.broadcast_to(figure, (size, n // size, 1, *pixels))
    return ops.concatenate([x, ops.reshape(figures, (n, 1, *pixels))], axis=1)


class MinibatchStdDev(Stateless, function=_minibatch_std):
    """One more channel (n, c + 1, h, w), or feature (n, c + 1): how much the samples differ.

    It is the standard deviation over the batch of each feature at each pixel, averaged over all of
    these: one number, by which D sees at once that G makes the same sample again and again. It
    stands before D's last layers. (Karras 2018, section 3)

    group_size: how many samples a deviation is over. By default all there are, as in the paper:
    a batch of any size will do, and the more samples the surer the number. With 4, as in
    StyleGAN2, it does not depend on the batch's size, which must be a multiple of 4, or less; a
    group is then samples i, i + n/4, i + 2n/4, i + 3n/4. eps: added to the variances, which keeps
    derivatives of all orders finite where samples are equal.
    """


def _maxout(x, pieces):
    n, features, *rest = x.shape
    if pieces < 1 or features % pieces:
        raise ValueError(f"Maxout: pieces={pieces} must divide the {features} features of x")
    return ops.max(ops.reshape(x, (n, pieces, features // pieces, *rest)), axis=1)


class Maxout(Stateless, function=_maxout):
    """The largest of each `pieces` features: (n, pieces * k, ...) -> (n, k, ...).

    The pieces of output i are the features i, i + k, i + 2k, ...: the maximum is then over an axis
    in the middle, of whole rows of k numbers at once, which is several times as fast as over a
    short last axis. Equal pieces share the gradient. (Goodfellow 2013, section 3)
    """
