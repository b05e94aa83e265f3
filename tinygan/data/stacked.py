"""Stacked digits: three at random as the red, green and blue of one picture, a thousand modes that
can be counted (Metz 2017, section 3.3.1).
"""

import numpy as np

from .idx import DataError
from .images import Pictures


def stacked(digits, n, source):
    """n pictures in colour of grey ones, three at random for each; labels: 100 * a + 10 * b + c of
    their labels, the modes of 10 classes.

    digits: `Pictures` with labels; source: a `random.Generator`. DataError unless they are grey and
    of at most ten classes.
    """
    images, labels, _ = digits
    if images.ndim != 3 or labels is None or digits.classes > 10:
        raise DataError(
            f"stacked: needs grey pictures (n, h, w) of at most 10 classes, got {images.shape} of "
            f"{digits.classes}"
        )
    drawn = (source.uniform((n, 3)).astype(np.float64) * len(images)).astype(np.int64)
    rows = np.minimum(drawn, len(images) - 1)
    pictures = np.empty((n, *images.shape[1:], 3), np.uint8)
    for colour in range(3):
        pictures[..., colour] = images[rows[:, colour]]
    return Pictures(pictures, labels[rows] @ np.array([100, 10, 1]))
