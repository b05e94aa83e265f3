"""More of the reference: random numbers from a counter.

A number is a function of the seed and the place: its element's among those of a draw, the draw's in
a step of training, and the step's. So it can be made wherever it is wanted, and by several at once.
"""

import numpy as np

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85  # added to the key after each round
LOW = 0xFFFFFFFF  # the lower of a number's two words


def philox(counter, key):
    """Philox4x32-10: four uint32 from a counter of four and a key of two, numbers or arrays.

    Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) for c in counter)
    k0, k1 = map(int, key)
    low, half = np.uint64(LOW), np.uint64(32)
    for _ in range(ROUNDS):
        p = c0 * np.uint64(MULTIPLIERS[0])
        q = c2 * np.uint64(MULTIPLIERS[1])
        c0 = (q >> half) ^ c1 ^ np.uint64(k0)
        c1 = q & low
        c2 = (p >> half) ^ c3 ^ np.uint64(k1)
        c3 = p & low
        k0 = (k0 + WEYL[0]) & LOW
        k1 = (k1 + WEYL[1]) & LOW
    return tuple(c.astype(np.uint32) for c in (c0, c1, c2, c3))


def bits(n, key, draw, step, first=0):
    """n uint32; element i is word i % 4 of `philox` at (first + i // 4, draw, step's low and high
    word).

    key: (seed, stream). draw: how many draws this step has had before. step: (1,) of int64. first:
    how many blocks of four words come before, which somebody else may make.
    """
    blocks = first + np.arange((n + 3) // 4)
    time = int(step[0])
    counter = [blocks]
    for word in (draw, time & LOW, time >> 32):
        counter.append(np.full_like(blocks, word))
    words = np.stack(philox(counter, key), axis=1)
    return words.reshape(-1)[:n]


def uniform(out, key, draw, step, first=0):
    """Fill `out` with multiples of 2^-24 in [0, 1), one word each."""
    fill_uniform(out, bits(out.size, key, draw, step, first))


def fill_uniform(out, words):
    """`uniform` from bits that another module made."""
    out[...] = _unit(words).reshape(out.shape)


def normal(out, key, draw, step, first=0):
    """Fill `out` with standard normals, two from two words (Box & Muller 1958)."""
    pairs = (out.size + 1) // 2
    fill_normal(out, bits(2 * pairs, key, draw, step, first))


def fill_normal(out, words):
    """`normal` from bits that another module made, an even number of them."""
    u = _unit(words).reshape(-1, 2).T
    u = u.astype(out.dtype)
    radius = np.sqrt(-2 * np.log(1 - u[0]))
    angle = 2 * np.pi * u[1]
    normals = np.empty(u.shape[::-1], out.dtype)
    normals[:, 0] = radius * np.cos(angle)
    normals[:, 1] = radius * np.sin(angle)
    normals = normals.reshape(-1)[: out.size]
    out[...] = normals.reshape(out.shape)


def bernoulli(out, p, scale, key, draw, step, first=0):
    """Fill `out` with `scale` with probability p, else 0: a dropout mask."""
    u = _unit(bits(out.size, key, draw, step, first))
    chosen = u.reshape(out.shape) < np.float32(p)
    out[...] = np.where(chosen, out.dtype.type(scale), 0)


def _unit(words):
    """The upper 24 bits of each word as a float32 in [0, 1): all that its fraction holds."""
    upper = words >> np.uint32(8)
    return upper.astype(np.float32) * np.float32(2**-24)
