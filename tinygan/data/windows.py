"""Windows of one long row of tokens: what a language model reads, and the same one token later,
which it is to foretell. This file knows whole numbers, and no text.
"""

import numpy as np

from .. import random
from ..device import to_device_of
from .batches import Epochs, as_array, whole_or_0
from .idx import DataError

PHASE = 2  # the stream of random numbers that says where an epoch's windows begin


class Windows(Epochs):
    """Batches (batch_size, length + 1) of the windows of a row of tokens: `[:, :-1]` are `length`
    inputs, `[:, 1:]` the targets of each.

    In an epoch windows follow one another without a gap, so that nearly every token is a target
    once; they begin at a random one of the first `length` tokens and come in random order, another
    one every epoch. What fills no batch sits an epoch out. It is fed as `Batches` are.

    tokens: (n,) of integers, n >= length * (batch_size + 1), on any device, where the batches are
    made: int32 if that holds their dtype, else int64. DataError for what cannot be.
    """

    def __init__(self, tokens, length: int, batch_size: int, seed: int = 0):
        tokens = _row(tokens, "Windows")
        self.length, self.batch_size = _whole(length, "length"), _whole(batch_size, "batch_size")
        needed = self.length * (self.batch_size + 1)
        if len(tokens) < needed:
            raise DataError(
                f"Windows: batches of {batch_size} windows of {length} need {needed} tokens, got "
                f"{len(tokens)}; give a longer text, or choose fewer or shorter windows"
            )
        random.Generator(seed)  # refuses what is no seed
        self.seed, self.arrays = seed, (tokens,)
        self._count = len(tokens) // self.length - 1  # so many are there, wherever they begin
        self._places = to_device_of(np.arange(self.length + 1), tokens)
        self._dtype = np.int32 if np.can_cast(tokens.dtype, np.int32) else np.int64

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return self._count // self.batch_size

    def _rows(self, epoch):
        source = random.Generator(self.seed, PHASE)
        source.seek(epoch)
        phase = int(source.uniform((1,), np.float64)[0] * self.length)
        return phase + self.length * random.permutation(self._count, self.seed, epoch)

    def at(self, rows):
        """The windows (n, length + 1) that begin at these tokens, (n,) of integers on their device;
        it can be captured on a GPU.
        """
        windows = self.arrays[0][rows[:, None] + self._places]
        return windows.astype(self._dtype, copy=False)

    def identity(self) -> dict:
        """What a run must share with the one it resumes, to see the same batches: JSON's types."""
        return {
            "batch_size": self.batch_size,
            "order": self.seed,
            "length": self.length,
            "data": self._fingerprint,
        }


def held_out(tokens, share: float = 0.1):
    """(train, validation): a row of tokens (n,) as its first part and the last `share` of it, which
    share memory with it. Neighbours are alike: what is held out is in one piece, as nanoGPT does.
    """
    tokens = _row(tokens, "held_out")
    if not 0 < share < 1 or not 0 < (kept := int((1 - share) * len(tokens))) < len(tokens):
        raise DataError(
            f"held_out: a share of {share!r} of {len(tokens)} tokens leaves a part with none; "
            "choose one between 0 and 1, 0.1 say"
        )
    return tokens[:kept], tokens[kept:]


def _row(tokens, name):
    tokens = as_array(tokens, f"{name}: tokens")
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise DataError(
            f"{name}: tokens must be one row of whole numbers (n,), got {tokens.shape} "
            f"{tokens.dtype}; a tokenizer's encode(text) gives one"
        )
    return tokens


def _whole(value, name):
    whole = whole_or_0(value)
    if whole < 1:
        raise DataError(f"Windows: {name} is {value!r}; choose a whole number from 1")
    return whole
