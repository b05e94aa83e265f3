"""The GAN of dense layers, as in the first paper (Goodfellow et al. 2014)."""

from .. import nn
from .adversarial import adversarial
from .recipes import recipe
from .sizes import check_pictures


@recipe("gan", "mlp")
def mlp(
    latent=100, lr=2e-4, side=28, channels=1, classes=0, names=(), packing=1,
    minibatch_std=False, **options,
):  # fmt: skip
    """The GAN of dense layers, for 28x28: G latent-256-512-1024-784, D 784-1024-512-256-1.

    packing, minibatch_std: as of `dcgan`; options: of `GAN` and `adversarial`.
    """
    check_pictures("mlp", side, channels)
    pixels = channels * side**2
    generator = nn.Sequential(
        nn.Linear(latent + classes, 256), nn.LeakyReLU(0.2),
        nn.Linear(256, 512), nn.LeakyReLU(0.2),
        nn.Linear(512, 1024), nn.LeakyReLU(0.2),
        nn.Linear(1024, pixels), nn.Tanh(), nn.Unflatten(1, (channels, side, side)),
    )  # fmt: skip
    std = [nn.MinibatchStdDev()] if minibatch_std else []
    discriminator = nn.Sequential(
        nn.Flatten(),
        nn.Linear(packing * pixels, 1024), nn.LeakyReLU(0.2), nn.Dropout(0.3),
        nn.Linear(1024, 512), nn.LeakyReLU(0.2), nn.Dropout(0.3),
        nn.Linear(512, 256), nn.LeakyReLU(0.2), nn.Dropout(0.3),
        *std, nn.Linear(256 + len(std), classes or 1),
    )  # fmt: skip
    return adversarial(
        generator, discriminator, latent, lr=lr, classes=classes, names=names, packing=packing,
        **options,
    )  # fmt: skip
