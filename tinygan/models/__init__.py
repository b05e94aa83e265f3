"""One algorithm to a file: its networks, objective, `step(batch)` and `sample(n)`.

MODELS names the GANs, VAES the VAEs; `build` makes a model again from the `recipe` it remembers.
"""

from . import vaes
from .dcgan import dcgan, dcgan5x5
from .gan import GAN, WGANGP, mlp
from .likelihoods import LIKELIHOODS
from .recipes import FAMILIES, build
from .vae import VAE

MODELS, VAES = FAMILIES["gan"], FAMILIES["vae"]

__all__ = [
    "GAN",
    "LIKELIHOODS",
    "MODELS",
    "VAE",
    "VAES",
    "WGANGP",
    "build",
    "dcgan",
    "dcgan5x5",
    "mlp",
]
