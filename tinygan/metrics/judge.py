"""The judge: a frozen classifier of digits, and how samples compare with real digits in its eyes.

The classifier was trained by tinygan on MNIST's 60,000 training digits (bench/train_judge.py) and
is right on 99.48 % of the 10,000 test digits. This file knows images (n, 1, 28, 28) in [-1, 1], on
any device, and no model.
"""

import hashlib
import io
import math
from pathlib import Path

import numpy as np

from .. import device as devices
from .. import nn, ops, random
from ..autograd import describe
from ..recording import no_grad
from ..data import DataError
from . import distances

WEIGHTS = Path(__file__).with_name("judge.npz")
LEAST = 20  # images that can be compared: the kernel distance has ten subsets of two
SHA256 = "26e1b870362bce1f467d8bbb98a84332b64b82f5dd991237e67ac31c203f5448"


class Classifier(nn.Module):
    """(n, 1, 28, 28) -> logits (n, 10); `features`, (n, 64), is everything below the last layer."""

    def __init__(self):
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 7 * 7, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(),
        )  # fmt: skip
        self.logits = nn.Linear(64, 10)

    def forward(self, x):
        return self.logits(self.features(x))


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
    drawn = random.default.draw
    net = Classifier()
    random.default.draw = drawn  # judging must not change what a training run draws
    with np.load(io.BytesIO(content)) as weights:
        net.load_state_dict(dict(weights))
    return net.eval()


class Judge:
    """Calling it with samples gives, by name, their figures against the `real` images that it was
    made with.

    Both are arrays (n, 1, 28, 28) in [-1, 1], 20 images or more; DataError for fewer real ones. The
    classifier looks at them on `device`, the rest runs on the host. Figures depend on the number of
    images: compare those of equal numbers. The same images give the same figures.
    """

    def __init__(self, real, device="cpu"):
        self.device = device
        self.net = frozen().to(device)
        self.features, probabilities = self.look(real)
        if len(real) < LEAST:
            raise DataError(f"Judge: needs {LEAST} real images or more, got {len(real)}")
        self.pixels = _rows(real)
        self.gaussian = distances.gaussian(self.features)
        self.classes = histogram(probabilities)
        self.radii = {k: distances.radii(self.features, k) for k in (3, 5)}

    def look(self, images):
        """The classifier's features (n, 64) and class probabilities (n, 10), on the host."""
        if images.shape[1:] != (1, 28, 28) or images.dtype.kind != "f":
            raise ValueError(
                f"Judge: needs images (n, 1, 28, 28) of floats in [-1, 1], got {describe(images)}"
            )
        distances.check("Judge", images=_rows(images))
        features, probabilities = [], []
        with no_grad():
            for i in range(0, len(images), 500):
                some = images[i : i + 500].astype("float32")
                seen = self.net.features(devices.to(some, self.device))
                features.append(devices.to_host(seen.data))
                shares = ops.softmax(self.net.logits(seen), 1)
                probabilities.append(devices.to_host(shares.data))
        return np.concatenate(features), np.concatenate(probabilities)

    def __call__(self, images):
        """{"fid": ..., "kid": ..., ...}: what each figure is, its paper and its range say the
        functions of `distances`.

        class_kl: nats, of the samples' classes from the real ones; missing: how many classes have
        less than a tenth of their real share; sliced: the sliced Wasserstein distance of pixels.
        All others are measured on features.
        """
        x, p = self.look(images)
        kid, kid_error = distances.kid(x, self.features)
        balls, _ = distances.membership(x, self.features, self.radii[3])
        covers, _ = distances.membership(self.features, x, distances.radii(x, 3))
        density, coverage = distances.membership(x, self.features, self.radii[5])
        classes = histogram(p)
        return {
            "fid": distances.frechet(*self.gaussian, *distances.gaussian(x)),
            "kid": kid,
            "kid_error": kid_error,
            "precision": float((balls > 0).mean()),
            "recall": float((covers > 0).mean()),
            "density": float(density.mean() / 5),
            "coverage": float((coverage > 0).mean()),
            "score": distances.score(p),
            "class_kl": float(distances.kl(classes, self.classes)),
            "missing": int((classes < self.classes / 10).sum()),
            "sliced": distances.sliced_wasserstein(_rows(images), self.pixels),
        }


def histogram(probabilities):
    """The share of images (n, classes) whose most probable class is each of them, (classes,)."""
    distances.check("histogram", probabilities=probabilities)
    n, classes = probabilities.shape
    return np.bincount(probabilities.argmax(1), minlength=classes) / n


def _rows(images):
    return devices.to_host(images).reshape(len(images), math.prod(images.shape[1:]))
