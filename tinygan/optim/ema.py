"""A moving average of a network's weights: what a GAN draws its samples from."""

import numpy as np

from .. import kernels
from ..arrays import copy_in


class EMA:
    """An exponential moving average of a module's floats, kept in another module of its kind.

    While young it forgets faster: the decay of update t, counted on the device, is
    min(decay, (1 + t) / (10 + t)).
    """

    def __init__(self, average, module, decay=0.999):
        if not 0 <= decay <= 1:
            raise ValueError(f"EMA: decay must be from 0 to 1, got {decay}")
        self.decay = decay
        self.average = average
        self.module = module
        state = module.state_dict()
        average.load_state_dict(state)
        first = next(iter(state.values()), np.empty(0))
        self._updates = np.zeros_like(first, shape=(1,), dtype=np.int64)
        self._pairs = None

    @property
    def pairs(self):
        """(array of the average, array of the module) for all floats, each memory once."""
        if self._pairs is None or any(p.data is not a for p, a in self._seen):
            ours, theirs = self.average.state_dict(), self.module.state_dict()
            found = {id(a): (a, theirs[name]) for name, a in ours.items() if a.dtype.kind == "f"}
            self._pairs = list(found.values())
            parameters = [*self.average.parameters(), *self.module.parameters()]
            self._seen = [(p, p.data) for p in parameters]  # a cast or a move gives them others
        return self._pairs

    def update(self):
        """average += (1 - decay) * (module - average)."""
        self._updates += 1
        t = self._updates[0]
        weight = 1 - np.minimum(self.decay, (1 + t) / (10 + t))
        if pairs := self.pairs:
            averages, values = zip(*pairs)
            kernels.of(averages[0]).lerp(averages, values, weight)

    def state_dict(self):
        """The number of updates, the very memory; the average itself is its module's state."""
        return {"updates": self._updates}

    def load_state_dict(self, state_dict):
        """Go on from there."""
        copy_in(self, self.state_dict(), state_dict)
