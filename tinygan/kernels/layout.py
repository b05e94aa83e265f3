"""How an array lies in memory: the order of its axes there, NumPy's or CuPy's. It loads neither."""

from ..device import memory_order


def dense(x):
    """Whether x fills its memory forwards and without gaps, in some order of its axes."""
    return x.flags.c_contiguous or x.transpose(memory_order(x)).flags.c_contiguous


def flat(x):
    """A dense x as one axis, in the order of its memory: a view."""
    return (x if x.flags.c_contiguous else x.transpose(memory_order(x))).reshape(-1)


def lie_alike(a, b):
    """Whether both have one shape and one order in memory: axes of one element have none."""
    strides = zip(a.shape, a.strides, b.strides)
    return a.shape == b.shape and all(s == t for n, s, t in strides if n > 1)
