"""What is asked of a function at one point besides numbers: memory, repetition, linearity, layouts,
which inputs take part.

This room knows a function by the methods of `engines`, and knows no engine.
"""

import itertools

import numpy as np

from .jacobian import Jacobian
from .layouts import LayoutQuestions
from .report import GradientError
from .slopes import attempt, eps, largest, signed

ROUNDING = 10_000  # units of the last place between two gradients: 1 - tanh(4)**2 loses 1,000
FACTORS = -1.0, 2.0**6, 2.0**-6
FAR = 2.0**20, 2.0**-20  # far enough out for clips and thresholds


def rounding(dtype):
    """The same, relative to the size of the numbers; in half precision a few parts in a hundred."""
    return min(ROUNDING * eps(dtype), 2.0**-5)


class Questions(LayoutQuestions):
    """All of them to one function at one point: the function itself (depth 1), its gradients (2),
    theirs (3), ...

    `inputs` and `outputs` are names; `sizes`, one for each output, are those of the numbers that
    may have cancelled in it.
    """

    NAMES = "memory", "repeats", "linearity", "same array twice", "partial", "untracked", "symmetry"

    def __init__(self, fn, arrays, options, rng, inputs, outputs, depth=1, sizes=()):
        self.fn, self.arrays, self.options, self.rng = fn, arrays, options, rng
        self.inputs, self.outputs, self.depth, self.sizes = inputs, outputs, depth, sizes

    def run(self):
        """Ask them all."""
        self.memory()
        self.repeats()
        self.linearity()
        if self.options.layouts:
            self.input_layouts()
            self.cotangent_layouts()
        self.same_array_twice()
        if self.depth == 1:
            self.untracked()
            self.partial()
        jacobian = self.jacobian(self.fn, self.arrays)
        jacobian.check()
        if self.options.forward and self.depth == 1:
            jacobian.check_forward()
        if self.depth < self.options.order and getattr(self.fn, "derivative", None):
            self.gradients_of_gradients()

    def jacobian(self, fn, arrays, fail=None):
        """The comparison of numbers."""
        names = self.inputs, self.outputs
        return Jacobian(
            fn, arrays, self.options, self.rng, names, self.depth, self.sizes, fail or self.fail
        )

    def gradients_of_gradients(self):
        """The same for the function that gives the gradients, of the inputs and the cotangents."""
        primes = "'" * (self.depth - 1)
        inputs = [*self.inputs, *(f"cotangent{primes} {j}" for j in range(len(self.cs)))]
        outputs = [f"gradient {j}" for j in range(len(self.arrays))]
        fn, arrays = self.fn.derivative(self.arrays), [*self.arrays, *self.cs]
        slopes = Questions(
            fn, arrays, self.options, self.rng, inputs, outputs, self.depth + 1, self.scales
        )
        try:
            slopes.results(arrays)
        except Exception as e:
            slopes.fail(f"they cannot be differentiated: {type(e).__name__}: {e}")
        slopes.run()
        slopes.symmetry()

    def fail(self, message, kind=GradientError, question=None):
        """Raise it, with the way to leave the question out."""
        if question in self.options.skip:
            return
        ways = {None: "", "layouts": " (layouts=False leaves this out)"}
        ways["repeats"] = " (nondeterminism=1e-9, say, allows for it; dropout: net.eval())"
        message += ways.get(question, f" (skip={[question]} leaves this out)")
        if self.depth > 1:
            message = f"order {self.depth}, gradients of the gradients: {message}"
            below, times = self.depth - 1, "once" if self.depth == 2 else f"{self.depth - 1} times"
            message += f"\nOrder {below} is right: pass order={below} if f is meant to be "
            message += f"differentiated {times} only"
        raise kind(message)

    def cotangents(self, outs):
        """Random ones for each output."""
        return [np.asarray(signed(self.rng, y.shape), y.dtype) for y in outs]

    def memory(self):
        """What goes in stays as it is, bit by bit; what comes out has the right type and memory of
        its own."""
        fn, arrays, near = self.fn, _times(self.arrays), neighbours(self.arrays, self.rng)
        for point in near:  # fills a cache that would be stale from here on
            attempt(lambda: self.results(point))
        self.outs, pull = fn.vjp(*arrays)
        self.sizes = self.sizes or [0.0] * len(self.outs)
        if not all(np.isfinite(y).all() for y in self.outs):
            self.fail("an output is not finite here: choose a point where all are")
        for point in reversed(near):  # other calls come between a function and its gradient
            attempt(lambda: fn.value(*point))
        self.cs = self.cotangents(self.outs)
        cs, self.kept = _times(self.cs), _times(self.outs)
        found = pull(cs)
        others = [*arrays, *cs]
        for g, a, name in zip(found, self.arrays, self.inputs, strict=True):
            if g is None or g.shape != a.shape or g.dtype != a.dtype:
                what = g if g is None else f"{g.shape} {g.dtype}"
                self.fail(f"{name} is {a.shape} {a.dtype}, but its gradient is {what}")
        for g, name in zip(found, self.inputs):
            if not getattr(fn, "aliases", False) and any(np.shares_memory(g, o) for o in others):
                shared = "shares memory with an input, a cotangent or another gradient: give a copy"
                self.fail(f"the gradient of {name} {shared}", question="memory")
            others.append(g)
        self.found = _times(found)
        # the size of gradients that cancel to nothing but rounding: what cancelled, over input
        sizes = map(max, map(largest, self.outs), self.sizes)
        size = max((y * largest(c) for y, c in zip(sizes, cs)), default=0.0)
        self.scales = [size / (largest(a) or 1.0) for a in arrays]
        self.same(arrays, self.arrays, "f or its gradient changed an input in place")
        self.same(cs, self.cs, "the gradient changed its cotangent in place")
        self.same(self.outs, self.kept, "the gradient changed an output in place")
        self.pull = pull

    def repeats(self):
        """The same again, bit by bit unless the options have a tolerance for it."""
        again, fresh = self.fn.vjp(*self.arrays)
        self.same(
            again, self.kept, "two calls with the same inputs give different outputs", "repeats"
        )
        message = "f alone and f on the way to a gradient give different outputs"
        self.close(
            self.fn.value(*self.arrays), self.kept, message, question="repeats", scales=self.sizes
        )
        for backward in self.pull, fresh:
            self.same(
                backward(self.cs),
                self.found,
                "the same gradient, asked for twice, differs",
                "repeats",
            )
        arrays = _times(self.arrays, 1 - 2**-8)
        attempt(lambda: self.results(arrays))
        for a, new in zip(arrays, self.arrays):
            a[...] = new
        message = "the gradient does not follow an input that was updated in place"
        self.same(self.results(arrays)[1], self.found, message, "repeats")

    def same(self, found, expected, message, question=None):
        """Fail unless all arrays are equal bit by bit; or, to a question of repetition, within
        `nondeterminism`."""
        allowed = self.options.nondeterminism if question == "repeats" else 0.0
        near = lambda a, b: allowed and np.allclose(a, b, rtol=0, atol=allowed, equal_nan=True)
        if any(
            a.tobytes() != b.tobytes() and not near(a, b)
            for a, b in zip(found, expected, strict=True)
        ):
            self.fail(message, question=question)

    def close(self, found, expected, message, question=None, scales=None):
        """Fail unless gradients are equal but for rounding; `scales`: those of other things."""
        for k, (a, b, scale) in enumerate(zip(found, expected, scales or self.scales, strict=True)):
            if not self.equal(a, b, scale):
                return self.fail(f"{message} (number {k})", question=question)

    def equal(self, a, b, scale=0.0):
        """Whether two arrays are equal but for rounding and what repetition may change."""
        known = np.isfinite(b)
        # below, there are fewer digits
        tiny = float(np.finfo(a.dtype if a.dtype.kind == "f" else np.float32).tiny)
        allowed = rounding(a.dtype) * (largest(b) + scale) + tiny + self.options.nondeterminism
        return a.shape == b.shape and np.all(np.abs(a - b)[known] <= allowed)

    def linearity(self):
        """A pullback is linear: exactly for zero, and for factors and sums but for rounding."""
        if "linearity" in self.options.skip:
            return
        pull, words = self.fn.vjp(*self.arrays)[1], "the gradient is not linear in its cotangent:"
        if any(np.any(g != 0) for g in pull(_times(self.cs, 0))):
            self.fail(
                "a cotangent of zeros gives a gradient that is not zero", question="linearity"
            )
        for factor in FACTORS if min(c.dtype.itemsize for c in self.cs) == 2 else FACTORS + FAR:
            found, expected = pull(_times(self.cs, factor)), _times(self.found, factor)
            # rounding may be relative to the cotangent (matrix_exp)
            size = abs(factor) * (1e6 if factor in FAR else 1)
            message = f"{words} {factor:g} times it gives something else"
            self.close(found, expected, message, "linearity", [size * s for s in self.scales])
        message = f"{words} that of a sum is not the sum of the gradients"
        random = self.cotangents(self.outs)
        ones = [np.ones_like(c) for c in self.cs]  # what f.sum() sends back
        for more in random, ones, [np.asarray(np.abs(c)) for c in random]:
            found, expected = pull(_sum(self.cs, more)), _sum(self.found, pull(more))
            self.close(found, expected, message, "linearity")
        if len(self.outs) > 1:
            alone = [
                pull([c if i == j else None for i, c in enumerate(self.cs)])
                for j in range(len(self.outs))
            ]
            message = "the gradients of one output at a time do not add up to that of all"
            self.close(_sum(*alone), self.found, message, "linearity")

    def results(self, arrays, cs=None):
        """The outputs, and the gradients."""
        outs, pull = self.fn.vjp(*arrays)
        return outs, pull(cs or getattr(self, "cs", None) or self.cotangents(outs))

    def same_array_twice(self):
        """f(x, x), for the first two inputs that are alike: each has its own gradient, and x the
        sum of both."""
        kinds = [(a.shape, a.dtype) for a in self.arrays]
        pairs = itertools.combinations(range(len(kinds)), 2)
        i, j = next((p for p in pairs if kinds[p[0]] == kinds[p[1]]), (None, None))
        question = "same array twice"
        if i is None or question in self.options.skip:
            return
        apart = _times(self.arrays)
        apart[j] = apart[i].copy()
        expected = attempt(lambda: self.fn.vjp(*apart)[1](self.cs))
        if expected is None:
            return
        where = f"f(x, x), for {self.inputs[i]} and {self.inputs[j]},"
        twice = [apart[i] if k == j else a for k, a in enumerate(apart)]
        found = self.fn.vjp(*twice)[1](self.cs)
        self.close(found, expected, f"{where} has other gradients than f(x, a copy of x)", question)
        if self.depth == 1 and hasattr(self.fn, "tied"):
            found = self.fn.tied(i, j).vjp(*apart[:j], *apart[j + 1 :])[1](self.cs)
            expected[i] = expected[i] + expected[j]
            message = f"{where} does not give the sum of both gradients"
            self.close([*found[:j], expected[j], *found[j:]], expected, message, question)

    def untracked(self):
        """f gives the same where nothing is differentiated."""
        ask = getattr(self.fn, "untracked", None)
        outs = attempt(lambda: ask(*self.arrays)) if ask else None
        if outs is not None:
            message = "f gives other outputs when nothing is to be differentiated"
            if len(outs) != len(self.outs):
                return self.fail(message, question="untracked")
            self.close(outs, self.kept, message, "untracked", self.sizes)

    def partial(self):
        """An input's gradient is the same when no other is asked for."""
        if not getattr(self.fn, "partial", None) or "partial" in self.options.skip:
            return
        for k, name in enumerate(self.inputs if len(self.arrays) > 1 else ()):
            where = f"where {name} is the only one to be differentiated, its gradient"
            try:
                found = self.fn.partial(k, *self.arrays)(self.cs)
            except Exception as e:
                self.fail(f"{where} fails: {type(e).__name__}: {e}", question="partial")
                continue
            if not self.equal(found, self.found[k], self.scales[k]):
                self.fail(f"{where} is another", question="partial")

    def symmetry(self):
        """u H v = v H u for random u and v: the second derivative of <cotangents, outputs>, block
        by block."""
        us, vs = self.cotangents(self.outs), self.cotangents(self.outs)
        scale = max(self.scales) * sum(map(np.size, self.outs))
        times = lambda cs, i: self.pull([c if n == i else None for n, c in enumerate(cs)])
        for i, j in itertools.combinations_with_replacement(range(len(self.outs)), 2):
            a, b = times(us, i)[j] * vs[j], times(vs, j)[i] * us[i]
            size = np.abs(a).sum() + np.abs(b).sum() + scale
            if not abs(a.sum() - b.sum()) <= rounding(a.dtype) * size:
                if np.isfinite(a).all() and np.isfinite(b).all():
                    names = f"{self.inputs[i]} and {self.inputs[j]}"
                    sums = f"{a.sum()!r} against {b.sum()!r}"
                    self.fail(
                        f"the second derivatives in {names} are not symmetric: {sums}",
                        question="symmetry",
                    )


def neighbours(arrays, rng):
    """Points where a mask, an order or a number kept from there would be another: signs changed;
    places; a little."""
    flipped = [np.asarray(-a * signed(rng, a.shape) ** 2, a.dtype) for a in arrays]
    near = _times(arrays, 1 - 2**-8)
    return flipped, [np.roll(a.ravel(), 1).reshape(a.shape) for a in near], near


def _times(arrays, factor=1):
    return [np.asarray(a * a.dtype.type(factor)) for a in arrays]


def _sum(*lists):
    return [np.asarray(sum(terms)) for terms in zip(*lists)]
