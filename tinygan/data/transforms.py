"""What turns stored numbers into what a model sees: pictures in [-1, 1], pixels drawn as ink or
paper, or between two levels, pictures changed at random.

A transform is any function of the rows of a batch. Those made here also have `check`, which looks
at every row once, when `Batches` is made, and `apply`, which looks at no value: on a GPU that would
wait, and could not be captured. This file knows no order and no batch.
"""

import math

import numpy as np

from .. import ops, random
from ..device import of
from ..ops.augment import changes
from .idx import DataError

SLACK = 1e-3  # of a stated range: what rounding may add to it


class Scale:
    """Pictures to (n, c, h, w) float32 in [-1, 1], the range of a tanh: what models see.

    Pictures are (n, h, w) or (n, h, w, c) with c of 1 or 3; uint8, from 0 to 255, or floats from
    low to high. DataError for anything else, for values outside that range, NaN among them, and for
    uint8 of 0 and 1 alone, which would all be black.
    """

    def __init__(self, low: float, high: float):
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise DataError(f"Scale: low must be less than high, got {low} and {high}")
        self.low, self.high = low, high
        self.__name__ = f"Scale({low:g}, {high:g})"

    def __repr__(self):
        return self.__name__

    def __call__(self, images):
        self.check(images)
        return self.apply(images)

    def apply(self, images):
        """`check`ed images, scaled."""
        low, high = (0, 255) if images.dtype == np.uint8 else (self.low, self.high)
        middle = (high + low) / (high - low)
        scaled = images.astype("float32") / ((high - low) / 2) - middle
        return scaled[:, None] if images.ndim == 3 else scaled.transpose(0, 3, 1, 2)

    def check(self, images):
        """DataError unless these are pictures of the stated range."""
        _check_form(images)
        if not images.size:
            return
        least, most = float(images.min()), float(images.max())
        found = f"{images.shape} {images.dtype} from {least:g} to {most:g}"
        if images.dtype == np.uint8:
            if most == 1:
                raise DataError(
                    f"scale: uint8 pictures go from 0 to 255, got {found}; images * 255"
                )
            return
        if not (math.isfinite(least) and math.isfinite(most)):
            raise DataError(f"scale: the pictures hold NaN or infinity, {found}; leave those out")
        slack = SLACK * (self.high - self.low)
        if least < self.low - slack or most > self.high + slack:
            raise DataError(
                f"scale: floats must be from {self.low:g} to {self.high:g}, got {found}; state the "
                "range, transform=data.Scale(low, high), or scale them, images / 127.5 - 1"
            )
        if self is scale and least >= 0 and most > 0:
            raise DataError(
                f"scale: paper is -1, but nothing here is below 0, {found}; state the range, "
                "transform=data.Scale(0, 1), or data.Scale(-1, 1) if it is that"
            )


def _check_form(images):
    """DataError unless the shape and dtype are those of pictures."""
    found = f"{images.shape} {images.dtype}"
    if images.ndim not in (3, 4):
        raise DataError(
            f"scale: pictures are (n, h, w) or (n, h, w, c), got {found}; "
            "transform=None takes what is no picture as it is"
        )
    if images.ndim == 4 and images.shape[3] not in (1, 3):
        raise DataError(
            f"scale: pictures are (n, h, w, c) with c of 1 or 3, got {found}; of (n, c, h, w) "
            "images.transpose(0, 2, 3, 1), to drop opacity images[..., :3], or transform=None"
        )
    if 0 in images.shape[1:]:
        raise DataError(f"scale: the pictures are empty, {found}; give them a height and a width")
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise DataError(
            f"scale: pictures are uint8 from 0 to 255, or floats, got {found}; of such integers "
            "images.astype('uint8'), of a mask images * np.uint8(255), or transform=None"
        )


scale = Scale(-1.0, 1.0)


def binarise(images, source):
    """uint8 images of ink and paper only: each pixel 255 with probability value / 255, else 0
    (Salakhutdinov & Murray 2008).

    source: a random.Generator. Its seed gives one fixed set, the field's "static" digits; the
    transform `binarised` draws "dynamic" ones.
    """
    _check_bytes(images)
    ink = source.uniform(images.shape, device=of(images)) * 255 < images
    return ink.astype(images.dtype) * 255


def _check_bytes(images):
    if images.dtype != np.uint8:
        raise DataError(
            f"binarise: pixels are uint8 from 0 to 255, got {images.shape} {images.dtype}; "
            "of floats from -1 to 1 make ((images + 1) * 127.5).round().astype('uint8')"
        )


class Binarised(Scale):
    """uint8 pictures whose pixels are drawn as ink or paper, anew in every batch, from
    `random.default`, and scaled: the transform `binarised`.
    """

    def __init__(self):
        super().__init__(-1.0, 1.0)
        self.__name__ = "binarised"

    def check(self, images):
        """DataError unless these are pictures of uint8."""
        _check_bytes(images)
        super().check(images)

    def apply(self, images):
        """`check`ed images, drawn and scaled."""
        return super().apply(binarise(images, random.default))


binarised = Binarised()


class Dequantise(Scale):
    """Pictures of 256 levels, uint8 or floats from -1 to 1, each number at a random place between
    its level and the next: (n, c, h, w) float32 in [-1, 1], drawn anew in every batch, from
    `random.default`.

    A density can be learnt of them (Theis 2016, section 3.1), where that of levels has peaks
    without end, and no bits (`models.Flow.bits_per_dim`).
    """

    def __init__(self):
        super().__init__(-1.0, 1.0)
        self.__name__ = "Dequantise"

    def check(self, images):
        """DataError unless these are pictures of such levels."""
        super().check(images)
        levels = (images + 1) * 127.5 if images.dtype != np.uint8 else images
        if images.size and float(abs(levels - np.rint(levels)).max()) > 255 * SLACK:
            raise DataError(
                "Dequantise: floats must be of the 256 levels from -1 to 1, got others in "
                f"{images.shape} {images.dtype}: give uint8, or data.scale as the transform"
            )

    def apply(self, images):
        """`check`ed images, scaled and moved."""
        levels = np.rint((super().apply(images) + 1) * 127.5)
        places = random.default.uniform(levels.shape, device=of(levels))
        return (levels + places) / 128 - 1


class Augmented:
    """Another transform's pictures, changed at random in every batch, from `random.default`: what
    PyTorch's users write as Compose([ToTensor(), RandomHorizontalFlip()]) is Augmented("flip").

    policy: of `ops.augment`. Pixels stay in [-1, 1]. A model learns what it sees, and a generator
    to draw what a shift or a cutout leaves: those are for classifiers, and for a GAN's own
    `augment`, which changes its samples too. ValueError for what is no policy.
    """

    def __init__(self, policy: str, transform=scale):
        changes(policy)  # refuses what is none
        if not callable(transform):
            raise DataError(f"Augmented: transform is {transform!r}; give a function")
        self.policy, self.transform = policy, transform
        first = getattr(transform, "__name__", type(transform).__name__)
        self.__name__ = f"Augmented({policy!r}, {first})"

    def __repr__(self):
        return self.__name__

    def __call__(self, images):
        self.check(images)
        return self.apply(images)

    def check(self, images):
        """DataError unless the first transform can take these."""
        if hasattr(self.transform, "check"):
            self.transform.check(images)

    def apply(self, images):
        """`check`ed images, transformed and changed."""
        seen = getattr(self.transform, "apply", self.transform)(images)
        return ops.clip(ops.augment(seen, self.policy), -1, 1)
