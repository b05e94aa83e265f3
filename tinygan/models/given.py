"""Samples that a model is given, to learn from or to look at: whether it could have made them; and
the noise to make some of.

This room knows arrays and devices, and of a model the form of its samples and the dtype of its
weights.
"""

import numpy as np

from .. import device, ops
from ..autograd import describe


def dtype_of(model):
    """Of the weights that make its samples; a model of one's own may have no `average`."""
    net = getattr(model, "average", None)
    return np.dtype(np.float32) if net is None else net.parameters()[0].data.dtype


def check_pictures(what, model):
    """ValueError that `what` is of pictures, unless a model's samples are some."""
    if len(model.sample_shape) != 3:
        raise ValueError(f"{what} is of pictures, not of samples {model.sample_shape}")


def check_form(name, model, images, exact=False):
    """ValueError, which `name` heads, unless images are one or more, (n, ...) of the form of the
    model's samples, of floats, `exact` ones of its weights' dtype. What these are is not looked at,
    which would wait for a GPU.
    """
    form = tuple(model.sample_shape)
    words = f"{name}: needs images (n, {', '.join(map(str, form))}) of floats"
    way = "; data.scale makes them of uint8" if len(form) == 3 else ""
    if not device.is_array(images) or images.dtype.kind != "f" or images.shape[1:] != form:
        raise ValueError(f"{words}, got {describe(images)}{way}")
    if not len(images):
        raise ValueError(f"{words}, one or more, got {describe(images)}")
    if exact:
        check_dtype(f"{name}: images", model, images)


def check_dtype(what, model, given):
    """ValueError, which `what` heads, unless it is an array, or a Tensor, of the dtype of the
    model's weights.
    """
    raw, dtype = ops.raw(given), dtype_of(model)
    if not device.is_array(raw) or raw.dtype != dtype:
        way = f"np.asarray(x, np.{dtype}) makes it so"
        raise ValueError(
            f"{what} must be {dtype}, as the model's weights are, got {describe(given):.60}; {way}"
        )


def fitting(name, model, images, known=True):
    """Images (n, ...) that a model could have made, pictures in [-1, 1]: on its device, in its
    dtype, and 0 where they are not `known` and may be anything, NaN too. ValueError, which `name`
    heads, for others.
    """
    check_form(name, model, images)
    pictures, dtype = len(model.sample_shape) == 3, dtype_of(model)
    images = device.to(images, model.device)
    images = images if known is True else np.where(known, images, 0)
    least, most = float(images.min()), float(images.max())
    limit = 1.0 if pictures else min(float(np.finfo(d).max) for d in (dtype, images.dtype))
    if not -limit <= least <= most <= limit:  # NaN is not, either
        within = "in [-1, 1]" if pictures else "that are finite"
        found = f"{describe(images)} from {least:g} to {most:g}"
        way = "; data.scale makes them of uint8" if pictures else ""
        raise ValueError(f"{name}: needs images of floats {within}, got {found}{way}")
    return images.astype(dtype, copy=False)
