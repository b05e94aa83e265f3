"""What every refinement does: draws latent points and has their samples scored, by D or by another
function of samples.

Points and scores are bookkeeping, and are kept on the host; samples are made where the model is, a
few at a time. This file knows no way of choosing among them.
"""

import copy
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from .. import device, nn, ops, random
from ..autograd import describe
from ..models.labels import asked as asked_labels
from ..models.labels import chosen, one_hot
from ..recording import no_grad

ROWS = 500  # samples that are there at a time


class Refined(NamedTuple):
    """Latent points that were chosen.

    points: (n, latent), raw, on the model's device. labels: the classes of their samples (n,), or
    None. scores: of their samples, by what chose them, (n,) float64. accepted: the share of the
    proposals that were taken. draws: how many samples G made for it.
    """

    points: Any
    labels: Any
    scores: Any
    accepted: float
    draws: int


class Critic:
    """A GAN's discriminator as a judge of single samples: (n, ...) -> logits (n,), a Tensor, or,
    with a `Calibration`, what that makes of them.

    It is D as training left it, without dropout and without random changes of what it sees
    (`augment`). ValueError for a model that has none, and for a D whose answer for one sample
    depends on the others: one of packs (`packing`), of minibatch statistics, or the like.
    """

    def __init__(self, model, calibration=None):
        kind, another = type(model).__name__, "best_of takes another score"
        if not hasattr(model, "discriminator"):
            raise ValueError(f"refine: {kind} has no discriminator; {another}")
        packing = getattr(model, "packing", 1)
        if packing > 1:
            packs = f"sees packs of {packing} samples"
            raise ValueError(f"refine: this discriminator {packs}, none has a score; {another}")
        self.net = copy.deepcopy(model.discriminator).eval()
        self.classes, self.calibration = model.classes, None
        # what D makes of the others may be little yet, so that its layers are asked, too
        mixes = any(isinstance(m, nn.MinibatchStdDev) for m in self.net.modules())
        if mixes or self._beside(model):
            beside = "sees a sample beside others (minibatch statistics?)"
            raise ValueError(f"refine: this discriminator {beside}, none has a score; {another}")
        self.calibration = calibration

    @no_grad()
    def _beside(self, model):
        """Whether the logits of two samples are others beside two more samples than beside noise:
        by more than a thousandth of how logits differ at all, and than rounding.
        """
        source = random.Generator(0)
        some = model.sample(4, model.noise(4, source))
        noise = source.normal(some.shape, device=model.device).astype(some.dtype, copy=False)
        among = [ops.raw(self(np.concatenate([some[:2], x]))) for x in (some[2:], noise[2:])]
        spread, size = (float(f(np.stack(among))) for f in (np.std, lambda x: abs(x).max()))
        return float(abs(among[0] - among[1])[:2].max()) > 1e-3 * spread + 1e-5 * size

    def __call__(self, samples, labels=None):
        logits = chosen(self.net(samples), one_hot(labels, self.classes, samples))
        logits = ops.reshape(logits, (-1,))
        return logits if self.calibration is None else self.calibration(logits)


def asked(model, n, labels):
    """The classes of n samples as integers (n,), in turn if they are None; None without classes."""
    labels = asked_labels("refine", model, n, labels)
    if labels is None:
        return np.arange(n) % model.classes if model.classes else None
    return np.asarray(labels)


def whole(name, **counts):
    """ValueError unless all of the counts are whole numbers of at least 1."""
    for count, given in counts.items():
        if not isinstance(given, Integral) or given < 1:
            raise ValueError(f"{name}: {count} must be at least 1 and whole, got {given!r:.50}")


def part(labels, rows):
    """The labels of some rows, None if there are none."""
    return None if labels is None else labels[rows]


def kinds(labels, n):
    """Labels (n,); where there are none, all n samples are of one kind."""
    return np.zeros(n, int) if labels is None else labels


def propose(model, n, labels, score, source):
    """n fresh points (n, latent) and the scores of their samples (n,), both on the host."""
    points = model.noise(n, source)
    return device.to_host(points), judged(model, points, labels, score)


def judged(model, points, labels, score):
    """The scores (n,) of the samples of points (n, latent)."""
    found = []
    for i in range(0, len(points), ROWS):
        some, told = points[i : i + ROWS], part(labels, slice(i, i + ROWS))
        found.append(scores(score, model.sample(len(some), some, told), told))
    return np.concatenate(found)


@no_grad()
def scores(score, samples, labels):
    """What a score gives for samples, (n,) float64 on the host; ValueError unless that is a finite
    number for each.
    """
    found = np.asarray(device.to_host(ops.raw(score(samples, labels))), np.float64)
    if found.shape != (len(samples),) or not np.isfinite(found).all():
        wanted = f"a finite number for each of {len(samples)} samples"
        lost = "" if np.isfinite(found).all() else ", not all of it finite"
        raise ValueError(f"refine: a score must give {wanted}, got {describe(found)}{lost}")
    return found


def log_uniform(n, source):
    """The logarithms of n random numbers from (0, 1], float64: what a log probability that is as
    high or higher accepts.
    """
    return np.log1p(-source.uniform((n,)).astype(np.float64))
