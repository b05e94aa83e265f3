"""The judge: how samples compare with real images in the eyes of a network.

What a judge sees are the features of a classifier, or of any function of the user's own. This file
knows images (n, c, h, w) in [-1, 1], on any device, and no model.
"""

import math

import numpy as np

from .. import device as devices
from .. import data, ops
from ..autograd import describe
from ..data import DataError
from ..recording import no_grad
from . import distances
from .classifier import Classifier, frozen
from .teach import classifier_of

LEAST = 20  # images that can be compared: the kernel distance has ten subsets of two
PIECE = 500  # images that the network looks at together
SLACK = 2e-3  # of the range [-1, 1]: what rounding may add to it
STEP = 1 / 256  # pictures in [-1, 1] made of bytes have no value from 0 up to this one
SHARE = 0.01  # of the values of samples that are there, if a sigmoid made them


class Judge:
    """Calling it with samples gives, by name, their figures against the `real` images that it was
    made with.

    Both are arrays (n, c, h, w) in [-1, 1], 20 images or more; DataError for fewer real ones, and
    for what is in another range. Figures depend on the number of images: compare those of equal
    numbers. The same images give the same figures.

    features: what sees them. None: the classifier of digits that ships, for (n, 1, 28, 28); another
    `Classifier`, see `judge_of`; or a function of images, (k, c, h, w) float32, k up to 500, that
    gives an array (k, d). A classifier looks on `device`; a function gets NumPy's arrays, and what
    needs classes is not among its figures. The rest runs on the host. about: the features in words.
    """

    def __init__(self, real, device="cpu", features=None):
        self.device = device
        self.net = frozen() if features is None else features
        self.form, self.dark, self.share = real.shape[1:], True, 0.0
        if isinstance(self.net, Classifier):
            self.net, self.form = self.net.to(device), self.net.form
        self.about = getattr(self.net, "about", f"features by {_named(features)}")
        self.features, probabilities = self.look(real)
        if len(real) < LEAST:
            raise DataError(f"Judge: needs {LEAST} real images or more, got {len(real)}")
        self.dark, self.share = float(real.min()) < 0, SHARE
        self.pixels = _rows(real)
        self.gaussian = distances.gaussian(self.features)
        self.classes = None if probabilities is None else histogram(probabilities)
        self.radii = {k: distances.radii(self.features, k) for k in (3, 5)}

    def look(self, images):
        """The features (n, d) and class probabilities (n, classes), or None, on the host."""
        self._check(images)
        features, probabilities = [], []
        with no_grad():
            for i in range(0, len(images), PIECE):
                some = images[i : i + PIECE].astype("float32")
                if not isinstance(self.net, Classifier):
                    features.append(_own(self.net, devices.to_host(some)))
                    continue
                seen = self.net.features(devices.to(some, self.device))
                features.append(devices.to_host(seen.data))
                if self.net.classes:
                    shares = ops.softmax(self.net.logits(seen), 1)
                    probabilities.append(devices.to_host(shares.data))
        if len({x.shape[1] for x in features}) > 1:
            raise DataError(f"Judge: {self.about} differ in number from call to call")
        return np.concatenate(features), np.concatenate(probabilities) if probabilities else None

    def _check(self, images):
        """DataError unless these are images of the judge's form and range.

        Images in [0, 1] give themselves away by touching 0, or nearly so and often, and never going
        below. Bright ones in [-1, 1] do not touch it, and those of a model that collapsed to a
        bright mean hardly do. Where all real images are bright nothing is said of samples.
        """
        if images.ndim != 4 or images.shape[1:] != self.form or images.dtype.kind != "f":
            wanted = ", ".join(map(str, self.form)) if len(self.form) == 3 else "c, h, w"
            raise DataError(
                f"Judge: needs images (n, {wanted}) of floats in [-1, 1], got {describe(images)}; "
                "data.scale makes them of uint8, metrics.judge_of a judge of other pictures"
            )
        distances.check("Judge", images=_rows(images))
        least, most = float(images.min()), float(images.max())
        found = f"{describe(images)} from {least:g} to {most:g}"
        if least < -1 - SLACK or most > 1 + SLACK:
            remedy = "images / 127.5 - 1" if least >= 0 and most > 2 else "images.clip(-1, 1)"
            raise DataError(f"Judge: needs images in [-1, 1], got {found}; make them {remedy}")
        near = float((images < STEP).mean())
        if 0 <= least < STEP < most and self.dark and (least == 0 or near > self.share):
            raise DataError(
                f"Judge: needs images in [-1, 1], where black is -1, but nothing is below 0 in "
                f"{found}; of images in [0, 1] make images * 2 - 1"
            )

    def __call__(self, images):
        """{"fid": ..., "kid": ..., ...}: what each figure is, its paper and its range say the
        functions of `distances`.

        class_kl: nats, of the samples' classes from the real ones; missing: how many classes have
        less than a tenth of their real share; these and the score are left out where there are no
        classes. sliced: the sliced Wasserstein distance of pixels. All others are measured on
        features.
        """
        x, p = self.look(images)
        kid, kid_error = distances.kid(x, self.features)
        balls, _ = distances.membership(x, self.features, self.radii[3])
        covers, _ = distances.membership(self.features, x, distances.radii(x, 3))
        density, coverage = distances.membership(x, self.features, self.radii[5])
        figures = {
            "fid": distances.frechet(*self.gaussian, *distances.gaussian(x)),
            "kid": kid,
            "kid_error": kid_error,
            "precision": float((balls > 0).mean()),
            "recall": float((covers > 0).mean()),
            "density": float(density.mean() / 5),
            "coverage": float((coverage > 0).mean()),
        }
        if p is not None:
            classes = histogram(p)
            figures |= {
                "score": distances.score(p),
                "class_kl": float(distances.kl(classes, self.classes)),
                "missing": int((classes < self.classes / 10).sum()),
            }
        return figures | {"sliced": distances.sliced_wasserstein(_rows(images), self.pixels)}


def judge_of(pictures, device="cpu", n=None, *, cache=None, say=print, progress=iter):
    """The Judge of `data.Pictures`, whatever they show: with the classifier of digits that ships if
    it knows them, else with one that learns from their labels (a minute or two, once), else with
    random features, which are weak; see `teach.classifier_of`. `judge.about` says which.

    One that learnt from a small set knows its pictures by heart, and finds other real ones a little
    strange: what samples reach at best are the figures of those, and not 0.

    n: with how many of them, the first, samples are compared (default: all).
    """
    net = classifier_of(pictures, device, cache=cache, say=say, progress=progress)
    return Judge(data.scale(pictures.images[:n]), device, net)


def histogram(probabilities):
    """The share of images (n, classes) whose most probable class is each of them, (classes,)."""
    distances.check("histogram", probabilities=probabilities)
    n, classes = probabilities.shape
    return np.bincount(probabilities.argmax(1), minlength=classes) / n


def _own(function, images):
    """A user's features of images as an array (n, d) of finite numbers; else DataError."""
    name, found = _named(function), function(images)
    try:
        found = np.asarray(found)
    except (TypeError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise DataError(f"Judge: {name} gives {type(found).__name__}, no array ({why})") from error
    n = len(images)
    if found.ndim != 2 or len(found) != n or not found.shape[1] or found.dtype.kind not in "biuf":
        raise DataError(
            f"Judge: of {images.shape} {name} must give numbers ({n}, d), a row for each image, "
            f"got {found.shape} {found.dtype}"
        )
    found = found.astype(np.float32)
    if not np.isfinite(found).all():
        raise DataError(f"Judge: {name} gives NaN or infinity for images {images.shape}")
    return found


def _named(function):
    return getattr(function, "__name__", type(function).__name__)


def _rows(images):
    return devices.to_host(images).reshape(len(images), math.prod(images.shape[1:]))
