"""Convolutional GANs for 28x28 images: DCGAN (Radford, Metz & Chintala 2016) and the 5x5 variant of
the Keras tutorial.
"""

from .. import nn
from .gan import GAN
from .recipes import recipe


@recipe("gan", "dcgan")
def dcgan(width=16, latent=64, lr=2e-3, side=28, classes=0, **options):
    """DCGAN with its 4x4 kernels and initial weights, scaled to 28x28: 7 -> 14 -> 28 and back,
    width to 4*width channels.

    side: of other images, a multiple of 4.
    """
    if side < 4 or side % 4:
        raise ValueError(f"dcgan: side must be a multiple of 4, got {side}")
    w, s = width, side // 4
    generator = nn.Sequential(
        nn.Linear(latent + classes, 4 * w * s * s),
        nn.BatchNorm1d(4 * w * s * s),
        nn.ReLU(),
        nn.Unflatten(1, (4 * w, s, s)),
        nn.ConvTranspose2d(4 * w, 2 * w, 4, stride=2, padding=1),
        nn.BatchNorm2d(2 * w),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * w, 1, 4, stride=2, padding=1),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(1, w, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(w, 2 * w, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(2 * w * s * s, classes or 1),
    )
    return GAN(
        nn.init.dcgan(generator),
        nn.init.dcgan(discriminator),
        latent,
        lr,
        classes=classes,
        **options,
    )


@recipe("gan", "dcgan5x5")
def dcgan5x5(latent=100, lr=2e-4, classes=0, **options):
    """The architecture of the TensorFlow tutorial "Deep Convolutional Generative Adversarial
    Network".
    """
    generator = nn.Sequential(
        nn.Linear(latent + classes, 7 * 7 * 256, bias=False),
        nn.BatchNorm1d(7 * 7 * 256),
        nn.LeakyReLU(0.3),
        nn.Unflatten(1, (256, 7, 7)),
        nn.ConvTranspose2d(256, 128, 5, stride=1, padding=2, bias=False),
        nn.BatchNorm2d(128),
        nn.LeakyReLU(0.3),
        nn.ConvTranspose2d(128, 64, 5, stride=2, padding=2, output_padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.LeakyReLU(0.3),
        nn.ConvTranspose2d(64, 1, 5, stride=2, padding=2, output_padding=1, bias=False),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(1, 64, 5, stride=2, padding=2),
        nn.LeakyReLU(0.3),
        nn.Dropout(0.3),
        nn.Conv2d(64, 128, 5, stride=2, padding=2),
        nn.LeakyReLU(0.3),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(128 * 7 * 7, classes or 1),
    )
    return GAN(generator, discriminator, latent, lr, classes=classes, **options)
