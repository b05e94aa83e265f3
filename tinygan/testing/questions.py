"""What is asked of a function at one point besides numbers: memory, repetition, linearity, layouts,
which inputs take part.

This room knows a function by the methods of `engines`, and knows no engine.
"""

import dataclasses
import itertools

import numpy as np

from .arrays import copies, eps, largest, replaced, signed
from .case import attempt
from .jacobian import Jacobian
from .layouts import LayoutQuestions

ROUNDING = 10_000  # units of the last place between two gradients: 1 - tanh(4)**2 loses 1,000
FACTORS = -1.0, 2.0**6, 2.0**-6
FAR = 2.0**20, 2.0**-20  # far enough out for clips and thresholds


def rounding(dtype):
    """The same, relative to the size of the numbers; in half precision a few parts in a hundred."""
    return min(ROUNDING * eps(dtype), 2.0**-5)


class Questions(LayoutQuestions):
    """All of them about one `Case`.

    Here f is asked once, for its outputs and, at random `cotangents`, its gradients: what all other
    answers are compared with. `scales`, one for each input, are the sizes of numbers that may have
    cancelled in its gradient.
    """

    NAMES = "memory", "repeats", "linearity", "same array twice", "partial", "untracked", "symmetry"

    def __init__(self, case):
        self.case = case
        self.fn = case.fn
        self.arrays = case.arrays
        self.options = case.options
        self.fail = case.fail
        near = neighbours(self.arrays, case.rng)
        for point in near:  # fills a cache that would be stale from here on
            attempt(lambda: case.results(point))
        self.given_arrays = copies(self.arrays)
        self.given_outs, self.pull = self.fn.vjp(*self.given_arrays)
        if not all(np.isfinite(y).all() for y in self.given_outs):
            self.fail("an output is not finite here: choose a point where all are")
        for point in reversed(near):  # other calls come between a function and its gradient
            attempt(lambda: self.fn.value(*point))
        self.cotangents = case.cotangents(self.given_outs)
        self.given_cotangents = copies(self.cotangents)
        self.outs = copies(self.given_outs)
        self.gradients = self.taken(self.pull(self.given_cotangents))
        # gradients that cancel to nothing but rounding: as large as what cancelled, over the input
        sizes = map(max, map(largest, self.given_outs), case.sizes)
        products = (size * largest(c) for size, c in zip(sizes, self.given_cotangents))
        size = max(products, default=0.0)
        self.scales = [size / (largest(a) or 1.0) for a in self.given_arrays]

    def taken(self, gradients):
        """Copies of gradients that have the right type and memory of their own."""
        others = [*self.given_arrays, *self.given_cotangents]
        for g, a, name in zip(gradients, self.arrays, self.case.inputs, strict=True):
            if g is None or g.shape != a.shape or g.dtype != a.dtype:
                what = g if g is None else f"{g.shape} {g.dtype}"
                self.fail(f"{name} is {a.shape} {a.dtype}, but its gradient is {what}")
        for g, name in zip(gradients, self.case.inputs):
            aliases = getattr(self.fn, "aliases", False)
            if not aliases and any(np.shares_memory(g, other) for other in others):
                shared = "shares memory with an input, a cotangent or another gradient: give a copy"
                self.fail(f"the gradient of {name} {shared}", question="memory")
            others.append(g)
        return copies(gradients)

    def run(self):
        """Ask them all."""
        self.memory()
        self.repeats()
        self.linearity()
        if self.options.layouts:
            self.input_layouts()
            self.cotangent_layouts()
        self.same_array_twice()
        if self.case.depth == 1:
            self.untracked()
            self.partial()
        jacobian = Jacobian(self.case)
        jacobian.check()
        if self.options.forward and self.case.depth == 1:
            jacobian.check_forward()
        if self.case.depth < self.options.order and getattr(self.fn, "derivative", None):
            self.gradients_of_gradients()

    def gradients_of_gradients(self):
        """The same for the function that gives the gradients, of the inputs and the cotangents."""
        primes = "'" * (self.case.depth - 1)
        names = [f"cotangent{primes} {j}" for j in range(len(self.cotangents))]
        case = dataclasses.replace(
            self.case,
            fn=self.fn.derivative(self.arrays),
            arrays=[*self.arrays, *self.cotangents],
            inputs=[*self.case.inputs, *names],
            outputs=[f"gradient {j}" for j in range(len(self.arrays))],
            sizes=self.scales,
            depth=self.case.depth + 1,
        )
        try:
            case.results(case.arrays)
        except Exception as e:
            case.fail(f"they cannot be differentiated: {type(e).__name__}: {e}")
        questions = Questions(case)
        questions.run()
        questions.symmetry()

    def memory(self):
        """What went in stayed as it was, bit by bit."""
        message = "f or its gradient changed an input in place"
        self.same(self.given_arrays, self.arrays, message)
        message = "the gradient changed its cotangent in place"
        self.same(self.given_cotangents, self.cotangents, message)
        self.same(self.given_outs, self.outs, "the gradient changed an output in place")

    def repeats(self):
        """The same again, bit by bit unless the options have a tolerance for it."""
        again, fresh = self.fn.vjp(*self.arrays)
        message = "two calls with the same inputs give different outputs"
        self.same(again, self.outs, message, "repeats")
        message = "f alone and f on the way to a gradient give different outputs"
        self.close(self.fn.value(*self.arrays), self.outs, message, "repeats", self.case.sizes)
        message = "the same gradient, asked for twice, differs"
        for backward in self.pull, fresh:
            self.same(backward(self.cotangents), self.gradients, message, "repeats")
        arrays = copies(self.arrays, 1 - 2**-8)
        attempt(lambda: self.results(arrays))
        for a, new in zip(arrays, self.arrays):
            a[...] = new
        message = "the gradient does not follow an input that was updated in place"
        self.same(self.results(arrays)[1], self.gradients, message, "repeats")

    def same(self, found, expected, message, question=None):
        """Fail unless all arrays are equal bit by bit, or, where the question is "repeats", within
        the option `nondeterminism`."""
        allowed = self.options.nondeterminism if question == "repeats" else 0.0
        for a, b in zip(found, expected, strict=True):
            if a.tobytes() == b.tobytes():
                continue
            if not (allowed and np.allclose(a, b, rtol=0, atol=allowed, equal_nan=True)):
                return self.fail(message, question=question)

    def close(self, found, expected, message, question, scales=None):
        """Fail unless gradients are equal but for rounding; `scales`: those of other things."""
        for k, (a, b, scale) in enumerate(zip(found, expected, scales or self.scales, strict=True)):
            if not self.equal(a, b, scale):
                return self.fail(f"{message} (number {k})", question=question)

    def equal(self, a, b, scale=0.0):
        """Whether two arrays are equal but for rounding and what repetition may change."""
        known = np.isfinite(b)
        # numbers below this one have fewer digits
        tiny = float(np.finfo(a.dtype if a.dtype.kind == "f" else np.float32).tiny)
        allowed = rounding(a.dtype) * (largest(b) + scale) + tiny
        allowed += self.options.nondeterminism
        return a.shape == b.shape and np.all(np.abs(a - b)[known] <= allowed)

    def linearity(self):
        """A pullback is linear: exactly for zero, and for factors and sums but for rounding."""
        if "linearity" in self.options.skip:
            return
        pull = self.fn.vjp(*self.arrays)[1]
        words = "the gradient is not linear in its cotangent:"
        for g, a, name in zip(
            pull(copies(self.cotangents, 0)), self.arrays, self.case.inputs, strict=True
        ):
            message = "a cotangent of zeros gives a gradient that is not zero"
            if np.isnan(g).any():  # 0 times an infinite slope, or a 0 / 0 of the rule
                place = np.unravel_index(np.isnan(g).argmax(), g.shape)
                message = f"a cotangent of zeros gives a gradient that is NaN, for {name} at "
                message += f"{tuple(map(int, place))}, where it is {a[place]:g}"
            if np.any(g != 0):
                self.fail(message, question="linearity")
        half = min(c.dtype.itemsize for c in self.cotangents) == 2
        for factor in FACTORS if half else FACTORS + FAR:
            found, expected = pull(copies(self.cotangents, factor)), copies(self.gradients, factor)
            # rounding may be relative to the cotangent (matrix_exp)
            size = abs(factor) * (1e6 if factor in FAR else 1)
            message = f"{words} {factor:g} times it gives something else"
            self.close(found, expected, message, "linearity", [size * s for s in self.scales])
        message = f"{words} that of a sum is not the sum of the gradients"
        random = self.case.cotangents(self.outs)
        ones = [np.ones_like(c) for c in self.cotangents]  # what f.sum() sends back
        for more in random, ones, [np.asarray(np.abs(c)) for c in random]:
            found, expected = pull(_sum(self.cotangents, more)), _sum(self.gradients, pull(more))
            self.close(found, expected, message, "linearity")
        if len(self.outs) > 1:
            alone = [pull(only(j, self.cotangents)) for j in range(len(self.outs))]
            message = "the gradients of one output at a time do not add up to that of all"
            self.close(_sum(*alone), self.gradients, message, "linearity")

    def results(self, arrays, cotangents=None):
        """The outputs, and the gradients."""
        return self.case.results(arrays, cotangents or self.cotangents)

    def same_array_twice(self):
        """f(x, x), for the first two inputs that are alike: each has its own gradient, and x the
        sum of both."""
        kinds = [(a.shape, a.dtype) for a in self.arrays]
        pairs = itertools.combinations(range(len(kinds)), 2)
        i, j = next((p for p in pairs if kinds[p[0]] == kinds[p[1]]), (None, None))
        question = "same array twice"
        if i is None or question in self.options.skip:
            return
        apart = copies(self.arrays)
        apart[j] = apart[i].copy()
        expected = attempt(lambda: self.fn.vjp(*apart)[1](self.cotangents))
        if expected is None:
            return
        where = f"f(x, x), for {self.case.inputs[i]} and {self.case.inputs[j]},"
        found = self.fn.vjp(*replaced(apart, j, apart[i]))[1](self.cotangents)
        self.close(found, expected, f"{where} has other gradients than f(x, a copy of x)", question)
        if self.case.depth == 1 and hasattr(self.fn, "tied"):
            found = self.fn.tied(i, j).vjp(*apart[:j], *apart[j + 1 :])[1](self.cotangents)
            expected[i] = expected[i] + expected[j]
            message = f"{where} does not give the sum of both gradients"
            found.insert(j, expected[j])
            self.close(found, expected, message, question)

    def untracked(self):
        """f gives the same where nothing is differentiated."""
        ask = getattr(self.fn, "untracked", None)
        outs = attempt(lambda: ask(*self.arrays)) if ask else None
        if outs is not None:
            message = "f gives other outputs when nothing is to be differentiated"
            if len(outs) != len(self.outs):
                return self.fail(message, question="untracked")
            self.close(outs, self.outs, message, "untracked", self.case.sizes)

    def partial(self):
        """An input's gradient is the same when no other is asked for."""
        if not getattr(self.fn, "partial", None) or "partial" in self.options.skip:
            return
        for k, name in enumerate(self.case.inputs if len(self.arrays) > 1 else ()):
            where = f"where {name} is the only one to be differentiated, its gradient"
            try:
                found = self.fn.partial(k, *self.arrays)(self.cotangents)
            except Exception as e:
                self.fail(f"{where} fails: {type(e).__name__}: {e}", question="partial")
                continue
            if not self.equal(found, self.gradients[k], self.scales[k]):
                self.fail(f"{where} is another", question="partial")

    def symmetry(self):
        """u H v = v H u for random u and v: the second derivative of <cotangents, outputs>, block
        by block."""
        us, vs = (self.case.cotangents(self.outs) for _ in range(2))
        scale = max(self.scales) * sum(map(np.size, self.outs))
        for i, j in itertools.combinations_with_replacement(range(len(self.outs)), 2):
            a = self.pull(only(i, us))[j] * vs[j]
            b = self.pull(only(j, vs))[i] * us[i]
            size = np.abs(a).sum() + np.abs(b).sum() + scale
            known = np.isfinite(a).all() and np.isfinite(b).all()
            if known and not abs(a.sum() - b.sum()) <= rounding(a.dtype) * size:
                names = f"{self.case.inputs[i]} and {self.case.inputs[j]}"
                sums = f"{a.sum()!r} against {b.sum()!r}"
                message = f"the second derivatives in {names} are not symmetric: {sums}"
                self.fail(message, question="symmetry")


def neighbours(arrays, rng):
    """Points where a mask, an order or a number kept from there would be another: signs changed;
    places; a little."""
    flipped = [np.asarray(-a * signed(rng, a.shape) ** 2, a.dtype) for a in arrays]
    near = copies(arrays, 1 - 2**-8)
    return flipped, [np.roll(a.ravel(), 1).reshape(a.shape) for a in near], near


def only(i, cotangents):
    """Cotangents with None, which counts as zeros, for all but number i."""
    return [c if j == i else None for j, c in enumerate(cotangents)]


def _sum(*lists):
    return [np.asarray(sum(terms)) for terms in zip(*lists)]
