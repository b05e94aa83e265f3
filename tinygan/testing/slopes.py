"""A function's slopes at a point, along any direction, by what its values alone say. This room
knows nothing of gradients."""

import numpy as np

from . import numeric

FULL = 100_000  # entries of a Jacobian are in memory at a time


def attempt(call):
    """What the call gives, or None: for points and types of number that f need not accept."""
    try:
        return call()
    except Exception:
        return None


def eps(dtype):
    """The spacing of numbers next to 1."""
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else 2.0**-7  # bfloat16


def usual_rtol(dtype):
    """By which gradients may differ, unless the caller says."""
    return {2.0**-52: 1e-9, 2.0**-23: 1e-4, 2.0**-10: 1e-2, 2.0**-7: 5e-2}.get(eps(dtype), 1e-9)


def largest(a):
    """The largest finite magnitude in an array."""
    return float(np.max(np.abs(a[np.isfinite(a)]), initial=0))


def signed(rng, shape):
    """Random numbers of both signs, no two alike and none small, of as many digits as there are."""
    return rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)


class Slopes:
    """Of a function in the protocol of `engines` at `arrays`, where all outputs count as one
    vector.

    `scales`: one for each output, how large the numbers are that may have cancelled in it. `affine`
    and `tolerance` are set for one input after another.
    """

    affine, tolerance = (), 1e-9

    def __init__(self, fn, arrays, rng, scales):
        self.fn, self.arrays, self.rng = fn, arrays, rng
        self.outs, self.pull = fn.vjp(*arrays)
        self.ends = np.cumsum([y.size for y in self.outs])
        floor = np.concatenate([np.full(y.size, scale) for y, scale in zip(self.outs, scales)])
        self.sizes = np.maximum(np.abs(self.flat(self.outs)), floor)
        # float32's slopes in float64, if f allows it
        self.point = [a.astype(np.float64) for a in arrays]
        values = attempt(lambda: fn.value(*self.point))
        if values is None:
            self.point, values = arrays, self.outs
        self.here = self.flat(values)
        self.eps, self.slope_eps = (max(eps(y.dtype) for y in ys) for ys in (self.outs, values))
        self.grain = self.slope_eps * self.sizes
        self.takes_complex = True

    def values(self, k, directions, t):
        """f's outputs where input k has moved by t along each of the directions."""
        arrays, rows = (
            [a.astype(np.complex128) if isinstance(t, complex) else a for a in self.point],
            [],
        )
        start = arrays[k]
        for at, step in directions:
            arrays[k] = x = start.copy()
            x.reshape(-1)[at] += t * step
            rows.append(self.flat(self.fn.value(*arrays)))
        return np.array(rows)

    def slopes(self, k, directions, start):
        """The slopes of all outputs, as the numbers of input k move along each of the
        directions."""
        if self.affine:
            return [self.affine_slope(k, *direction) for direction in directions]
        F = lambda t, columns: self.values(k, [directions[i] for i in columns], t)
        n, how = (
            len(directions),
            {"eps": self.slope_eps, "rtol": self.tolerance, "grain": self.grain},
        )
        imaginary = (
            attempt(lambda: self.values(k, directions, 1j * numeric.COMPLEX))
            if self.takes_complex
            else None
        )
        self.takes_complex = imaginary is not None
        if not self.takes_complex:
            s = numeric.slopes(F, self.here, n, start=start, **how)
        else:
            s, sure = numeric.confirmed(F, self.here, imaginary, **how)
            if (rest := np.flatnonzero(~sure)).size:
                others = numeric.slopes(
                    lambda t, some: F(t, rest[some]), self.here, rest.size, start=start, **how
                )
                s[rest] = numeric.complex_step(imaginary[rest], others)
        return [s[i] for i in range(n)]

    def affine_slope(self, k, at, step):
        """The slope of a function that is affine in input k: a difference over any distance."""
        x = np.zeros_like(self.arrays[k])
        x.reshape(-1)[at] = step
        value = self.flat(self.fn.value(*self.replaced(self.arrays, k, x)))
        return numeric.exact(
            value - self.affine[0], 32 * self.eps * (largest(value) + largest(self.affine[0]))
        )

    def at_zero(self, k):
        """(f with 0 for input k,) if f is affine in that input, as tried with the input and random
        numbers, else (): differences of an affine function are its derivatives, over any
        distance and but for rounding, whatever the type of number."""
        x = self.arrays[k]
        u, v = (np.asarray(self.rng.standard_normal(x.shape), x.dtype) for _ in range(2))
        f = lambda x: self.flat(
            self.fn.value(*self.replaced(self.arrays, k, np.asarray(x, u.dtype)))
        )
        seen = []
        tried = lambda *points: [seen.append(f(p)) or seen[-1] for p in points]

        def vanish(*sums):
            rounding = 64 * self.eps * sum(map(largest, seen))
            return all(np.all(np.abs(e) <= rounding) for e in sums)

        def affine():
            zero, fu, fx, beyond = tried(0 * u, u, x, u + x)
            if not vanish(beyond + zero - fu - fx):
                return ()
            fv, both, minus, thrice, opposite, part = tried(v, u + v, -u, 3 * u, -x, x / 4)
            right, left = tried(x + u / 16, x - u / 16)
            sums = both + zero - fu - fv, minus + fu - 2 * zero, thrice - 3 * fu + 2 * zero
            return (
                (zero,)
                if vanish(
                    *sums, opposite + fx - 2 * zero, right + left - 2 * fx, 4 * part - fx - 3 * zero
                )
                else ()
            )

        return attempt(affine) or ()

    def replaced(self, arrays, k, x):
        """The arrays with x for input k."""
        return [x if i == k else a for i, a in enumerate(arrays)]

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
