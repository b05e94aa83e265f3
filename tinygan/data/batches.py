"""Images into training batches: shuffled by a pure function of seed and epoch, binarised if asked,
scaled to [-1, 1].

There is no iterator state: batch i of epoch e is the same whenever it is asked for, so a resumed
run continues the order it left. Images stay where the caller put them and batches are made there.
This file does not know what they show.
"""

from .. import random
from ..device import of, to_device_of
from .idx import DataError


def scale(images):
    """(N, h, w) uint8 -> (N, 1, h, w) float32 in [-1, 1], the range of a tanh: what models see."""
    return (images.astype("float32") / 127.5 - 1)[:, None]


def binarise(images, source):
    """uint8 images of ink and paper only: each pixel 255 with probability value / 255, else 0
    (Salakhutdinov & Murray 2008).

    source: a random.Generator. Its seed gives one fixed set, the field's "static" digits; `Batches`
    draws "dynamic" ones.
    """
    ink = source.uniform(images.shape, device=of(images)) * 255 < images
    return ink.astype(images.dtype) * 255


class Batches:
    """The full batches of an image set; the remainder of N / batch_size sits an epoch out, another
    one every epoch.

    images: (N, h, w) uint8, NumPy or CuPy. binarised: draw ink or paper for each pixel, anew in
    every batch, from `random.default`. labels: (N,); batches are then pairs. DataError unless 1 <=
    batch_size <= N = the number of labels.
    """

    def __init__(
        self, images, batch_size: int, seed: int = 0, binarised: bool = False, labels=None
    ):
        if not 1 <= batch_size <= len(images):
            raise DataError(
                f"Batches: batch_size is {batch_size} but there are {len(images)} images; choose 1 to {len(images)}"
            )
        if labels is not None and len(labels) != len(images):
            raise DataError(
                f"Batches: {len(labels)} labels for {len(images)} images; give one label for each"
            )
        self.labels = None if labels is None else to_device_of(labels, images)
        self.images, self.batch_size, self.seed, self.binarised = (
            images,
            batch_size,
            seed,
            binarised,
        )
        self._epoch = self._order = None

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self.images) // self.batch_size

    def batch(self, epoch: int, i: int):
        """Batch i of an epoch: (batch_size, 1, h, w) float32 in [-1, 1], or that and labels;
        IndexError if there is none.
        """
        return self.at(self.rows(epoch, i))

    def rows(self, epoch: int, i: int):
        """The numbers of the images in batch i of an epoch, (batch_size,) int64 where the images
        are; IndexError likewise.
        """
        if not 0 <= i < len(self):
            raise IndexError(
                f"Batches: batch {i} does not exist, an epoch has {len(self)}; count from 0"
            )
        if epoch != self._epoch:  # one draw and one transfer an epoch
            self._epoch, self._order = (
                epoch,
                to_device_of(random.permutation(len(self.images), self.seed, epoch), self.images),
            )
        return self._order[i * self.batch_size : (i + 1) * self.batch_size]

    def at(self, rows):
        """The batch of the images with these numbers, (n,) of integers on their device; it can be
        captured on a GPU.
        """
        chosen = self.images[rows]  # (n, h, w)
        images = scale(binarise(chosen, random.default) if self.binarised else chosen)
        return images if self.labels is None else (images, self.labels[rows])
