"""Convolutions as one matrix product each, with the columns that `im2col` writes."""

import itertools
import math

import numpy as np

from ..reference import convolutions
from .arrays import contiguous, empty
from .cuda import IMAGES, WALK
from .launch import compiled, launch_rows
from .matmul import gemm

COLUMNS = 1 << 28  # numbers in columns at a time: 1 GB of float32


def im2col(x, size, kernel, stride, padding, dilation):
    rows, width = len(x) * math.prod(size), math.prod(kernel) * x.shape[3]
    cols = empty((rows, width), x.dtype)
    geometry = _geometry(rows, x, size, kernel, stride, padding, dilation)
    run, walks = compiled(IMAGES, "im2col", x.dtype.char), -(-rows // WALK)
    launch_rows(run, walks, width, contiguous(x), cols, *geometry)
    return cols


def col2im(cols, x, size, kernel, stride, padding, dilation):
    rows = math.prod(x.shape[:3])
    geometry = _geometry(rows, x, size, kernel, stride, padding, dilation)
    run = compiled(IMAGES, "col2im", x.dtype.char)
    launch_rows(run, rows, x.shape[3], contiguous(cols), x, *geometry)


def _geometry(rows, x, *pairs):
    """What IMAGES calls GEOMETRY, in its order."""
    return map(np.int32, (rows, *x.shape[1:], *itertools.chain(*pairs)))


conv, conv_transpose, conv_filter = convolutions(im2col, col2im, gemm, empty, COLUMNS)
