"""Arrays into training batches: shuffled by a pure function of seed and epoch, gathered where they
are, transformed.

There is no iterator state: batch i of epoch e is the same whenever it is asked for, so a resumed
run continues the order it left. Arrays stay where the caller put them and batches are made there.
This file does not know what they show.
"""

import hashlib
import operator
from functools import cached_property

import numpy as np

from .. import random
from ..arrays import adopted
from ..device import is_array, to_device_of, to_host
from .idx import DataError
from .images import Pictures
from .transforms import scale

PIECE = 1 << 24  # bytes that are hashed at once


class Epochs:
    """What every feed of a training loop has: batches by number, in another order every epoch.

    A subclass has `arrays`, of which the batches are made, `batch_size`, `__len__`, `_rows(epoch)`,
    the rows of a whole epoch in their order, (n,) on the host, and `at`, the batch of some of them.
    """

    _epoch = _order = None

    def __iter__(self):
        return self.epoch(0)

    def epoch(self, epoch: int):
        """The batches of an epoch, one after the other."""
        return (self.batch(epoch, i) for i in range(len(self)))

    def batch(self, epoch: int, i: int):
        """Batch i of an epoch: what `at` gives; IndexError if there is none."""
        return self.at(self.rows(epoch, i))

    def rows(self, epoch: int, i: int):
        """The numbers of the rows in batch i of an epoch, (batch_size,) int64 where the arrays are;
        IndexError likewise.
        """
        if not 0 <= i < len(self):
            raise IndexError(
                f"{type(self).__name__}: batch {i} does not exist, an epoch has {len(self)}; "
                "count from 0"
            )
        if epoch != self._epoch:  # one draw and one transfer an epoch
            self._order = to_device_of(self._rows(epoch), self.arrays[0])
            self._epoch = epoch
        return self._order[i * self.batch_size : (i + 1) * self.batch_size]

    @cached_property
    def _fingerprint(self):
        """A hash of shapes, dtypes and elements; neither memory order nor device matters."""
        digest = hashlib.blake2b(digest_size=16)
        for array in self.arrays:
            digest.update(f"{array.shape} {array.dtype.name};".encode())
            rows = max(1, PIECE * len(array) // max(1, array.nbytes))
            for start in range(0, len(array), rows):
                digest.update(np.ascontiguousarray(to_host(array[start : start + rows])))
        return digest.hexdigest()


class Batches(Epochs):
    """The batches of an array, or of a tuple of arrays of one length: images, images and labels,
    tokens, whatever has rows; or of `Pictures`.

    A batch is an array, or a tuple of as many, of `batch_size` rows; the order is another one every
    epoch. transform: a function of the first array's rows in a batch; `scale`, the default, takes
    pictures and refuses everything else; None: rows as they are. drop_last: the rows that fill no
    batch sit an epoch out; else they are a last, smaller one. `for batch in batches` gives epoch 0,
    each time the same; `batches.epoch(e)` gives any.

    Arrays are NumPy's or CuPy's; lists in the tuple, and what NumPy makes an array of (a pandas
    Series, a tensor), become NumPy's. All move to where the first is. DataError for what cannot be.
    """

    def __init__(self, arrays, batch_size: int, seed: int = 0, transform=scale, drop_last=True):
        if isinstance(arrays, Pictures):  # the images, and the labels where there are some
            arrays = tuple(part for part in arrays[:2] if part is not None)
        given = arrays if isinstance(arrays, tuple) else (arrays,)
        if not given or isinstance(arrays, (list, dict)):
            what = type(arrays).__name__ if arrays else "empty"
            raise DataError(
                f"Batches: arrays is {what}; give one array (np.asarray makes one of a list), "
                "or a tuple, (images, labels)"
            )
        if not (transform is None or callable(transform)):
            raise DataError(f"Batches: transform is {transform!r}; give a function, or None")
        found = [as_array(x, f"Batches: array {place}") for place, x in enumerate(given)]
        if len({len(x) for x in found}) > 1:
            shapes = " and ".join(str(x.shape) for x in found)
            raise DataError(
                f"Batches: arrays need one length, got {shapes}; a row of each belongs together"
            )
        random.Generator(seed)  # refuses what is no seed
        self.batch_size = _batch_size(batch_size, len(found[0]))
        self._apply = transform
        if hasattr(transform, "check"):  # once for all rows: what a batch does is then `apply`
            transform.check(found[0])
            self._apply = transform.apply
        self.arrays = tuple(to_device_of(x, found[0]) for x in found)
        self.seed, self.transform, self.drop_last = seed, transform, drop_last
        self._single = not isinstance(arrays, tuple)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        rows = len(self.arrays[0])
        return rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)

    def _rows(self, epoch):
        return random.permutation(len(self.arrays[0]), self.seed, epoch)

    def at(self, rows):
        """The batch of the rows with these numbers, (n,) of integers on their device; it can be
        captured on a GPU.
        """
        first, *others = (array[rows] for array in self.arrays)
        seen = first if self._apply is None else self._apply(first)
        return seen if self._single else (seen, *others)

    def identity(self) -> dict:
        """What a run must share with the one it resumes, to see the same batches: JSON's types."""
        named = self.transform and getattr(
            self.transform, "__name__", type(self.transform).__name__
        )
        return {
            "batch_size": self.batch_size,
            "order": self.seed,
            "drop_last": self.drop_last,
            "transform": named,
            "data": self._fingerprint,
        }


def as_array(x, name):
    """x as an array with rows of numbers, shared with whoever has it; else DataError, which calls
    it by this name.
    """
    if not is_array(x) and (isinstance(x, (list, tuple)) or hasattr(x, "__array__")):
        try:
            x = adopted(x)
            x = x if is_array(x) else np.asarray(x)
        except (ValueError, TypeError, RuntimeError) as error:
            raise DataError(
                f"{name} is nothing that NumPy can make an array of ({error}); "
                "give rows of one shape, on the host"
            ) from error
    if not is_array(x):
        raise DataError(
            f"{name} is {type(x).__name__}; give NumPy or CuPy arrays, np.asarray makes them"
        )
    remedy = ""
    if isinstance(x, np.ma.MaskedArray):
        remedy = "is masked; x.filled(value) says what stands there"
    elif x.dtype.kind not in "biufc":
        remedy = "holds no numbers; encode it, words or classes as whole numbers"
    elif not x.dtype.isnative:
        remedy = "is in the other byte order; x.astype(x.dtype.newbyteorder('='))"
    elif not x.ndim:
        remedy = "has no rows; x[None] is an array of one"
    if remedy:
        raise DataError(f"{name}, {x.shape} {x.dtype}, {remedy}")
    return x


def whole_or_0(value):
    """The value, if it is a whole number, as Python's; else 0."""
    try:
        return operator.index(value)
    except TypeError:
        return 0


def _batch_size(batch_size, rows):
    whole = whole_or_0(batch_size)
    if not 1 <= whole <= rows:
        raise DataError(
            f"Batches: batch_size is {batch_size!r} but there are {rows} rows; "
            + (f"choose a whole number, 1 to {rows}" if rows else "give at least one")
        )
    return whole
