"""Gradients that are wrong in the ways people get them wrong, each beside its right version: for
checkers to be tried on.

`BUGS[name]()` and `CLEAN[name]()` give (f, vjp, inputs): the same NumPy function and inputs, with a
wrong and with the right hand-written vjp(g, *inputs). All is made anew at each call, because some
bugs live in what a rule keeps or does to its inputs. Right means exact to rounding, linear in g,
between the one-sided derivatives where f has a kink, an array of its input's shape and dtype (or a
NumPy scalar for a 0-d one) that shares memory with nothing. This file knows NumPy and no checker.
"""

import math

import numpy as np

BUGS, CLEAN = {}, {}


def bug(name, f, right, wrong, *inputs):
    """Enter a function of the inputs with its two rules."""
    remembering(name, f, right, lambda f: (f, wrong), *inputs)


def remembering(name, f, right, make, *inputs):
    """Enter a function with its right rule, and make(f) -> (f, wrong rule), which may keep
    something between calls.
    """
    CLEAN[name] = lambda: (f, right, [np.array(x) for x in inputs])
    BUGS[name] = lambda: (*make(f), [np.array(x) for x in inputs])


def numbers(*shape, seed=0):
    """Numbers of both signs, from 0.5 to 1.5."""
    rng = np.random.default_rng([seed, *shape])
    return rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)


def positive(*shape, seed=0):
    return np.abs(numbers(*shape, seed=seed))


def times_cos(g, x):
    return g * np.cos(x)


# the right formula with a wrong number in it

bug(
    "1/ln 2 as 1.442",
    np.log2,
    lambda g, x: g / (x * np.log(2)),
    lambda g, x: g / x * 1.442,  # off by 5e-4
    positive(4),
)
bug(
    "degrees in 7 digits",
    lambda x: np.sin(x * np.pi / 180),
    lambda g, x: g * np.cos(x * np.pi / 180) * np.pi / 180,
    lambda g, x: g * np.cos(x * np.pi / 180) * 0.01745329,  # off by 1.4e-7
    50 * numbers(4),
)
bug(
    "eps in the rule only",
    np.log,
    lambda g, x: g / x,
    lambda g, x: g / (x + 1e-8),
    10.0 ** np.arange(-4, 4, 2),
)


def normalise(x, eps=1e-3):
    return (x - x.mean(0)) / np.sqrt(x.var(0) + eps)


def normalise_vjp(g, x, eps=1e-3):
    y = normalise(x, eps)
    return (g - g.mean(0) - y * (g * y).mean(0)) / np.sqrt(x.var(0) + eps)


bug(
    "eps in f only",
    normalise,
    normalise_vjp,
    lambda g, x: normalise_vjp(g, x, eps=0.0),
    numbers(6, 3),
)
bug(
    "mean over the wrong axis",
    np.mean,
    lambda g, x: np.full_like(x, g / 4),
    lambda g, x: np.full_like(x, g),
    numbers(1, 4),
)


def gelu(x):
    return x * normal_cdf(x)


def normal_cdf(x):
    return 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(x / np.sqrt(2)))


def tanh_gelu_vjp(g, x):
    t = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return g * 0.5 * (1 + t + x * (1 - t * t) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x * x))


bug(
    "gelu's approximation",
    gelu,
    lambda g, x: g * (normal_cdf(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)),
    tanh_gelu_vjp,
    numbers(5),
)

# plain mistakes, where an absolute tolerance or a fixed step loses sight of them

bug(
    "scaled by 1e-7",
    lambda x: 1e-7 * x**3,
    lambda g, x: g * 3e-7 * x**2,
    lambda g, x: g * 2e-7 * x**2,
    numbers(2, 3),
)
bug(
    "scaled by 1e-30",
    lambda x, y: 1e-30 * np.hypot(x, y),
    lambda g, x, y: (g * 1e-30 * x / np.hypot(x, y), g * 1e-30 * y / np.hypot(x, y)),
    lambda g, x, y: (g * 1e-30 * x / np.hypot(x, y), g * -1e-30 * y / np.hypot(x, y)),
    numbers(3),
    numbers(3, seed=1),
)
bug(
    "scaled by 1e20",
    lambda x: 1e20 * np.tanh(x),
    lambda g, x: g * 1e20 * (1 - np.tanh(x) ** 2),
    lambda g, x: g * 1e20 * (1 - np.tanh(x)),
    numbers(2, 3),
)
UNITS = np.array([1e8, 1.0, 1e-12])
bug(
    "in the smallest of three units",
    lambda x: np.cbrt(x) * UNITS,
    lambda g, x: g * UNITS * np.cbrt(x) / (3 * x),
    lambda g, x: g * (UNITS - 1e-13) * np.cbrt(x) / (3 * x),
    numbers(3),
)
bug(
    "at small inputs",
    lambda p: p * np.log(p),
    lambda g, p: g * (np.log(p) + 1),
    lambda g, p: g * np.log(p),
    np.array([1e-9, 1e-3, 0.3, 0.6]),
)
bug(
    "beside a large constant",
    lambda x, y: 1e8 + np.arctan2(y, x),
    lambda g, x, y: (-g * y / (x * x + y * y), g * x / (x * x + y * y)),
    lambda g, x, y: (g * y / (x * x + y * y), g * x / (x * x + y * y)),
    numbers(3),
    numbers(3, seed=1),
)


def single_tanh(x):
    return np.tanh(x.real.astype(np.float32)).astype(np.float64)


bug(
    "f computes in float32",
    single_tanh,
    lambda g, x: g * (1 - single_tanh(x) ** 2),
    lambda g, x: g * (1 - single_tanh(x)),
    numbers(4),
)

# a few elements of many

LARGE = np.linspace(0, 1, 200_000)


def two_thirds(g, x):
    half = len(x) // 3  # a third of the array, and the rest, without the element between them
    return g * np.concatenate([np.exp(x[:half]), [0.0], np.exp(x[half + 1 :])])


def all_but_the_corner(g, x):
    out = g * 3 * x**2
    out[-1, -1] = 0
    return out


bug(
    "an element dropped of 200,000",
    lambda x: np.exp(x).sum(),
    lambda g, x: g * np.exp(x),
    two_thirds,
    LARGE,
)
bug(
    "the corner dropped of 500 x 400",
    lambda x: (x**3).sum(),
    lambda g, x: g * 3 * x**2,
    all_but_the_corner,
    1 + LARGE.reshape(500, 400),
)
bug(
    "rolled by one of 1,000",
    lambda x: np.exp(x).sum(),
    lambda g, x: g * np.exp(x),
    lambda g, x: g * np.roll(np.exp(x), 1),
    LARGE[::200],
)


def neighbours_vjp(g, x, last=None):
    out = np.zeros_like(x)
    out[:-1] += g * x[1:]
    out[1:last] += (g * x[:-1])[:last]
    return out


bug(
    "the last element dropped",
    lambda x: x[1:] * x[:-1],
    neighbours_vjp,
    lambda g, x: neighbours_vjp(g, x, -1),
    numbers(7),
)
bug(
    "a lost tail",
    lambda x: np.add.reduceat(x, [0, 4, 8]),
    lambda g, x: np.repeat(g, 4)[:10],
    lambda g, x: np.append(np.repeat(g[:2], 4), [0.0, 0.0]),
    numbers(10),
)
TAPS = np.array([0.7, -1.2, 0.4])


def strided(x):
    """A correlation with three taps at a stride of 2: four outputs of ten inputs, the last of which
    is never read.
    """
    return sum(w * x[i : i + 7 : 2] for i, w in enumerate(TAPS))


def strided_vjp(g, x, first=0):
    out = np.zeros_like(x)
    for i, w in enumerate(TAPS, first):
        out[i : i + 7 : 2] += w * g
    return out


bug(
    "a remainder at the wrong end",
    strided,
    strided_vjp,
    lambda g, x: strided_vjp(g, x, first=1),
    numbers(10),
)

# the cotangent


def shortened(g, most):
    return g * min(1.0, most / (np.linalg.norm(g) + 1e-300))


bug(
    "cotangent ignored", lambda x: np.sin(x).sum(), times_cos, lambda g, x: np.cos(x), numbers(2, 3)
)
bug("cotangent averaged", np.sin, times_cos, lambda g, x: g.mean() * np.cos(x), numbers(2, 3))
bug("abs(cotangent)", np.sin, times_cos, lambda g, x: np.abs(g) * np.cos(x), numbers(2, 3))
bug(
    "cotangent clipped",
    np.sin,
    times_cos,
    lambda g, x: np.clip(g, -1, 1) * np.cos(x),
    numbers(2, 3),
)
bug(
    "cotangent squashed a little",
    np.sin,
    times_cos,
    lambda g, x: g / np.sqrt(1 + 1e-8 * g * g) * np.cos(x),
    numbers(2, 3),
)
bug(
    "cotangent through float32",
    np.sin,
    times_cos,
    lambda g, x: np.float32(g) * np.cos(x),
    numbers(2, 3),
)
bug(
    "cotangent clipped at 100",
    np.sin,
    times_cos,
    lambda g, x: np.clip(g, -100, 100) * np.cos(x),
    numbers(2, 3),
)
bug(
    "gradient clipped to a norm of 1,000",
    np.sin,
    times_cos,
    lambda g, x: shortened(g * np.cos(x), 1000),
    numbers(2, 3),
)
bug(
    "cotangent saturates at 65,504",
    np.sin,
    times_cos,
    lambda g, x: np.clip(g, -65504, 65504) * np.cos(x),
    numbers(2, 3),
)
bug(
    "cotangent flushed below 1e-4",
    np.sin,
    times_cos,
    lambda g, x: np.where(np.abs(g) < 1e-4, 0, g) * np.cos(x),
    numbers(2, 3),
)
bug(
    "weight decay in the rule",
    np.sin,
    times_cos,
    lambda g, x: g * np.cos(x) + 1e-9 * x,
    numbers(2, 3),
)
bug(
    "one of two outputs ignored",
    lambda x: (np.sin(x), np.cos(x)),
    lambda g, x: g[0] * np.cos(x) - g[1] * np.sin(x),
    lambda g, x: g[0] * np.cos(x),
    numbers(2, 3),
)


def doubling(g, x):
    g *= 2
    return g + 0.0


bug("cotangent doubled in place", lambda x: 2 * x, lambda g, x: 2 * g, doubling, numbers(2, 3))


# the cotangent in fewer bits; what multiplies it is exact, or is not rounded


def bfloat16(x):
    """float32 numbers, rounded to the nearest of 8 bits, as float32."""
    bits = np.float32(x).view(np.uint32)
    return (bits + 0x7FFF + (bits >> 16 & 1) & np.uint32(0xFFFF0000)).view(np.float32)


def half(x):
    return np.float32(np.float16(x))


SINGLES, TRIADS = numbers(4, 6).astype(np.float32), np.float32([[1, 0.5], [-2, 1], [0.5, 4]])
bug("cotangent in bfloat16", np.sin, times_cos, lambda g, x: bfloat16(g) * np.cos(x), SINGLES)
bug("cotangent in float16", np.sin, times_cos, lambda g, x: half(g) * np.cos(x), SINGLES)
bug(
    "a sum's backward in bfloat16",
    lambda x: x.sum(1),
    lambda g, x: np.repeat(g, 6).reshape(4, 6),
    lambda g, x: np.repeat(bfloat16(g), 6).reshape(4, 6),
    SINGLES,
)
bug(
    "matmul's backward in bfloat16",
    np.matmul,
    lambda g, x, w: (g @ w.T, x.T @ g),
    lambda g, x, w: (bfloat16(g) @ bfloat16(w).T, bfloat16(x).T @ bfloat16(g)),
    np.float32([[1, 2, -0.5], [4, 1, -1]]),
    TRIADS,
)

# memory


def overwriting(g, x):
    x *= 2
    return g * x


def restoring(g, x):
    x *= 2  # and back again: exact, but other threads see it, and a read-only x refuses
    out = g * x
    x /= 2
    return out


bug("input overwritten", np.square, lambda g, x: g * 2 * x, overwriting, numbers(2, 3))
bug("input overwritten and restored", np.square, lambda g, x: g * 2 * x, restoring, numbers(2, 3))
bug("its cotangent returned", lambda x: x + 1, lambda g, x: g * 1.0, lambda g, x: g, numbers(2, 3))
bug(
    "a view of its cotangent returned",
    lambda x: x.sum(0),
    lambda g, x: np.tile(g, (4, 1)),
    lambda g, x: np.broadcast_to(g, x.shape),
    numbers(4, 3),
)
bug(
    "one array for two inputs",
    np.add,
    lambda g, x, y: (g * 1.0, g * 1.0),
    lambda g, x, y: (g * 1.0,) * 2,
    numbers(3),
    numbers(3, seed=1),
)


def workspace(f):
    out = np.empty((2, 3))
    return f, lambda g, x: np.multiply(g, np.cos(x), out=out)


def by_identity(g, x, y):
    total = {id(x): np.zeros_like(x), id(y): np.zeros_like(y)}
    total[id(x)] += g * y
    total[id(y)] += g * x
    return total[id(x)], total[id(y)].copy()


def scattered(g, x, out):
    out.reshape(-1)[PICKS] = g  # a copy, if `out` took over that x is not in C order
    return out


def like_its_input(g, x):
    out = np.ndarray(x.shape, x.dtype, np.empty(x.size), strides=x.strides)
    out[...] = 2 * g
    return out


remembering("one workspace for every call", np.sin, times_cos, workspace, numbers(2, 3))
bug(
    "wrong for f(x, x)",
    np.multiply,
    lambda g, x, y: (g * y, g * x),
    by_identity,
    numbers(3),
    numbers(3, seed=1),
)
bug("wrong for strided inputs", lambda x: 2 * x, lambda g, x: 2 * g, like_its_input, numbers(2, 3))
PICKS = [7, 0, 10, 4]
bug(
    "wrong for Fortran inputs",
    lambda x: x.ravel()[PICKS],
    lambda g, x: scattered(g, x, np.zeros(x.shape)),
    lambda g, x: scattered(g, x, np.zeros_like(x)),
    numbers(3, 4),
)
bug(
    "wrong for Fortran cotangents",
    np.square,
    lambda g, x: 2 * x * g,
    lambda g, x: (2 * x.ravel() * g.ravel("K")).reshape(x.shape),
    numbers(3, 4),
)

# cotangents and inputs that are views: expanded, channels-last, overlapping, parts of wider rows


def raw(a):
    """As many numbers as `a` has, in the order of memory from its first on, and zeros where it
    ends.
    """
    end = 1 + sum((n - 1) * step // a.itemsize for n, step in zip(a.shape, a.strides))
    out = np.zeros(a.size, a.dtype)
    block = np.lib.stride_tricks.as_strided(a, (min(end, a.size),), (a.itemsize,))
    out[: len(block)] = block
    return out.reshape(a.shape)


def if_rows(a):
    """Takes an array for one block if its rows are: neither is an expanded one, nor a part of each
    row of another.
    """
    return raw(a) if a.strides[-1] == a.itemsize else a


def if_expanded(a):
    """Takes an array for one number, expanded, if its first axis is."""
    return np.full(a.shape, a.flat[0]) if a.strides[0] == 0 else a


def if_dense(a):
    """Takes 4-D arrays without gaps for NCHW, unless they are Fortran's."""
    block = max(n * step for n, step in zip(a.shape, a.strides))
    dense = min(a.strides) == a.itemsize and block == a.nbytes
    return raw(a) if dense and not a.flags.f_contiguous else a


def if_overlapping(a):
    """Takes an array for one block if it has more numbers than there are places for, and none is
    expanded.
    """
    span = 1 + sum((n - 1) * step // a.itemsize for n, step in zip(a.shape, a.strides))
    return raw(a) if min(a.strides) > 0 and span < a.size else a


IMAGES = numbers(2, 3, 4, 5)
bug(
    "rows of a cotangent as one block",
    np.square,
    lambda g, x: 2 * x * g,
    lambda g, x: 2 * x * if_rows(g),
    numbers(3, 4),
)
bug(
    "an expanded axis as a single number",
    np.square,
    lambda g, x: 2 * x * g,
    lambda g, x: 2 * x * if_expanded(g),
    numbers(3, 4),
)
bug(
    "channels-last cotangents as NCHW",
    np.square,
    lambda g, x: 2 * x * g,
    lambda g, x: 2 * x * if_dense(g),
    IMAGES,
)
bug(
    "channels-last inputs as NCHW",
    np.square,
    lambda g, x: 2 * x * g,
    lambda g, x: 2 * if_dense(x) * g,
    IMAGES,
)
bug(
    "overlapping cotangents as one block",
    np.square,
    lambda g, x: 2 * x * g,
    lambda g, x: 2 * x * if_overlapping(g),
    numbers(3, 4),
)
bug(
    "rows of an input as one block",
    np.square,
    lambda g, x: 2 * x * g,
    lambda g, x: 2 * if_rows(x) * g,
    numbers(3, 4),
)

# what is kept between calls


def first_input(f):
    saved = []

    def vjp(g, x):
        saved.append(np.cos(x))
        return g * saved[0]

    return f, vjp


def last_input(f):
    saved = []

    def forward(x):
        saved[:] = [x.copy()]
        return f(x)

    return forward, lambda g, x: g * np.cos(saved[0])


def running_sum(f):
    total = np.zeros((2, 3))

    def vjp(g, x):
        np.add(total, g * np.cos(x), out=total)
        return total.copy()

    return f, vjp


def shuffled_sum(f):
    rng = np.random.default_rng(0)  # as threads do, that add up in the order in which they end
    return f, lambda g, x: np.repeat(2 * g * rng.permuted(x, axis=1).sum(1), 200).reshape(x.shape)


def another_mask(f):
    rng = np.random.default_rng(0)
    return f, lambda g, x: g * (rng.random(8) < 0.5)


remembering("first input kept", np.sin, times_cos, first_input, numbers(2, 3))
remembering("last input kept", np.sin, times_cos, last_input, numbers(2, 3))
remembering("added to the last call's", np.sin, times_cos, running_sum, numbers(2, 3))
remembering(
    "summed in random order",
    lambda x: x.sum(1) ** 2,
    lambda g, x: np.repeat(2 * g * x.sum(1), 200).reshape(x.shape),
    shuffled_sum,
    numbers(8, 200),
)
MASK = np.random.default_rng(0).random(8) < 0.5
remembering(
    "dropout's mask drawn again",
    lambda x: x * MASK,
    lambda g, x: g * MASK,
    another_mask,
    numbers(8),
)

# what is kept, and is the same for all inputs near by, or for a multiple of them


def keeping(name, f, find, rule, x, which):
    """The rule(g, find(x)), right for x itself, and wrong for what was found at the "first" or
    "last" call of f.
    """

    def make(f):
        found = {}

        def forward(x):
            found.setdefault("first", find(x))
            found["last"] = find(x)
            return f(x)

        return forward, lambda g, x: rule(g, found[which])

    remembering(name, f, lambda g, x: rule(g, find(x)), make, x)


def placed(g, order):
    """Numbers back to the places that they were taken from, row by row."""
    out = np.zeros((len(g), 5))
    np.put_along_axis(out, order, g, 1)
    return out


def largest_place(x):
    return x.argmax(1, keepdims=True)


TABLE = numbers(4, 5)
for which in "first", "last":
    keeping(
        f"relu's mask of the {which} call",
        lambda x: np.maximum(x, 0),
        lambda x: x > 0,
        lambda g, mask: g * mask,
        TABLE,
        which,
    )
    keeping(
        f"largest place of the {which} call",
        lambda x: x.max(1, keepdims=True),
        largest_place,
        placed,
        TABLE,
        which,
    )
    keeping(
        f"order of the {which} call",
        lambda x: np.sort(x, 1),
        lambda x: x.argsort(1),
        placed,
        TABLE,
        which,
    )


def by_its_array(f):
    kept = {}

    def vjp(g, x):
        return g * kept.setdefault((x.ctypes.data, x.strides), (x, np.cos(x)))[1]

    return f, vjp


remembering("kept while its array is updated", np.sin, times_cos, by_its_array, numbers(2, 3))

# shape and dtype

bug("float32 for float64", np.sin, times_cos, lambda g, x: np.float32(g * np.cos(x)), numbers(2, 3))
bug(
    "float64 for float32",
    lambda x: x * math.sqrt(2),
    lambda g, x: g * math.sqrt(2),
    lambda g, x: g * np.sqrt(2),
    numbers(2, 3).astype(np.float32),
)
SPECTRUM = np.fft.fft(numbers(8))
bug(
    "complex for real",
    lambda x: np.fft.ifft(np.fft.fft(x) * SPECTRUM).real,
    lambda g, x: np.fft.ifft(np.fft.fft(g) * SPECTRUM.conj()).real,
    lambda g, x: np.fft.ifft(np.fft.fft(g) * SPECTRUM.conj()),
    numbers(8),
)
bug("(1,) for ()", np.sin, times_cos, lambda g, x: np.atleast_1d(g * np.cos(x)), numbers())
bug("(n, 1) for (n,)", lambda x: 3 * x, lambda g, x: 3 * g, lambda g, x: 3 * g[:, None], numbers(4))
bug(
    "(1, n) for (n,)",
    lambda x, b: x + b,
    lambda g, x, b: (g * 1.0, g.sum(0)),
    lambda g, x, b: (g * 1.0, g.sum(0, keepdims=True)),
    numbers(4, 3),
    numbers(3),
)
bug(
    "a broadcast not summed",
    lambda x, b: x + b,
    lambda g, x, b: (g * 1.0, g.sum(0)),
    lambda g, x, b: (g * 1.0, g * 1.0),
    numbers(4, 3),
    numbers(3),
)
bug(
    "no gradient for an input",
    np.multiply,
    lambda g, x, y: (g * y, g * x),
    lambda g, x, y: (g * y, None),
    numbers(3),
    numbers(3, seed=1),
)

# axes, orders, signs

SQUARE = numbers(3, 3)
bug(
    "a broadcast summed over the wrong axis",
    lambda x, b: x + b,
    lambda g, x, b: (g * 1.0, g.sum(0)),
    lambda g, x, b: (g * 1.0, g.sum(1)),
    SQUARE,
    numbers(3),
)
bug(
    "permutation not inverted",
    lambda x: 2 * x.transpose(1, 2, 0),
    lambda g, x: 2 * g.transpose(2, 0, 1),
    lambda g, x: 2 * g.transpose(1, 2, 0),
    numbers(3, 3, 3),
)


def sort_vjp(g, x):
    out = np.empty_like(x)
    out[np.argsort(x)] = g
    return out


bug("sorting not inverted", np.sort, sort_vjp, lambda g, x: g[np.argsort(x)], numbers(7))
bug(
    "weight gradient transposed",
    lambda x, w: x @ w.T,
    lambda g, x, w: (g @ w, g.T @ x),
    lambda g, x, w: (g @ w, x.T @ g),
    SQUARE,
    numbers(3, 3, seed=1),
)
bug(
    "inverse not transposed",
    np.linalg.det,
    lambda g, x: g * np.linalg.det(x) * np.linalg.inv(x).T,
    lambda g, x: g * np.linalg.det(x) * np.linalg.inv(x),  # off by an antisymmetric matrix
    SQUARE,
)
bug(
    "quadratic form as if symmetric",
    lambda x: x @ SQUARE @ x,
    lambda g, x: g * (SQUARE + SQUARE.T) @ x,
    lambda g, x: g * 2 * SQUARE @ x,
    numbers(3),
)


def cartesian(x):
    return np.stack([x[:, 0] * np.cos(x[:, 1]), x[:, 0] * np.sin(x[:, 1])], 1)


def cartesian_vjp(g, x):
    c, s = np.cos(x[:, 1]), np.sin(x[:, 1])
    return np.stack([g[:, 0] * c + g[:, 1] * s, x[:, 0] * (g[:, 1] * c - g[:, 0] * s)], 1)


bug(
    "columns swapped",
    cartesian,
    cartesian_vjp,
    lambda g, x: cartesian_vjp(g, x)[:, ::-1].copy(),
    numbers(4, 2),
)
bug(
    "wrong sign for one of two inputs",
    np.subtract,
    lambda g, x, y: (g * 1.0, -g),
    lambda g, x, y: (g * 1.0, g * 1.0),
    numbers(3),
    numbers(3, seed=1),
)
bug(
    "cumulative sum off by one",
    np.cumsum,
    lambda g, x: g.sum() - g.cumsum() + g,
    lambda g, x: g.sum() - g.cumsum(),
    numbers(6),
)
ROWS = [2, 0, 2, 2]


def gathered_vjp(g, x):
    out = np.zeros_like(x)
    np.add.at(out, ROWS, g)
    return out


def assigned(g, x):
    out = np.zeros_like(x)
    out[ROWS] += g
    return out


bug("repeated indices counted once", lambda x: x[ROWS], gathered_vjp, assigned, numbers(4))


def correlate(x, w):
    """The valid correlation of an image with a filter, or with anything smaller."""
    h, v = x.shape[0] - w.shape[0] + 1, x.shape[1] - w.shape[1] + 1
    return sum(w[i, j] * x[i : i + h, j : j + v] for i, j in np.ndindex(w.shape))


bug(
    "filter not flipped",
    correlate,
    lambda g, x, w: (correlate(np.pad(g, 2), w[::-1, ::-1]), correlate(x, g)),
    lambda g, x, w: (correlate(np.pad(g, 2), w), correlate(x, g)),
    numbers(5, 6),
    SQUARE,
)
bug(
    "spectrum not conjugated",
    lambda x: np.fft.ifft(np.fft.fft(x) * SPECTRUM).real,
    lambda g, x: np.fft.ifft(np.fft.fft(g) * SPECTRUM.conj()).real,
    lambda g, x: np.fft.ifft(np.fft.fft(g) * SPECTRUM).real,
    numbers(8),
)

# a term forgotten
#
# In three of these f drops the imaginary part of its input, and a complex step forgets the same.


def centre(x):
    mean = np.empty(x.shape[1])
    mean[:] = x.mean(0).real
    return x - mean


bug("mean as a constant", centre, lambda g, x: g - g.mean(0), lambda g, x: g * 1.0, numbers(4, 2))
bug(
    "variance as a constant",
    normalise,
    normalise_vjp,
    lambda g, x: (g - g.mean(0)) / np.sqrt(x.var(0) + 1e-3),
    numbers(6, 3),
)
bug(
    "norm as a constant",
    lambda x: x / np.linalg.norm(x),
    lambda g, x: (g - x * (g * x).sum() / (x * x).sum()) / np.linalg.norm(x),
    lambda g, x: g / np.linalg.norm(x),
    numbers(5),
)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


bug(
    "softmax without its row sum",
    softmax,
    lambda g, x: softmax(x) * (g - (g * softmax(x)).sum()),
    lambda g, x: softmax(x) * g,
    numbers(5),
)

# kinks, ties, and where a formula is not a number

SLOPE = 0.1
bug(
    "both sides at a kink",
    lambda x: np.where(x > 0, x, SLOPE * x),
    lambda g, x: g * np.where(x > 0, 1, SLOPE),
    lambda g, x: g * ((x >= 0) + SLOPE * (x <= 0)),
    np.array([0.0, 1e-5, -1e-5, 1.0, -2.0]),
)
bug(
    "x / |x| at 0",
    np.abs,
    lambda g, x: g * np.sign(x),
    lambda g, x: g * (x / np.abs(x)),
    np.array([1.5, 0.0, -0.5]),
)
bug(
    "a whole gradient for each tie",
    np.max,
    lambda g, x: g * (x == x.max()) / (x == x.max()).sum(),
    lambda g, x: g * (x == x.max()),
    np.array([1.0, 3, 3, 3, 2]),
)
bug(
    "one side of a clip",
    lambda x: np.clip(x, -1, 1),
    lambda g, x: g * (np.abs(x) < 1),
    lambda g, x: g * (x < 1),
    np.array([-2, -0.5, 0.5, 2]),
)


def lengths(x):
    return np.sqrt((x * x).sum(1))


bug(
    "norm of a row of zeros",
    lengths,
    lambda g, x: g[:, None] * x / np.maximum(lengths(x), 1e-300)[:, None],
    lambda g, x: g[:, None] * x / lengths(x)[:, None],
    np.array([[3.0, 4], [0, 0], [-1, 2]]),
)
bug(
    "product with a zero",
    np.prod,
    lambda g, x: g * np.array([np.prod(np.delete(x, i)) for i in range(len(x))]),
    lambda g, x: g * np.prod(x) / x,
    np.array([2.0, 0, -3]),
)
KEEP = np.array([True, False, True, False])


def kept(x):
    return np.where(KEEP, x, 1.0)


bug(
    "nan under a mask",
    lambda x: KEEP * np.sqrt(kept(x)),
    lambda g, x: KEEP * g * 0.5 / np.sqrt(kept(x)),
    lambda g, x: KEEP * (g * 0.5 / np.sqrt(x)),
    np.array([4.0, 0, 2.25, -1]),
)
bug(
    "logsumexp not shifted",
    lambda x: x.max() + np.log(np.exp(x - x.max()).sum()),
    lambda g, x: g * softmax(x),
    lambda g, x: g * np.exp(x) / np.exp(x).sum(),
    np.array([1000.0, 999, 1001]),
)
