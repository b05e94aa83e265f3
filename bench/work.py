"""How much a training step computes and moves, counted from the shapes of what it asks for as it
runs, on either device.

A multiplication and an addition are two operations; taps in the padding count, and so does what a
faster algorithm saves.
"""

import contextlib
import math
import sys

import numpy as np

from tinygan import autograd, device, kernels, ops

MULTIPLICATIONS = {  # of a raw function, from its arguments; the layouts are `kernels.reference`'s
    "gemm": lambda a, b: a.size * b.shape[-1],
    "conv": lambda x, w, size: len(x) * math.prod(size) * w.size,
    "conv_transpose": lambda y, w, size: y.size * w.size // w.shape[3],
    "conv_filter": lambda x, y, size: y.size * math.prod(size) * x.shape[3],
}


@contextlib.contextmanager
def replaced(owner, functions):
    """Give a module these functions, {name: f}, for as long."""
    plain = {name: getattr(owner, name) for name in functions}
    vars(owner).update(functions)
    try:
        yield plain
    finally:
        vars(owner).update(plain)


def operations(step, where="cpu"):
    """The operations of a step's matrix products and convolutions, forward and backward."""
    module = kernels.of(device.to(np.zeros(1), where))
    total, inside = 0, False

    def counting(name, plain):
        def f(a, b, *others, **options):
            nonlocal total, inside
            if inside:  # a product that asks for another has been counted
                return plain(a, b, *others, **options)
            total += 2 * MULTIPLICATIONS[name](a, b, *others[:1])
            inside = True
            try:
                return plain(a, b, *others, **options)
            finally:
                inside = False

        return f

    wrapped = {name: counting(name, getattr(module, name)) for name in MULTIPLICATIONS}
    with replaced(module, wrapped):
        step()
    return total


def gflop(step):
    """The work of a step on the CPU, in billions of operations."""
    return operations(step) / 1e9


def moved(model, step):
    """The bytes of a step's arrays, each read and written once by each operation that makes it or
    differentiates it, and of Adam and the moving average.
    """
    total, seen = 0, set()

    def counting(loss, parameters):
        nonlocal total
        for t in autograd._ancestors([loss], 0) - seen:
            arrays = [a for a in map(ops.raw, (t, *t.args)) if device.is_array(a)]
            if t.op and not any(np.may_share_memory(t.data, a) for a in arrays[1:]):
                # forward; backward reads them and writes as many gradients
                total += 3 * sum(a.nbytes for a in arrays)
            seen.add(t)
        # Adam reads p, g, m, v and writes p, m, v
        total += 7 * sum(p.data.nbytes for p in parameters)
        return autograd.grad(loss, parameters)

    module = sys.modules[type(model).step.__module__]  # where a step asks for gradients
    with replaced(module, {"grad": counting}):
        step()
    pairs = model.ema.pairs if hasattr(model, "ema") else ()
    return total + 3 * sum(to.nbytes for to, _ in pairs)
