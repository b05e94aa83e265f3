"""Random numbers from a counter, four words to a thread; `step` is read on the device."""

import numpy as np

from .arrays import empty
from .cuda import RANDOM
from .launch import compiled, launch_rows


def bits(n, key, draw, step, first=0):
    out = empty(n, np.uint32)
    _fill("bits", out, key, draw, step, first)
    return out


def uniform(out, key, draw, step, first=0):
    _fill("uniform", out, key, draw, step, first)


def normal(out, key, draw, step, first=0):
    _fill("normal", out, key, draw, step, first)


def bernoulli(out, p, scale, key, draw, step, first=0):
    _fill("bernoulli", out, key, draw, step, first, np.float32(p), out.dtype.type(scale))


def _fill(name, out, key, draw, step, first, *options):
    """`out`, or memory that is copied to it, filled by the kernel of that name."""
    if step.dtype != np.int64:
        raise TypeError(f"{name}: step must be int64, got {step.dtype}")
    filled = out if out.flags.c_contiguous else empty(out.shape, out.dtype)
    kernel = compiled(RANDOM, name, out.dtype.char)
    threads, size = -(-out.size // 4), np.int64(out.size)
    words = map(np.uint32, (*key, draw, first))
    launch_rows(kernel, threads, 1, filled, size, *words, step, *options)
    if filled is not out:
        out[...] = filled
