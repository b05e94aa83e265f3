"""What flows and diffusion models share: a network that hears the time, learns by regression, and
makes samples of noise in many small steps.

Time goes from t = 0, noise, to t = 1, samples; `flow` and `ddpm` say what lies between, what the
network is to answer there, and how a step is made of its answer. This room knows layers and
optimizers, and nothing of files, progress bars or data sets.
"""

import copy
import math
from itertools import pairwise

import numpy as np

from .. import ops, optim, random
from ..autograd import Tensor, describe, grad
from ..capture import capture
from ..recording import no_grad
from .editing import inpaint, vary, within
from .given import check_form
from .labels import checked, one_hot, unpack
from .latent import LatentModel
from .options import change, check_taught, checked_options, sampling


class Diffusion(LatentModel):
    """A network that turns noise into samples of some shape, step by step.

    network: (x (n, *shape), t (n,), rows (n, classes)) -> (n, *shape), rows as `labels.one_hot`
    gives them or 0, which tells nothing. Learns by Adam; samples come from `average`, a moving
    average of its weights. Latent points are the noise, (n, latent), latent numbers to a sample.

    classes: batches are (images, labels), of which a share `drop` goes untold, so that one network
    learns both (Ho & Salimans 2022). steps, guidance: how samples are made unless `sample` is told
    otherwise; guidance: w in untold + w * (told - untold), 1 for none, as it is without classes.
    scale: of the data, about its standard deviation; the network sees x / scale.
    """

    trained = "network", "average", "ema", "optimizer"
    how = "steps", "guidance"
    inpaint, vary, within = inpaint, vary, within  # what it makes of pictures
    __setattr__ = change  # of an option

    def __init__(
        self, network, shape, lr=3e-3, betas=(0.9, 0.99), decay=0.999, device="cpu", classes=0,
        names=(), drop=0.1, steps=16, guidance=1.0, scale=1.0,
    ):  # fmt: skip
        own, kind = {"drop": drop, "steps": steps, "guidance": guidance}, type(self).__name__
        vars(self).update(checked_options(kind, scale=scale, **own))  # as Python's numbers
        check_taught(kind, guidance, classes, drop)
        self.classes, self.names, self.device = classes, checked(names, classes), device
        self.sample_shape, self.latent = tuple(shape), math.prod(shape)
        self.network = network.to(device)
        self.average = copy.deepcopy(network).eval()
        self.ema = optim.EMA(self.average, network, decay)
        self.optimizer = optim.Adam(network.parameters(), lr, betas)
        self._recorded = None, None  # what the last samples were made with, and how

    def step(self, batch):
        """One update on a batch of samples (n, *shape), or (samples, labels): the loss, raw."""
        loss = self.loss(*self.told(batch))
        self.optimizer.step(grad(loss, self.optimizer.params))
        self.ema.update()
        return {"loss": loss.data}

    def told(self, batch):
        """The samples of a batch as the network sees them, and their labels as rows (n, classes), a
        share `drop` of which is 0.
        """
        x, labels = unpack(batch, self.classes)
        check_form("step", self, x, exact=True)
        rows = one_hot(labels, self.classes, x)
        if self.classes:
            rows = rows * random.default.bernoulli(1 - self.drop, (len(x), 1), x.dtype, self.device)
        return x / self.scale, rows

    def loss(self, x, rows):
        """What the network is to lower at samples x (n, *shape): a Tensor."""
        raise NotImplementedError

    def noised(self, x, noise, t):
        """The samples x as they are at a time t, if they come of that noise, (n, *shape)."""
        raise NotImplementedError

    def advance(self, x, a, b, rows, guidance):
        """x, which is at time a, at a later time b."""
        raise NotImplementedError

    def answer(self, x, t, rows, guidance):
        """What the averaged network says at x and a time t, guided (Ho & Salimans 2022, equation 6,
        whose w is one less).
        """
        t = np.full_like(ops.raw(x), t, shape=(len(x),))
        told = self.average(x, t, rows)
        if guidance == 1:
            return told
        return told + (guidance - 1) * (told - self.average(x, t, np.zeros_like(rows)))

    def path(self, points, steps=None, **how):
        """The samples of points (n, latent + classes) as they become: an x (n, *shape) each step.

        how: guidance and options of `advance`; start: the time, in [0, 1], at which the points are
        already; seen: (images, known, noise) of shape (n, *shape): where `known`, each x is the
        image's (Lugmayr 2022, equation 8).
        """
        how = sampling("path", self, how | {"steps": steps})
        steps, start, seen = (how.pop(option) for option in ("steps", "start", "seen"))
        if points.shape[1:] != (self.latent + self.classes,):
            parts = f"{self.latent} of noise and {self.classes} of the label (labels.joined)"
            raise ValueError(f"path: needs points (n, {parts}), got {describe(points)}")
        x = ops.reshape(points[:, : self.latent], (-1, *self.sample_shape))
        rows = ops.raw(points)[:, self.latent :] * max(1, self.classes) ** -0.5
        times = [1 - (1 - start) * (steps - i) / steps for i in range(steps + 1)]  # 1 itself
        for a, b in pairwise(times):
            x = self.advance(x, a, b, rows, **how)
            if seen is not None:
                images, known, noise = seen
                x = ops.where(known, self.noised(images / self.scale, noise, b), x)
            yield x * self.scale

    def sample(self, n, noise=None, labels=None, **how):
        """As of `LatentModel`; how: options of `path`. Pictures are in [-1, 1]."""
        how = sampling("sample", self, how)
        return self.within(super().sample(n, noise, labels, **how))

    def draw(self, points, **how):
        """The samples, a Tensor, of points (n, latent + classes), on a GPU by one graph if raw."""
        how = sampling("draw", self, how)
        if isinstance(points, Tensor):
            return self._whole(points, how)
        random.default.next_step()  # samplers that draw noise begin alike: one graph for all points
        with no_grad():
            return Tensor(np.copy(ops.raw(self._replayed(how)(points, how))))

    def _replayed(self, how):
        """`_whole`, captured for samples made as the last were: a graph keeps steps, guidance and
        all other options.
        """
        made = {k: v for k, v in (vars(self) | how).items() if isinstance(v, int | float | str)}
        if self._recorded[0] != made:
            self._recorded = made, capture(self._whole)
        return self._recorded[1]

    def __getstate__(self):
        """What copies and pickles hold: all but the recording, which is of this model's memory."""
        return vars(self) | {"_recorded": (None, None)}

    def _whole(self, points, how):
        *_, x = self.path(points, **how)
        return ops.raw(x) if not isinstance(points, Tensor) else x
