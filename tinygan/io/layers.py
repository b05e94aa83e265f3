"""What becomes of layers that are one node of ONNX each: those whose tape does not tell all, since
they compare (ELU, PReLU, MaxPool2d), and those that would be many nodes and have a name there.

All other layers are what their operations become.
"""

from typing import NamedTuple

import numpy as np

from .. import nn
from ..ops.conv import pair


class Row(NamedTuple):
    """nodes(graph, layer, x, out) -> a node's name; fits(layer, x): whether it says the same."""

    nodes: object
    fits: object


TABLE = {}


def becomes(*kinds, fits=lambda layer, x: True):
    """Decorate what writes layers of those classes, where they fit."""

    def decorate(f):
        TABLE.update(dict.fromkeys(kinds, Row(f, fits)))
        return f

    return decorate


def whole(layer, x):
    """Whether a layer, of exactly that class, is one node for such an x."""
    row = TABLE.get(type(layer))
    return row is not None and row.fits(layer, x)


def _images(layer, x):
    return x.ndim == 4


def _affine(layer, shape):
    """A normalisation's weight and bias, or the ones and zeros that it does without."""
    weight, bias = layer.weight, layer.bias
    weight = np.ones(shape, np.float32) if weight is None else weight
    bias = np.zeros(shape, np.float32) if bias is None else bias
    return weight, bias


@becomes(nn.ELU)
def _elu(graph, layer, x, out):
    return graph.node("Elu", x, alpha=float(layer.alpha))


@becomes(nn.PReLU, fits=lambda layer, x: x.ndim > 1)
def _prelu(graph, layer, x, out):
    column = graph.integers([-1] + [1] * (len(x.shape) - 2))
    return graph.node("PRelu", x, graph.node("Reshape", layer.weight, column))


def _tracked(layer, x):
    return layer.running_mean is not None


@becomes(nn.BatchNorm1d, nn.BatchNorm2d, fits=_tracked)
def _batch_norm(graph, layer, x, out):
    own = _affine(layer, layer.num_features)
    running = layer.running_mean, layer.running_var
    return graph.node("BatchNormalization", x, *own, *running, epsilon=float(layer.eps))


@becomes(nn.InstanceNorm1d, nn.InstanceNorm2d)
def _instance_norm(graph, layer, x, out):
    own = _affine(layer, layer.num_channels)
    return graph.node("InstanceNormalization", x, *own, epsilon=float(layer.eps))


@becomes(nn.LayerNorm)
def _layer_norm(graph, layer, x, out):
    shape = layer.normalized_shape
    own = _affine(layer, shape)
    options = {"axis": -len(shape), "epsilon": float(layer.eps)}
    return graph.node("LayerNormalization", x, *own, **options)


def _windows(layer):
    """The attributes that both poolings have."""
    kernel = pair("kernel_size", layer.kernel_size, 1)
    stride = kernel if layer.stride is None else pair("stride", layer.stride, 1)
    return {
        "kernel_shape": kernel,
        "strides": stride,
        "pads": pair("padding", layer.padding, 0) * 2,
    }


@becomes(nn.MaxPool2d, fits=_images)
def _max_pool(graph, layer, x, out):
    return graph.node("MaxPool", x, **_windows(layer))


@becomes(nn.AvgPool2d, fits=_images)
def _avg_pool(graph, layer, x, out):
    return graph.node("AveragePool", x, count_include_pad=1, **_windows(layer))


def _resizes(layer, x):
    """Nearest pixels by whole factors alone: others are found by rounding, which may differ."""
    if layer.mode == "nearest":
        factors = 0.5 if layer.scale_factor is None else layer.scale_factor
        if (np.round(factors) != factors).any():
            return False
    return x.ndim == 4


@becomes(nn.Upsample, fits=_resizes)
def _upsample(graph, layer, x, out):
    if layer.mode == "nearest":
        rule = {"mode": "nearest", "nearest_mode": "floor"}
        places = "asymmetric"
    else:
        rule = {"mode": "linear"}
        places = "align_corners" if layer.align_corners else "half_pixel"
    rule["coordinate_transformation_mode"] = places
    sizes = graph.integers(out.shape[2:])
    return graph.node("Resize", x, None, None, sizes, axes=[2, 3], **rule)


@becomes(nn.PixelShuffle, fits=_images)
def _pixel_shuffle(graph, layer, x, out):
    return graph.node("DepthToSpace", x, blocksize=layer.upscale_factor, mode="CRD")


PADDED = {nn.ReflectionPad2d: "reflect", nn.ReplicationPad2d: "edge"}


@becomes(*PADDED, fits=_images)
def _pad(graph, layer, x, out):
    left, right, top, bottom = pair("padding", layer.padding, 0, 4)
    widths = graph.integers([0, 0, top, left, 0, 0, bottom, right])
    return graph.node("Pad", x, widths, mode=PADDED[type(layer)])
