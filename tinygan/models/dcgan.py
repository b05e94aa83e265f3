"""Convolutional GANs for pictures of any side that can be halved twice: DCGAN (Radford, Metz &
Chintala 2016) and the 5x5 variant of the Keras tutorial.
"""

from itertools import pairwise

from .. import nn
from .adversarial import adversarial
from .recipes import recipe
from .sizes import halved


@recipe("gan", "dcgan")
def dcgan(
    width=16, latent=64, lr=None, side=28, channels=1, classes=0, names=(), packing=1,
    minibatch_std=False, **options,
):  # fmt: skip
    """DCGAN with its 4x4 kernels and initial weights, as deep as the pictures are large.

    side, channels: of pictures (n, channels, side, side), see `sizes.halved`. Where the side
    halves, the channels double: for 28x28, G goes 7 -> 14 -> 28 with 4 * width, 2 * width and 1
    channels, D 28 -> 14 -> 7 with 1, width and 2 * width. lr: see `rate`.

    packing: D sees so many pictures at once, as channels (see `GAN`). minibatch_std: its last layer
    is told how much the pictures of a batch differ (`nn.MinibatchStdDev`). options: of `GAN` and
    `adversarial`, such as loss, spectral, n_critic, d_lr, r1, augment.

    Unlike the paper's, D has no batch normalisation: it sees real and fake pictures in batches of
    their own, and could tell those apart by their statistics alone; nor would D's answer for one
    picture be its own, as gradient penalties need. At these depths it learns well without.
    """
    sides = halved("dcgan", side, channels)
    smallest = sides[-1]
    down = [channels * packing] + [
        width * 2**i for i in range(len(sides) - 1)
    ]  # D's channels, going down
    up = [2 * c for c in down[:0:-1]] + [channels]  # G's, going up: twice as many
    dense = up[0] * smallest**2

    generator = [nn.Linear(latent + classes, dense), nn.BatchNorm1d(dense), nn.ReLU()]
    generator += [nn.Unflatten(1, (up[0], smallest, smallest))]
    for c, d in pairwise(up[:-1]):
        generator += [nn.ConvTranspose2d(c, d, 4, stride=2, padding=1)]
        generator += [nn.BatchNorm2d(d), nn.ReLU()]
    generator += [nn.ConvTranspose2d(up[-2], channels, 4, stride=2, padding=1), nn.Tanh()]

    discriminator = []
    for c, d in pairwise(down):
        discriminator += [nn.Conv2d(c, d, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    std = [nn.MinibatchStdDev()] if minibatch_std else []
    seen = (down[-1] + len(std)) * smallest**2
    discriminator += [*std, nn.Flatten(), nn.Linear(seen, classes or 1)]

    return adversarial(
        nn.init.dcgan(nn.Sequential(*generator)),
        nn.init.dcgan(nn.Sequential(*discriminator)),
        latent,
        lr=rate(side, channels) if lr is None else lr,
        classes=classes,
        names=names,
        packing=packing,
        **options,
    )


def rate(side, channels):
    """The learning rate of such networks, unless another is given: 2e-3, in colour 1e-3, and 5e-4
    for sides above 64, where 2e-3 diverged within two hundred steps.
    """
    return 5e-4 if side > 64 else 1e-3 if channels == 3 else 2e-3


@recipe("gan", "dcgan5x5")
def dcgan5x5(
    latent=100, lr=2e-4, side=28, channels=1, classes=0, names=(), packing=1, **options
):  # fmt: skip
    """The architecture of the TensorFlow tutorial "Deep Convolutional Generative Adversarial
    Network": two halvings whatever the side, so that `dcgan` suits large pictures better.
    """
    smallest = halved("dcgan5x5", side, channels)[2]
    area = smallest**2
    generator = nn.Sequential(
        nn.Linear(latent + classes, area * 256, bias=False),
        nn.BatchNorm1d(area * 256),
        nn.LeakyReLU(0.3),
        nn.Unflatten(1, (256, smallest, smallest)),
        nn.ConvTranspose2d(256, 128, 5, stride=1, padding=2, bias=False),
        nn.BatchNorm2d(128),
        nn.LeakyReLU(0.3),
        nn.ConvTranspose2d(128, 64, 5, stride=2, padding=2, output_padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.LeakyReLU(0.3),
        nn.ConvTranspose2d(64, channels, 5, stride=2, padding=2, output_padding=1, bias=False),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(channels * packing, 64, 5, stride=2, padding=2),
        nn.LeakyReLU(0.3),
        nn.Dropout(0.3),
        nn.Conv2d(64, 128, 5, stride=2, padding=2),
        nn.LeakyReLU(0.3),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(128 * area, classes or 1),
    )
    return adversarial(
        generator, discriminator, latent, lr=lr, classes=classes, names=names, packing=packing,
        **options,
    )  # fmt: skip
