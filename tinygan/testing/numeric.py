"""Derivatives without calculus: what a function's values alone say about its slope, and how sure
they are of it.

This room knows functions of one number with many values, and nothing of gradients or engines.
"""

import dataclasses

import numpy as np

LEVELS, START = 26, 2.0**-4  # the steps: START, half of it, ... down to 2e-9
COMPLEX = 1e-100


@dataclasses.dataclass
class Slope:
    """dF/dt at 0 for each of F's values: `value`, give or take `error`; `gap` between the one-sided
    derivatives at a kink.

    exists: False where there are not even one-sided derivatives, at a jump. rough: where the value
    means nothing.
    """

    value: np.ndarray
    error: np.ndarray
    gap: np.ndarray
    exists: np.ndarray
    rough: np.ndarray

    low = property(lambda self: self.value - self.gap / 2)
    high = property(lambda self: self.value + self.gap / 2)

    def __getitem__(self, which):
        return Slope(*(getattr(self, field.name)[which] for field in dataclasses.fields(self)))

    def __setitem__(self, which, other):
        for field in dataclasses.fields(self):
            getattr(self, field.name)[which] = getattr(other, field.name)

    def doubted(self, other):
        """No surer than a second opinion allows."""
        error = np.maximum(np.maximum(self.error, other.error), np.abs(self.value - other.value))
        exists, rough = self.exists & other.exists, self.rough & other.rough
        return Slope(self.value, error, np.maximum(self.gap, other.gap), exists, rough)


def exact(value, error):
    """The slope of a linear function: its values."""
    none = np.zeros(value.shape)
    return Slope(value, none + error, none, none == 0, none > 0)


def slopes(F, here, n, eps, rtol, start=START, grain=0.0):
    """The slopes at t = 0 of n functions with many values each, rounded to `eps`; to `rtol` if that
    can be had.

    F(t, columns) gives the values of some of the n, one row for each; `here` are those at t = 0,
    the same for all. Central differences at halving steps, extrapolated to step 0 (Richardson
    1911); their error is how much extrapolations disagree, and for each value the surest of them
    counts (Ridders 1982). The second difference over the step tends to the gap between the right
    and the left derivative: 0, but for a kink. At a jump the quotients grow without end. `grain`:
    how far F's values are rounded, if further than to `eps`: the size of numbers that cancelled, or
    of a grid.
    """
    columns = np.arange(n)
    found = Slope(*(np.empty((n, here.size), t) for t in (float, float, float, bool, bool)))
    for first, levels in (
        (start / 16, 4),
        (start, LEVELS),
    ):  # most functions are sure after a few small steps
        ladder = _Ladder(here, len(columns), eps, rtol, grain)
        for level in range(levels):
            h = first * 0.5**level
            sure = ladder.step(h, F(h, columns), F(-h, columns))
            last = level == LEVELS - 1
            if levels < LEVELS:  # what rounding blurs is seen better from further away
                sure = sure & (
                    (ladder.error <= rtol / 8 * np.abs(ladder.value))
                    | (ladder.sides[0] == 0).all(0)
                )
            done = np.full(len(columns), last) | ((level > 1) & sure.all(1))
            if done.any():
                found[columns[done]] = ladder.taken(done).slope(h, first, last)
                columns, ladder = columns[~done], ladder.taken(~done)
            if not columns.size:
                return found
    return found


def confirmed(F, here, values, eps, rtol, grain=0.0, h=2.0**-9):
    """The slopes that a complex step of t = 1j * COMPLEX gave (its `values`) and two central
    differences confirm, and where.

    A complex step has no cancellation (Squire & Trapp 1998), but not all that runs on complex
    numbers is analytic, and at a kink it takes a side.
    """
    value, columns = np.imag(values) / COMPLEX, np.arange(len(values))
    wide, near = ((F(t, columns), F(-t, columns)) for t in (h, h / 2))
    noise = np.maximum(eps * (np.abs(near[0]) + np.abs(near[1]) + np.abs(value)), grain) / h
    coarse, fine = ((right - left) / (2 * t) for (right, left), t in ((wide, h), (near, h / 2)))
    bend, less = (
        (right - here + (left - here)) / t for (right, left), t in ((wide, h), (near, h / 2))
    )
    sure = np.abs(fine + (fine - coarse) / 3 - value) <= np.maximum(
        rtol / 8 * np.abs(value), 4 * noise
    )
    sure &= np.abs(2 * less - bend) <= np.maximum(1e-4 * np.abs(value), 12 * noise)
    return exact(value, 1e-15 * np.abs(value)), sure.all(1)


class _Ladder:
    """The differences so far of some columns, and what they are extrapolated to."""

    ARRAYS = "value", "error", "floor", "gap", "gap_error", "sure", "noise"
    LISTS = "central", "last", "second", "sides"

    def __init__(self, here, n, eps, rtol, grain):
        self.here, self.eps, self.rtol, self.grain = here, eps, rtol, grain
        shape = n, here.size
        self.value, self.gap = np.full(shape, np.nan), np.zeros(shape)
        self.error, self.gap_error, self.floor = (np.full(shape, np.inf) for _ in range(3))
        self.central = self.last = self.second = (
            self.sides
        ) = ()  # sides: |right - here| and left; first, previous, now

    def taken(self, which):
        """The same for some of the columns."""
        new = object.__new__(_Ladder)
        new.__dict__ = {
            **self.__dict__,
            **{name: getattr(self, name)[which] for name in self.ARRAYS},
        }
        new.__dict__ |= {
            name: [a[..., which, :] for a in getattr(self, name)] for name in self.LISTS
        }
        return new

    def step(self, h, right, left):
        """Add the differences over the next step; say where the slope is sure."""
        noise = self.eps * (np.abs(right) + np.abs(left) + np.abs(np.nan_to_num(self.value)))
        self.noise = noise = np.maximum(noise, self.grain) / h
        before, self.last, up, down = self.error, self.central, right - self.here, left - self.here
        self.central, self.value, self.error = _extrapolate(
            (right - left) / (2 * h), self.central, 2, noise, self.value, self.error
        )
        # of the error, at the step that the value comes from
        self.floor = np.where(self.error < before, noise, self.floor)
        self.second, self.gap, self.gap_error = _extrapolate(
            (up + down) / h, self.second, 1, 2 * noise, self.gap, self.gap_error
        )
        side = np.abs([up, down])
        self.sides = [
            self.sides[0] if self.sides else side,
            self.sides[-1] if self.sides else side,
            side,
        ]
        sure = self.error <= np.maximum(self.rtol / 8 * np.abs(self.value), 20 * self.floor)
        self.sure = sure & (self.gap_error <= np.maximum(1e-4 * np.abs(self.value), 6 * noise))
        return self.sure

    def slope(self, h, start, last):
        """What they come to; `last`: there are no more steps to take."""
        value, gap, error, sure = self.value, self.gap, self.error, self.sure
        if last:  # F is rougher than its rounding: by as much as the smallest differences disagree
            rougher = (
                np.abs(self.central[0] - self.last[0]) * self.floor / np.maximum(self.noise, 1e-300)
            )
            error = np.where(sure, error, np.maximum(error, rougher))
        first, previous, final = self.sides[0].max(0) / start, self.sides[1], self.sides[2]
        steeper, alike = (
            final.max(0) / h > 100 * first,
            np.abs(final - previous).sum(0) <= 0.5 * final.sum(0),
        )
        # and not noise, as different from step to step as it is large
        jump = ~sure & steeper & alike
        bent = np.abs(gap) > 4 * self.gap_error + 1e-7 * np.abs(value)
        kink = bent & (np.abs(self.second[0]) > np.abs(gap) / 2)  # at the smallest step as well
        scale = np.max(
            [np.broadcast_to(np.abs(self.here), first.shape), first], axis=(0, 2), initial=0
        )[:, None]
        rough = (error > np.maximum(1e-4 * np.abs(value), 1e5 * self.eps * scale)) | bent & ~kink
        return Slope(
            value, error, np.where(kink, np.abs(gap), 0.0), np.isfinite(value) & ~jump, rough
        )


def _extrapolate(quotient, before, power, noise, value, error):
    """One more row of Richardson's tableau, whose column j has an error of h**(power + 2j), and the
    surest values so far."""
    row = [quotient]
    for j, above in enumerate(before[:4]):
        row.append(row[j] + (row[j] - above) / (2.0 ** (power + 2 * j) - 1))
        if j + 1 < len(before):
            guess = noise + np.max(
                [np.abs(row[-1] - other) for other in (row[j], above, before[j + 1])], axis=0
            )
            better = guess < error
            value, error = np.where(better, row[-1], value), np.where(better, guess, error)
    return row, value, error


def grain(F, here, eps, sizes):
    """The spacing of the values of F(t) where they lie on a grid, wider than their rounding, 0.0
    where they do not; and whether they stay the same next to t = 0. So do values that were
    looked up or rounded, and 1 + erf(x) of a large negative x: differences over small steps are
    0, or alike, and mean nothing. `sizes`: of the numbers that F's values are made of."""
    near = np.array([F(t) for t in (START * 2.0**-24, -START * 2.0**-24)])
    # on no grid of their own
    wide = np.array([F(sign * START * np.sqrt(k / 17)) for k in range(1, 17) for sign in (1, -1)])
    apart, rounding = np.abs(wide - here), 100 * eps * np.maximum(np.abs(wide).max(0), sizes)
    spacing, known = np.zeros(here.size), np.flatnonzero(np.isfinite(apart).all(0))
    for some in known[:: 1 + known.size // 1000], known:  # of many: all only where a few have one
        spacing[some] = [_divisor(apart[:, j], rounding[j]) for j in some]
        if not spacing.any():
            break
    return spacing, np.all(near == here, 0)


def _divisor(sizes, rounding):
    """The largest number that all are multiples of but for rounding (Euclid), 0 if they vanish or
    there is none."""
    spacing = 0.0
    while (rest := sizes[sizes > rounding]).size:
        spacing = rest.min()
        sizes = np.abs(rest - spacing * np.round(rest / spacing))
    return spacing if spacing > 10 * rounding else 0.0


def complex_step(values, s):
    """`s`, sharpened to rounding by values at t = 1j * COMPLEX, where they agree with it."""
    value = np.imag(values) / COMPLEX
    agrees = (np.abs(value - s.value) <= s.error) & (s.gap == 0)
    return dataclasses.replace(
        s,
        value=np.where(agrees, value, s.value),
        error=np.where(agrees, 1e-15 * np.abs(value), s.error),
    )
