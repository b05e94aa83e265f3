"""The network in whose features images are compared, and the weights that ship: those of a
classifier of digits.

It was trained by tinygan on MNIST's 60,000 training digits (bench/train_judge.py). This file knows
images (n, c, side, side) in [-1, 1] and no measure; `teach` makes classifiers of other pictures.
"""

import contextlib
import hashlib
import io
from pathlib import Path

import numpy as np

from .. import nn, random
from ..data import DataError

WEIGHTS = Path(__file__).with_name("judge.npz")
SHA256 = "26e1b870362bce1f467d8bbb98a84332b64b82f5dd991237e67ac31c203f5448"
SHIPPED = "the classifier of digits that ships, right on 99.48 % of MNIST's test digits"
WIDTHS = 16, 32, 64, 64  # channels after each halving of the side


class Classifier(nn.Module):
    """(n, channels, side, side) -> logits (n, classes); `features`, (n, 64), is everything below
    the last layer.

    Each stage halves the side, two of them, and of larger images up to four, until it is 8 or less.
    classes: 0 for features alone. about: what it is, in words.
    """

    def __init__(self, side=28, channels=1, classes=10, about=""):
        self.form, self.classes, self.about = (channels, side, side), classes, about
        stages = []
        for i, width in enumerate(WIDTHS):
            if i < 2 or side > 8:
                conv = nn.Conv2d(channels, width, 5, stride=2, padding=2, bias=False)
                stages += conv, nn.BatchNorm2d(width), nn.ReLU()
                channels, side = width, -(-side // 2)
        self.features = nn.Sequential(
            *stages,
            nn.Flatten(), nn.Linear(channels * side**2, 64, bias=False), nn.BatchNorm1d(64),
            nn.ReLU(),
        )  # fmt: skip
        self.logits = nn.Linear(64, classes) if classes else None

    def forward(self, x):
        return self.logits(self.features(x))


@contextlib.contextmanager
def undisturbed(seed=0):
    """`random.default` begins at `seed` inside, and afterwards goes on as if nothing had been."""
    source = random.default
    seed_before, step, draw = source.seed, source.step, source.draw
    try:
        yield source.manual_seed(seed)
    finally:
        source.manual_seed(seed_before).seek(step)
        source.draw = draw


def frozen(path=WEIGHTS):
    """The Classifier with the weights that ship here, in evaluation mode; DataError if the file
    does not hold them.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; install tinygan again") from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise DataError(
            f"{path}: is not the judge's file, its SHA-256 differs; install tinygan again"
        )
    with undisturbed():  # judging must not change what a training run draws
        net = Classifier(about=SHIPPED)
    with np.load(io.BytesIO(content)) as weights:
        net.load_state_dict(dict(weights))
    return net.eval()
