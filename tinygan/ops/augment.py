"""Random changes of images that leave what they show as it is, for sets too small for a GAN.

A discriminator learns a small set by heart, and the generator then learns nothing more from it.
Differentiable augmentation (Zhao 2020, "Differentiable Augmentation for Data-Efficient GAN
Training") lets it see nothing but changed images, real and fake alike. The generator learns through
the change, which has a gradient since each function here is made of operations.

Each takes images x (n, c, h, w) of numbers in [-1, 1], and draws numbers of its own for each image
from a `random.Generator`. No value is read back, so a GPU's graph can hold it. This room knows no
layers.
"""

import numpy as np

from .. import random
from ..autograd import describe
from ..device import of
from .arith import raw, where
from .derived import flip as reverse
from .linear import matmul
from .reduce import mean
from .shape import swapaxes


def _draws(x, source, count):
    """That many arrays (n, 1, 1, 1) of numbers from [0, 1), one for each image."""
    drawn = source.uniform((len(x), count, 1, 1, 1), device=of(raw(x)))
    return drawn.astype(x.dtype).swapaxes(0, 1)


def _whole(draw, least, most):
    """Draws from [0, 1) as whole numbers from `least` to `most`, equally likely."""
    # a float32 below 1 times a whole number is rounded to less than that number
    return np.floor(draw * (most - least + 1)) + least


def flip(x, source):
    """Left and right exchanged, with probability 1/2.

    Who sees only such images cannot tell one from its mirror image, and a generator draws both: it
    is not for letters or digits.
    """
    (draw,) = _draws(x, source, 1)
    return where(draw < 0.5, reverse(x, 3), x)


def shift(x, source):
    """Moved along each axis by up to 1/8 of the side, in whole pixels; what comes in is 0.

    Zero is grey, which the background of a picture seldom is: the discriminator sees that an image
    was moved. Were it filled as its background is, nothing would tell it from one that shows its
    object elsewhere, and the generator would learn to draw those.
    """
    down, right = _draws(x, source, 2)
    # rows @ x @ columns.T, both of 0 and 1: a gradient, and its gradient, are products as well
    rows, columns = (_moving(n, draw) for n, draw in zip(x.shape[2:], (down, right)))
    return matmul(matmul(rows, x), swapaxes(columns, 2, 3))


def _moving(pixels, draw):
    """For each image a matrix (1, pixels, pixels) of 1 where pixel i is taken from pixel j."""
    reach = int(pixels / 8 + 0.5)
    pixel = np.arange(pixels, like=draw)
    moved = pixel[:, None] - _whole(draw, -reach, reach) == pixel
    return moved.astype(draw.dtype)


def colour(x, source):
    """Brightness, saturation and contrast, in this order (Zhao 2020).

    Added to every pixel: a number from [-0.5, 0.5). The distance of a pixel from the mean of its
    channels times one from [0, 2), which leaves images of one channel as they are; that from the
    mean of its image times one from [0.5, 1.5).
    """
    brightness, saturation, contrast = _draws(x, source, 3)
    x = x + (brightness - 0.5)
    grey = mean(x, 1, keepdims=True)
    x = grey + (x - grey) * (2 * saturation)
    middle = mean(x, (1, 2, 3), keepdims=True)
    return middle + (x - middle) * (contrast + 0.5)


def cutout(x, source):
    """A square of half the side set to 0, its centre anywhere in the image (DeVries 2017)."""
    down, right = _draws(x, source, 2)
    rows, columns = (_covered(n, draw) for n, draw in zip(x.shape[2:], (down, right)))
    return where(swapaxes(rows, 2, 3) & columns, 0.0, x)


def _covered(pixels, draw):
    """For each image, (1, 1, pixels), whether a pixel lies in a run of half of them, which may
    begin before the first or end behind the last.
    """
    size = int(pixels / 2 + 0.5)
    # of an odd run the middle is one of the pixels, of an even one a border, of which one is more
    first = _whole(draw, 0, pixels - size % 2) - size // 2
    pixel = np.arange(pixels, like=draw)
    return (first <= pixel) & (pixel < first + size)


POLICY = {change.__name__: change for change in (flip, shift, colour, cutout)}


def changes(policy):
    """The functions that a policy names; ValueError for a name that is none."""
    if not isinstance(policy, str):
        raise ValueError(
            f'augment: a policy is one str of names with commas between, "" of none, got '
            f"{policy!r:.50}"
        )
    names = [name.strip() for name in policy.split(",")] if policy else []
    unknown = [name for name in names if name not in POLICY]
    if unknown:
        raise ValueError(
            f"augment: there is no {unknown[0]!r:.50}; there are {', '.join(POLICY)}: name those"
            " wanted one after another, with commas between"
        )
    return [POLICY[name] for name in names]


def augment(x, policy, source=None):
    """Images x (n, c, h, w) of numbers in [-1, 1], changed at random as a policy says.

    policy: names of flip, shift, colour and cutout, with commas between, done in that order; "":
    x itself. source: a random.Generator; random.default if None. ValueError for a name that is
    none, and for what are no images. (Zhao 2020, whose policy is "colour,shift,cutout")
    """
    chosen = changes(policy)
    if chosen and (x.ndim != 4 or x.dtype.kind != "f"):
        raise ValueError(
            f"augment: needs images (n, c, h, w) of floats in [-1, 1], got {describe(x)};"
            " data.scale makes them of uint8"
        )
    for change in chosen:
        x = change(x, source or random.default)
    return x
