"""Random bits from counters: Philox4x32-10, as `reference.philox` has it, and dropout masks.

Uniform and normal numbers are NumPy's expressions over these bits, those of the reference itself.
"""

import numpy as np

from .. import reference
from ..philox import LOW, MULTIPLIERS, ROUNDS, WEYL
from .compiler import TYPES, jit, word
from .memory import empty
from .threads import split

LANES = 64  # counters side by side: the inner loops over them are vector code


@jit
def _bits(start, stop, out, counter, key):
    """Words 4*start to 4*stop of `out`, by the counters from `begin` + start on."""
    begin, draw, low, high = counter
    lanes = np.empty((4, LANES), np.uint32)
    c0, c1, c2, c3 = lanes[0], lanes[1], lanes[2], lanes[3]
    half = np.uint64(32)
    for first in range(start, stop, LANES):
        n = min(LANES, stop - first)
        for i in range(n):
            c0[i] = np.uint32(begin + first + i)
            c1[i] = draw
            c2[i] = low
            c3[i] = high
        k0, k1 = key
        for _ in range(ROUNDS):
            for i in range(n):
                p = np.uint64(c0[i]) * np.uint64(MULTIPLIERS[0])
                q = np.uint64(c2[i]) * np.uint64(MULTIPLIERS[1])
                c0[i] = np.uint32(q >> half) ^ c1[i] ^ k0
                c1[i] = np.uint32(q)
                c2[i] = np.uint32(p >> half) ^ c3[i] ^ k1
                c3[i] = np.uint32(p)
            k0 = np.uint32(k0 + np.uint32(WEYL[0]))
            k1 = np.uint32(k1 + np.uint32(WEYL[1]))
        for i in range(n):
            at = word(4 * (first + i))
            out[at] = c0[i]
            out[at + word(1)] = c1[i]
            out[at + word(2)] = c2[i]
            out[at + word(3)] = c3[i]


def bits(n, key, draw, step, first=0):
    blocks = (n + 3) // 4
    time = int(step[0])
    out = empty((4 * blocks,), np.uint32)
    counter = tuple(map(np.uint32, (first, draw, time & LOW, time >> 32)))
    key = tuple(map(np.uint32, key))
    split(_bits, blocks, out.size, out, counter, key)
    return out[:n]


def uniform(out, key, draw, step, first=0):
    reference.fill_uniform(out, bits(out.size, key, draw, step, first))


def normal(out, key, draw, step, first=0):
    pairs = (out.size + 1) // 2
    reference.fill_normal(out, bits(2 * pairs, key, draw, step, first))


@jit
def _bernoulli(start, stop, words, out, p, scale):
    words, out = words[start:stop], out[start:stop]
    zero = out.dtype.type(0)
    for i in range(out.size):
        u = np.float32(words[i] >> np.uint32(8)) * np.float32(2**-24)
        out[i] = scale if u < p else zero


def bernoulli(out, p, scale, key, draw, step, first=0):
    if not out.flags.c_contiguous or out.dtype not in TYPES:
        return reference.bernoulli(out, p, scale, key, draw, step, first)
    words = bits(out.size, key, draw, step, first)
    p, scale = np.float32(p), out.dtype.type(scale)
    split(_bernoulli, out.size, out.size, words, out.reshape(-1), p, scale)
