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


MATRICES = nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d


def adversarial(
    *networks_and_latent, loss="non-saturating", spectral=False, base=GAN, **options
):  # fmt: skip
    """The model in which a generator and a discriminator play the game of that name.

    spectral: each layer of the discriminator is divided by its largest singular value
    (`nn.spectral_norm`). base: a class of GANs that do more than play. ValueError for a name that
    is no game's.
    """
    if loss not in [*LOSSES]:
        raise ValueError(f"loss: there is no {loss!r:.50}; there are {', '.join(LOSSES)}")
    generator, discriminator, *latent = networks_and_latent
    if spectral:
        done = {}
        discriminator = _bounded(discriminator, done)
        if not done:
            raise ValueError("spectral: the discriminator has no layer with a matrix of weights")
    game = LOSSES[loss]
    if base is not GAN:
        kind, given = getattr(game, "func", game), getattr(game, "keywords", {})
        game = partial(type(base.__name__, (base, kind), {}), **given)
    return game(generator, discriminator, *latent, **options)


def _bounded(thing, done):
    """A network, each layer in it that has a matrix of weights normalised, in lists and dicts, too.
    done: {id of a layer: it, normalised}, for one that is used twice.
    """
    if isinstance(thing, list | tuple):
        return type(thing)(_bounded(part, done) for part in thing)
    if isinstance(thing, dict):
        return {name: _bounded(part, done) for name, part in thing.items()}
    if isinstance(thing, MATRICES):
        if id(thing) not in done:
            done[id(thing)] = nn.spectral_norm(thing)
        return done[id(thing)]
    if isinstance(thing, nn.Module):
        for name, part in vars(thing).items():
            if isinstance(part, nn.Module | list | tuple | dict):
                setattr(thing, name, _bounded(part, done))
    return thing
