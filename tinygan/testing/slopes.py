"""A function's slopes at a point, along any direction, by what its values alone say. This room
knows nothing of gradients."""

from typing import NamedTuple

import numpy as np

from . import numeric
from .arrays import eps, largest, replaced
from .case import attempt

FULL = 100_000  # entries of a Jacobian are in memory at a time


class Direction(NamedTuple):
    """Which numbers of an input move, and by how much each as t moves by 1."""

    places: np.ndarray
    steps: np.ndarray

    @property
    def single(self):
        """Whether it is one number alone."""
        return self.places.size == 1

    @property
    def length(self):
        """Of all steps together."""
        return np.abs(self.steps).sum()


class Slopes:
    """Of the function of a `Case`, where all outputs count as one vector."""

    def __init__(self, case):
        self.case = case
        self.fn = case.fn
        self.arrays = case.arrays
        self.outs, self.pull = self.fn.vjp(*self.arrays)
        self.ends = np.cumsum([y.size for y in self.outs])
        floor = [np.full(y.size, size) for y, size in zip(self.outs, case.sizes)]
        self.sizes = np.maximum(np.abs(self.flat(self.outs)), np.concatenate(floor))
        # float32's slopes in float64, if f allows it
        self.point = [a.astype(np.float64) for a in self.arrays]
        values = attempt(lambda: self.fn.value(*self.point))
        if values is None:
            self.point = self.arrays
            values = self.outs
        self.here = self.flat(values)
        self.eps, self.slope_eps = (max(eps(y.dtype) for y in ys) for ys in (self.outs, values))
        self.takes_complex = True

    def curves(self, k, directions, rtol):
        """f's outputs as input k moves along each of the directions."""

        def values(t, columns):
            arrays = list(self.point)
            if isinstance(t, complex):
                arrays = [a.astype(np.complex128) for a in arrays]
            start = arrays[k]
            rows = []
            for i in columns:
                arrays[k] = x = start.copy()
                x.reshape(-1)[directions[i].places] += t * directions[i].steps
                rows.append(self.flat(self.fn.value(*arrays)))
            return np.array(rows)

        return numeric.Curves(values, self.here, self.slope_eps, rtol, self.slope_eps * self.sizes)

    def slopes(self, k, directions, rtol):
        """The slopes of all outputs, as input k moves along each of the directions."""
        curves = self.curves(k, directions, rtol)
        count = len(directions)
        sideways = lambda: curves.values(1j * numeric.COMPLEX, range(count))
        imaginary = attempt(sideways) if self.takes_complex else None
        self.takes_complex = imaginary is not None
        if imaginary is None:
            found = numeric.slopes(curves, count)
        else:
            found, sure = numeric.confirmed(curves, imaginary)
            if (rest := np.flatnonzero(~sure)).size:
                others = numeric.slopes(curves.some(rest), rest.size)
                found[rest] = numeric.complex_step(imaginary[rest], others)
        return [found[i] for i in range(count)]

    def affine_slope(self, k, direction, zero):
        """The slope of a function that is affine in input k, and `zero` without it: a difference
        over any distance."""
        x = np.zeros_like(self.arrays[k])
        x.reshape(-1)[direction.places] = direction.steps
        value = self.with_input(k, x)
        return numeric.exact(value - zero, 32 * self.eps * (largest(value) + largest(zero)))

    def at_zero(self, k):
        """f with 0 for input k if f is affine in that input, as tried with the input and random
        numbers, else None: differences of an affine function are its derivatives, over any distance
        and but for rounding, whatever the type of number."""
        x = self.arrays[k]
        seen = []
        random = lambda: np.asarray(self.case.rng.standard_normal(x.shape), x.dtype)
        u = random()
        v = random()

        def f(point):
            seen.append(self.with_input(k, np.asarray(point, x.dtype)))
            return seen[-1]

        def vanish(*sums):
            rounding = 64 * self.eps * sum(map(largest, seen))
            return all(np.all(np.abs(each) <= rounding) for each in sums)

        def affine():
            zero, fu, fx = f(0 * u), f(u), f(x)
            if not vanish(f(u + x) + zero - fu - fx):
                return None
            fv = f(v)
            added = f(u + v) + zero - fu - fv
            opposite = f(-u) + fu - 2 * zero
            thrice = f(3 * u) - 3 * fu + 2 * zero
            beyond = f(-x) + fx - 2 * zero
            within = 4 * f(x / 4) - fx - 3 * zero
            around = f(x + u / 16) + f(x - u / 16) - 2 * fx
            straight = vanish(added, opposite, thrice, beyond, within, around)
            return zero if straight else None

        return attempt(affine)

    def with_input(self, k, x):
        """f's outputs with x for input k."""
        return self.flat(self.fn.value(*replaced(self.arrays, k, x)))

    def flat(self, outs):
        """The outputs as one vector of float64, or complex."""
        if len(outs) == 1:
            y = outs[0].reshape(-1)
            return y if y.dtype.kind == "c" else y.astype(np.float64)
        parts = [y.reshape(-1) for y in outs]
        return np.concatenate(parts).astype(np.result_type(*parts, np.float64))

    def split(self, c):
        """A vector as cotangents."""
        parts = np.split(c, self.ends[:-1])
        return [p.reshape(y.shape).astype(y.dtype) for p, y in zip(parts, self.outs)]
