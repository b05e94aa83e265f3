"""`check_grads`: is this gradient right? Memory first, then linearity and layouts, then numbers; then the same of gradients.

This room knows a function by the methods of `engines`, and knows no engine.
"""

import itertools
import warnings

import numpy as np

from . import engines, report
from .engines import is_float
from .jacobian import Jacobian, attempt, largest, signed
from .report import GradientError

ROUNDING = 10_000  # what two ways to the same gradient may differ by, in units of the last place: 1 - tanh(4)**2 loses 1,000
LAYOUTS = {
    "Fortran-ordered": np.asfortranarray,
    "negative-stride": lambda a: np.flip(np.flip(a).copy()),
    "strided": lambda a: np.repeat(a, 2, -1)[..., ::2] if a.ndim else a,
    "zero-stride": lambda a: np.broadcast_to(a[..., :1], a.shape) if a.ndim and a.size else a,
    "read-only": np.copy,
}


def check_grads(f, *inputs, order=2, vjp=None, engine=None, rtol=None, seed=0):
    """Raise GradientError unless the gradients of f at `inputs` are right, and their gradients in turn, up to `order`.

    f: a function of tinygan Tensors, or of the kind of array that the inputs are (torch, JAX, MyGrad; HIPS autograd has no
    kind of its own: engine="autograd"), giving one or several of them; or of NumPy arrays, with its gradient by hand
    vjp(g, *inputs), to order 1; or an object with the two methods of `testing.engines`. inputs: float arrays, any shape;
    others are constants. rtol: for each entry of the Jacobian, 1e-9 in float64 and 1e-4 in float32 unless given, on top of
    the error that the numeric derivative has by its own account. Nothing is absolute: f may be scaled by 1e-30.
    """
    function, arrays = engines.adapt(f, inputs, vjp, engine)
    if not any(map(is_float, arrays)):
        got = ", ".join(f"{a.shape} {a.dtype}" for a in arrays) or "none"
        raise TypeError(f"check_grads: needs an input of floats, got {got}")
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a neighbouring point may be outside of f's domain
            _Check(function, arrays, rtol, np.random.default_rng(seed)).run(order)
    except GradientError as e:
        options = {"vjp": vjp, "order": order, "engine": engine, "rtol": rtol, "seed": seed}
        again = report.script(f, inputs, arrays, options)
        raise type(e)(f"{e}\n\nTo see it again:\n\n{again}") from None  # without the frames of this room


class _Check:
    """The questions to one function at one point: the function itself (depth 1), its gradients (2), theirs (3), ..."""

    def __init__(self, fn, arrays, rtol, rng, depth=1, inputs=None, sizes=()):
        self.fn, self.arrays, self.rtol, self.rng, self.depth, self.sizes = fn, arrays, rtol, rng, depth, sizes
        self.inputs = inputs or [f"input {k}" for k in range(len(arrays))]
        self.floats = [k for k, a in enumerate(arrays) if is_float(a)]

    def run(self, order):
        """Ask them all."""
        self.memory()
        self.linearity()
        for layout in LAYOUTS:
            self.layout(layout)
        self.same_array_twice()
        sizes = self.sizes or [0.0] * len(self.cs)
        Jacobian(self.fn, self.arrays, self.rtol, self.rng, self.inputs, self.depth, sizes, self.fail).check()
        if self.depth < order and getattr(self.fn, "derivative", None):
            cs = [c for c in self.cs if c is not None]
            inputs = [*self.inputs, *(f"cotangent{chr(39) * (self.depth - 1)} {j}" for j in range(len(cs)))]
            fn, arrays, sizes = self.fn.derivative(self.arrays), [*self.arrays, *cs], [self.scales[k] for k in self.floats]
            slopes = _Check(fn, arrays, self.rtol, self.rng, self.depth + 1, inputs, sizes)
            slopes.run(order)
            slopes.symmetry()

    def fail(self, message, kind=GradientError):
        """Raise it."""
        raise kind(message if self.depth == 1 else f"order {self.depth}, gradients of the gradients: {message}")

    def cotangents(self, outs):
        """Random ones for each output of floats."""
        return [np.asarray(signed(self.rng, y.shape), y.dtype) if is_float(y) else None for y in outs]

    def memory(self):
        """Bit by bit: what goes in stays as it is; what comes out has memory of its own, and comes out again next time."""
        fn, arrays = self.fn, _times(self.arrays)
        near = _times(arrays, 1 - 2**-8)
        attempt(lambda: fn.vjp(*near)[1](self.cotangents(fn.value(*near))))  # fills a cache that would be stale from here on
        outs, pull = fn.vjp(*arrays)
        if not any(map(is_float, outs)):
            self.fail(f"f gives no floats to differentiate, but {', '.join(f'{y.shape} {y.dtype}' for y in outs) or 'nothing'}")
        if not all(np.isfinite(y).all() for y in outs):
            self.fail("an output is not finite here: choose a point where all are")
        attempt(lambda: fn.value(*near))  # another call comes between a function and its gradient
        self.cs = self.cotangents(outs)
        cs, kept = _times(self.cs), _times(outs)
        found = pull(cs)
        others = [*arrays, *(c for c in cs if c is not None)]
        for k in self.floats:
            g, a, name = found[k], self.arrays[k], self.inputs[k]
            if g is None or g.shape != a.shape or g.dtype != a.dtype:
                self.fail(f"{name} is {a.shape} {a.dtype}, but its gradient is {g if g is None else f'{g.shape} {g.dtype}'}")
            if not getattr(fn, "aliases", False) and any(np.shares_memory(g, o) for o in others):
                self.fail(f"the gradient of {name} shares memory with an input, a cotangent or another gradient: give a copy")
            others.append(g)
        self.found = _times(found)
        # the size of gradients that cancel to nothing but rounding: output over input
        size = max((largest(y) * largest(c) for y, c in zip(outs, cs) if c is not None), default=0.0)
        self.scales = [size / (largest(a) or 1.0) if is_float(a) else 0.0 for a in arrays]
        self.same(arrays, self.arrays, "f or its gradient changed an input in place")
        self.same(cs, self.cs, "the gradient changed its cotangent in place")
        self.same(outs, kept, "the gradient changed an output in place")
        again, fresh = fn.vjp(*arrays)
        self.same(again, kept, "two calls with the same inputs give different outputs")
        self.same(fn.value(*arrays), kept, "f alone and f on the way to a gradient give different outputs")
        for backward in pull, fresh:
            self.same(backward(cs), self.found, "the same gradient, asked for twice, differs")

    def same(self, found, expected, message):
        """Fail unless all arrays are equal bit by bit."""
        if any(a is not None and a.tobytes() != b.tobytes() for a, b in zip(found, expected, strict=True)):
            self.fail(message)

    def close(self, found, expected, message, scales=None):
        """Fail unless gradients are equal but for rounding; `scales` instead of theirs if these are not gradients."""
        for k, (a, b, scale) in enumerate(zip(found, expected, scales or self.scales, strict=True)):
            if a is not None and is_float(a) and np.isfinite(b).all():
                if not np.all(np.abs(a - b) <= ROUNDING * np.finfo(a.dtype).eps * (largest(b) + scale)):
                    self.fail(f"{message} (number {k})")

    def linearity(self):
        """A pullback is linear: exactly for zero and for powers of two, and for sums but for rounding."""
        outs, pull = self.fn.vjp(*self.arrays)
        if any(np.any(g != 0) for g in pull(_times(self.cs, 0)) if g is not None):
            self.fail("a cotangent of zeros gives a gradient that is not zero")
        for factor in -1.0, 2.0**6, 2.0**-6:
            for g, e in zip(pull(_times(self.cs, factor)), _times(self.found, factor)):
                if e is not None and not np.array_equal(g, e, equal_nan=True):
                    self.fail(f"the gradient is not linear in its cotangent: {factor:g} times it gives something else")
        more = self.cotangents(outs)
        self.close(pull(_sum(self.cs, more)), _sum(self.found, pull(more)),
                   "the gradient is not linear in its cotangent: that of a sum is not the sum of the gradients")  # fmt: skip
        if len(outs) > 1:
            alone = [pull([c if i == j else None for i, c in enumerate(self.cs)]) for j in range(len(outs))]
            self.close(_sum(*alone), self.found, "the gradients of one output at a time do not add up to that of all")

    def layout(self, name):
        """The same numbers elsewhere in memory give the same gradients."""
        laid = [[a if a is None else np.asarray(LAYOUTS[name](a)) for a in arrays] for arrays in (self.arrays, self.cs)]
        plain = [[a if a is None else np.array(a, order="C") for a in arrays] for arrays in laid]
        for a in itertools.chain(*laid) if name == "read-only" else ():
            if a is not None:
                a.flags.writeable = False
        expected = attempt(lambda: self.results(*plain))
        if expected is None:
            return  # zero strides repeat a number: a point that f need not accept
        try:
            found = self.results(*laid)
        except Exception as e:
            self.fail(f"{name} arrays are refused: {type(e).__name__}: {e}")
        self.close(found[0], expected[0], f"{name} arrays give another output", [0.0] * len(found[0]))
        self.close(found[1], expected[1], f"{name} arrays give another gradient")

    def results(self, arrays, cotangents):
        """The outputs, and the gradients."""
        outs, pull = self.fn.vjp(*arrays)
        return outs, pull(cotangents)

    def same_array_twice(self):
        """f(x, x), for the first two inputs that are alike: each has its own gradient, and x the sum of both."""
        alike = lambda i, j: (self.arrays[i].shape, self.arrays[i].dtype) == (self.arrays[j].shape, self.arrays[j].dtype)
        i, j = next((p for p in itertools.combinations(self.floats, 2) if alike(*p)), (None, None))
        if i is None:
            return
        apart = _times(self.arrays)
        apart[j] = apart[i].copy()
        expected = attempt(lambda: self.fn.vjp(*apart)[1](self.cs))
        if expected is None:
            return
        where = f"f(x, x), for {self.inputs[i]} and {self.inputs[j]},"
        twice = [apart[i] if k == j else a for k, a in enumerate(apart)]
        self.same(self.fn.vjp(*twice)[1](self.cs), expected, f"{where} has other gradients than f(x, a copy of x)")
        if self.depth == 1 and hasattr(self.fn, "tied"):
            found = self.fn.tied(i, j).vjp(*apart[:j], *apart[j + 1 :])[1](self.cs)
            expected[i] = expected[i] + expected[j]
            self.close([*found[:j], expected[j], *found[j:]], expected, f"{where} does not give the sum of both gradients")

    def symmetry(self):
        """u H v = v H u for random u and v: the second derivative of <cotangents, outputs>, block by block."""
        outs, pull = self.fn.vjp(*self.arrays)
        us, vs = self.cotangents(outs), self.cotangents(outs)
        scale = max(self.scales) * sum(map(np.size, outs))
        times = lambda cs, i: pull([c if n == i else None for n, c in enumerate(cs)])
        for i, j in itertools.combinations_with_replacement(range(len(outs)), 2):
            a, b = times(us, i)[self.floats[j]] * vs[j], times(vs, j)[self.floats[i]] * us[i]
            if not abs(a.sum() - b.sum()) <= ROUNDING * np.finfo(a.dtype).eps * (np.abs(a).sum() + np.abs(b).sum() + scale):
                if np.isfinite(a).all() and np.isfinite(b).all():
                    names = f"{self.inputs[self.floats[i]]} and {self.inputs[self.floats[j]]}"
                    self.fail(f"the second derivatives in {names} are not symmetric: {a.sum()!r} against {b.sum()!r}")


def _times(arrays, factor=1):
    return [a if a is None else np.asarray(a * a.dtype.type(factor)) if is_float(a) else a.copy() for a in arrays]


def _sum(*lists):
    return [None if terms[0] is None else np.asarray(sum(terms)) for terms in zip(*lists)]
