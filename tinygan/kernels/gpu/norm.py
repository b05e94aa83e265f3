"""Column sums, and what batch and group normalisation make of them.

CuPy's own sum over the first axis gives 32 columns to one block; here the rows are dealt out too.
"""

import cupy
import numpy as np

from .arrays import contiguous, empty
from .cuda import COLUMN_SUMS
from .launch import compiled, launch

THREADS = 1024  # in a block, at most 32 of them side by side
ROWS = 8  # that a thread adds at least, before a second block shares its columns
BLOCKS = 256  # fill a device


def column_sums(x):
    return _column_sums("column_sums", 1, x)[0]


def moments(x):
    return _moments(contiguous(x), *_column_sums("moments", 2, x), len(x))


def norm_sums(g, x, mean, inv):
    return tuple(_column_sums("norm_sums", 2, g, x, mean, inv))


def _column_sums(name, count, *args):
    """The `count` sums that a kernel makes of each column, (count, c): of parts of the rows, and
    then of those.
    """
    (rows, c), dtype = args[0].shape, args[0].dtype
    across, tiles = _tiles(c)
    down = THREADS // across
    parts = max(1, min(rows // (ROWS * down), BLOCKS // max(tiles, 1)))
    sums = empty((parts, count * c), dtype)
    if c:
        kernel, sizes = compiled(COLUMN_SUMS, name, dtype.char), map(np.int32, (rows, c, parts))
        launch(kernel, tiles * parts, (across, down), *map(contiguous, args), sums, *sizes)
    return (sums if parts == 1 else column_sums(sums)).reshape(count, c)


_moments = cupy.ElementwiseKernel(  # i counts the columns, so x[i] is the first row
    "raw T x, T total, T square, T rows",
    "T mean, T var",
    """T shift = total / rows, v = square / rows - shift * shift;
    mean = rows > 0 ? x[i] + shift : shift, var = v < 0 ? 0 : v;""",
    "moments",
)

affine = cupy.ElementwiseKernel(
    "T x, T scale, T shift", "T out", "out = scale * x + shift", "affine"
)

_norm_grad = cupy.ElementwiseKernel(
    "T g, T x, T mean, T inv, T weight, T sum_g, T sum_gx, T rows",
    "T out",
    "out = weight * inv * (g - sum_g / rows - (x - mean) * (inv * sum_gx / rows))",
    "norm_grad",
)


def norm_grad(g, x, mean, inv, weight, sum_g, sum_gx):
    return _norm_grad(g, x, mean, inv, weight, sum_g, sum_gx, max(len(x), 1))


def sample_moments(x):
    mean = _sample_sums("sample_sum", 1, x)[:, 0] / max(x.shape[1], 1)
    return mean, _sample_sums("sample_squares", 1, x, mean)[:, 0] / max(x.shape[1], 1)


def sample_sums(g, x, center):
    sums = _sample_sums("sample_sums", 2, g, x, center)
    return sums[:, 0], sums[:, 1]


def _sample_sums(name, count, *args):
    """The `count` sums that a kernel makes of each column of each sample: (n, count, c)."""
    n, p, c = args[0].shape
    across, tiles = _tiles(c)
    # no more threads than pixels, to the next power of two
    down = min(THREADS // across, 1 << max(p - 1, 0).bit_length())
    sums = empty((n, count, c), args[0].dtype)
    if n and c:
        kernel = compiled(COLUMN_SUMS, name, sums.dtype.char)
        sizes = map(np.int32, (p, c, n))
        launch(kernel, tiles * n, (across, down), *map(contiguous, args), sums, *sizes)
    return sums


def _tiles(c):
    """How many columns a block takes, and how many blocks stand side by side."""
    across = min(32, 1 << max(c - 1, 0).bit_length())
    return across, -(-c // across)


_sample_affine = cupy.ElementwiseKernel(
    "T x, T center, T scale, T shift",
    "T out",
    "out = scale * (x - center) + shift",
    "sample_affine",
)

_sample_affine_of_two = cupy.ElementwiseKernel(
    "T x, T center, T scale, T shift, T g, T of_g",
    "T out",
    "out = scale * (x - center) + shift + of_g * g",
    "sample_affine_of_two",
)


def sample_affine(x, center, scale, shift, g=None, of_g=None):
    each = (a[:, None] for a in (center, scale, shift))
    if g is None:
        return _sample_affine(x, *each)
    return _sample_affine_of_two(x, *each, g, of_g[:, None])
