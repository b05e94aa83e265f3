"""Randomness as a counter, not a state: Philox4x32-10 on (seed, stream) at (element, draw, step).

A draw is a pure function of five integers, the same under NumPy, Numba and CuPy; nothing is stored
but `step` and `draw`. A trainer calls `next_step` after each step: so a run resumes from two
integers, the seed and the step. `step` lives on the device, in an array of one integer, so that a
captured GPU step can count. This room knows arrays and no Tensors.
"""

import math

import numpy as np

from . import kernels
from .device import to

SHUFFLE = 1  # the stream of `permutation`; generators use stream 0 unless told otherwise


class Generator:
    """A source of random arrays.

    seed: 0 <= seed < 2**32. stream: an independent sequence of the same seed. share: (which, of how
    many) equal shares of a batch this source draws for: together they draw what one would for all,
    each array's first axis being the batch's.
    """

    def __init__(self, seed=0, stream=0):
        self.stream = stream
        self.share = 0, 1
        self._steps = {}
        self.manual_seed(seed)

    def manual_seed(self, seed):
        """Start again from `seed`, at step 0."""
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed must be a whole number from 0 to 2**32 - 1, got {seed}")
        self.seed = int(seed)
        self.seek(0)
        return self

    def seek(self, step):
        """Go to the first draw of `step`."""
        self.step = int(step)
        self.draw = 0
        for on_device in self._steps.values():
            on_device[...] = self.step  # in place: captured steps read this memory

    def next_step(self):
        """Count one step up, and its draws from zero."""
        self.step = self.step + 1
        self.draw = 0
        for on_device in self._steps.values():
            on_device += 1

    def normal(self, shape, dtype=np.float32, device="cpu"):
        """Standard normal numbers."""
        return self._fill("normal", shape, dtype, device)

    def uniform(self, shape, dtype=np.float32, device="cpu"):
        """Numbers from [0, 1), multiples of 2**-24."""
        return self._fill("uniform", shape, dtype, device)

    def bernoulli(self, p, shape, dtype=np.float32, device="cpu", scale=1.0):
        """`scale` with probability p, else 0."""
        return self._fill("bernoulli", shape, dtype, device, p, scale)

    def _fill(self, name, shape, dtype, device, *options):
        if device not in self._steps:
            self._steps[device] = to(np.array([self.step], np.int64), device)
        step = self._steps[device]
        k = kernels.of(step)
        before = math.prod(shape) * self.share[0]  # numbers of the shares before
        extra = before % 4  # of them in our first block: a counter makes four
        out = k.empty((math.prod(shape) + extra,), dtype)
        if out.size:
            key = self.seed, self.stream
            getattr(k, name)(out, *options, key, self.draw, step, before // 4)
        self.draw += 1
        return out[extra:].reshape(shape)


default = Generator()
manual_seed = default.manual_seed


def permutation(n, seed, epoch):
    """The numbers 0 to n - 1, int64, in the random order that belongs to (seed, epoch)."""
    words = kernels.reference.bits(n, (seed, SHUFFLE), 0, (epoch,))
    return np.argsort(words, kind="stable")
