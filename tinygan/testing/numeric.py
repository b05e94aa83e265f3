"""Derivatives without calculus: what a function's values alone say about its slope, and how sure
they are of it.

This room knows functions of one number with many values, and nothing of gradients or engines.
"""

import copy
import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

LEVELS, START = 26, 2.0**-4  # the steps: START, half of it, ... down to 2e-9
COMPLEX = 1e-100


class Curves(NamedTuple):
    """Functions of a number t, near t = 0, with as many values each.

    values(t, columns): those of the chosen functions, a row for each. here: the values at t = 0,
    the same for all. eps: what values are rounded to, relative to them. grain: how far they are
    rounded if that is further: the size of numbers that cancelled, or of a grid. rtol: how exact
    the slopes should be, if that can be had.
    """

    values: Callable
    here: np.ndarray
    eps: float
    rtol: float
    grain: np.ndarray | float = 0.0

    def some(self, which):
        """Those with the numbers `which`."""
        return self._replace(values=lambda t, columns: self.values(t, which[columns]))

    def quotients(self, right, left, h):
        """Of the values at t = h and t = -h: the central difference over the step, and the second
        difference over it, which tends to the gap between the right and the left derivative."""
        central = (right - left) / (2 * h)
        second = (right - self.here + (left - self.here)) / h
        return central, second

    def noise(self, right, left, slope, h):
        """What rounding may do to the central difference."""
        size = np.abs(right) + np.abs(left) + np.abs(np.nan_to_num(slope))
        return np.maximum(self.eps * size, self.grain) / h


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
        return Slope(*(array[which] for array in vars(self).values()))

    def __setitem__(self, which, other):
        for name, array in vars(self).items():
            array[which] = getattr(other, name)

    def doubted(self, other):
        """No surer than a second opinion allows."""
        return Slope(
            value=self.value,
            error=np.max([self.error, other.error, np.abs(self.value - other.value)], axis=0),
            gap=np.maximum(self.gap, other.gap),
            exists=self.exists & other.exists,
            rough=self.rough & other.rough,
        )


def exact(value, error):
    """The slope of a linear function: its values."""
    none = np.zeros(value.shape)
    return Slope(value, none + error, gap=none, exists=none == 0, rough=none > 0)


def slopes(curves, count, start=START):
    """The slopes at t = 0 of all `count` curves.

    Central differences at halving steps, extrapolated to step 0 (Richardson 1911); their error is
    how much extrapolations disagree, and for each value the surest of them counts (Ridders 1982).
    The second difference over the step tends to 0, but for a kink. At a jump the quotients grow
    without end.
    """
    columns = np.arange(count)
    kinds = float, float, float, bool, bool
    found = Slope(*(np.empty((count, curves.here.size), kind) for kind in kinds))
    # most functions are sure after a few small steps
    for first, levels in (start / 16, 4), (start, LEVELS):
        ladder = _Ladder(curves, len(columns))
        for level in range(levels):
            h = first * 0.5**level
            sure = ladder.step(h, curves.values(h, columns), curves.values(-h, columns))
            last = level == LEVELS - 1
            if levels < LEVELS:  # what rounding blurs is seen better from further away
                sure = sure & ladder.clear()
            done = np.full(len(columns), last) | ((level > 1) & sure.all(1))
            if done.any():
                found[columns[done]] = ladder.taken(done).slope(h, first, last)
                columns = columns[~done]
                ladder = ladder.taken(~done)
            if not columns.size:
                return found
    return found


def confirmed(curves, imaginary, h=2.0**-9):
    """The slopes that a complex step of t = 1j * COMPLEX gave (its values, `imaginary`) and two
    central differences confirm, and where.

    A complex step has no cancellation (Squire & Trapp 1998), but not all that runs on complex
    numbers is analytic, and at a kink it takes a side.
    """
    value = np.imag(imaginary) / COMPLEX
    columns = np.arange(len(imaginary))
    at = lambda t: curves.values(t, columns)
    coarse, coarse_gap = curves.quotients(at(h), at(-h), h)
    right = at(h / 2)
    left = at(-h / 2)
    fine, fine_gap = curves.quotients(right, left, h / 2)
    noise = curves.noise(right, left, value, h)
    # one step of Richardson's extrapolation each, of an error of h**2 and of one of h
    slope = fine + (fine - coarse) / 3
    gap = 2 * fine_gap - coarse_gap
    allowed = np.maximum(curves.rtol / 8 * np.abs(value), 4 * noise)
    sure = np.abs(slope - value) <= allowed
    sure &= np.abs(gap) <= np.maximum(1e-4 * np.abs(value), 12 * noise)
    return exact(value, 1e-15 * np.abs(value)), sure.all(1)


def complex_step(imaginary, slope):
    """`slope`, sharpened to rounding by values at t = 1j * COMPLEX, where they agree with it."""
    value = np.imag(imaginary) / COMPLEX
    agrees = (np.abs(value - slope.value) <= slope.error) & (slope.gap == 0)
    error = np.where(agrees, 1e-15 * np.abs(value), slope.error)
    return dataclasses.replace(slope, value=np.where(agrees, value, slope.value), error=error)


@dataclasses.dataclass
class _Tableau:
    """Richardson's: `row`, the latest, whose entry j has an error of h**(power + 2j), and the one
    above it; `value`, the surest entries so far, and their error."""

    power: int
    value: np.ndarray
    error: np.ndarray
    row: list = ()
    above: list = ()

    def taken(self, which):
        """The same for some of the columns."""
        row, above = ([entry[which] for entry in entries] for entries in (self.row, self.above))
        return _Tableau(self.power, self.value[which], self.error[which], row, above)

    def add(self, quotient, noise):
        """One more row."""
        self.above = self.row
        self.row = [quotient]
        for j, above in enumerate(self.above[:4]):
            before = self.row[j]
            new = before + (before - above) / (2.0 ** (self.power + 2 * j) - 1)
            self.row.append(new)
            if j + 1 < len(self.above):
                others = before, above, self.above[j + 1]
                guess = noise + np.max([np.abs(new - other) for other in others], axis=0)
                better = guess < self.error
                self.value = np.where(better, new, self.value)
                self.error = np.where(better, guess, self.error)


class _Ladder:
    """The differences so far of some of the curves, one row of all arrays for each, and what they
    are extrapolated to."""

    def __init__(self, curves, count):
        shape = count, curves.here.size
        unknown = np.full(shape, np.inf)
        self.curves = curves
        self.central = _Tableau(2, np.full(shape, np.nan), unknown)
        self.second = _Tableau(1, np.zeros(shape), unknown)
        # the rounding of the differences: now, and at the step that the slope's value comes from
        self.noise = self.floor = unknown
        # (2, rows, values): |right - here| and |left - here|, at the first, the previous, this step
        self.sides = []
        self.sure = np.zeros(shape, bool)

    def taken(self, which):
        """The same for some of the columns."""
        new = copy.copy(self)
        new.central = self.central.taken(which)
        new.second = self.second.taken(which)
        for name in "noise", "floor", "sure":
            setattr(new, name, getattr(self, name)[which])
        new.sides = [side[:, which] for side in self.sides]
        return new

    def step(self, h, right, left):
        """Add the differences over the next step; say where the slope is sure."""
        self.noise = noise = self.curves.noise(right, left, self.central.value, h)
        central, second = self.curves.quotients(right, left, h)
        before = self.central.error
        self.central.add(central, noise)
        self.floor = np.where(self.central.error < before, noise, self.floor)
        self.second.add(second, 2 * noise)
        side = np.abs([right - self.curves.here, left - self.curves.here])
        self.sides = [*self.sides[:1], *self.sides[-1:], side]
        size = np.abs(self.central.value)
        allowed = np.maximum(self.curves.rtol / 8 * size, 20 * self.floor)
        straight = self.second.error <= np.maximum(1e-4 * size, 6 * noise)
        self.sure = straight & (self.central.error <= allowed)
        return self.sure

    def clear(self):
        """Where the slope is as exact as it should be whatever the rounding, or F a constant."""
        wanted = self.curves.rtol / 8 * np.abs(self.central.value)
        return (self.central.error <= wanted) | (self.sides[0] == 0).all(0)

    def slope(self, h, start, last):
        """What they come to; `last`: there are no more steps to take."""
        value = self.central.value
        error = self.central.error
        gap = np.abs(self.second.value)
        if last:  # F is rougher than its rounding: by as much as the smallest differences disagree
            apart = np.abs(self.central.row[0] - self.central.above[0])
            rougher = apart * self.floor / np.maximum(self.noise, 1e-300)
            error = np.where(self.sure, error, np.maximum(error, rougher))
        first, previous, final = self.sides
        first = first.max(0) / start
        steeper = final.max(0) / h > 100 * first
        # noise is as different from step to step as it is large; a jump is not
        alike = np.abs(final - previous).sum(0) <= 0.5 * final.sum(0)
        jump = ~self.sure & steeper & alike
        bent = gap > 4 * self.second.error + 1e-7 * np.abs(value)
        kink = bent & (np.abs(self.second.row[0]) > gap / 2)  # at the smallest step as well
        here = np.abs(self.curves.here).max(initial=0)
        scale = np.maximum(first.max(1, initial=0), here)[:, None]
        blurred = error > np.maximum(1e-4 * np.abs(value), 1e5 * self.curves.eps * scale)
        return Slope(
            value=value,
            error=error,
            gap=np.where(kink, gap, 0.0),
            exists=np.isfinite(value) & ~jump,
            rough=blurred | bent & ~kink,
        )


def grain(curves, sizes):
    """The spacing of the values of a single curve where they lie on a grid, wider than their
    rounding, 0.0 where they do not; and whether they stay the same next to t = 0.

    So do values that were looked up or rounded, and 1 + erf(x) of a large negative x: differences
    over small steps are 0, or alike, and mean nothing. sizes: of the numbers that the values are
    made of.
    """
    at = lambda t: curves.values(t, np.array([0]))[0]
    close = START * 2.0**-24
    near = np.array([at(close), at(-close)])
    # the places are on no grid of their own
    steps = [sign * START * np.sqrt(k / 17) for k in range(1, 17) for sign in (1, -1)]
    wide = np.array([at(t) for t in steps])
    apart = np.abs(wide - curves.here)
    rounding = 100 * curves.eps * np.maximum(np.abs(wide).max(0), sizes)
    spacing = np.zeros(curves.here.size)
    known = np.flatnonzero(np.isfinite(apart).all(0))
    for some in known[:: 1 + known.size // 1000], known:  # of many: all only where a few have one
        spacing[some] = [_divisor(apart[:, j], rounding[j]) for j in some]
        if not spacing.any():
            break
    return spacing, np.all(near == curves.here, 0)


def _divisor(sizes, rounding):
    """The largest number that all are multiples of but for rounding (Euclid), 0 if they vanish or
    there is none."""
    spacing = 0.0
    while (rest := sizes[sizes > rounding]).size:
        spacing = rest.min()
        sizes = np.abs(rest - spacing * np.round(rest / spacing))
    return spacing if spacing > 10 * rounding else 0.0
