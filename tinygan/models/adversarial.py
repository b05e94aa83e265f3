"""The adversarial family by name: which game two networks play.

A builder of networks ends here. LOSSES is what `loss` may be; its options are those of `GAN`.
"""

from functools import partial

from .. import nn
from ..nn.losses import hinge, least_squares, minimax
from .gan import GAN
from .r3gan import R3GAN
from .wgan import WGAN, WGANGP

LOSSES = {
    "non-saturating": GAN,
    "minimax": partial(GAN, objective=minimax),
    "least-squares": partial(GAN, objective=least_squares),
    "hinge": partial(GAN, objective=hinge),
    "wgan": WGAN,
    "wgan-gp": WGANGP,
    "r3gan": R3GAN,
}


def adversarial(*networks_and_latent, loss="non-saturating", spectral=False, **options):
    """The model in which a generator and a discriminator play the game of that name.

    spectral: each layer of the discriminator is divided by its largest singular value
    (`nn.spectral_norm`). ValueError for a name that is no game's.
    """
    if loss not in LOSSES:
        raise ValueError(f"loss: there is no {loss!r:.50}; there are {', '.join(LOSSES)}")
    generator, discriminator, *latent = networks_and_latent
    if spectral:
        discriminator = nn.Sequential(*map(_bounded, discriminator))
    return LOSSES[loss](generator, discriminator, *latent, **options)


def _bounded(layer):
    """A layer with a matrix of weights, normalised; any other as it is."""
    return nn.spectral_norm(layer) if isinstance(layer, nn.Linear | nn.Conv2d) else layer
