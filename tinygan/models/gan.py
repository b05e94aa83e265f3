"""The generative adversarial network (Goodfellow et al. 2014): two networks and an objective.

This room knows layers, losses and optimizers, and nothing of files, progress bars or data sets.
"""

import copy
from functools import partial

from .. import nn, ops, optim, random
from ..autograd import grad
from ..nn.losses import gradient_penalty, non_saturating, wasserstein
from ..ops.augment import changes
from .labels import checked, chosen, joined, one_hot, unpack
from .latent import LatentModel
from .recipes import recipe
from .sizes import check_pictures


class GAN(LatentModel):
    """A generator G makes samples of noise; a discriminator D tries to tell them from real ones.

    generator: (n, latent) -> samples; discriminator: samples -> logits (n, 1); objective: see
    `nn.losses`. Both learn by Adam with the same lr and betas. Samples are drawn from `average`, a
    moving average of G's weights (Yazici 2019). With classes: G takes (n, latent + classes), D
    gives (n, classes), one logit for each, and the one that the label names counts (Mescheder
    2018): a linear projection discriminator (Miyato & Koyama 2018) without an input for the label.
    augment: a policy of `ops.augment` for sets of a few thousand images or fewer; D then sees all
    images changed at random, real and fake, in its own update and in G's, whose gradient comes
    through the change (Zhao 2020, equations 3 and 4).
    """

    trained = "generator", "discriminator", "average", "ema", "g_optimizer", "d_optimizer"

    def __init__(
        self, generator, discriminator, latent, lr=2e-4, betas=(0.5, 0.999), decay=0.999,
        objective=non_saturating, device="cpu", classes=0, names=(), augment="",
    ):  # fmt: skip
        self.names = checked(names, classes)
        changes(augment)  # refuses what is no policy
        self.augment = augment
        self.generator, self.discriminator = generator.to(device), discriminator.to(device)
        self.latent, self.classes, self.objective, self.device = latent, classes, objective, device
        self.average = copy.deepcopy(generator).eval()
        self.ema = optim.EMA(self.average, generator, decay)
        self.g_optimizer = optim.Adam(generator.parameters(), lr, betas)
        self.d_optimizer = optim.Adam(discriminator.parameters(), lr, betas)

    def generate(self, z, labels=None):
        """G's samples (a Tensor) of points z (n, latent) and, if it has classes, labels (n,)."""
        return self.generator(joined(z, one_hot(labels, self.classes, z)))

    def discriminate(self, x, labels=None):
        """D's logits (n, 1) of samples x (n, ...) and, if it has classes, labels (n,)."""
        x = ops.augment(x, self.augment)
        return chosen(self.discriminator(x), one_hot(labels, self.classes, x))

    def d_loss(self, D, fake, real):
        """What D is to lower, on raw samples of both kinds, (n, ...) each."""
        return self.objective(D(fake), D(real))

    def step(self, batch):
        """One update of D on a batch, samples (n, ...) or (samples, labels), and as many fakes,
        then one of G; the two losses as raw scalars.
        """
        real, labels = unpack(batch, self.classes)
        D = partial(self.discriminate, labels=labels)
        fake = self.generate(self.noise(len(real)), labels)
        d_loss = self.d_loss(D, fake.data, real)  # fake.data: a constant, G stays
        self.d_optimizer.step(grad(d_loss, self.d_optimizer.params))
        g_loss = self.objective(D(fake))
        self.g_optimizer.step(grad(g_loss, self.g_optimizer.params))
        self.ema.update()
        return {"d_loss": d_loss.data, "g_loss": g_loss.data}

    def draw(self, points):
        """The averaged generator's samples of points (n, latent + classes)."""
        return self.average(points)


class WGANGP(GAN):
    """The Wasserstein GAN whose critic D is kept at slopes near 1 (Gulrajani 2017, equation 3).

    A step updates D once (the paper: five times, at lr 1e-4 and betas 0, 0.9). D may have no
    layer that looks at several samples at once, as batch normalisation does. With `augment` the
    slope is that of D after the change, which the mixed samples go through like all that D sees.
    """

    def __init__(self, *networks_and_latent, penalty=10.0, objective=wasserstein, **options):
        super().__init__(*networks_and_latent, objective=objective, **options)
        self.penalty = penalty

    def d_loss(self, D, fake, real):
        mix = random.default.uniform((len(real),), device=self.device)
        return super().d_loss(D, fake, real) + self.penalty * gradient_penalty(D, real, fake, mix)


@recipe("gan", "mlp")
def mlp(latent=100, lr=2e-4, side=28, channels=1, classes=0, names=(), **options):
    """The GAN of dense layers, for 28x28: G latent-256-512-1024-784, D 784-1024-512-256-1."""
    check_pictures("mlp", side, channels)
    pixels = channels * side**2
    generator = nn.Sequential(
        nn.Linear(latent + classes, 256), nn.LeakyReLU(0.2),
        nn.Linear(256, 512), nn.LeakyReLU(0.2),
        nn.Linear(512, 1024), nn.LeakyReLU(0.2),
        nn.Linear(1024, pixels), nn.Tanh(), nn.Unflatten(1, (channels, side, side)),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Flatten(),
        nn.Linear(pixels, 1024), nn.LeakyReLU(0.2), nn.Dropout(0.3),
        nn.Linear(1024, 512), nn.LeakyReLU(0.2), nn.Dropout(0.3),
        nn.Linear(512, 256), nn.LeakyReLU(0.2), nn.Dropout(0.3),
        nn.Linear(256, classes or 1),
    )  # fmt: skip
    return GAN(generator, discriminator, latent, lr, classes=classes, names=names, **options)
