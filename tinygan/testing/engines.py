"""Whose function is it? One protocol in front of every engine, and one small class for each that speaks it.

    value(*arrays) -> outputs                 a tuple of arrays
    vjp(*arrays) -> outputs, pullback         pullback(cotangents) -> the gradients, one for each array (None: a constant)

Arrays are NumPy's; those not of floats are constants. A cotangent may be None, which counts as zeros. Where an engine can
differentiate its own gradients, `derivative(arrays)` is the protocol again for the function (*arrays, *cotangents) -> gradients
of the arrays of floats. To check yet another engine, write these methods. None is imported before it is asked for.
"""

import sys

import numpy as np


def as_tuple(x):
    """Outputs as a tuple, whether a function gave one, a tuple or a list."""
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def to_numpy(x):
    """The values of any engine's array, in its own memory where that can be."""
    if type(x).__name__ == "Tensor":
        x = x.detach().cpu() if hasattr(x, "cpu") else x.data
    return np.asarray(x.get() if hasattr(x, "get") else x)


def is_float(a):
    """Whether an array is differentiated."""
    return a.dtype.kind == "f"


class Pair:
    """A NumPy function and its gradient by hand: vjp(g, *inputs) gives the gradient, or a tuple with one for each input."""

    aliases = False  # a gradient that is the cotangent itself, or another gradient, is a mistake

    def __init__(self, f, by_hand):
        self.f, self.by_hand = f, by_hand

    def value(self, *arrays):
        """The outputs of f."""
        return tuple(map(np.asarray, as_tuple(self.f(*arrays))))

    def vjp(self, *arrays):
        """The outputs of f, and the pullback."""
        result = self.f(*arrays)
        outs = tuple(map(np.asarray, as_tuple(result)))

        def pullback(cotangents):
            g = tuple(np.zeros_like(y) if c is None else c for y, c in zip(outs, cotangents))
            found = as_tuple(self.by_hand(g if isinstance(result, (tuple, list)) else g[0], *arrays))
            if len(found) != len(arrays):
                raise ValueError(f"check_grads: vjp gave {len(found)} gradients for {len(arrays)} inputs (None for a constant)")
            return [g if g is None else np.asarray(g) for g in found]

        return outs, pullback


class Engine:
    """`f`, a function of an engine's own arrays; `like`, one of these, says where they live.

    An engine says how to `lift` a NumPy array (`track`: to differentiate by it), how to `lower` its own, and how to
    `differentiate(f, xs)`: f's outputs, and pull(cotangents, create_graph) -> gradients, None where there is no path.
    """

    aliases = True  # nothing in most engines ever writes to a gradient, and so they share memory freely
    lower = staticmethod(to_numpy)

    def __init__(self, f, like=None):
        self.f, self.like = f, like

    def value(self, *arrays):
        """The outputs of f."""
        return tuple(self.lower(y) for y in as_tuple(self.f(*(self.lift(a, True) for a in arrays))))

    def vjp(self, *arrays):
        """The outputs of f, and the pullback."""
        outs, pull = self._differentiate([self.lift(a, True) for a in arrays], list(map(is_float, arrays)))

        def pullback(cotangents):
            found = iter(pull([c if c is None else self.lift(c) for c in cotangents]))
            return [self.lower(next(found)) if is_float(a) else None for a in arrays]

        return tuple(map(self.lower, outs)), pullback

    def derivative(self, arrays):
        """The gradients of f as a function of inputs like `arrays` and of cotangents."""
        n, floats = len(arrays), list(map(is_float, arrays))
        return type(self)(lambda *args: tuple(self._differentiate(args[:n], floats)[1](args[n:], True)), self.like)

    def tied(self, i, j):
        """f with its input i for its input j as well."""
        return type(self)(lambda *args: self.f(*args[:j], args[i], *args[j:]), self.like)

    def _differentiate(self, xs, floats):
        """Outputs, and the pullback to the `xs` of floats, with zeros for those that f does not depend on."""

        def f(*inputs):
            inputs = iter(inputs)
            return as_tuple(self.f(*(next(inputs) if varies else x for x, varies in zip(xs, floats))))

        varied = [x for x, varies in zip(xs, floats) if varies]
        outs, pull = self.differentiate(f, varied)
        return outs, lambda cs, graph=False: [self.zeros(x) if g is None else g for x, g in zip(varied, pull(cs, graph))]

    def zeros(self, x):
        """A constant like x."""
        return self.lift(np.zeros_like(self.lower(x)))

    def whole(self, outs, cotangents):
        """Cotangents with zeros for None, as engines that take them all want them."""
        return tuple(self.zeros(y) if c is None else c for y, c in zip(outs, cotangents))


class Tinygan(Engine):
    """Functions of tinygan Tensors; `like`, a CuPy array, puts them on the GPU."""

    aliases = False

    def lift(self, a, track=False):
        from tinygan import Tensor

        like = self.like.data if isinstance(self.like, Tensor) else self.like
        a = sys.modules["cupy"].asarray(a) if hasattr(like, "get") else a
        return Tensor(a) if track and a.dtype.kind in "fc" else a

    def differentiate(self, f, xs):
        from tinygan import Tensor, grad

        outs = f(*xs)

        def pull(cotangents, create_graph=False):
            pairs = [(y, c) for y, c in zip(outs, cotangents) if c is not None and isinstance(y, Tensor)]
            ys, cs = [y for y, _ in pairs], [c for _, c in pairs]
            return grad(ys, xs, cs, create_graph=create_graph, allow_unused=True)

        return outs, pull


class Torch(Engine):
    """Functions of torch.Tensors, torch.autograd.Function's `apply` among them; `like` gives the device."""

    def lift(self, a, track=False):
        import torch

        writable = a.flags.writeable and all(s >= 0 for s in a.strides)
        t = torch.from_numpy(a if writable else a.copy()).to(getattr(self.like, "device", "cpu"))
        return t.requires_grad_() if track and t.is_floating_point() else t

    def differentiate(self, f, xs):
        import torch

        outs = f(*xs)

        def pull(cotangents, create_graph=False):
            pairs = [(y, c) for y, c in zip(outs, cotangents) if c is not None and y.requires_grad]
            ys, cs = [y for y, _ in pairs], [c for _, c in pairs]
            if not ys:
                return [None] * len(xs)
            return torch.autograd.grad(ys, xs, cs, retain_graph=True, create_graph=create_graph, allow_unused=True)

        return outs, pull


class JAX(Engine):
    """Functions of JAX arrays."""

    def lift(self, a, track=False):
        import jax.numpy as jnp

        lifted = jnp.asarray(a)
        if lifted.dtype != a.dtype:
            remedy = 'jax.config.update("jax_enable_x64", True) keeps it'
            raise ValueError(f"check_grads: JAX made {a.dtype} {lifted.dtype}; {remedy}")
        return lifted

    def differentiate(self, f, xs):
        import jax

        outs, pull = jax.vjp(f, *xs)
        return outs, lambda cs, graph=False: pull(self.whole(outs, cs))


class Autograd(Engine):
    """Functions of NumPy arrays for HIPS autograd."""

    def lift(self, a, track=False):
        return a

    def lower(self, x):
        from autograd.tracer import getval

        return np.asarray(getval(x))

    def differentiate(self, f, xs):
        import autograd

        pull, outs = autograd.make_vjp(lambda xs: autograd.builtins.tuple(f(*xs)))(autograd.builtins.tuple(tuple(xs)))
        return outs, lambda cs, graph=False: pull(self.whole(outs, cs))


class MyGrad(Engine):
    """Functions of MyGrad tensors, which know first derivatives only."""

    derivative = None

    def lift(self, a, track=False):
        import mygrad

        return mygrad.tensor(a, copy=False) if track and is_float(a) else a

    def differentiate(self, f, xs):
        import mygrad

        def pull(cotangents, create_graph=False):
            fresh = [mygrad.tensor(x.data) for x in xs]  # backward() clears the graph
            pairs = [(y, c) for y, c in zip(f(*fresh), cotangents) if c is not None and not y.constant]
            if pairs:
                mygrad.add_sequence(*(mygrad.sum(y * c) for y, c in pairs), 0.0).backward()
            return [x.grad for x in fresh]

        return f(*xs), pull


ENGINES = {"tinygan": Tinygan, "torch": Torch, "jax": JAX, "autograd": Autograd, "mygrad": MyGrad}
OWNERS = {"torch": "torch", "jaxlib": "jax", "jax": "jax", "mygrad": "mygrad"}  # by the module of an array's type


def adapt(f, inputs, vjp=None, engine=None):
    """f in the protocol, and its inputs as NumPy arrays, copied. A Python float is a float64 array of shape ()."""
    owners = [OWNERS.get(type(x).__module__.partition(".")[0]) for x in inputs]
    engine = engine or next(filter(None, owners), "tinygan")
    if engine not in ENGINES:
        raise ValueError(f"check_grads: engine {engine!r} is none of {', '.join(ENGINES)}")
    arrays = [np.array(to_numpy(x), order="C") for x in inputs]
    if vjp is not None:
        return Pair(f, vjp), arrays
    if hasattr(f, "value") and hasattr(f, "vjp"):
        return f, arrays
    like = next((x for x, o in zip(inputs, owners) if o == engine or hasattr(x, "get") or hasattr(x, "numpy")), None)
    return ENGINES[engine](f, like), arrays
