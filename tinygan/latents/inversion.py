"""From pictures back to points: inversion by gradient descent, and inpainting by the same descent.

It asks a `models.latent.LatentModel` for `noise`, `sample`, `draw` and `sample_shape`: a GAN's
generator, a VAE's decoder, or one of your own.
"""

from numbers import Integral
from typing import NamedTuple

import numpy as np

from .. import device, ops, optim
from ..autograd import Tensor, describe, grad
from ..models.editing import spread
from ..models.labels import asked, joined, one_hot
from ..models.given import fitting
from ..optim.schedules import second_half
from ..recording import no_grad

ROWS = 250  # points that descend together
POOL = 1000  # random samples among which descents find their starts, at least


class Inversion(NamedTuple):
    """The points z (n, latent) whose samples (n, ...) are nearest to given images, the labels that
    the model was told, (n,) or None, and the mean squared error of each (n,), of what is known.
    """

    z: np.ndarray
    samples: np.ndarray
    labels: np.ndarray | None
    mse: np.ndarray


def invert(
    model, images, labels=None, *, mask=None, steps=200, lr=0.1, starts=4, deviation=0.2,
    source=None,
):  # fmt: skip
    """The points z whose samples G(z) are nearest to images (n, ...), pictures in [-1, 1]: an
    `Inversion`.

    Adam lowers |G(z) - x|**2 / (2 deviation**2) + |z|**2 / 2 for each image x, which is minus
    log p(x|z) p(z), but for a constant, where pixels have Gaussian errors of that deviation: beside
    hundreds of pixels a weak pull towards the prior (Creswell & Bharath 2018; Zhu 2016). Only z
    moves. lr falls to 0 in the second half of the steps.

    The cost has many valleys. Of a thousand random points, drawn from `source`, those `starts` of
    them descend whose samples are nearest to an image, and the best is kept. starts may also be
    points (n, latent) or (n, starts, latent): the means that an encoder gives, say. labels: the
    class of each image, as for `sample`; None: that of the best start. mask: true where an image is
    known, (h, w) or (n, h, w); the rest counts for nothing (Yeh 2017).
    """
    images, known = _seen(model, images, mask)
    if not isinstance(steps, Integral) or steps < 1 or not lr > 0 or not deviation > 0:
        wanted = "steps must be at least 1 and whole, lr and deviation above 0"
        raise ValueError(f"invert: {wanted}, got {steps!r:.50}, {lr} and {deviation}")
    lr, deviation = float(lr), float(deviation)  # NumPy's scalars would make float64 of all
    labels = _told(model, len(images), labels)
    if device.is_array(starts):
        z, labels = _given(model, images, labels, starts)
    else:
        z, labels = _near(model, images, known, labels, starts=starts, source=source)
    target = Target(model, images, known, deviation)
    z, labels = _best(target, z, labels, steps=steps, lr=lr)
    samples = model.sample(len(z), z, labels)
    squares = known * (samples - images) ** 2
    axes = tuple(range(1, images.ndim))
    return Inversion(z, samples, labels, squares.sum(axes) / known.sum(axes))


def inpaint(model, images, mask, labels=None, **options):
    """Images (n, c, h, w) whose pixels are filled, where the mask is false, from the sample that is
    nearest to the others, which stay as they are: raw, on the model's device. What is not known may
    be anything, NaN too.

    The rest is as of `invert`. Yeh 2017, but that the prior takes the place of their
    discriminator, and edges are not blended.
    """
    found = invert(model, images, labels, mask=mask, **options)
    images, known = _seen(model, images, mask)
    return np.where(known > 0, images, found.samples)


class Target(NamedTuple):
    """What points are to meet: images (n, ...) where `known` is 1, and how far off pixels usually
    are.
    """

    model: object
    images: np.ndarray
    known: np.ndarray
    deviation: float

    def rows(self, chosen):
        """The target of other points, for the images of these numbers."""
        return self._replace(images=self.images[chosen], known=self.known[chosen])

    def cost(self, z, told):
        """The cost of each of the points (n, latent), of the classes told, (n, classes): (n,)."""
        off = self.known * (self.model.draw(joined(z, told)) - self.images)
        squares = ops.sum(off * off, axis=tuple(range(1, off.ndim)))
        return squares / (2 * self.deviation**2) + ops.sum(z * z, axis=1) / 2


def descend(z, told, target, *, steps, lr):
    """The points (n, latent), raw, that so many steps from z lead to, and what they cost, (n,).

    Adam sees to each number by itself: that all costs are summed changes nothing. Its memory is
    short, as the first slopes are the steepest.
    """
    z = Tensor(z.copy(), name="z")
    optimizer = optim.Adam([z], lr, betas=(0.9, 0.99))
    for step in range(steps):
        optimizer.lr = lr * second_half(step / steps)
        cost = ops.sum(target.cost(z, told))
        optimizer.step([grad(cost, z)])
    with no_grad():
        return z.data, target.cost(z, told).data


def _best(target, starts, labels, *, steps, lr):
    """Where the best descent from points (n, starts, latent) ends, for each image: (n, latent), and
    its label (n,) or None.
    """
    n, s = starts.shape[:2]
    z = starts.reshape(n * s, -1)
    told = None if labels is None else labels.reshape(-1)
    told = one_hot(told, target.model.classes, z)
    image = device.to_device_of(np.arange(n).repeat(s), z)  # that each start is for
    costs = []
    for i in range(0, n * s, ROWS):
        some = slice(i, i + ROWS)
        those = target.rows(image[some])
        z[some], cost = descend(z[some], told[some], those, steps=steps, lr=lr)
        costs.append(device.to_host(cost))
    best = np.concatenate(costs).reshape(n, s).argmin(1)
    every = np.arange(n)
    labels = None if labels is None else labels[every, best]
    return z[device.to_device_of(every * s + best, z)], labels


def _near(model, images, known, labels, *, starts, source):
    """For each image those random points whose samples are nearest to it, and of its class where
    that is told: (n, starts, latent), and their labels (n, starts) or None.
    """
    if not isinstance(starts, Integral) or starts < 1:
        wanted = "at least 1 and whole, or points"
        raise ValueError(f"invert: starts must be {wanted}, got {starts!r:.50}")
    classes = np.arange(model.classes) if labels is None else np.unique(labels)
    count = max(POOL, starts * len(classes))
    told = np.resize(classes, count) if model.classes else None
    points = model.noise(count, source).astype(images.dtype, copy=False)
    g = model.sample(count, points, told).reshape(count, -1)
    x = images.reshape(len(images), -1)
    m = known.reshape(len(images), -1)
    # of sum(m * (x - g)**2) what differs among the samples g: (n, count)
    distance = ops.matmul(m, (g * g).T) - 2 * ops.matmul(m * x, g.T)
    distance = device.to_host(distance)
    if labels is not None:
        distance = np.where(told == labels[:, None], distance, np.inf)
    chosen = distance.argsort(axis=1, kind="stable")[:, :starts]
    labels = None if told is None else told[chosen]
    return points[device.to(chosen, model.device)], labels


def _given(model, images, labels, starts):
    """The caller's points as (n, starts, latent), and their labels (n, starts) or None."""
    n = len(images)
    z = starts[:, None] if starts.ndim == 2 else starts
    fits = z.ndim == 3 and len(z) == n and z.shape[2] == model.latent
    if not fits or z.dtype != images.dtype or not z.size or not np.isfinite(z).all():
        wanted = f"({n}, {model.latent}) or ({n}, starts, {model.latent}) {images.dtype}, finite"
        raise ValueError(f"invert: starts must be points {wanted}, got {describe(starts)}")
    if model.classes and labels is None:
        raise ValueError(f"invert: points to start from need labels ({n},) too, got None")
    told = None if labels is None else labels[:, None].repeat(z.shape[1], axis=1)
    return device.to(z, model.device).copy(), told


def _told(model, n, labels):
    """Labels (n,) of the model's classes, on the host, or None."""
    labels = asked("invert", model, n, labels)
    if labels is None:
        return None
    return device.to_host(labels) if device.is_array(labels) else np.asarray(labels)


def _seen(model, images, mask):
    """The images on the model's device, 0 where they are not known, and in their shape 1 where they
    are, else 0.
    """
    known = True if mask is None else spread("invert", model, images, mask)
    images = fitting("invert", model, images, known)
    return images, np.ones_like(images) * known
