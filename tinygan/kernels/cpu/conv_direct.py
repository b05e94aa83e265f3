"""Convolution and its two gradients as products whose matrix is never written down: where they read
and write.

The entries of the matrix that `im2col` would write are pixels, one for each pair of a row (an
output position) and a column (a tap and a channel). A row's offset plus a column's is the pixel's
place in a group of images that lie in zeros: the padding is written out, a few images at a time,
and no bounds are left to check (Dukhan 2019, "The indirect convolution algorithm"). The tables of
offsets hold for any weights, and are kept. The compiled loops are in `product`.
"""

import numpy as np

from .host import contiguous
from .memory import empty, kept
from .matmul import ROWS, correlate, gather, lanes_of, line, packed, scatter, whole
from .threads import split

GROUP = 1 << 18  # bytes of padded images at a time: they stay in the cache
PARTS = 8  # partial sums of a filter's gradient, each over its share of the images


@kept
def patches(image, size, kernel, stride, padding, dilation, itemsize):
    """For a convolution of images (n, h, w, c): the shape of a padded group, where an image lies in
    it, rows and columns.
    """
    (n, _, _, c), (sh, sw), (dh, dw) = image, stride, dilation
    hp, wp = ((o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(size, stride, kernel, dilation))
    group = max(1, min(n, GROUP // (hp * wp * c * itemsize)))
    t, i, j = np.ogrid[:group, : size[0], : size[1]]
    u, v, q = np.ogrid[: kernel[0], : kernel[1], :c]
    return (
        (group, hp, wp, c),
        padding,
        (((t * hp + i * sh) * wp + j * sw) * c).ravel(),
        ((u * dh * wp + v * dw) * c + q).ravel(),
    )


@kept
def phases(source, image, kernel, stride, padding, dilation, itemsize, multiple):
    """For its transpose, from (n, oh, ow, o) to images (n, h, w, c).

    Row y = t*stride + a of an image takes part in the taps u for which (a + padding - u*dilation)
    is a multiple of the stride alone, and there meets row t + (a + padding - u*dilation) / stride:
    for each a, a convolution at stride 1 with some taps. Gives the group, the place in it, and for
    each phase (positions, columns, start in rows, start in columns); rows, columns, the rows of the
    result, and each phase's taps.
    """
    (n, _, _, o), (_, *size, c) = source, image
    axes = []
    for extent, k, s, p, d in zip(size, kernel, stride, padding, dilation):
        taps = [[u for u in range(k) if (a + p - u * d) % s == 0] for a in range(min(s, extent))]
        meets = [[(a + p - u * d) // s for u in some] for a, some in enumerate(taps)]
        counts = [-(-(extent - a) // s) for a in range(len(taps))]
        low = min((m for some in meets for m in some), default=0)
        high = max((t + m for t, some in zip(counts, meets) for m in some), default=1)
        axes.append((list(zip(range(s), counts, taps, meets)), -low, high - low))
    (down, top, hp), (across, left, wp) = axes
    group = max(1, min(n, GROUP // (hp * wp * o * itemsize)))
    image, found, rows, columns, to, chosen = np.arange(group)[:, None, None], [], [], [], [], []
    for a, th, us, ys in down:
        for b, tw, vs, xs in across:
            i, j = np.ogrid[:th, :tw]
            y, x = np.array(ys, int)[:, None, None] + top, np.array(xs, int)[:, None] + left
            found.append(
                (th * tw, len(us) * len(vs) * o, sum(map(len, rows)), sum(map(len, columns)))
            )
            rows.append(whole(((image * hp + i) * wp + j) * o, multiple))
            columns.append(((y * wp + x) * o + np.arange(o)).ravel())
            to.append(
                whole(
                    ((image * size[0] + i * stride[0] + a) * size[1] + j * stride[1] + b) * c,
                    multiple,
                )
            )
            chosen.append(np.ix_(us, vs))
    return (group, hp, wp, o), (top, left), found, *map(np.concatenate, (rows, columns, to)), chosen


def conv(x, w, size, stride, padding, dilation, bias=None):
    o, x = w.shape[3], contiguous(x)
    group, corner, rows, columns = patches(
        x.shape, size, w.shape[:2], stride, padding, dilation, x.itemsize
    )
    out, phase = (
        empty((len(x), *size, o), x.dtype),
        np.array([(size[0] * size[1], len(columns), 0, 0, 0)]),
    )
    to, filters, bias = line(len(rows), o, ROWS), packed(w.reshape(-1, o)), _bias(bias, x, o)
    cost = out.size * len(columns) >> 4
    split(
        gather,
        len(x),
        cost,
        x,
        group,
        corner,
        phase,
        whole(rows, ROWS),
        columns,
        to,
        filters,
        bias,
        out,
    )
    return out


def conv_transpose(y, w, size, stride, padding, dilation, bias=None):
    (*kernel, c, o), y = w.shape, contiguous(y)
    out, taps, geometry = (
        empty((len(y), *size, c), y.dtype),
        w.size // o,
        (tuple(kernel), stride, padding, dilation, y.itemsize),
    )
    cost, bias = y.size * taps >> 4, _bias(bias, y, c)
    # few channels would leave most of a tile empty
    if o * _width(taps, y) + 150 * taps < taps // c * o * _width(c, y):
        group, corner, rows, columns = patches(out.shape, y.shape[1:3], *geometry)
        # no tap may reach the last rows of out
        out[...], begin = bias[:c], np.tile(bias[:c], group[1] * group[2])
        split(
            scatter,
            len(y),
            cost,
            y,
            (1, *group[1:]),
            corner,
            rows,
            columns,
            packed(w.reshape(-1, o).T),
            begin,
            out,
        )
        return out
    group, corner, found, rows, columns, to, chosen = phases(y.shape, out.shape, *geometry, ROWS)
    filters = [packed(w[some].swapaxes(2, 3).reshape(-1, c)) for some in chosen]
    found = np.array([(*phase, at) for phase, at in zip(found, np.cumsum([0, *map(len, filters)]))])
    split(
        gather,
        len(y),
        cost,
        y,
        group,
        corner,
        found,
        rows,
        columns,
        to,
        np.concatenate(filters),
        bias,
        out,
    )
    return out


def _bias(bias, x, n):
    """A bias (n,), zeros for None, up to whole tiles."""
    return np.append(
        np.zeros(n, x.dtype) if bias is None else bias, np.zeros(_width(n, x) - n, x.dtype)
    )


def _width(n, x):
    """n columns up to whole tiles."""
    return -(-n // lanes_of(n, x.itemsize)) * lanes_of(n, x.itemsize)


def conv_filter(x, y, size, stride, padding, dilation):
    x, y, c, o = contiguous(x), contiguous(y), x.shape[3], y.shape[3]
    group, corner, rows, columns = patches(
        x.shape, y.shape[1:3], size, stride, padding, dilation, x.itemsize
    )
    partial, cost = empty((PARTS, len(columns), o), x.dtype), y.size * len(columns) >> 4
    split(
        correlate,
        PARTS,
        cost,
        x,
        group,
        corner,
        rows,
        whole(columns, ROWS),
        len(columns),
        y,
        partial,
    )
    return partial.sum(axis=0).reshape(*size, c, o)
