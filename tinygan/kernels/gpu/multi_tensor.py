"""Optimizers on many tensors at once: a launch costs more than the work on a small one."""

import math

import cupy
import numpy as np

from ..layout import dense
from .arrays import contiguous
from .cuda import ARRAYS, CHUNK, MOST, MULTI_TENSOR
from .launch import THREADS, compiled, launch, refuse_host_arrays

# What CUDA calls `struct Tensors` in MULTI_TENSOR.
Tensors = np.dtype([("at", "u8", (ARRAYS, MOST)), ("size", "i8", MOST), ("first", "u4", MOST)])
NO_BLOCK = 0xFFFFFFFF  # a first block that no launch has


def lerp(averages, values, weight):
    _together("lerp", zip(averages, values), weight)


def adam(params, grads, ms, vs, lr, steps, beta1, beta2, eps, peaks=None):
    logs = (math.log(beta) if beta else -math.inf for beta in (beta1, beta2))
    count = len(params)
    rows = zip(params, ms, vs, peaks or [None] * count, range(count), grads)
    _together("adam", rows, lr, steps, beta1, beta2, *logs, eps)


def _together(name, rows, *args):
    """The kernel `name` of MULTI_TENSOR on tensors of any number.

    A row has what belongs to one tensor: arrays of one shape, numbers, None; the last is only read.
    args: arrays, and numbers that the kernel gets in the tensors' dtype. What lies in memory
    otherwise than the row's first array is copied there and back.
    """
    by_dtype, copied = {}, []
    for row in rows:
        refuse_host_arrays(name, row)
        model = row[0] if dense(row[0]) else contiguous(row[0])
        laid = [_like(a, model) if hasattr(a, "strides") else a for a in row]
        copied += [(a, copy) for a, copy in zip(row[:-1], laid) if a is not copy]
        by_dtype.setdefault(model.dtype, []).append(laid)
    for dtype, laid in by_dtype.items():
        if dtype.char not in "fd":
            raise TypeError(f"{name}: needs float32 or float64, got {dtype}")
        kernel = compiled(MULTI_TENSOR, name, dtype.char)
        numbers = [a if hasattr(a, "shape") else dtype.type(a) for a in args]
        for start in range(0, len(laid), MOST):
            table, blocks = _table(laid[start : start + MOST])
            if blocks:
                launch(kernel, blocks, (THREADS, 1), table, *numbers)
    for a, copy in copied:
        a[...] = copy


def _table(rows):
    """At most MOST rows as a struct, and how many blocks they take."""
    table, blocks = np.zeros((), Tensors), 0
    table["first"] = NO_BLOCK
    for t, row in enumerate(rows):
        words = [a.data.ptr if hasattr(a, "data") else a or 0 for a in row]
        table["at"][: len(row), t] = words
        table["size"][t], table["first"][t] = row[0].size, blocks
        blocks += -(-row[0].size // CHUNK)
    return table, blocks


def _like(a, model):
    """a, or a copy that lies in memory as the dense `model` does; where an axis is 1 long its
    stride does not matter.
    """
    if all(n == 1 or s == t for n, s, t in zip(a.shape, a.strides, model.strides)):
        return a
    out = cupy.empty_like(model)
    out[...] = a
    return out
