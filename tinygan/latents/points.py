"""Points (..., k) of a latent space: ways from one to another, points nearer to the mean, and
directions that change an attribute. Arithmetic on raw arrays: it knows no model.
"""

from numbers import Integral

import numpy as np

from .. import device as devices
from .. import random
from ..autograd import describe

PARALLEL = 1e-12  # the sine of an angle that float64 hardly tells from 0
LEAST = 0.01  # threshold of `truncated`: of a hundred numbers not one lies within


def lerp(a, b, steps):
    """The straight way from a to b, (..., k) each, in so many points: (steps, ..., k), of which the
    first is a and the last b.

    In the middle between two points of N(0, 1), if dimensions are many, the length is about
    sqrt(2) times less than it ever is of such points: `slerp` keeps it.
    """
    t = _shares("lerp", a, b, steps)
    return _ending((1 - t) * a + t * b, a, b)


def slerp(a, b, steps):
    """The way from a to b, (..., k) each, along a great circle, (steps, ..., k), at equal angles
    (Shoemake 1985) and with lengths that go evenly from a's to b's.

    N(0, 1) of k dimensions lies in a thin shell of radius sqrt(k), which the straight way leaves
    and this one stays in (White 2016). Points of one direction, or 0, are joined by the straight
    way; opposite ones by the half circle over the axis that they lie least along.
    """
    t = _shares("slerp", a, b, steps)
    length, u = _polar(a.astype(np.float64))
    other, v = _polar(b.astype(np.float64))
    u = np.where(length > 0, u, v)  # 0 has any direction
    v = np.where(other > 0, v, u)
    cosine = (u * v).sum(-1, keepdims=True)
    sine, w = _polar(v - cosine * u)
    sine = np.where(sine > PARALLEL, sine, 0)
    w = np.where(sine > 0, w, _least(u))
    along = (u * w).sum(-1, keepdims=True)
    _, w = _polar(w - along * u)  # at right angles to u, to the last bit
    angle = t * np.arctan2(sine, cosine)
    turned = np.cos(angle) * u + np.sin(angle) * w
    lengths = (1 - t) * length + t * other
    return _ending(lengths * turned, a, b)


def walk(points, steps, closed=True, way=slerp):
    """A way through all points (m, ..., k) in turn, `steps` of it from each to the next.

    closed: and back to the first, which is not there twice, (m * steps, ..., k): as an animation it
    goes round for ever. Else up to the last, ((m - 1) * steps + 1, ..., k).
    """
    if not _floats(points) or points.ndim < 2 or len(points) < 2 or not _whole(steps, 1):
        given = f"{describe(points)} and {steps!r:.50}"
        raise ValueError(
            f"walk: needs 2 points (m, ..., k) of floats, and 1 step, or more, got {given}"
        )
    if closed:
        points = np.concatenate([points, points[:1]])
    ways = way(points[:-1], points[1:], steps + 1)  # (steps + 1, m, ..., k)
    ways = ways[:-1].swapaxes(0, 1)  # the last of each way is the first of the next
    path = ways.reshape(-1, *points.shape[1:])
    return path if closed else np.concatenate([path, points[-1:]])


def truncated(n, latent, *, threshold=None, psi=1.0, source=None, device="cpu"):
    """n points (n, latent) of N(0, 1) nearer to its mean, whose samples are better and more alike.

    threshold: a number beyond it is drawn again until it is within (Brock 2019, section 3.1); those
    that are within are as they would be without. psi, from 0 to 1: what all are then multiplied by
    (Karras 2019, appendix B, who do so behind a mapping network). source: a generator instead of
    random.default.
    """
    if not 0 <= psi <= 1:
        raise ValueError(f"truncated: psi must be from 0, the mean alone, to 1, got {psi}")
    if threshold is not None and not threshold >= LEAST:
        raise ValueError(f"truncated: threshold must be at least {LEAST}, got {threshold}")
    source = source or random.default
    z = source.normal((n, latent), device=device)
    if threshold is not None:
        while (beyond := abs(z) > threshold).any():
            count = int(beyond.sum())
            z[beyond] = source.normal((count,), device=device)
    return float(psi) * z  # a NumPy scalar would make float64 of it


def directions(points, attributes, fit="linear"):
    """The unit vectors along which points (n, k) get attributes, (n,) or (n, a) of bool: (k,) or
    (a, k).

    fit: "linear", that of least squares, or "means", from the mean of the points without the
    attribute to the mean of those with it. If points are Gaussian either finds the w of whatever
    probability f(w . z) the attribute has, the logistic function's among them, but for its length
    (Brillinger 1983), and no fit can diverge where a plane divides the points, as a logistic one
    does. "means" is X^T y; least squares multiplies it by (X^T X)^-1, and so takes out how the
    points happen to lie: it needs fewer of them, and they may be others than those of N(0, 1).
    """
    x = devices.to_host(points)
    y = devices.to_host(attributes)
    if fit not in ("linear", "means"):
        raise ValueError(f"directions: fit must be linear or means, got {fit!r:.50}")
    fits = x.ndim == 2 and y.ndim in (1, 2) and len(y) == len(x)
    if not fits or y.dtype != bool:
        wanted = "points (n, k) need attributes (n,) or (n, a) of bool"
        raise ValueError(f"directions: {wanted}, got {describe(points, attributes)}")
    if not _floats(points) or not x.size or not np.isfinite(x).all():
        wanted = "points (n, k) must be finite floats, two or more"
        raise ValueError(f"directions: {wanted}, got {describe(points)}")
    columns = y.reshape(len(y), -1)
    same = columns.all(0) | ~columns.any(0)
    if same.any():
        which = f"attribute {same.argmax()} is the same at all {len(x)} points"
        raise ValueError(f"directions: {which}: leave it out, or give more points")
    x = x.astype(np.float64)
    x = x - x.mean(0)
    columns = columns - columns.mean(0)
    if fit == "linear":
        found = np.linalg.lstsq(x, columns, rcond=None)[0]  # (k, a)
    else:
        found = x.T @ columns
    _, found = _polar(found.T)
    found = found if y.ndim == 2 else found[0]
    return devices.to_device_of(found.astype(points.dtype), points)


def moved(points, direction, distances):
    """Points (..., k) moved along a direction (k,) by each of the distances (m,): (m, ..., k).

    Along a unit vector a distance is in standard deviations of N(0, 1), and beyond 3 or so a model
    has seen little. (Shen 2020)
    """
    if not _floats(points) or not _floats(direction):
        wanted = "points and a direction must be arrays of floats"
        raise ValueError(f"moved: {wanted}, got {describe(points, direction)}")
    far = np.asarray(distances, points.dtype, like=points)
    if direction.shape != points.shape[-1:] or far.ndim != 1:
        wanted = "points (..., k) need a direction (k,) and distances (m,)"
        raise ValueError(f"moved: {wanted}, got {describe(points, direction, far)}")
    return points + far.reshape(-1, *[1] * points.ndim) * direction


def _shares(name, a, b, steps):
    """The shares of b, from 0 to 1, as (steps, 1, ..., 1) on the points' device; ValueError for
    points that do not fit.
    """
    for x in (a, b):
        if not _floats(x) or x.shape != a.shape or not x.ndim:
            wanted = "needs points of one shape (..., k), arrays of floats"
            raise ValueError(f"{name}: {wanted}, got {describe(a, b)}")
    if not _whole(steps, 2):
        raise ValueError(f"{name}: a way has at least 2 points, its ends, got {steps!r:.50}")
    shares = np.linspace(0, 1, steps).reshape(-1, *[1] * a.ndim)
    return devices.to_device_of(shares, a)


def _floats(x):
    """Whether that is an array of floats."""
    return devices.is_array(x) and x.dtype.kind == "f"


def _whole(steps, least):
    """Whether that is a whole number, and not too small."""
    return isinstance(steps, Integral) and steps >= least


def _ending(path, a, b):
    """The path in the points' dtype, from a itself to b itself."""
    path = path.astype(a.dtype)
    path[0], path[-1] = a, b
    return path


def _polar(x):
    """The length of vectors (..., k), (..., 1), and their direction (..., k): 0 for 0."""
    length = np.sqrt((x * x).sum(-1, keepdims=True))
    return length, x / np.where(length > 0, length, 1)


def _least(u):
    """The axis, as a unit vector (..., k), that each vector lies least along."""
    k = devices.to_device_of(np.arange(u.shape[-1]), u)
    least = abs(u).argmin(-1)[..., None]
    return (k == least).astype(u.dtype)
