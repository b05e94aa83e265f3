"""One algorithm to a file: its networks, objective, `step(batch)` and `sample(n)`.

MODELS names the GANs, VAES the VAEs; `build` makes a model again from the `recipe` it remembers.
"""

from . import vaes
from .adversarial import LOSSES, adversarial
from .dcgan import dcgan, dcgan5x5
from .gan import GAN
from .likelihoods import LIKELIHOODS
from .mlp import mlp
from .r3gan import R3GAN
from .recipes import FAMILIES, build
from .vae import VAE
from .wgan import WGAN, WGANGP

MODELS, VAES = FAMILIES["gan"], FAMILIES["vae"]

__all__ = [
    "GAN",
    "LIKELIHOODS",
    "LOSSES",
    "MODELS",
    "R3GAN",
    "VAE",
    "VAES",
    "WGAN",
    "WGANGP",
    "adversarial",
    "build",
    "dcgan",
    "dcgan5x5",
    "mlp",
]
