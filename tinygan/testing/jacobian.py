"""A function's gradients against its slopes: every entry of the Jacobian or, of a large one, products with random vectors.

This room compares numbers. It knows a function by `value` and `vjp` (see `engines`) and its slopes by `numeric`.
"""

import itertools

import numpy as np

from . import numeric
from .engines import is_float
from .report import GradientError, KinkError, index

RTOL = {8: 1e-9, 4: 1e-4, 2: 1e-2}  # by the bytes of a gradient's number
FULL, LONG = 100_000, 1_000  # a Jacobian of more entries, or with more rows and columns, is not compared whole


def attempt(call):
    """What the call gives, or None: for points and types of number that f need not accept."""
    try:
        return call()
    except Exception:
        return None


def largest(a):
    """The largest finite magnitude in an array."""
    return float(np.max(np.abs(a[np.isfinite(a)]), initial=0))


def signed(rng, shape):
    """Random numbers of both signs, no two alike and none small."""
    return rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)


class Jacobian:
    """The comparison at one point, where all outputs count as one vector.

    `inputs` are the names of its inputs; at a `depth` above 1 its outputs are gradients, made of numbers as large as `scales`
    says, one for each output, that may have cancelled; `fail(message, kind)` raises.
    """

    def __init__(self, fn, arrays, rtol, rng, inputs, depth, scales, fail):
        self.fn, self.arrays, self.rtol, self.rng = fn, arrays, rtol, rng
        self.inputs, self.depth, self.fail = inputs, depth, fail
        self.outs, self.pull = fn.vjp(*arrays)
        self.ends = np.cumsum([y.size if is_float(y) else 0 for y in self.outs])
        floor = np.concatenate([np.full(y.size, scale) for y, scale in zip(self.outs, scales) if is_float(y)])
        self.sizes = np.maximum(np.abs(self.flat(self.outs)), floor)
        self.point = [a.astype(np.float64) if is_float(a) else a for a in arrays]  # float32's slopes in float64, if f allows it
        values = attempt(lambda: fn.value(*self.point))
        if values is None:
            self.point, values = arrays, self.outs
        self.eps, self.slope_eps = (max(np.finfo(y.dtype).eps for y in ys if is_float(y)) for ys in (self.outs, values))
        self.takes_complex = True

    def check(self):
        """Raise GradientError or KinkError where a gradient is wrong, in any input."""
        floats, m = [k for k, a in enumerate(self.arrays) if is_float(a)], self.ends[-1]
        n = sum(self.arrays[k].size for k in floats)
        self.full = n * m <= FULL and n + m <= LONG
        self.cs = np.diag(self.rng.choice([-2.0, -0.5, 0.5, 2.0], m)) if self.full else signed(self.rng, (2, m))
        found = [self.pull(self.split(c)) for c in self.cs]
        for k in floats:
            self.rows = np.reshape([row[k].astype(np.float64) for row in found], (len(found), self.arrays[k].size))
            self.largest = np.abs(self.rows).max(1, initial=0)
            self.affine = self.at_zero(k)
            exact = self.affine and self.depth == 1  # gradients are linear in cotangents, but not without rounding of their own
            self.tolerance = self.rtol or (64 * float(self.eps) if exact else RTOL[self.arrays[k].dtype.itemsize])
            for at, step in self.directions(self.arrays[k]):
                self.compare(k, at, step)

    def directions(self, a):
        """(places, steps as large as the numbers there): all at once, which leaves ties be; then each one, or, of many, random
        ones together, the corners and a few others."""
        size = np.abs(np.where(np.isfinite(a), a, 1.0)).astype(np.float64).ravel()
        usual = np.median(size[size > 0]) if size.any() else 1.0
        size, places = np.maximum(size, usual), range(a.size)
        yield np.arange(a.size), np.full(a.size, usual)
        if not self.full:
            yield from ((np.arange(a.size), size * signed(self.rng, a.size)) for _ in range(4))
            corners = itertools.islice(itertools.product((0, -1), repeat=a.ndim), 16)
            places = {int(np.arange(a.size).reshape(a.shape)[c]) for c in corners} | {*self.rng.integers(0, a.size, 8).tolist()}
        yield from ((np.array([i]), size[[i]]) for i in places)

    def compare(self, k, at, step):
        """Gradients times step against the slope along it. A wrong sum is halved until a wrong number is found."""
        slope = self.slope(k, at, step, numeric.START)
        if self.verdict(k, at, step, slope):
            wrong = self.verdict(k, at, step, slope.doubted(self.slope(k, at, step, 0.7 * numeric.START)))
            if wrong:
                for half in np.array_split(np.arange(at.size), 2) if at.size > 1 else ():
                    self.compare(k, at[half], step[half])
                self.fail(*wrong)

    def slope(self, k, at, step, start):
        """The slope of all outputs as the numbers `at` of input k move by t * step."""

        def F(t):
            x = self.point[k].astype(np.complex128 if isinstance(t, complex) else self.point[k].dtype)
            x.reshape(-1)[at] += t * step
            return self.flat(self.fn.value(*self.replaced(self.point, k, x)))

        if self.affine:
            x = np.zeros_like(self.arrays[k])
            x.reshape(-1)[at] = step
            value = self.flat(self.fn.value(*self.replaced(self.arrays, k, x)))
            return numeric.exact(value - self.affine[0], 32 * self.eps * (largest(value) + largest(self.affine[0])))
        s = numeric.slope(F, self.slope_eps, self.tolerance, start)
        sharper = attempt(lambda: numeric.complex_step(F, s)) if self.takes_complex else None
        self.takes_complex = sharper is not None
        return sharper or s

    def verdict(self, k, at, step, slope):
        """None, or what is wrong and of which kind."""
        if self.full:
            factors = np.diag(self.cs)
            size = self.largest if at.size == 1 else self.largest.max(initial=0)  # in a row; anywhere, for a sum that may cancel
            scale = size * np.abs(step).sum() / np.abs(factors)
            analytic, s, value = self.rows[:, at] @ step / factors, slope, self.sizes
        else:
            analytic, s, scale = self.contract(k, at, step, slope)
            value = np.linalg.norm(self.cs * self.sizes, axis=1)
        scale = np.where(np.isfinite(scale), scale, 0) + value  # what may cancel in it
        allowed = self.tolerance * np.abs(s.value) + 4 * s.error + 256 * self.eps * scale
        bad = s.exists & ~((analytic >= s.low - allowed) & (analytic <= s.high + allowed))
        unsure = s.exists & s.rough
        if not (bad | unsure).any():
            return None
        excess = np.nan_to_num(np.abs(analytic - s.value), nan=np.inf, posinf=np.inf) / np.maximum(allowed, 1e-300)
        j = int(np.argmax(np.where(bad if bad.any() else unsure, excess, -1)))
        unit = float(step[0]) if at.size == 1 else 1.0
        found, low, high, value = (float(v[j]) / unit for v in (analytic, s.low, s.high, s.value))
        place = index(at[0], self.arrays[k].shape) if at.size == 1 else f" (a weighted sum of {at.size})"
        of = self.output(j) if self.full else "(a weighted sum of outputs)"
        words = f"d {of} / d {self.inputs[k]}: grad{place}: analytic {found!r}, "
        if s.gap[j] > 0 and not s.rough[j]:
            return f"{words}but this is a kink, with one-sided derivatives {low!r} and {high!r}", KinkError
        kind, why = (KinkError, ", which does not converge: is f rough or noisy here?") if s.rough[j] else (GradientError, "")
        return f"{words}numeric {value!r} ± {abs(s.error[j] / unit):.1g}{why}", kind

    def contract(self, k, at, step, slope):
        """The products with the random cotangents; these are 0 for outputs without a derivative along the step."""
        hot = (slope.gap > 0) | ~slope.exists
        cs = np.where(hot, 0.0, self.cs)
        rows = np.array([self.pull(self.split(c))[k].ravel() for c in cs]) if hot.any() else self.rows
        terms, errors = cs * np.where(hot, 0, slope.value), cs * np.where(hot, 0, slope.error)
        norm = lambda a: np.sqrt(np.sum(a * a, 1))
        s = numeric.exact(terms.sum(1), 0.0)
        s.error = norm(errors)
        return rows[:, at] @ step, s, norm(terms) + norm(rows[:, at] * step)

    def at_zero(self, k):
        """(f with 0 for input k,) if f is affine in that input, as tried with the input and random numbers, else (): differences
        of an affine function are its derivatives, over any distance and but for rounding, whatever the type of number."""
        x = self.arrays[k]
        u, v = (np.asarray(self.rng.standard_normal(x.shape), x.dtype) for _ in range(2))
        f = lambda x: self.flat(self.fn.value(*self.replaced(self.arrays, k, np.asarray(x, u.dtype))))
        values = attempt(lambda: [f(p) for p in (0 * u, u, v, u + v, -u, 3 * u, x, u + x, -x, x + u / 16, x - u / 16)])
        if values is None:
            return ()
        zero, fu, fv, both, minus, thrice, fx, beyond, opposite, right, left = values
        rounding = 64 * self.eps * sum(map(largest, values))
        zeros = (
            both + zero - fu - fv, minus + fu - 2 * zero, thrice - 3 * fu + 2 * zero,
            beyond + zero - fu - fx, opposite + fx - 2 * zero, right + left - 2 * fx,
        )
        same = all(np.all(np.abs(e) <= rounding) for e in zeros)
        return (zero,) if same else ()

    def replaced(self, arrays, k, x):
        """The arrays with x for input k."""
        return [x if i == k else a for i, a in enumerate(arrays)]

    def flat(self, outs):
        """The outputs of floats as one vector of float64, or complex."""
        parts = [np.ravel(y) for y, mine in zip(outs, self.outs) if is_float(mine)]
        return np.concatenate(parts).astype(np.result_type(*parts, np.float64))

    def split(self, c):
        """A vector as cotangents."""
        parts = np.split(c, self.ends[:-1])
        return [p.reshape(y.shape).astype(y.dtype) if is_float(y) else None for p, y in zip(parts, self.outs)]

    def output(self, i):
        """The name of number i of the outputs."""
        j = int(np.searchsorted(self.ends, i, side="right"))
        place = index(i - (self.ends[j - 1] if j else 0), self.outs[j].shape)
        return f"{'output' if self.depth == 1 else 'gradient'} {j}{place}"
