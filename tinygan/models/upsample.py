"""A GAN in two stages, as LAPGAN (Denton 2015) and StackGAN (Zhang 2017) are: a picture of half the
side first, then a network that doubles it, which also doubles real pictures. Unlike in those, both
learn in one game from the first step on (StackGAN++, Zhang 2018).
"""

from itertools import pairwise

import numpy as np

from .. import device, nn, ops
from ..autograd import describe
from ..nn.losses import mse
from ..recording import no_grad
from .adversarial import adversarial
from .dcgan import rate
from .gan import GAN
from .recipes import recipe
from .sizes import halved


class Doubler(nn.Module):
    """Pictures (n, c, h, w) in [-1, 1] and noise (n, latent) -> pictures (n, c, 2h, 2w) whose means
    over 2x2 pixels are those given, but for what had to be cut to [-1, 1].

    Convolutions of the small picture tell four pixels for each of its own (Shi 2016); what they get
    wrong of the mean, `uncut` puts right (Bahat & Michaeli 2020, "Explorable super resolution"):
    they are details, LAPGAN's residual, and no loss has to ask for it. Noise shifts their channels.
    """

    def __init__(self, channels, width, latent):
        self.shrink, self.enlarge = nn.AvgPool2d(2), nn.Upsample(scale_factor=2)
        self.look = nn.Conv2d(channels, width, 3, padding=1)
        self.shift = nn.Sequential(nn.Linear(latent, width), nn.Unflatten(1, (width, 1, 1)))
        self.details = nn.Sequential(
            nn.LeakyReLU(0.2), nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.2), nn.Conv2d(width, 4 * channels, 3, padding=1), nn.PixelShuffle(2),
        )  # fmt: skip

    def forward(self, low, z):
        return ops.clip(self.uncut(low, z), -1.0, 1.0)

    def uncut(self, low, z):
        """The same before it is cut, where a pixel has a gradient out of bounds as well."""
        details = self.details(self.look(low) + self.shift(z))
        return details + self.enlarge(low - self.shrink(details))


class TwoStages(nn.Module):
    """The generator: points (n, latent + classes) -> small pictures, which its second stage, with
    the same noise, doubles. The class, if there is one, it sees in the small picture.
    """

    def __init__(self, first, second, latent):
        self.first, self.second, self.latent = first, second, latent

    def forward(self, points):
        return self.second(self.first(points), points[:, : self.latent])


class TwoSizes(nn.Module):
    """The discriminator: one network judges a picture at half its side, another the details, beside
    that small picture: whether they fit. Their logits add up.

    For log p(x) = log p(small) + log p(x | small), and the best logits are log p - log q, with q
    the generator's density (Goodfellow 2014, proposition 1).
    """

    def __init__(self, small, large):
        self.small, self.large = small, large
        self.shrink, self.enlarge = nn.AvgPool2d(2), nn.Upsample(scale_factor=2)

    def forward(self, x):
        low = self.shrink(x)
        return self.small(low) + self.large(ops.concatenate([x, self.enlarge(low)], 1))


class Upsample(GAN):
    """The GAN of such networks, whose second stage learns from real pairs as well: in G's loss is
    `content` times the mean squared error of real pictures, halved and doubled again (SRGAN's
    content loss, Ledig 2017, equation 4). With 0 their doubling is what the game makes of it: less
    true. With much of it details become the mean of all that are possible: blurred.
    """

    def __init__(self, *networks_and_latent, content=10.0, **options):
        super().__init__(*networks_and_latent, **options)
        self.content = content

    def g_loss(self, D, fake, real):
        doubled = self.generator.second.uncut(ops.avg_pool2d(real, 2), self.noise(len(real)))
        return super().g_loss(D, fake, real) + self.content * mse(doubled, real)

    @no_grad()
    def upscale(self, images, noise=None):
        """Pictures (n, c, h, w) in [-1, 1] of twice the size, (n, c, 2h, 2w), as a raw array, by
        the averaged second stage: super-resolution, of any size. noise: (n, latent) or fresh;
        another gives other details. ValueError for other shapes, numbers and ranges.
        """
        n = len(images)
        form = images.shape[1:-2] == (self.channels,) and images.dtype.kind == "f" and images.size
        if not form or not abs(images).max() < 1.01:
            wanted = f"(n, {self.channels}, h, w) of floats in [-1, 1]"
            raise ValueError(f"upscale: needs images {wanted}, got {describe(images)}")
        noise = self.noise(n) if noise is None else noise
        if noise.shape != (n, self.latent):
            wanted = f"noise of shape {(n, self.latent)}"
            raise ValueError(f"upscale: {n} images need {wanted}, got {noise.shape}")
        images = device.to(images, self.device).astype(noise.dtype, copy=False)
        pieces = (slice(i, i + 250) for i in range(0, n, 250))
        return np.concatenate([self.average.second(images[p], noise[p]).data for p in pieces])


@recipe("gan", "upsample")
def upsample(
    width=16, latent=64, lr=None, side=28, channels=1, classes=0, names=(), packing=1,
    minibatch_std=False, content=10.0, **options,
):  # fmt: skip
    """Two stages, 14 -> 28 for digits, 32 -> 64. The first is dcgan's G without the last doubling;
    both judges are dcgan's D, that of small pictures without the first halving. content: see
    `Upsample`. The rest: as of `dcgan`. A step takes over twice as long as dcgan's, whose digits
    are the better ones after equal time: what is gained is a network that doubles real pictures.
    """
    sides = halved("upsample", side, channels)[1:]  # of the small pictures and their maps
    up = [2 * width * 2**i for i in range(len(sides))][::-1]
    dense = up[0] * sides[-1] ** 2
    first = [nn.Linear(latent + classes, dense), nn.BatchNorm1d(dense), nn.ReLU()]
    first += [nn.Unflatten(1, (up[0], sides[-1], sides[-1]))]
    for c, d in pairwise(up):
        first += [nn.ConvTranspose2d(c, d, 4, stride=2, padding=1), nn.BatchNorm2d(d), nn.ReLU()]
    first += [nn.Conv2d(up[-1], channels, 3, padding=1), nn.Tanh()]

    def judge(look):
        """D from its first layer on, which gives `width` maps of the small pictures' side."""
        layers = [look, nn.LeakyReLU(0.2)]
        down = [width * 2**i for i in range(len(sides))]
        for c, d in pairwise(down):
            layers += [nn.Conv2d(c, d, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        layers += [nn.MinibatchStdDev()] * minibatch_std
        seen = (down[-1] + minibatch_std) * sides[-1] ** 2
        return nn.init.dcgan(nn.Sequential(*layers, nn.Flatten(), nn.Linear(seen, classes or 1)))

    seen = channels * packing
    second = Doubler(channels, width, latent)
    small = judge(nn.Conv2d(seen, width, 3, padding=1))
    large = judge(nn.Conv2d(2 * seen, width, 4, stride=2, padding=1))
    return adversarial(
        TwoStages(nn.init.dcgan(nn.Sequential(*first)), second, latent), TwoSizes(small, large),
        latent, lr=rate(side, channels) if lr is None else lr, base=Upsample, classes=classes,
        names=names, packing=packing, content=content, **options,
    )  # fmt: skip
