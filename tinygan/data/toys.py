"""Toy densities: points of the plane whose density is known, so that seconds of training show what
an image hides: modes that are missed, thin lines that are blurred, ground that should be empty.

`TOYS` has them by name. Four of the five are mixtures of round Gaussians, of few (`Mixture`) or of
a continuum along curves (`Curves`). This file knows arrays and numbers drawn, and no batch.
"""

import functools
import operator

import numpy as np

NODES = 400  # of a curve's quadrature: neighbours are at most 0.4 deviations apart
BLOCK = 256  # points whose distances to all components are held at once: 3 MB


class Toy:
    """A density of points (x, y).

    name: its key in `TOYS`. extent: half the side of the window around 0 that shows all of it.
    centres (k, 2) and deviation: of its modes, of equal shares, if it consists of a few round
    Gaussians; else None.
    """

    centres = deviation = None

    def __init__(self, name, extent):
        self.name, self.extent = name, extent

    def __repr__(self):
        return f"{type(self).__name__}({self.name!r})"

    def sample(self, n, source):
        """n points, (n, 2) float32, drawn by source, a `random.Generator`: the same for the same
        seed, stream and step.

        To be learned from, they need a stream that neither models draw from, as from 0, nor
        `random.permutation`, which has 1: it would sort them by their modes.
        """
        return self._draw(operator.index(n), source).astype(np.float32)

    def log_density(self, points):
        """The log of the density at points (n, 2), in nats: (n,) float64, -inf where there is none.
        ValueError unless the points are that, and finite.
        """
        points = np.asarray(points, np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            found = f"{points.shape}" + (", NaN or infinity among them" if points.ndim == 2 else "")
            raise ValueError(f"log_density: points must be (n, 2) finite numbers, got {found}")
        blocks = [self._log(points[i : i + BLOCK]) for i in range(0, len(points), BLOCK)]
        return np.concatenate([np.empty(0), *blocks])


class Mixture(Toy):
    """Equal shares of round Gaussians of one deviation at the centres (k, 2)."""

    def __init__(self, name, extent, centres, deviation):
        super().__init__(name, extent)
        self.centres, self.deviation = np.array(centres, np.float64), deviation

    def _draw(self, n, source):
        mode = (source.uniform((n,)) * len(self.centres)).astype(int)
        return self.centres[mode] + self.deviation * source.normal((n, 2))

    def _log(self, points):
        return _mixed(points, self.centres, 1 / len(self.centres), self.deviation)


class Curves(Toy):
    """Points of curves, each with an equal share, blurred by round Gaussians of one deviation.

    curves: functions of the place t in [0, 1], (n,), which is uniform, to points (n, 2). The
    density is the integral of the blur over t, by Gauss-Legendre quadrature: a Gaussian is so
    smooth that 400 nodes leave an error at the level of rounding.
    """

    def __init__(self, name, extent, curves, blur):
        super().__init__(name, extent)
        self.curves, self.blur = curves, blur

    def _draw(self, n, source):
        which, t = source.uniform((2, n)).astype(np.float64)
        points = np.stack([curve(t) for curve in self.curves])  # (curves, n, 2)
        which = (which * len(self.curves)).astype(int)
        return points[which, np.arange(n)] + self.blur * source.normal((n, 2))

    @functools.cached_property
    def _nodes(self):
        """The points of the quadrature and their shares, (m, 2) and (m,)."""
        x, weights = np.polynomial.legendre.leggauss(NODES)
        nodes = np.concatenate([curve((x + 1) / 2) for curve in self.curves])
        return nodes, np.tile(weights / 2, len(self.curves)) / len(self.curves)

    def _log(self, points):
        return _mixed(points, *self._nodes, self.blur)


class Squares(Toy):
    """Uniform on squares of side 2 with the centres (k, 2), edges included."""

    def __init__(self, name, extent, squares):
        super().__init__(name, extent)
        self.squares = np.array(squares, np.float64)

    def _draw(self, n, source):
        square = (source.uniform((n,)) * len(self.squares)).astype(int)
        return self.squares[square] + 2 * source.uniform((n, 2)).astype(np.float64) - 1

    def _log(self, points):
        inside = (abs(points[:, None] - self.squares) <= 1).all(2).any(1)
        return np.where(inside, -np.log(4 * len(self.squares)), -np.inf)


def _mixed(points, centres, shares, deviation):
    """The log density (n,) of Gaussians at centres (m, 2) with their shares, (m,) or one of all."""
    squared = ((points[:, None] - centres) ** 2).sum(2)  # (n, m)
    exponents = squared / (-2 * deviation**2)
    most = exponents.max(1)
    sums = (np.exp(exponents - most[:, None]) * shares).sum(1)
    return most + np.log(sums) - np.log(2 * np.pi * deviation**2)


def _ring():
    """Eight Gaussians of deviation 0.01 on a circle of radius 1 (VEEGAN, Srivastava 2017; the sizes
    are PacGAN's, Lin 2018, section 4.1).
    """
    angles = np.arange(8) * np.pi / 4
    return Mixture("ring", 1.5, np.stack([np.cos(angles), np.sin(angles)], 1), 0.01)


def _grid():
    """Twenty-five Gaussians of deviation 0.05, two apart (Dumoulin 2017; PacGAN's sizes)."""
    places = (-4, -2, 0, 2, 4)
    return Mixture("grid", 5.0, [(x, y) for x in places for y in places], 0.05)


def _roll():
    """The swiss roll seen from its end, a spiral of one and a half turns (Marsland 2009, as
    scikit-learn makes it; Sohl-Dickstein 2015 and WGAN-GP, Gulrajani 2017, learn it too), at a
    fifth of its size and with the blur of FFJORD (Grathwohl 2019).
    """

    def spiral(t):
        angle = 1.5 * np.pi * (1 + 2 * t)
        return np.stack([angle * np.cos(angle), angle * np.sin(angle)], 1) / 5

    return Curves("roll", 4.0, (spiral,), 0.2)


def _moons():
    """Two half circles that reach into each other, as scikit-learn makes them; twice as large and
    moved to the middle, as FFJORD uses them (Grathwohl 2019).
    """

    def outer(t):
        return np.stack([2 * np.cos(np.pi * t) - 1, 2 * np.sin(np.pi * t) - 0.2], 1)

    def inner(t):
        return np.stack([1 - 2 * np.cos(np.pi * t), 0.8 - 2 * np.sin(np.pi * t)], 1)

    return Curves("moons", 4.0, (outer, inner), 0.2)


def _checkerboard():
    """The eight dark squares of a board of four by four (FFJORD, Grathwohl 2019)."""
    places = (-3, -1, 1, 3)
    dark = [(x, y) for x in places for y in places if (x + y) % 4 == 2]
    return Squares("checkerboard", 5.0, dark)


TOYS = {toy.name: toy for toy in (_ring(), _grid(), _roll(), _moons(), _checkerboard())}
