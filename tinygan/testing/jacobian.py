"""A function's gradients against its slopes: every entry of the Jacobian or, of a large one,
products with random vectors.

This room compares numbers. It knows a function by `value` and `vjp` (see `engines`) and its slopes
by `numeric`.
"""

import dataclasses
import itertools
from typing import NamedTuple

import numpy as np

from . import numeric
from .arrays import replaced, signed, usual_rtol
from .report import GradientError, KinkError, index
from .slopes import FULL, Direction, Slopes

# A Jacobian with more rows and columns than this, or more entries than FULL, is not compared whole.
LONG = 1_000


@dataclasses.dataclass
class Input:
    """One of the inputs: its number, the gradients by it, a row for each cotangent, and how they
    are compared. zero: what f gives with 0 for it, if f is affine in it."""

    k: int
    rows: np.ndarray
    zero: np.ndarray | None
    tolerance: float

    def __post_init__(self):
        self.largest = np.abs(self.rows).max(1, initial=0)


class Compared(NamedTuple):
    """What gradients and slopes say of one direction, for each output (of a Jacobian that is
    compared whole) or each product; how large the terms are that may have cancelled in it, and the
    values of f."""

    analytic: np.ndarray
    slope: numeric.Slope
    terms: np.ndarray
    values: np.ndarray


class Jacobian(Slopes):
    """The comparison for one `Case`, where all outputs count as one vector.

    With a depth above 1 the outputs are gradients, made of numbers as large as the case's `sizes`
    say, that may have cancelled.
    """

    def __init__(self, case):
        super().__init__(case)
        columns = sum(a.size for a in self.arrays)
        rows = self.ends[-1]
        self.full = rows * columns <= FULL and rows + columns <= LONG
        if self.full:
            signs = np.diag(signed(case.rng, rows))
        else:
            signs = signed(case.rng, (2, rows))
        # the cotangents as the type of the outputs rounds them
        rounded = [self.flat(self.split(c)) for c in signs]
        self.cotangents = np.array(rounded).reshape(signs.shape)
        # a whole Jacobian takes one cotangent for each output, with one number that is not 0
        self.factors = np.diag(self.cotangents) if self.full else np.ones(2)
        self.rows = self.pulled(self.cotangents)

    def pulled(self, cotangents):
        """The gradients for some cotangents: for each input an array with a row for each."""
        found = [self.pull(self.split(c)) for c in cotangents]
        rows = []
        for k, a in enumerate(self.arrays):
            row = [gradients[k].astype(np.float64) for gradients in found]
            rows.append(np.reshape(row, (len(found), a.size)))
        return rows

    def check(self):
        """Raise GradientError or KinkError where a gradient is wrong, in any input."""
        for k, a in enumerate(self.arrays):
            zero = self.at_zero(k)
            usual = usual_rtol(a.dtype)
            # gradients are linear in cotangents, but not without own rounding
            exact = zero is not None and self.case.depth == 1
            usual = min(4096 * self.eps, usual / 4) if exact else usual
            one = Input(k, self.rows[k], zero, self.case.options.rtol or usual)
            self.compare(one, list(self.directions(a)))

    def directions(self, a):
        """All numbers at once, by as much, which leaves ties be; then each one or, of many, random
        ones together, the corners and a few others. Steps are as large as the numbers there."""
        size = np.abs(np.where(np.isfinite(a), a, 1.0)).astype(np.float64).ravel()
        usual = np.median(size[size > 0]) if size.any() else 1.0
        size = np.maximum(size, usual)
        everywhere = np.arange(a.size)
        yield Direction(everywhere, np.full(a.size, usual))
        places = everywhere
        if not self.full:
            for _ in range(4):
                yield Direction(everywhere, size * signed(self.case.rng, a.size))
            corners = itertools.islice(itertools.product((0, -1), repeat=a.ndim), 16)
            numbers = everywhere.reshape(a.shape)
            others = self.case.rng.integers(0, a.size, 8).tolist() if a.size else ()
            places = {int(numbers[c]) for c in corners if a.size} | {*others}
        if a.size > 1:
            yield from (Direction(np.array([i]), size[[i]]) for i in places)

    def compare(self, one, directions):
        """Gradients times steps against slopes along them. A wrong sum is halved until a wrong
        number is found."""
        some = max(1, FULL // max(1, self.here.size))  # of the directions fit into memory at a time
        for i in range(0, len(directions), some):
            chosen = directions[i : i + some]
            if one.zero is None:
                slopes = self.slopes(one.k, chosen, one.tolerance)
            else:
                slopes = [self.affine_slope(one.k, direction, one.zero) for direction in chosen]
            for direction, slope in zip(chosen, slopes):
                if self.verdict(one, direction, slope):
                    self.second_opinion(one, direction, slope)

    def second_opinion(self, one, direction, slope):
        """Raise, unless other steps or another look at f's values are less sure than the first."""
        curves = self.curves(one.k, [direction], one.tolerance)
        general = lambda curves, start: numeric.slopes(curves, 1, start)[0]
        other = general(curves, 0.7 * numeric.START)
        if one.zero is None:
            slope = slope.doubted(other)
        else:
            apart = np.abs(slope.value - other.value)
            error = slope.error + other.error
            if np.any(apart > 100 * error + 256 * self.eps * self.sizes):
                # f is affine only where that was tried
                slope = other.doubted(general(curves, numeric.START))
        if wrong := self.verdict(one, direction, slope):
            spacing, steady = numeric.grain(curves, self.sizes)
            if spacing.any():
                # over wide steps, or 0 for an output that the gradient takes for constant
                coarser = curves._replace(grain=np.maximum(spacing, curves.grain))
                coarse = general(coarser, numeric.START)
                on = (spacing > 0) & np.isfinite(coarse.error)
                slope[on] = coarse[on]
                slope.rough[on] = False
                if self.full:
                    constant = on & steady & ~one.rows[:, direction.places].any(1)
                    slope[constant] = numeric.exact(np.zeros(constant.sum()), 0.0)
                wrong = self.verdict(one, direction, slope)
        if wrong:
            halves = zip(*(np.array_split(part, 2) for part in direction))
            for half in () if direction.single else halves:
                self.compare(one, [Direction(*half)])
            self.case.fail(*wrong)

    def verdict(self, one, direction, slope):
        """None, or what is wrong and of which kind."""
        compared = (self.entries if self.full else self.products)(one, direction, slope)
        analytic = compared.analytic
        slope = compared.slope
        terms = compared.terms
        scale = np.where(np.isfinite(terms), terms, 0) + compared.values
        allowed = one.tolerance * np.abs(slope.value) + 4 * slope.error + 256 * self.eps * scale
        noise = self.case.options.nondeterminism * direction.length
        allowed = allowed + noise / np.abs(self.factors)
        inside = (analytic >= slope.low - allowed) & (analytic <= slope.high + allowed)
        bad = slope.exists & ~inside
        # too rough to compare, and not just by the rounding of what cancelled
        unsure = slope.exists & slope.rough & ~(slope.error <= 1e7 * self.eps * scale)
        if not (bad | unsure).any():
            return None
        excess = np.nan_to_num(np.abs(analytic - slope.value), nan=np.inf, posinf=np.inf)
        excess = excess / np.maximum(allowed, 1e-300)
        worst = int(np.argmax(np.where(bad if bad.any() else unsure, excess, -1)))
        return self.words(one, direction, compared, worst)

    def entries(self, one, direction, slope):
        """Compare every entry of the Jacobian."""
        most = one.largest.max(initial=0)
        # terms that may cancel: those of a row, for one number; any, for a sum
        terms = (one.largest if direction.single else most) * direction.length
        terms = terms / np.abs(self.factors)
        # an output that is always 0: the others' rounding is all there can be
        never = (slope.value == 0) & (slope.error == 0) & (self.sizes == 0)
        terms = np.where(never, most * direction.length, terms)
        analytic = one.rows[:, direction.places] @ direction.steps / self.factors
        return Compared(analytic, slope, terms, self.sizes)

    def products(self, one, direction, slope):
        """Compare products with the random cotangents; these are 0 for outputs without a derivative
        along the steps."""
        hot = (slope.gap > 0) | ~slope.exists
        cotangents = np.where(hot, 0.0, self.cotangents)
        rows = one.rows
        if hot.any():
            rows = self.pulled(cotangents)[one.k]
        rows = rows[:, direction.places]
        terms, errors = (cotangents * np.where(hot, 0, a) for a in (slope.value, slope.error))
        norm = lambda a: np.linalg.norm(a, axis=1)
        return Compared(
            analytic=rows @ direction.steps,
            slope=numeric.exact(terms.sum(1), np.abs(errors).sum(1)),
            terms=norm(terms) + norm(rows * direction.steps),
            values=norm(self.cotangents * self.sizes),
        )

    def words(self, one, direction, compared, j):
        """How to say that number j of what was compared is wrong, and the kind of error."""
        slope = compared.slope[j]
        unit = 1.0
        place = f" (a weighted sum of {direction.places.size})"
        if direction.single:
            unit = float(direction.steps[0])
            place = index(direction.places[0], self.arrays[one.k].shape)
        found = float(compared.analytic[j]) / unit
        value = float(slope.value) / unit
        if self.full and direction.single:
            # by a cotangent of 1, if that is wrong as well, without the rounding of another
            gradient = self.pulled(np.eye(self.ends[-1])[[j]])[one.k]
            alone = float(gradient[0, direction.places[0]])
            if abs(alone - found) < abs(found - value) / 2 or not np.isfinite(found):
                found = alone
        words = f"d {self.output(j)} / d {self.case.inputs[one.k]}: grad{place}: "
        words += f"analytic {found!r}, "
        if slope.gap > 0 and not slope.rough:
            low, high = float(slope.low) / unit, float(slope.high) / unit
            words += f"but this is a kink, with one-sided derivatives {low!r} and {high!r}"
            return words, KinkError
        words += f"numeric {value!r} ± {abs(slope.error / unit):.1g}"
        if slope.rough:
            return f"{words}, which does not converge: is f rough or noisy here?", KinkError
        return words, GradientError

    def check_forward(self):
        """The tangents of forward mode are those that the gradients give, which numbers have shown
        to be right."""
        for k, a in enumerate(self.arrays):
            tangent = signed(self.case.rng, a.shape)
            units = np.eye(a.size).reshape(a.size, *a.shape)
            # one number alone says where; and once more, for what was kept from the first call
            for t in (*(units if self.forward_error(k, tangent) else ()), tangent):
                if message := self.forward_error(k, t):
                    self.case.fail(message)

    def forward_error(self, k, t):
        """What is wrong with forward mode along t for input k, to as many digits as a gradient must
        have, or None."""
        t = np.asarray(t, self.arrays[k].dtype)
        tangents = replaced([np.zeros_like(a) for a in self.arrays], k, t)
        forward = self.flat(self.fn.jvp(self.arrays, tangents))
        t = t.ravel().astype(np.float64)
        backward = self.rows[k] @ t
        size = np.abs(self.rows[k]) @ np.abs(t)
        forward = self.factors * forward if self.full else self.cotangents @ forward
        rtol = self.case.options.rtol or usual_rtol(self.arrays[k].dtype)
        values = np.abs(self.cotangents) @ self.sizes
        bad = ~(np.abs(forward - backward) <= rtol * size + 256 * self.eps * values)
        if not bad.any():
            return None
        j = int(np.argmax(bad))
        place = " along a random tangent"
        if np.count_nonzero(t) == 1:
            place = index(np.argmax(t != 0), self.arrays[k].shape)
        forward, backward = (float(v[j] / self.factors[j]) for v in (forward, backward))
        ways = f"forward mode {forward!r}, backward {backward!r}"
        return f"d {self.output(j)} / d {self.case.inputs[k]}{place}: {ways}"

    def output(self, i):
        """The name of number i of the outputs, where each is compared."""
        if not self.full:
            return "(a weighted sum of outputs)"
        j = int(np.searchsorted(self.ends, i, side="right"))
        place = index(i - (self.ends[j - 1] if j else 0), self.outs[j].shape)
        return f"{self.case.outputs[j]}{place}"
