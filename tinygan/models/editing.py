"""What a flow or diffusion makes of pictures, and not of noise alone: what is missing in them, and
others that are like them.

Both are `Diffusion.path` with another start, or with a word to say after each step. This room knows
masks and labels, and no network.
"""

import numpy as np

from .. import device, ops
from ..autograd import describe
from ..recording import no_grad
from .labels import asked_rows, joined
from .latent import fitting

ROWS = 250  # samples that are made together


def inpaint(self, images, known, labels=None, **how):
    """Pictures (n, c, h, w) in [-1, 1], filled where the mask `known`, (h, w) or (n, h, w) of bool,
    is false: raw, on the model's device. What is known stays as it is; what is not may be anything,
    NaN too.

    After each step what is known is put back, as noisy as the rest is then (Lugmayr 2022, equation
    8), so that the two fit the better the more steps there are. labels: the class of each, as for
    `sample`; None: none is told. how: options of `path`, such as steps. ValueError for what does
    not fit.
    """
    known = spread("inpaint", self, images, known)
    images = fitting("inpaint", self, images, known)
    known = known & np.ones_like(images, bool)
    noise = self.noise(len(images)).astype(images.dtype, copy=False).reshape(images.shape)
    how |= {"seen": (images, known, noise)}
    return np.where(known, images, _followed("inpaint", self, noise, labels, how))


def vary(self, images, strength, labels=None, **how):
    """Others like the images (n, *shape), pictures in [-1, 1]: raw, on the model's device.

    strength: how much noise they become before they are samples again (Meng 2022), from 0, they
    stay, to 1, nothing of them is left. labels and how: as for `inpaint`.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"vary: strength must be from 0 to 1, got {strength!r:.50}")
    images = fitting("vary", self, images)
    noise = self.noise(len(images)).astype(images.dtype, copy=False).reshape(images.shape)
    how |= {"start": 1.0 - float(strength)}
    points = self.noised(images / self.scale, noise, how["start"])
    return _followed("vary", self, points, labels, how)


def _followed(name, model, x, labels, how):
    """Where the path from x (n, *shape) ends, for labels (n,) or none told."""
    n = len(x)
    rows = asked_rows(name, model, labels, x)
    if labels is None:  # there is nothing that guidance could enlarge
        how |= {"guidance": 1.0}
    points, seen, made = joined(x.reshape(n, -1), rows), how.pop("seen", None), []
    with no_grad():
        for i in range(0, n, ROWS):
            some = slice(i, i + ROWS)
            part = seen and tuple(a[some] for a in seen)
            *_, last = model.path(points[some], seen=part, **how)
            made.append(ops.raw(last))
    return model.within(np.concatenate(made))


def spread(name, model, images, mask):
    """The mask of pictures, (h, w) or (n, h, w), for all of their channels, of bool."""
    n, (h, w) = len(images), (*model.sample_shape, 0, 0)[1:3]
    fits = device.is_array(mask) and mask.dtype == bool and mask.shape in ((h, w), (n, h, w))
    if len(model.sample_shape) != 3 or not fits:
        wanted = f"({h}, {w}) or ({n}, {h}, {w}) of bool, for pictures (n, c, h, w)"
        raise ValueError(f"{name}: the mask must be {wanted}, got {describe(mask)}")
    mask = device.to(mask, model.device)
    if not mask.any((-2, -1)).all():
        raise ValueError(f"{name}: the mask leaves nothing known of a picture: true is known")
    return mask[:, None] if mask.ndim == 3 else mask
