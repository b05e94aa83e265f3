"""One protocol in front of every engine, and one small class for each that speaks it.

    value(*arrays) -> outputs             a tuple of arrays
    vjp(*arrays) -> outputs, pullback     pullback(cotangents) -> the gradients, one for each array

Arrays are NumPy's, of floats: what else a function takes or gives is left to `containers`. A
cotangent may be None, which counts as zeros. Where an engine can, it also has

    derivative(arrays) -> the protocol again for (*arrays, *cotangents) -> gradients of the arrays
    partial(k, *arrays) -> the pullback to array k, when nothing else is differentiated
    untracked(*arrays) -> outputs, when nothing is
    jvp(arrays, tangents) -> the tangents of the outputs, by forward mode
    tied(i, j) -> the protocol for f with its input i for its input j as well

and `without`, the names of those in `layouts.LAYOUTS` that its arrays cannot have, None for all. To
check yet another engine, write these methods. None is imported before it is asked for.
"""

import contextlib
import sys

import numpy as np

from .arrays import replaced, to_numpy
from .containers import varies


class Engine:
    """`f`, a flat function of an engine's own arrays; `like`, one of these, says where they live.

    An engine says how to `lift` a NumPy array (`track`: to differentiate by it), how to `lower` its
    own, and how to `differentiate(f, xs)`: f's outputs, and pull(cotangents, create_graph) ->
    gradients, None where there is no path.
    """

    # nothing in most engines ever writes to a gradient, and so they share memory freely
    aliases = True
    jvp = None
    lower = staticmethod(to_numpy)
    without_graph = contextlib.nullcontext

    def __init__(self, f, like=None):
        self.f = f
        self.like = like

    def value(self, *arrays):
        """The outputs of f."""
        return self._lowered(self.f(*self._tracked(arrays)))

    def untracked(self, *arrays):
        """The outputs of f where nothing is differentiated."""
        with self.without_graph():
            return self._lowered(self.f(*map(self.lift, arrays)))

    def vjp(self, *arrays):
        """The outputs of f, and the pullback."""
        outs, pull = self._differentiate(self.f, self._tracked(arrays))
        return self._lowered(outs), self._pullback(pull)

    def partial(self, k, *arrays):
        """The pullback to array k, where the others are constants."""
        xs = [*map(self.lift, arrays)]
        f = lambda x: self.f(*replaced(xs, k, x))
        pull = self._pullback(self._differentiate(f, self._tracked([arrays[k]]))[1])
        return lambda cs: pull(cs)[0]

    def derivative(self, arrays):
        """The gradients of f as a function of inputs like `arrays` and of cotangents."""
        n = len(arrays)

        def gradients(*args):
            _, pull = self._differentiate(self.f, args[:n])
            return pull(args[n:], True)

        return type(self)(gradients, self.like)

    def tied(self, i, j):
        """f with its input i for its input j as well."""
        both = lambda *args: self.f(*args[:j], args[i], *args[j:])
        return type(self)(both, self.like)

    def unmarked(self, outs):
        """Which outputs count: all, unless an engine marks those that are not differentiable."""
        return [True] * len(outs)

    def _tracked(self, arrays):
        return [self.lift(a, True) for a in arrays]

    def _lowered(self, xs):
        return tuple(map(self.lower, xs))

    def _pullback(self, pull):
        lift = lambda c: c if c is None else self.lift(c)
        return lambda cs: list(self._lowered(pull([*map(lift, cs)])))

    def _differentiate(self, f, xs):
        """Outputs, and the pullback to the `xs`, with zeros for those that f does not depend on."""
        outs, pull = self.differentiate(f, xs)
        return outs, lambda cs, graph=False: self.whole(xs, pull(cs, graph))

    @staticmethod
    def asked(outs, cotangents, counts):
        """The outputs that count and have a cotangent, and these."""
        pairs = [(y, c) for y, c in zip(outs, cotangents) if c is not None and counts(y)]
        return zip(*pairs) if pairs else ((), ())

    def zeros(self, x):
        """A constant like x."""
        return self.lift(np.zeros_like(self.lower(x)))

    def whole(self, likes, arrays):
        """Gradients of `likes`, or their cotangents, with zeros for None."""
        return tuple(self.zeros(x) if a is None else a for x, a in zip(likes, arrays))


class Tinygan(Engine):
    """Functions of tinygan Tensors; `like`, a CuPy array, puts them on the GPU."""

    aliases = False

    def lift(self, a, track=False):
        from tinygan import Tensor

        like = self.like.data if isinstance(self.like, Tensor) else self.like
        a = sys.modules["cupy"].asarray(a) if hasattr(like, "get") else a
        return Tensor(a) if track and a.dtype.kind in "fc" else a

    def untracked(self, *arrays):
        """The outputs under no_grad, where f still gets Tensors, for it may use their methods."""
        from tinygan import no_grad

        with no_grad():
            return self.value(*arrays)

    def partial(self, k, *arrays):
        """The pullback to array k: no more is asked of the same graph."""
        xs = self._tracked(arrays)
        pull = self._pullback(self._differentiate(lambda x: self.f(*xs), [xs[k]])[1])
        return lambda cs: pull(cs)[0]

    def differentiate(self, f, xs):
        from tinygan import Tensor, grad

        outs = f(*xs)

        def pull(cotangents, create_graph=False):
            ys, cs = self.asked(outs, cotangents, lambda y: isinstance(y, Tensor))
            return grad(ys, xs, cs, create_graph=create_graph, allow_unused=True)

        return outs, pull


class Torch(Engine):
    """Functions of torch.Tensors, as a torch.autograd.Function's `apply`; `like`: the device."""

    without = "negative-stride", "read-only"  # of the layouts: torch knows no such arrays

    def lift(self, a, track=False):
        import torch

        if isinstance(a, torch.Tensor):
            return a
        # torch has no negative strides, and warns of memory that is only read
        if min(a.strides, default=0) < 0 or not (a.flags.writeable or 0 in a.strides):
            a = a.copy()
        if a.dtype.kind == "V":  # bfloat16 of ml_dtypes
            t = torch.from_numpy(a.view(np.int16)).view(torch.bfloat16)
        else:
            t = torch.from_numpy(a)
        device = getattr(self.like, "device", t.device)
        t = t if device == t.device else t.to(device)
        return t.requires_grad_() if track and varies(t) else t

    def without_graph(self):
        import torch

        return torch.no_grad()

    def unmarked(self, outs):
        """Outputs that require no gradient beside others that do were marked so, as by
        mark_non_differentiable."""
        marks = [getattr(y, "requires_grad", False) for y in outs]
        return marks if any(marks) else [True] * len(outs)

    def jvp(self, arrays, tangents):
        """The tangents of the outputs, by dual numbers."""
        import torch.autograd.forward_ad as forward

        with forward.dual_level():
            pairs = (map(self.lift, pair) for pair in zip(arrays, tangents))
            outs = self.f(*(forward.make_dual(*pair) for pair in pairs))
            found = [forward.unpack_dual(y).tangent for y in outs]
            return tuple(self.lower(self.zeros(y) if t is None else t) for y, t in zip(outs, found))

    def differentiate(self, f, xs):
        import torch

        outs = f(*xs)

        def pull(cotangents, create_graph=False):
            tracked = lambda y: getattr(y, "requires_grad", False)
            ys, cs = self.asked(outs, cotangents, tracked)
            if not ys:
                return [None] * len(xs)
            options = {"retain_graph": True, "create_graph": create_graph, "allow_unused": True}
            return torch.autograd.grad(ys, xs, cs, **options)

        return outs, pull


class JAX(Engine):
    """Functions of JAX arrays, which have no layouts to choose."""

    without = None

    def lift(self, a, track=False):
        import jax.numpy as jnp

        lifted = jnp.asarray(a)
        if lifted.dtype != a.dtype:
            remedy = 'jax.config.update("jax_enable_x64", True) keeps it'
            raise ValueError(f"check_grads: JAX made {a.dtype} {lifted.dtype}; {remedy}")
        return lifted

    def jvp(self, arrays, tangents):
        """The tangents of the outputs."""
        import jax

        primals, tangents = (tuple(map(self.lift, some)) for some in (arrays, tangents))
        return self._lowered(jax.jvp(self.f, primals, tangents)[1])

    def differentiate(self, f, xs):
        import jax

        outs, pull = jax.vjp(f, *xs)
        bar = lambda xs: conjugate(xs, jax.numpy.conj)
        return outs, lambda cs, graph=False: bar(pull(bar(self.whole(outs, cs))))


class Autograd(Engine):
    """Functions of NumPy arrays for HIPS autograd."""

    def lift(self, a, track=False):
        return a

    def pack(self, xs):
        """A tuple that autograd can differentiate by."""
        return sys.modules["autograd"].builtins.tuple(tuple(xs))

    def lower(self, x):
        from autograd.tracer import getval

        return np.asarray(getval(x))

    def jvp(self, arrays, tangents):
        """The tangents of the outputs."""
        import autograd

        push = autograd.make_jvp(lambda xs: self.pack(self.f(*xs)))(self.pack(arrays))
        return self._lowered(push(self.pack(tangents))[1])

    def differentiate(self, f, xs):
        import autograd

        pull, outs = autograd.make_vjp(lambda xs: self.pack(f(*xs)))(self.pack(xs))
        bar = lambda xs: conjugate(xs, autograd.numpy.conj)
        return outs, lambda cs, graph=False: bar(pull(self.pack(bar(self.whole(outs, cs)))))


def conjugate(xs, conj):
    """For JAX and autograd, whose complex gradients are the conjugates of PyTorch's."""
    return tuple(conj(x) if np.dtype(x.dtype).kind == "c" else x for x in xs)


class MyGrad(Engine):
    """Functions of MyGrad tensors, which know first derivatives only."""

    derivative = None
    without = ("overlapping",)

    def lift(self, a, track=False):
        import mygrad

        return mygrad.tensor(a, copy=False) if track else a

    def differentiate(self, f, xs):
        import mygrad

        def pull(cotangents, create_graph=False):
            fresh = [mygrad.tensor(x.data) for x in xs]  # backward() clears the graph
            ys, cs = self.asked(f(*fresh), cotangents, lambda y: not y.constant)
            if ys:
                products = (mygrad.sum(y * c) for y, c in zip(ys, cs))
                mygrad.add_sequence(*products, 0.0).backward()
            return [x.grad for x in fresh]

        return f(*xs), pull


ENGINES = {"tinygan": Tinygan, "torch": Torch, "jax": JAX, "autograd": Autograd, "mygrad": MyGrad}
