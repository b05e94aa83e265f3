"""Derivatives without calculus: what a function's values alone say about its slope, and how sure they are of it.

This room knows functions of one number with many values, and nothing of gradients or engines.
"""

import dataclasses

import numpy as np

LEVELS, START = 26, 2.0**-4  # the steps: START, half of it, ... down to 2e-9


@dataclasses.dataclass
class Slope:
    """dF/dt at 0 for each of F's values: `value`, give or take `error`; `gap` between the one-sided derivatives at a kink.

    exists: False where there are not even one-sided derivatives, at a jump. rough: where the value means nothing.
    """

    value: np.ndarray
    error: np.ndarray
    gap: np.ndarray
    exists: np.ndarray
    rough: np.ndarray

    low = property(lambda self: self.value - self.gap / 2)
    high = property(lambda self: self.value + self.gap / 2)

    def doubted(self, other):
        """No surer than a second opinion allows."""
        error = np.maximum(np.maximum(self.error, other.error), np.abs(self.value - other.value))
        exists, rough = self.exists & other.exists, self.rough & other.rough
        return Slope(self.value, error, np.maximum(self.gap, other.gap), exists, rough)


def exact(value, error):
    """The slope of a linear function: its values."""
    none = np.zeros(value.shape)
    return Slope(value, none + error, none, none == 0, none > 0)


def slope(F, eps, rtol, start=START):
    """The slope of F, whose values are rounded to `eps`, at t = 0; to `rtol` if that can be had.

    Central differences at halving steps, extrapolated to step 0 (Richardson 1911); their error is how much extrapolations
    disagree, and for each value the surest of them counts (Ridders 1982). The second difference over the step tends to the
    gap between the right and the left derivative: 0, but for a kink. At a jump the quotients grow without end.
    """
    here = F(0.0)
    value, gap = np.full(here.shape, np.nan), np.zeros(here.shape)
    error, gap_error, floor = (np.full(here.shape, np.inf) for _ in range(3))
    central, second, sides = (), (), []
    for level in range(LEVELS):
        h = start * 0.5**level
        right, left = F(h), F(-h)
        noise = eps * (np.abs(right) + np.abs(left) + np.abs(np.nan_to_num(value))) / h
        before, last = error, central
        central, value, error = _extrapolate((right - left) / (2 * h), central, 2, noise, value, error)
        floor = np.where(error < before, noise, floor)  # of the error, at the step that the value comes from
        second, gap, gap_error = _extrapolate((right - here + (left - here)) / h, second, 1, 2 * noise, gap, gap_error)
        sides.append(np.abs([right - here, left - here]))
        sure = error <= np.maximum(rtol / 8 * np.abs(value), 20 * floor)
        sure &= gap_error <= np.maximum(1e-4 * np.abs(value), 6 * noise)
        if level > 1 and sure.all():
            break
    else:  # F is rougher than its rounding: by as much as the smallest differences disagree
        error = np.where(sure, error, np.maximum(error, np.abs(central[0] - last[0]) * floor / noise))
    first, previous, final = sides[0].max(0) / start, sides[-2], sides[-1]
    steeper, alike = final.max(0) / h > 100 * first, np.abs(final - previous).sum(0) <= 0.5 * final.sum(0)
    jump = ~sure & steeper & alike  # and not noise, as different from step to step as it is large
    bent = np.abs(gap) > 4 * gap_error + 1e-7 * np.abs(value)
    kink = bent & (np.abs(second[0]) > np.abs(gap) / 2)  # at the smallest step as well
    scale = np.max([np.abs(here), first], initial=0)
    rough = (error > np.maximum(1e-4 * np.abs(value), 1e5 * eps * scale)) | bent & ~kink
    return Slope(value, error, np.where(kink, np.abs(gap), 0.0), np.isfinite(value) & ~jump, rough)


def _extrapolate(quotient, before, power, noise, value, error):
    """One more row of Richardson's tableau, whose column j has an error of h**(power + 2j), and the surest values so far."""
    row = [quotient]
    for j, above in enumerate(before[:4]):
        row.append(row[j] + (row[j] - above) / (2.0 ** (power + 2 * j) - 1))
        if j + 1 < len(before):
            guess = noise + np.max([np.abs(row[-1] - other) for other in (row[j], above, before[j + 1])], axis=0)
            better = guess < error
            value, error = np.where(better, row[-1], value), np.where(better, guess, error)
    return row, value, error


def complex_step(F, s, h=1e-100):
    """`s`, sharpened to rounding where F takes complex t (Squire & Trapp 1998): there is no difference, so no cancellation.

    Not all that runs on complex numbers is analytic: only what agrees with `s` is taken.
    """
    value = np.imag(F(1j * h)) / h
    agrees = (np.abs(value - s.value) <= s.error) & (s.gap == 0)
    return dataclasses.replace(
        s, value=np.where(agrees, value, s.value), error=np.where(agrees, 1e-15 * np.abs(value), s.error)
    )
