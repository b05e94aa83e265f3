"""How an array lies in memory: the order of its axes there, NumPy's or CuPy's. It loads neither."""

from ..device import memory_order


def dense(x):
    """Whether x fills its memory forwards and without gaps, in some order of its axes."""
    return x.flags.c_contiguous or x.transpose(memory_order(x)).flags.c_contiguous


def flat(x):
    """A dense x as one axis, in the order of its memory: a view."""
    return (x if x.flags.c_contiguous else x.transpose(memory_order(x))).reshape(-1)
