"""A function's gradients against its slopes: every entry of the Jacobian or, of a large one,
products with random vectors.

This room compares numbers. It knows a function by `value` and `vjp` (see `engines`) and its slopes
by `numeric`.
"""

import itertools

import numpy as np

from . import numeric
from .report import GradientError, KinkError, index
from .slopes import FULL, Slopes, signed, usual_rtol

LONG = (
    1_000  # a Jacobian with more rows and columns, or more than FULL entries, is not compared whole
)


class Jacobian(Slopes):
    """The comparison at one point, where all outputs count as one vector.

    `names` are those of its inputs and outputs; at a `depth` above 1 its outputs are gradients,
    made of numbers as large as `scales` says, one for each output, that may have cancelled;
    `fail(message, kind)` raises.
    """

    def __init__(self, fn, arrays, options, rng, names, depth, scales, fail):
        super().__init__(fn, arrays, rng, scales)
        (self.inputs, self.outputs), self.depth, self.fail = names, depth, fail
        self.options, self.rtol = options, options.rtol
        n, m = sum(a.size for a in arrays), self.ends[-1]
        self.full = n * m <= FULL and n + m <= LONG
        self.cs = np.diag(signed(rng, m)) if self.full else signed(rng, (2, m))
        # as they will be in the type of the outputs
        rounded = [self.flat(self.split(c)) for c in self.cs]
        self.cs = np.array(rounded).reshape(self.cs.shape)
        found = [self.pull(self.split(c)) for c in self.cs]
        rows = lambda k, a: np.reshape(
            [row[k].astype(np.float64) for row in found], (len(found), a.size)
        )
        self.all_rows = [rows(k, a) for k, a in enumerate(arrays)]

    def check(self):
        """Raise GradientError or KinkError where a gradient is wrong, in any input."""
        for k, a in enumerate(self.arrays):
            self.rows = self.all_rows[k]
            self.largest = np.abs(self.rows).max(1, initial=0)
            self.affine = self.at_zero(k)
            # gradients are linear in cotangents, but not without own rounding
            exact = self.affine and self.depth == 1
            usual = usual_rtol(a.dtype)
            self.tolerance = self.rtol or (min(4096 * self.eps, usual / 4) if exact else usual)
            self.compare(k, list(self.directions(a)))

    def directions(self, a):
        """(places, steps as large as the numbers there): all at once, which leaves ties be; then
        each one, or, of many, random ones together, the corners and a few others."""
        size = np.abs(np.where(np.isfinite(a), a, 1.0)).astype(np.float64).ravel()
        usual = np.median(size[size > 0]) if size.any() else 1.0
        size, places = np.maximum(size, usual), range(a.size)
        yield np.arange(a.size), np.full(a.size, usual)
        if not self.full:
            yield from ((np.arange(a.size), size * signed(self.rng, a.size)) for _ in range(4))
            corners = itertools.islice(itertools.product((0, -1), repeat=a.ndim), 16)
            numbers = np.arange(a.size).reshape(a.shape)
            places = (
                {int(numbers[c]) for c in corners} | {*self.rng.integers(0, a.size, 8).tolist()}
                if a.size
                else ()
            )
        if a.size > 1:
            yield from ((np.array([i]), size[[i]]) for i in places)

    def compare(self, k, directions):
        """Gradients times steps against slopes along them. A wrong sum is halved until a wrong
        number is found."""
        some = max(1, FULL // max(1, self.here.size))  # of the directions fit into memory at a time
        for i in range(0, len(directions), some):
            chosen = directions[i : i + some]
            slopes = self.slopes(k, chosen, numeric.START)
            for direction, slope in zip(chosen, slopes):
                if self.verdict(k, *direction, slope):
                    self.second_opinion(k, direction, slope)

    def second_opinion(self, k, direction, slope):
        """Raise unless other steps, or another look at what f's values are, are less sure than the
        first."""
        at, step = direction
        F = lambda t, columns=None: self.values(k, [direction], t)
        general = lambda start, grain: numeric.slopes(
            F, self.here, 1, self.slope_eps, self.tolerance, start, grain
        )[0]
        other = general(0.7 * numeric.START, self.grain)
        if not self.affine:
            slope = slope.doubted(other)
        elif np.any(
            np.abs(slope.value - other.value)
            > 100 * (slope.error + other.error) + 256 * self.eps * self.sizes
        ):
            # it was affine only where it was tried
            slope = other.doubted(general(numeric.START, self.grain))
        if wrong := self.verdict(k, at, step, slope):
            spacing, steady = numeric.grain(
                lambda t: F(t)[0], self.here, self.slope_eps, self.sizes
            )
            if (
                spacing.any()
            ):  # over wide steps, or 0 for an output that the gradient takes for constant
                coarse = general(numeric.START, np.maximum(spacing, self.grain))
                on = (spacing > 0) & np.isfinite(coarse.error)
                constant = on & steady & ~self.rows[:, at].any(1) if self.full else spacing < 0
                slope[on], slope.rough[on] = coarse[on], False
                slope[constant] = numeric.exact(np.zeros(constant.sum()), 0.0)
                wrong = self.verdict(k, at, step, slope)
        if wrong:
            for half in np.array_split(np.arange(at.size), 2) if at.size > 1 else ():
                self.compare(k, [(at[half], step[half])])
            self.fail(*wrong)

    def verdict(self, k, at, step, slope):
        """None, or what is wrong and of which kind."""
        if self.full:
            factors = np.diag(self.cs)
            # in a row; anywhere, for a sum that may cancel
            size = self.largest if at.size == 1 else self.largest.max(initial=0)
            scale = size * np.abs(step).sum() / np.abs(factors)
            analytic, s, value = self.rows[:, at] @ step / factors, slope, self.sizes
            # an output of zeros: rounding of the others
            never = (slope.value == 0) & (slope.error == 0) & (value == 0)
            scale = np.where(never, self.largest.max(initial=0) * np.abs(step).sum(), scale)
        else:
            analytic, s, scale = self.contract(k, at, step, slope)
            value = np.linalg.norm(self.cs * self.sizes, axis=1)
        scale = np.where(np.isfinite(scale), scale, 0) + value  # what may cancel in it
        allowed = self.tolerance * np.abs(s.value) + 4 * s.error + 256 * self.eps * scale
        noise = self.options.nondeterminism * np.abs(step).sum()
        allowed = allowed + (noise / np.abs(factors) if self.full else noise)
        bad = s.exists & ~((analytic >= s.low - allowed) & (analytic <= s.high + allowed))
        # and not just rounding where all cancels
        unsure = s.exists & s.rough & ~(s.error <= 1e7 * self.eps * scale)
        if not (bad | unsure).any():
            return None
        excess = np.nan_to_num(np.abs(analytic - s.value), nan=np.inf, posinf=np.inf) / np.maximum(
            allowed, 1e-300
        )
        j = int(np.argmax(np.where(bad if bad.any() else unsure, excess, -1)))
        unit = float(step[0]) if at.size == 1 else 1.0
        found, low, high, value = (float(v[j]) / unit for v in (analytic, s.low, s.high, s.value))
        if (
            self.full and at.size == 1
        ):  # by a cotangent of 1, if that is wrong as well, without the rounding of another
            alone = float(self.pull(self.split(np.eye(len(bad))[j]))[k].ravel()[at[0]])
            found = (
                alone
                if abs(alone - found) < abs(found - value) / 2 or not np.isfinite(found)
                else found
            )
        place = (
            index(at[0], self.arrays[k].shape)
            if at.size == 1
            else f" (a weighted sum of {at.size})"
        )
        of = self.output(j) if self.full else "(a weighted sum of outputs)"
        words = f"d {of} / d {self.inputs[k]}: grad{place}: analytic {found!r}, "
        if s.gap[j] > 0 and not s.rough[j]:
            return (
                f"{words}but this is a kink, with one-sided derivatives {low!r} and {high!r}",
                KinkError,
            )
        kind, why = (
            (KinkError, ", which does not converge: is f rough or noisy here?")
            if s.rough[j]
            else (GradientError, "")
        )
        return f"{words}numeric {value!r} ± {abs(s.error[j] / unit):.1g}{why}", kind

    def contract(self, k, at, step, slope):
        """The products with the random cotangents; these are 0 for outputs without a derivative
        along the step."""
        hot = (slope.gap > 0) | ~slope.exists
        cs = np.where(hot, 0.0, self.cs)
        rows = (
            np.array([self.pull(self.split(c))[k].ravel() for c in cs]) if hot.any() else self.rows
        )
        terms, errors = cs * np.where(hot, 0, slope.value), cs * np.where(hot, 0, slope.error)
        norm = lambda a: np.sqrt(np.sum(a * a, 1))
        s = numeric.exact(terms.sum(1), 0.0)
        s.error = np.abs(errors).sum(1)
        return rows[:, at] @ step, s, norm(terms) + norm(rows[:, at] * step)

    def check_forward(self):
        """The tangents of forward mode are those that the gradients give, which numbers have shown
        to be right."""
        for k, a in enumerate(self.arrays):
            t = signed(self.rng, a.shape)
            for tangent in (
                [t]
                if self.forward_agrees(k, t)
                else map(np.reshape, np.eye(a.size), [a.shape] * a.size)
            ):
                self.forward_agrees(k, tangent, self.fail)
            if not self.forward_agrees(k, t):
                self.forward_agrees(k, t, self.fail)

    def forward_agrees(self, k, t, fail=None):
        """Whether forward mode along t for input k agrees, to as many digits as a gradient must
        have."""
        tangents = [
            np.asarray(t if i == k else np.zeros(a.shape), a.dtype)
            for i, a in enumerate(self.arrays)
        ]
        found = self.flat(self.fn.jvp(self.arrays, tangents))
        t = tangents[k].ravel().astype(np.float64)
        rows, size = self.all_rows[k] @ t, np.abs(self.all_rows[k]) @ np.abs(t)
        found = np.diag(self.cs) * found if self.full else self.cs @ found
        value = np.abs(self.cs) @ self.sizes
        bad = ~(
            np.abs(found - rows)
            <= (self.rtol or usual_rtol(self.arrays[k].dtype)) * size + 256 * self.eps * value
        )
        if bad.any() and fail:
            j = int(np.argmax(bad))
            c = self.cs[j, j] if self.full else 1.0
            place = (
                index(np.argmax(t != 0), self.arrays[k].shape)
                if np.count_nonzero(t) == 1
                else " along a random tangent"
            )
            of = self.output(j) if self.full else "(a weighted sum of outputs)"
            words = f"forward mode {float(found[j] / c)!r}, backward {float(rows[j] / c)!r}"
            fail(f"d {of} / d {self.inputs[k]}{place}: {words}")
        return not bad.any()

    def output(self, i):
        """The name of number i of the outputs."""
        j = int(np.searchsorted(self.ends, i, side="right"))
        place = index(i - (self.ends[j - 1] if j else 0), self.outs[j].shape)
        return f"{self.outputs[j]}{place}"
