"""Operations on images (n, c, h, w): pooling, resizing, padding, pixel shuffle.

Max pooling reads one pixel of each window. The others are linear and treat height and width apart:
each is a matrix for the rows and one for the columns. So every rule is one that exists already. (In
matrix products a pixel that is infinite or NaN makes NaN of its channel.)
"""

import functools
from typing import NamedTuple

import numpy as np

from ..autograd import describe
from .arith import raw, where
from .conv import one_or_many, pair
from .linear import matmul
from .shape import getitem, pad, reshape, transpose


def _images(f):
    """f, of images as they lie in memory, (n, h, w, c), of images (n, c, h, w) or one (c, h, w)."""

    @one_or_many
    @functools.wraps(f)
    def outside(x, *args, **kwargs):
        if x.ndim != 4:
            raise ValueError(f"{f.__name__}: needs x (n, c, h, w) or (c, h, w), got {describe(x)}")
        out = f(transpose(x, (0, 2, 3, 1)), *args, **kwargs)
        return transpose(out, (0, 3, 1, 2))

    return outside


def _by_axes(x, matrices):
    """rows @ x @ columns.T for each channel: (n, h, w, c), (oh, h), (ow, w) -> (n, oh, ow, c)."""
    n, h, w, c = x.shape
    dtype = x.dtype if x.dtype.kind == "f" else np.float64  # the means of integers are none
    rows, columns = (m.astype(dtype) for m in matrices)
    x = matmul(rows, reshape(x, (n, h, w * c)))
    x = matmul(columns, reshape(x, (n * len(rows), w, c)))
    return reshape(x, (n, len(rows), len(columns), c))


class _Windows(NamedTuple):
    """The windows along one axis."""

    pixels: int
    kernel: int
    stride: int
    padding: int
    count: int

    def taps(self):
        """For each pixel of a window, where those of all windows lie along the padded axis."""
        span = (self.count - 1) * self.stride + 1
        return [slice(tap, tap + span, self.stride) for tap in range(self.kernel)]


def _windows(name, x, kernel_size, stride, padding):
    """The windows along the height, and those along the width."""
    kernel = pair(f"{name}: kernel_size", kernel_size, 1)
    stride = kernel if stride is None else pair(f"{name}: stride", stride, 1)
    padding = pair(f"{name}: padding", padding, 0)
    axes = []
    for n, k, s, p in zip(x.shape[1:3], kernel, stride, padding):
        axes.append(_Windows(n, k, s, p, count=(n + 2 * p - k) // s + 1))
    if any(a.count < 1 or 2 * a.padding > a.kernel for a in axes):
        raise ValueError(
            f"{name}: kernel {kernel} does not fit padding {padding}, at most half of it,"
            f" around images of {x.shape[1:3]}"
        )
    return axes


@_images
def max_pool2d(x, kernel_size, stride=None, padding=0):
    """The largest pixel of each window, the first of a tie; stride None is the kernel's size.

    oh = (h + 2*padding - kh) // stride + 1. NaN is largest; what is added around never is.
    """
    rows, columns = _windows("max_pool2d", x, kernel_size, stride, padding)
    if rows.padding or columns.padding:
        widths = [(0, 0), (rows.padding,) * 2, (columns.padding,) * 2, (0, 0)]
        inside = np.pad(np.ones_like(raw(x), dtype=bool), widths)
        x = where(inside, pad(x, widths), -np.inf)
    across = columns.taps()
    places = [(slice(None), i, j) for i in rows.taps() for j in across]
    pixels = raw(x)
    taps = [pixels[place] for place in places]  # (n, oh, ow, c) each
    best = functools.reduce(np.maximum, taps)
    # the number of the first tap that is the best: an argmax over taps, tap by tap
    missed = True
    first = np.zeros_like(best, dtype=np.intp)
    for tap in taps[:-1]:
        missed = missed & (tap != best) & (tap == tap)
        first += missed
    w, c = x.shape[2:]
    corners = np.arange(x.size, like=first).reshape(x.shape)[places[0]]
    index = corners + (first // columns.kernel * w + first % columns.kernel) * c
    chosen = getitem(reshape(x, (x.size,)), index.reshape(-1))
    return reshape(chosen, first.shape)


def _mean(n, first, last):
    """The matrix (windows, n) that takes the means of pixels first to last - 1."""
    pixel = np.arange(n, like=first)
    inside = (first[:, None] <= pixel) & (pixel < last[:, None])
    return inside / (last - first)[:, None]


@_images
def avg_pool2d(x, kernel_size, stride=None, padding=0):
    """The mean of each window, zeros around the image included; sizes as in `max_pool2d`."""
    matrices = []
    for axis in _windows("avg_pool2d", x, kernel_size, stride, padding):
        corner = np.arange(axis.count, like=raw(x)) * axis.stride - axis.padding
        matrices.append(_mean(axis.pixels, corner, corner + axis.kernel))
    return _by_axes(x, matrices)


@_images
def adaptive_avg_pool2d(x, output_size):
    """Means of windows that divide each image into output_size, a number or (oh, ow)."""
    matrices = []
    for n, o in zip(x.shape[1:3], pair("adaptive_avg_pool2d: output_size", output_size, 1)):
        window = np.arange(o, like=raw(x))
        matrices.append(_mean(n, window * n // o, -(-(window + 1) * n // o)))
    return _by_axes(x, matrices)


@_images
def interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=None):
    """Images resized to `size`, or by a factor, each a number or one for height and one for width.

    mode: "nearest" or "bilinear"; align_corners: whether that keeps the centres of the corner
    pixels in place, and not their edges.
    """
    if (size is None) == (scale_factor is None) or mode not in ("nearest", "bilinear"):
        raise ValueError(
            "interpolate: needs either size or scale_factor, and mode 'nearest' or 'bilinear',"
            f" got {mode!r}"
        )
    if size is None:
        factors = np.broadcast_to(scale_factor, 2).tolist()
        sizes = [n * factor for n, factor in zip(x.shape[1:3], factors)]
        size = [int(o) if o == int(o) else o for o in sizes]
    matrices = []
    for n, o in zip(x.shape[1:3], pair("interpolate: size", size, 1)):
        at = np.arange(o, like=raw(x))
        if mode == "nearest":
            at = at * n // o
        elif align_corners:
            at = at * ((n - 1) / max(o - 1, 1))
        else:
            at = (at + 0.5) * (n / o) - 0.5
        at = np.clip(at, 0, n - 1)[:, None]
        distance = at - np.arange(n, like=at)
        matrices.append(np.maximum(1 - np.abs(distance), 0))  # the weight is 0 one pixel away
    return _by_axes(x, matrices)


MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # NumPy's names


@_images
def pad2d(x, padding, mode="constant"):
    """Images with pixels around them: padding is a number or (left, right, top, bottom).

    mode: "constant" (zeros), or "reflect", "replicate" or "circular", which `np.pad` calls
    reflect, edge and wrap.
    """
    left, right, top, bottom = pair("pad2d: padding", padding, 0, 4)
    rows, columns = (top, bottom), (left, right)
    if mode == "constant":
        return pad(x, [(0, 0), rows, columns, (0, 0)])
    if mode not in MODES:
        raise ValueError(f"pad2d: mode must be constant or one of {list(MODES)}, got {mode!r}")
    matrices = []
    for n, widths in zip(x.shape[1:3], (rows, columns)):
        pixels = np.arange(n, like=raw(x))
        matrices.append(np.pad(pixels, widths, MODES[mode])[:, None] == pixels)
    return _by_axes(x, matrices)


@_images
def pixel_shuffle(x, upscale_factor):
    """(n, c*r*r, h, w) -> (n, c, h*r, w*r): r*r channels become a square of pixels (Shi 2016)."""
    n, h, w, c = x.shape
    r = upscale_factor
    if r < 1 or c % (r * r):
        raise ValueError(f"pixel_shuffle: {c} channels are no multiple of {r} squared")
    c //= r * r
    square = reshape(x, (n, h, w, c, r, r))
    square = transpose(square, (0, 1, 4, 2, 5, 3))
    return reshape(square, (n, h * r, w * r, c))


@_images
def pixel_unshuffle(x, downscale_factor):
    """(n, c, h*r, w*r) -> (n, c*r*r, h, w): the inverse of `pixel_shuffle`."""
    n, h, w, c = x.shape
    r = downscale_factor
    if r < 1 or h % r or w % r:
        raise ValueError(f"pixel_unshuffle: {h} x {w} pixels make no squares of {r} x {r}")
    square = reshape(x, (n, h // r, r, w // r, r, c))
    square = transpose(square, (0, 1, 3, 5, 2, 4))
    return reshape(square, (n, h // r, w // r, c * r * r))
