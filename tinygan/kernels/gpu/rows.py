"""What is done row by row, a warp to a row: softmax and layer normalisation; the turning of rotary
places; and what adds rows to others.
"""

import cupy
import numpy as np

from .arrays import contiguous, empty
from .cuda_rows import INDEX_ADD, ROWS
from .launch import THREADS, compiled, launch
from .norm import _column_sums, _tiles

WARP = 32  # threads that pass numbers to one another
MOST = 1 << 16  # rows that `index_add` adds in one order: for each, all others are looked at


def softmax_rows(x, scale, causal):
    queries = x.shape[-2] if causal else 1
    return _by_row("softmax_rows", x.shape[-1], x, queries, int(causal), _real(scale, x))[0]


def softmax_rows_grad(g, p, scale):
    return _by_row("softmax_rows_grad", p.shape[-1], g, p, _real(scale, p))[0]


def log_softmax_at(x, index):
    out = empty(len(x), x.dtype)
    index = contiguous(index.astype(np.int64))
    return _by_row("log_softmax_at", x.shape[1], x, index, outs=[out])[0]


def layer_norm(x, weight, bias, eps):
    return _by_row("layer_norm", x.shape[1], x, weight, bias, _real(eps, x))[0]


def layer_norm_grad(g, x, weight, eps):
    outs = [empty(shape, x.dtype) for shape in (x.shape, len(x), len(x))]
    to_x, mean, inv = _by_row("layer_norm_grad", x.shape[1], g, x, weight, _real(eps, x), outs=outs)
    to_weight, to_bias = _column_sums("layer_norm_sums", 2, g, x, mean, inv)
    return to_x, to_weight, to_bias


def _by_row(name, k, *args, outs=None):
    """The arrays, one unless `outs` are given, that a kernel of ROWS makes of rows of k numbers;
    args: the arrays it reads, and numbers.
    """
    first = args[0]
    outs = [empty(first.shape, first.dtype)] if outs is None else outs
    rows = first.size // k if k else 0
    if rows:
        args = [contiguous(a) if hasattr(a, "strides") and a.ndim else a for a in args]
        args = [np.int32(a) if isinstance(a, int) else a for a in args]
        down = THREADS // WARP
        kernel = compiled(ROWS, name, first.dtype.char)
        launch(kernel, -(-rows // down), (WARP, down), np.int64(rows), np.int32(k), *args, *outs)
    return outs


def _real(number, like):
    return like.dtype.type(number)


_turn = cupy.ElementwiseKernel(
    "T a, T b, T c, T s", "T left, T right", "left = a * c - b * s; right = b * c + a * s", "turn"
)


def turn(x, cos, sin):
    out, half = empty(x.shape, x.dtype), x.shape[-1] // 2
    _turn(x[..., :half], x[..., half:], cos, sin, out[..., :half], out[..., half:])
    return out


# whether an index is its value's first: that one's block adds all of them
_first = cupy.ElementwiseKernel(
    "raw I index, I own", "I first",
    "int j = 0; while (index[j] != own) j++; first = j == i", "stands_first",
)  # fmt: skip


def index_add(x, index, g):
    """`reference.index_add`: what is added to one place is added in one order, if that are at most
    MOST rows in all and x lies in C order. Indices beyond x's end begin again, as CuPy's do.
    """
    if isinstance(index, cupy.ndarray) and index.dtype != bool:
        at, width, shape = index, x[:1].size, (*index.shape, *x.shape[1:])
    else:  # the numbers of single elements
        at, width = np.arange(x.size, like=x).reshape(x.shape)[index], 1
        shape = at.shape
    if at.size > MOST or not x.flags.c_contiguous:
        cupy.add.at(x, index, g)  # np.add.at would be refused where the index is a tuple
    elif at.size and width:
        at = at.reshape(-1).astype(np.int64) % (x.size // width)  # bytes hold few rows' numbers
        across, tiles = _tiles(width)
        kernel, threads = compiled(INDEX_ADD, "index_add", x.dtype.char), (across, 1024 // across)
        g, sizes = contiguous(cupy.broadcast_to(g, shape)), (np.int32(at.size), np.int32(width))
        launch(kernel, at.size * tiles, threads, x, at, _first(at, at), g, *sizes)
