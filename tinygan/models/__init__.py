"""One algorithm to a file: its networks, objective, `step(batch)` and `sample(n)`. MODELS names the
GANs, VAES the VAEs.
"""

from . import vae
from .dcgan import dcgan, dcgan5x5
from .gan import GAN, WGANGP, mlp
from .vae import VAE

MODELS = {"dcgan": dcgan, "dcgan5x5": dcgan5x5, "mlp": mlp}
VAES = {"mlp": vae.mlp, "conv": vae.conv}

__all__ = ["GAN", "MODELS", "VAE", "VAES", "WGANGP", "dcgan", "dcgan5x5", "mlp"]
