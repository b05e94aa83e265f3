"""Which modes of a density samples reach, and how evenly: how mode collapse is counted.

The protocol is PacGAN's (Lin 2018, after VEEGAN, Srivastava 2017). This file knows
arrays of points, and no density.
"""

import numpy as np

GOOD = 3  # deviations around a mode in which a point is one of its own
BLOCK = 1 << 20  # distances that are held at once


def mode_figures(points, centres, deviation):
    """{"modes", "quality", "kl"} of points (n, d) for modes at centres (k, d), round Gaussians of
    one deviation.

    A point is good if it lies within 3 deviations of its nearest centre. modes: how many centres
    have a good point, an int; quality: the share of good points; kl: how unevenly the good ones
    fall on the modes, see `histogram_kl`. Of real points of the plane exp(-9/2), one in 90, is not
    good. A point that is not finite, as a model that diverged makes it, is not good.
    """
    points, centres = np.asarray(points, np.float64), np.asarray(centres, np.float64)
    if points.ndim != 2 or centres.ndim != 2 or points.shape[1] != centres.shape[1]:
        shapes = f"{points.shape} and {centres.shape}"
        raise ValueError(
            f"mode_figures: points and centres must be (n, d) and (k, d), got {shapes}"
        )
    if not len(points) or not len(centres):
        raise ValueError(
            f"mode_figures: needs a point and a centre at least, got {len(points)} points and "
            f"{len(centres)} centres"
        )
    if not deviation > 0:
        raise ValueError(f"mode_figures: deviation must be above 0, got {deviation}")
    counts = np.zeros(len(centres), np.int64)
    finite = points[np.isfinite(points).all(1)]
    rows = max(1, BLOCK // centres.size)
    for start in range(0, len(finite), rows):
        apart = np.linalg.norm(finite[start : start + rows, None] - centres, axis=2)
        good = apart.min(1) < GOOD * deviation
        counts += np.bincount(apart.argmin(1)[good], minlength=len(centres))
    return {
        "modes": int((counts > 0).sum()),
        "quality": float(counts.sum() / len(points)),
        "kl": histogram_kl(counts, len(centres)),
    }


def histogram_kl(counts, k):
    """KL(shares || uniform) in nats of the counts, of whichever modes were found, among k modes:
    from 0, all evenly, to log k, all in one; log k, too, where nothing was counted.

    It is the reverse KL divergence of the published tables: log k less the entropy of the shares.
    """
    counts = np.asarray(counts, np.float64).ravel()
    if k < 1 or len(counts) > k or not (counts >= 0).all() or not np.isfinite(counts).all():
        raise ValueError(
            f"histogram_kl: counts must be at most k numbers, none below 0, got {len(counts)} "
            f"for k of {k}: {counts[:8]}"
        )
    if not counts.any():
        return float(np.log(k))
    shares = counts[counts > 0] / counts.sum()
    return max(0.0, float((shares * np.log(shares * k)).sum()))  # rounding may leave -1e-16
