"""One algorithm to a file: its networks, objective, `step(batch)` and `sample(n)`.

MODELS names the GANs of pictures, POINTS those of points in the plane, VAES the VAEs; LOSSES names
the games that GANs play. `build` makes a model again from the `recipe` it remembers.
"""

from . import vaes
from .adversarial import LOSSES, adversarial
from .dcgan import dcgan, dcgan5x5
from .gan import GAN
from .likelihoods import LIKELIHOODS
from .mlp import mlp
from .points import pacgan, points
from .r3gan import R3GAN
from .recipes import FAMILIES, build
from .upsample import Upsample, upsample
from .vae import VAE
from .wgan import WGAN, WGANGP

MODELS, POINTS, VAES = FAMILIES["gan"], FAMILIES["toy"], FAMILIES["vae"]

__all__ = [
    "GAN",
    "LIKELIHOODS",
    "LOSSES",
    "MODELS",
    "POINTS",
    "R3GAN",
    "Upsample",
    "VAE",
    "VAES",
    "WGAN",
    "WGANGP",
    "adversarial",
    "build",
    "dcgan",
    "dcgan5x5",
    "mlp",
    "pacgan",
    "points",
    "upsample",
]
