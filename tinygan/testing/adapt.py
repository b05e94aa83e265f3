"""What a caller gives, a function with nested arguments of some engine or a NumPy function with its
gradient by hand, in the protocol of `engines`."""

import numpy as np

from .arrays import owner, to_numpy
from .containers import Flat, Reals, as_tuple, leaves, rebuild, varies
from .engines import ENGINES


def adapt(f, inputs, before, *, kwargs, constant, vjp, jvp, engine):
    """f in the protocol; the arrays that it is differentiated by, as NumPy's, copied; and a Flat
    that has their names. All is as check_grads was given it.

    A Python float is a float64 array of shape (). f is called once, for which of its outputs can be
    differentiated, and before(value, arrays) is called before that: what f may keep of its first
    call should not be this one.
    """
    given = [x for _, x in leaves([list(inputs), kwargs])]
    by_hand = vjp is not None or hasattr(f, "value") and hasattr(f, "vjp")
    engine = engine or next(filter(None, map(owner, [*given, f])), "tinygan")
    if engine not in ENGINES:
        raise ValueError(f"check_grads: engine {engine!r} is none of {', '.join(ENGINES)}")
    on_device = lambda x: hasattr(x, "get") and hasattr(x, "dtype")
    like = (x for x in given if owner(x) == engine and varies(x) or on_device(x))
    fn = ENGINES[engine](None, next(like, None))
    if not by_hand:  # what stays constant comes in the engine's own arrays too
        array = lambda x: isinstance(x, np.ndarray) and x.dtype.kind in "biufc"
        lift = lambda _, x: fn.lift(x) if array(x) and (not varies(x) or constant) else x
        inputs = rebuild(inputs, lift)
        kwargs = rebuild(kwargs, lift)
    fn.f = flat = Flat(f, inputs, kwargs, constant, numbers=by_hand or engine != "torch")
    arrays = [np.array(to_numpy(x), order="C") for x in flat.arrays]
    if not arrays:
        kind = lambda a: f"{a.shape} {a.dtype}"
        kinds = [kind(to_numpy(x)) if hasattr(x, "dtype") else repr(x) for x in given]
        got = ", ".join(kinds) or "none"
        raise TypeError(f"check_grads: needs an input of floats, got {got}")
    if by_hand and vjp is None:
        return f, arrays, flat
    fn = Pair(flat, vjp, jvp) if by_hand else fn
    if not any(a.dtype.kind == "c" for a in arrays):
        before(fn.value, arrays)
    outs = fn.value(*arrays) if by_hand else counted(fn, flat, arrays)
    kinds = [[a.dtype.kind == "c" for a in some] for some in (arrays, outs)]
    if any(map(any, kinds)):
        fn = Reals(fn, *kinds)
        arrays = [np.ascontiguousarray(a) for a in Reals.split(arrays)]
    return fn, arrays, flat


def counted(fn, flat, arrays):
    """The outputs that can be differentiated; the others are constants from here on."""
    try:
        outs = flat(*(fn.lift(a, True) for a in arrays))
    except TypeError as e:
        # NumPy's words and tinygan's, for a Tensor that NumPy was given
        if "does not support ufuncs" in str(e) or "would cut a Tensor off" in str(e):
            remedy = "if f is of NumPy arrays, give its gradient, vjp=lambda g, x: ..."
            e.add_note(f"check_grads: {remedy}")
        raise
    marks = fn.unmarked(outs)
    flat.constant |= {name for name, counts in zip(flat.outputs, marks) if not counts}
    return [to_numpy(y) for y, counts in zip(outs, marks) if counts]


class Pair:
    """A NumPy function and its gradient by hand: vjp(g, *inputs) gives the gradient, or a tuple
    with one for each input."""

    aliases = False  # a gradient that is the cotangent itself, or another gradient, is a mistake

    def __init__(self, flat, by_hand, forward=None):
        self.flat = flat
        self.by_hand = by_hand
        self.forward = forward
        self.jvp = self._jvp if callable(forward) else None

    def value(self, *arrays):
        """The outputs of f."""
        return tuple(map(np.asarray, self.flat(*arrays)))

    def vjp(self, *arrays):
        """The outputs of f, and the pullback."""
        inputs, kwargs = self.flat.filled(arrays)
        result = self.flat.f(*inputs, **kwargs)
        named = [(name, np.asarray(y)) for name, y in self.flat.unpacked(result)]

        def pullback(cotangents):
            given = {}
            for (name, y), c in zip(named, cotangents):
                given[name] = np.zeros_like(y) if c is None else c
            g = self._shaped(as_tuple(result), "output", given)
            g = g if isinstance(result, tuple | list) else g[0]
            found = self.by_hand(g, *inputs, **kwargs)
            # the gradient of a single list is a list, and not one gradient for each input
            alone = len(inputs) == 1 and isinstance(inputs[0], tuple | list)
            found = (found,) if alone else as_tuple(found)
            if len(found) != len(inputs):
                words = f"vjp gave {len(found)} gradients for {len(inputs)} inputs"
                raise ValueError(f"check_grads: {words} (None for a constant)")
            grads = dict(leaf for i, g in enumerate(found) for leaf in leaves(g, f"input {i}"))
            grads = [grads.get(name) for name in self.flat.inputs]
            return [g if g is None else np.asarray(g) for g in grads]

        return tuple(y for _, y in named), pullback

    def _jvp(self, arrays, tangents):
        inputs, kwargs = self.flat.filled(arrays)
        t = self._shaped(inputs, "input", dict(zip(self.flat.inputs, tangents)))
        result = self.forward(t[0] if len(inputs) == 1 else t, *inputs, **kwargs)
        return tuple(np.asarray(y) for _, y in self.flat.unpacked(result))

    @staticmethod
    def _shaped(given, kind, new):
        """What f took or gave with `new` for what varies and zeros for other arrays."""

        def leaf(name, x):
            if name in new:
                return new[name]
            return np.zeros_like(x) if isinstance(x, np.ndarray) else None

        return tuple(rebuild(x, leaf, f"{kind} {i}") for i, x in enumerate(given))
