"""What a flow or diffusion makes of pictures, and not of noise alone: what is missing in them, and
others that are like them.

Both are `Diffusion.path` with another start, or with a word to say after each step. This room knows
masks and labels, and no network.
"""

import numpy as np

from .. import device, ops
from ..autograd import describe
from ..recording import no_grad
from .given import check_pictures, fitting
from .labels import asked_rows, joined
from .options import checked_options, sampling

ROWS = 250  # samples that are made together


def inpaint(self, images, known, labels=None, **how):
    """Pictures (n, c, h, w) in [-1, 1], filled where the mask `known`, (h, w) or (n, h, w) of bool,
    is false: raw, on the model's device. What is known stays as it is; what is not may be anything,
    NaN too.

    After each step what is known is put back, as noisy as the rest is then (Lugmayr 2022, equation
    8), so that the two fit the better the more steps there are. labels: the class of each, as for
    `sample`; None: none is told, and guidance has nothing to enlarge. how: the model's options of
    sampling, such as steps. ValueError for what does not fit.
    """
    how = sampling("inpaint", self, how, labels is not None, places=())
    known = spread("inpaint", self, images, known)
    images = fitting("inpaint", self, images, known)
    known = known & np.ones_like(images, bool)
    noise = self.noise(len(images)).reshape(images.shape)
    how |= {"seen": (images, known, noise)}
    return np.where(known, images, _followed("inpaint", self, noise, labels, how))


def vary(self, images, strength, labels=None, **how):
    """Others like the images (n, *shape), pictures in [-1, 1]: raw, on the model's device.

    strength: how much noise they become before they are samples again (Meng 2022), from 0, they
    stay, to 1, nothing of them is left. A diffusion has as many strengths as timesteps: below half
    of one, 0.5 / timesteps, they stay. labels and how: as for `inpaint`.
    """
    checked_options("vary", strength=strength)
    how = sampling("vary", self, how, labels is not None, places=())
    images = fitting("vary", self, images)
    noise = self.noise(len(images)).reshape(images.shape)
    how |= {"start": 1.0 - float(strength)}
    # of a diffusion's x_T something is left, and its samples are made of noise alone
    points = noise if strength == 1 else self.noised(images / self.scale, noise, how["start"])
    return _followed("vary", self, points, labels, how)


def _followed(name, model, x, labels, how):
    """Where the path from x (n, *shape) ends, for labels (n,) or none told."""
    n = len(x)
    rows = asked_rows(name, model, labels, x)
    points, seen, made = joined(x.reshape(n, -1), rows), how.pop("seen"), []
    with no_grad():
        for i in range(0, n, ROWS):
            some = slice(i, i + ROWS)
            part = seen and tuple(a[some] for a in seen)
            *_, last = model.path(points[some], seen=part, **how)
            made.append(ops.raw(last))
    return model.within(np.concatenate(made))


def within(self, x):
    """Pictures in [-1, 1], which a solver may leave a little; points as they are."""
    return np.clip(x, -1, 1) if len(self.sample_shape) == 3 else x


def spread(name, model, images, mask):
    """The mask of pictures, (h, w) or (n, h, w), for all of their channels, of bool."""
    check_pictures(f"{name}: a mask", model)
    n, (_, h, w) = len(images), model.sample_shape
    if not device.is_array(mask) or mask.dtype != bool or mask.shape not in ((h, w), (n, h, w)):
        wanted = f"({h}, {w}) or ({n}, {h}, {w}) of bool, for pictures (n, c, h, w)"
        raise ValueError(f"{name}: the mask must be {wanted}, got {describe(mask)}")
    mask = device.to(mask, model.device)
    if not mask.any((-2, -1)).all():
        raise ValueError(f"{name}: the mask leaves nothing known of a picture: true is known")
    return mask[:, None] if mask.ndim == 3 else mask
