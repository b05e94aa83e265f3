"""The gradient checkers that are compared, each behind the same four calls."""

import functools
import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Checker(NamedTuple):
    """A gradient checker at its default settings; a call raises if the gradient is refused.

    check(f, vjp, *inputs): f with a rule of its own, on NumPy arrays. functions: those to time, by
    name. twice(function, *inputs): one of them, to second order. of_torch(f, inputs, options): a
    function of torch tensors or a module, where it takes them.
    """

    check: Callable
    functions: dict
    twice: Callable
    of_torch: Callable | None = None


def each(x):
    return x if isinstance(x, tuple) else (x,)


def with_tinygan():
    from tinygan import ops
    from tinygan.testing import check_grads, check_module

    functions = {
        "tanh": ops.tanh,
        "matmul": ops.matmul,
        "softmax": ops.softmax,
        "conv2d": lambda x, w: ops.conv2d(x, w, stride=2, padding=1),
    }

    def check(f, vjp, *inputs):
        check_grads(f, *inputs, vjp=vjp)

    def of_torch(f, inputs, options):
        (check_module if hasattr(f, "parameters") else check_grads)(f, *inputs, order=1, **options)

    return Checker(check, functions, check_grads, of_torch)


def with_torch(fast):
    import torch
    from torch.autograd import gradcheck, gradgradcheck

    torch.set_num_threads(1)  # at these sizes a second thread waits more than it works

    def tensor(a):
        return torch.from_numpy(np.asarray(a, order="C"))

    def tensors(arrays):
        torch.manual_seed(0)
        return tuple(torch.tensor(x, requires_grad=True) for x in arrays)

    def check(f, vjp, *inputs):
        class Function(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *xs):
                ctx.save_for_backward(*xs)
                out = f(*(x.detach().numpy() for x in xs))
                several = isinstance(out, tuple)
                return tuple(map(torch.tensor, out)) if several else torch.tensor(out)

            @staticmethod
            def backward(ctx, *g):
                g = tuple(a.numpy() for a in g)
                inputs = (x.detach().numpy() for x in ctx.saved_tensors)
                found = each(vjp(g if len(g) > 1 else g[0], *inputs))
                return tuple(a if a is None else tensor(a) for a in found)

        gradcheck(Function.apply, tensors(inputs), fast_mode=fast)

    def check_twice(f, *inputs):
        gradcheck(f, tensors(inputs), fast_mode=fast)
        gradgradcheck(f, tensors(inputs), fast_mode=fast)

    functions = {
        "tanh": torch.tanh,
        "matmul": torch.matmul,
        "softmax": lambda x: torch.softmax(x, -1),
        "conv2d": lambda x, w: torch.nn.functional.conv2d(x, w, stride=2, padding=1),
    }
    of_torch = functools.partial(_of_torch, fast=fast)
    return Checker(check, functions, check_twice, of_torch)


def _of_torch(f, inputs, options, fast):
    """torch's check of a function of tensors or a module, by every tensor that the call has."""
    import torch
    from torch.utils import _pytree as tree

    parameters = dict(f.named_parameters()) if isinstance(f, torch.nn.Module) else {}
    call = f if not parameters else lambda *xs, **kw: torch.func.functional_call(f, kw, xs)
    leaves, form = tree.tree_flatten((inputs, options.get("kwargs", parameters)))
    at = [i for i, x in enumerate(leaves) if isinstance(x, torch.Tensor)]

    def flat(*tensors):
        given = dict(zip(at, tensors))
        xs, kw = tree.tree_unflatten([given.get(i, x) for i, x in enumerate(leaves)], form)
        return tuple(tree.tree_leaves(call(*xs, **kw)))

    tracked = [leaves[i].detach().requires_grad_() for i in at]
    torch.autograd.gradcheck(
        flat, tracked, fast_mode=fast, check_forward_ad=options.get("jvp", False)
    )


def with_autograd():
    import autograd.numpy as np_like
    from autograd.extend import defvjp_argnums, primitive
    from autograd.test_util import check_grads

    def check(f, vjp, *inputs):
        op = primitive(f)

        def rule(argnums, out, args, kwargs):
            def gradients(g):
                found = each(vjp(g, *args))
                return tuple(found[i] for i in argnums)

            return gradients

        defvjp_argnums(op, rule)
        check_twice(op, *inputs, order=1)

    def check_twice(f, *inputs, order=2):
        np.random.seed(0)
        check_grads(f, tuple(range(len(inputs))), modes=["rev"], order=order)(*inputs)

    def softmax(x):
        e = np_like.exp(x - np_like.max(x, axis=-1, keepdims=True))
        return e / np_like.sum(e, axis=-1, keepdims=True)

    functions = {"tanh": np_like.tanh, "matmul": np_like.matmul, "softmax": softmax}
    return Checker(check, functions, check_twice)


def with_jax():
    import jax
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)
    # the errors of callbacks, which are what we look for
    logging.getLogger("jax").setLevel(logging.CRITICAL)

    def like(arrays):
        return jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(np.shape(a), np.asarray(a).dtype), arrays
        )

    def call(f, shapes, *arguments):
        return jax.pure_callback(lambda *a: f(*jax.tree.map(np.asarray, a)), shapes, *arguments)

    def check(f, vjp, *inputs):
        shapes = like(f(*inputs))
        op = jax.custom_vjp(lambda *xs: call(f, shapes, *xs))
        op.defvjp(
            lambda *xs: (op(*xs), xs),
            lambda xs, g: call(lambda g, *xs: each(vjp(g, *xs)), like(tuple(inputs)), g, *xs),
        )
        check_grads(op, inputs, order=1, modes=["rev"])

    def conv2d(x, w):
        return jax.lax.conv_general_dilated(x, w, (2, 2), [(1, 1), (1, 1)])

    functions = {
        "tanh": jax.numpy.tanh,
        "matmul": jax.numpy.matmul,
        "softmax": jax.nn.softmax,
        "conv2d": conv2d,
    }

    def check_twice(f, *inputs):
        check_grads(f, inputs, order=2, modes=["rev"])

    return Checker(check, functions, check_twice)


CHECKERS = {
    "tinygan": with_tinygan,
    "torch slow": lambda: with_torch(False),
    "torch fast": lambda: with_torch(True),
    "autograd": with_autograd,
    "jax": with_jax,
}
