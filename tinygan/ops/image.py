"""Operations on images (n, c, h, w): pooling, resizing, padding, pixel shuffle.

Max pooling reads one pixel of each window. The others are linear and treat height and width apart:
each is a matrix for the rows and one for the columns. So every rule is one that exists already. (A
pixel that is not finite spoils a row and a column in a matrix product, as NaN.)
"""

import functools

import numpy as np

from ..autograd import describe
from .arith import raw, where
from .conv import pair
from .linear import matmul
from .shape import getitem, pad, reshape, transpose


def _images(f):
    """f, of images as they lie in memory, (n, h, w, c), as a function of (n, c, h, w) or (c, h, w)."""

    @functools.wraps(f)
    def outside(x, *args, **kwargs):
        if x.ndim == 3:
            return outside(x[None], *args, **kwargs)[0]
        if x.ndim != 4:
            raise ValueError(f"{f.__name__}: needs x (n, c, h, w) or (c, h, w), got {describe(x)}")
        return transpose(f(transpose(x, (0, 2, 3, 1)), *args, **kwargs), (0, 3, 1, 2))

    return outside


def _by_axes(x, matrices):
    """rows @ x @ columns.T for each channel: (n, h, w, c), (oh, h), (ow, w) -> (n, oh, ow, c)."""
    n, h, w, c = x.shape
    dtype = x.dtype if x.dtype.kind == "f" else np.float64  # the means of integers are none
    rows, columns = (m.astype(dtype) for m in matrices)
    x = matmul(rows, reshape(x, (n, h, w * c)))
    x = matmul(columns, reshape(x, (n * len(rows), w, c)))
    return reshape(x, (n, len(rows), len(columns), c))


def _windows(name, x, kernel_size, stride, padding):
    """For height and width: (pixels, kernel, stride, padding, how many windows)."""
    kernel = pair(f"{name}: kernel_size", kernel_size, 1)
    stride = kernel if stride is None else pair(f"{name}: stride", stride, 1)
    axes = zip(x.shape[1:3], kernel, stride, pair(f"{name}: padding", padding, 0))
    axes = [(n, k, s, p, (n + 2 * p - k) // s + 1) for n, k, s, p in axes]
    if any(count < 1 or 2 * p > k for _, k, _, p, count in axes):
        at = f"kernel {kernel} does not fit padding {padding}, at most half of it, around"
        raise ValueError(f"{name}: {at} images of {x.shape[1:3]}")
    return axes


@_images
def max_pool2d(x, kernel_size, stride=None, padding=0):
    """The largest pixel of each window, the first of a tie; stride None is the kernel's size.

    oh = (h + 2*padding - kh) // stride + 1. NaN is largest; what is added around never is.
    """
    axes = _windows("max_pool2d", x, kernel_size, stride, padding)
    (_, kh, sh, ph, oh), (_, kw, sw, pw, ow) = axes
    if ph or pw:
        widths = (0, 0), (ph, ph), (pw, pw), (0, 0)
        inside = np.pad(np.ones_like(raw(x), dtype=bool), widths)
        x = where(inside, pad(x, widths), -np.inf)
    w, c = x.shape[2:]

    def seen(a, i, j):
        """What the pixel (i, j) of every window sees: (n, oh, ow, c)."""
        return a[:, i : i + (oh - 1) * sh + 1 : sh, j : j + (ow - 1) * sw + 1 : sw]

    taps = [seen(raw(x), i, j) for i in range(kh) for j in range(kw)]
    best = functools.reduce(np.maximum, taps)
    missed, first = True, np.zeros_like(best, dtype=np.intp)  # argmax over taps, tap by tap
    for tap in taps[:-1]:
        missed = missed & (tap != best) & (tap == tap)
        first += missed
    corners = seen(np.arange(x.size, like=first).reshape(x.shape), 0, 0)
    index = corners + (first // kw * w + first % kw) * c
    return reshape(getitem(reshape(x, (x.size,)), index.reshape(-1)), first.shape)


def _mean(n, first, last):
    """The matrix (windows, n) that takes the means of pixels first to last - 1."""
    pixel = np.arange(n, like=first)
    inside = (first[:, None] <= pixel) & (pixel < last[:, None])
    return inside / (last - first)[:, None]


@_images
def avg_pool2d(x, kernel_size, stride=None, padding=0):
    """The mean of each window, zeros around the image included; sizes as in `max_pool2d`."""
    axes = _windows("avg_pool2d", x, kernel_size, stride, padding)
    corners = [np.arange(count, like=raw(x)) * s - p for _, _, s, p, count in axes]
    return _by_axes(x, [_mean(n, i, i + k) for i, (n, k, *_) in zip(corners, axes)])


@_images
def adaptive_avg_pool2d(x, output_size):
    """Means of windows that divide each image into output_size, a number or (oh, ow)."""
    sizes = pair("adaptive_avg_pool2d: output_size", output_size, 1)
    axes = [(n, o, np.arange(o, like=raw(x))) for n, o in zip(x.shape[1:3], sizes)]
    return _by_axes(x, [_mean(n, i * n // o, -(-(i + 1) * n // o)) for n, o, i in axes])


@_images
def interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=None):
    """Images resized to `size`, or by a factor, each a number or one for height and one for width.

    mode: "nearest" or "bilinear"; align_corners: whether that keeps the centres of the corner
    pixels in place, and not their edges.
    """
    if (size is None) == (scale_factor is None) or mode not in ("nearest", "bilinear"):
        both = f"mode 'nearest' or 'bilinear', got {mode!r}"
        raise ValueError(f"interpolate: needs either size or scale_factor, and {both}")
    if size is None:
        factors = np.broadcast_to(scale_factor, 2).tolist()
        sizes = [n * f for n, f in zip(x.shape[1:3], factors)]
        size = [int(o) if o == int(o) else o for o in sizes]
    matrices = []
    for n, o in zip(x.shape[1:3], pair("interpolate: size", size, 1)):
        at = np.arange(o, like=raw(x))
        if mode == "nearest":
            at = at * n // o
        else:
            at = at * ((n - 1) / max(o - 1, 1)) if align_corners else (at + 0.5) * (n / o) - 0.5
        distance = np.clip(at, 0, n - 1)[:, None] - np.arange(n, like=at)
        matrices.append(np.maximum(1 - np.abs(distance), 0))  # the weight is 0 one pixel away
    return _by_axes(x, matrices)


MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # NumPy's names


@_images
def pad2d(x, padding, mode="constant"):
    """Images with pixels around them: padding is a number or (left, right, top, bottom).

    mode: zeros ("constant"), or the pixels that `np.pad` takes for "reflect", "replicate" (edge) or
    "circular" (wrap).
    """
    left, right, top, bottom = pair("pad2d: padding", padding, 0, 4)
    if mode == "constant":
        return pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    if mode not in MODES:
        raise ValueError(f"pad2d: mode must be constant or one of {list(MODES)}, got {mode!r}")
    pixels = [np.arange(n, like=raw(x)) for n in x.shape[1:3]]
    widths = (top, bottom), (left, right)
    sources = (np.pad(i, around, MODES[mode]) for i, around in zip(pixels, widths))
    return _by_axes(x, [i[:, None] == j for i, j in zip(sources, pixels)])


@_images
def pixel_shuffle(x, upscale_factor):
    """(n, c*r*r, h, w) -> (n, c, h*r, w*r): r*r channels become a square of pixels (Shi 2016)."""
    (n, h, w, c), r = x.shape, upscale_factor
    if r < 1 or c % (r * r):
        raise ValueError(f"pixel_shuffle: {c} channels are no multiple of {r} squared")
    square = transpose(reshape(x, (n, h, w, c // (r * r), r, r)), (0, 1, 4, 2, 5, 3))
    return reshape(square, (n, h * r, w * r, c // (r * r)))
