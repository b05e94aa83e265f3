"""One algorithm to a file: its networks, objective, `step(batch)` and `sample(n)`. MODELS lists them by name."""

from .dcgan import dcgan, dcgan5x5
from .gan import GAN, mlp

MODELS = {"dcgan": dcgan, "dcgan5x5": dcgan5x5, "mlp": mlp}

__all__ = ["GAN", "MODELS", "dcgan", "dcgan5x5", "mlp"]
