"""What D's logits are worth: a logistic regression that makes of them the logarithm of
p_data / p_G, and a test of whether that is to be believed.
"""

from typing import Any, NamedTuple

import numpy as np

from .. import random
from ..models.given import fitting
from .draws import ROWS, Critic, asked, part, propose, scores

LEAST = 20  # real samples that say anything


class Calibration(NamedTuple):
    """What D's logits mean: slope * logit + intercept is log(p_data / p_G).

    z: of samples that were not fitted, by how many deviations the number of real ones is off what
    the probabilities say (Dawid 1997); beyond 3 they are not to be believed. before: the same of
    D's own logits. loss: cross-entropy, in nats, of the samples that were not fitted. It is log 2,
    0.693, where D cannot tell real from fake, and then it can refine nothing. real: the log ratios
    of the real samples (n,); labels: their classes, or None.
    """

    slope: float
    intercept: float
    z: float
    before: float
    loss: float
    real: Any
    labels: Any

    def __call__(self, logits):
        """log(p_data / p_G)."""
        return self.slope * logits + self.intercept

    def probability(self, logits):
        """That samples of such logits are real, where half of all are."""
        return _sigmoid(self(logits))


def calibrated(model, images, labels=None, *, source=None):
    """The `Calibration` of D on real samples and as many fresh ones of the same classes (Turner
    2019, section 3.1): one half of both is fitted, the other says how good the fit is.

    images: (n, ...) as the model makes them, pictures in [-1, 1]; labels: (n,), if it knows
    classes. D should not have learnt from them: of those that it knows it is too sure, and then
    rejects too much. The samples are of the averaged G, as all that are drawn; D learnt to tell the
    other one, and what it knows of this one is what the calibration finds out. ValueError for fewer
    than 20, and for images of another form or range.
    """
    n, source = len(images), source or random.default
    if n < LEAST:
        raise ValueError(f"calibrated: needs {LEAST} real samples or more, got {n}")
    if model.classes and labels is None:
        raise ValueError(f"calibrated: a model of {model.classes} classes needs the labels (n,)")
    images = fitting("calibrated", model, images)
    critic, labels = Critic(model), asked(model, n, labels)
    pieces = [slice(i, i + ROWS) for i in range(0, n, ROWS)]
    real = np.concatenate([scores(critic, images[i], part(labels, i)) for i in pieces])
    _, fake = propose(model, n, labels, critic, source)
    fitted, others = np.array_split(np.argsort(source.uniform((n,)), kind="stable"), 2)
    slope, intercept = platt(*_both(real, fake, fitted))
    logits, truth = _both(real, fake, others)
    log_ratio = slope * logits + intercept
    return Calibration(
        slope=slope,
        intercept=intercept,
        z=_z(log_ratio, truth),
        before=_z(logits, truth),
        loss=float(np.logaddexp(0, np.where(truth, -log_ratio, log_ratio)).mean()),
        real=slope * real + intercept,
        labels=labels,
    )


def platt(logits, real):
    """The slope and intercept of P(real | logit) = sigmoid(slope * logit + intercept): logistic
    regression with Platt's targets (1999), by Newton's method with steps halved where they are too
    long (Lin, Lin & Weng 2007).

    logits: (n,); real: whether each is of a real sample, (n,). The targets lie a little within 0
    and 1, and keep the slope finite where the logits separate the two kinds. Where real samples
    have lower logits than others, the slope is negative, and D misleads.
    """
    n, positive = len(real), np.count_nonzero(real)
    centre, spread = logits.mean(), logits.std()
    spread = spread if spread > 1e-9 * abs(logits).max() else np.inf  # all alike: the slope is 0
    x = np.stack([(logits - centre) / spread, np.ones(n)])  # (2, n): where Newton's steps are good
    target = np.where(real, (positive + 1) / (positive + 2), 1 / (n - positive + 2))

    def cost(w):
        return float(np.sum(np.logaddexp(0, w @ x) - target * (w @ x)))

    w = np.zeros(2)
    for _ in range(100):
        p = _sigmoid(w @ x)
        slopes = x @ (p - target)
        if abs(slopes).max() < 1e-10 * n:
            break
        curvature = (x * p * (1 - p)) @ x.T + 1e-10 * n * np.eye(2)
        step = np.linalg.solve(curvature, slopes)
        while cost(w - step) > cost(w) + 1e-12 * n:
            step = step / 2
        w = w - step
    slope = w[0] / spread
    return float(slope), float(w[1] - slope * centre)


def _both(real, fake, rows):
    """The logits of some rows, real and then fake ones, and which are real."""
    return np.append(real[rows], fake[rows]), np.arange(2 * len(rows)) < len(rows)


def _z(log_ratio, real):
    """By how many deviations more samples are real than their probabilities say."""
    p = _sigmoid(log_ratio)
    return float((real - p).sum() / np.sqrt((p * (1 - p)).sum() + 1e-12))


def _sigmoid(x):
    return 0.5 + 0.5 * np.tanh(x / 2)
