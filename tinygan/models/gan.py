"""The generative adversarial network (Goodfellow et al. 2014): two networks, an objective, and the
one step that all the family shares.

This room knows layers, losses and optimizers, and nothing of files, progress bars or data sets.
"""

import copy
import inspect
import math
from functools import partial

from .. import ops, optim
from ..autograd import Tensor, grad
from ..nn.losses import non_saturating, zero_centred_penalty
from ..ops.augment import changes
from .labels import checked, chosen, joined, one_hot, unpack
from .latent import LatentModel


class GAN(LatentModel):
    """A generator G makes samples of noise; a discriminator D tries to tell them from real ones.

    generator: (n, latent) -> samples; discriminator: samples -> logits (n, 1); objective: see
    `nn.losses`. Both learn by Adam with the same betas, G at lr, and D at d_lr if that is given
    (Heusel 2017). Samples are drawn from `average`, a moving average of G's weights (Yazici 2019).

    classes: G takes (n, latent + classes), D gives (n, classes), one logit for each, and the one
    that the label names counts (Mescheder 2018): a linear projection discriminator (Miyato & Koyama
    2018) without an input for the label.

    augment: a policy of `ops.augment` for sets of a few thousand images or fewer; D then sees all
    images changed at random, real and fake, in its own update and in G's, whose gradient comes
    through the change (Zhao 2020, equations 3 and 4).

    Against modes that G leaves out and games that do not settle, together or alone:
    n_critic: updates of D before each of G, each on a part of the batch of its own.
    packing: D judges so many samples at once, laid one behind another as channels, (n / packing,
    packing * c, ...): whether they differ from each other as real ones do (PacGAN, Lin 2018).
    r1, r2: weights gamma of `zero_centred_penalty` at real and at fake samples; gamma / 2 counts.
    smoothing: one-sided label smoothing, of objectives that have labels.
    """

    # `average` is a network, `ema` what moves its weights
    trained = "generator", "discriminator", "average", "ema", "g_optimizer", "d_optimizer"

    def __init__(
        self, generator, discriminator, latent, lr=2e-4, betas=(0.5, 0.999), decay=0.999,
        objective=non_saturating, device="cpu", classes=0, names=(), augment="", d_lr=None,
        n_critic=1, packing=1, r1=0.0, r2=0.0, smoothing=0.0,
    ):  # fmt: skip
        for name, count in ("n_critic", n_critic), ("packing", packing):
            if not isinstance(count, int) or count < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {count!r:.50}")
        check("r1", r1), check("r2", r2), check("smoothing", smoothing, most=0.5)
        self.names = checked(names, classes)
        changes(augment)  # refuses what is no policy
        if classes and packing > 1:
            raise ValueError("packing is of samples without labels: leave out classes")
        self.augment, self.n_critic, self.packing = augment, n_critic, packing
        self.r1, self.r2 = r1, r2
        self.generator, self.discriminator = generator.to(device), discriminator.to(device)
        self.latent, self.classes, self.device = latent, classes, device
        self.objective = _smoothed(objective, smoothing) if smoothing else objective
        self.average = copy.deepcopy(generator).eval()
        self.ema = optim.EMA(self.average, generator, decay)
        self.g_optimizer = optim.Adam(generator.parameters(), lr, betas)
        d_lr = lr if d_lr is None else d_lr
        self.d_optimizer = optim.Adam(discriminator.parameters(), d_lr, betas)

    def generate(self, z, labels=None):
        """G's samples (a Tensor) of points z (n, latent) and, if it has classes, labels (n,)."""
        return self.generator(joined(z, one_hot(labels, self.classes, z)))

    def discriminate(self, x, labels=None):
        """D's logits (n, 1) of samples x (n, ...) and, if it has classes, labels (n,); of packed
        ones (n / packing, 1).
        """
        x = ops.augment(x, self.augment)
        if self.packing > 1:
            x = ops.reshape(x, (-1, self.packing * x.shape[1], *x.shape[2:]))
        return chosen(self.discriminator(x), one_hot(labels, self.classes, x))

    def d_loss(self, D, fake, real):
        """What D is to lower, on raw samples of both kinds, (n, ...) each."""
        # a penalty asks for slopes at its samples: these become Tensors
        fake, real = (Tensor(x) if r else x for x, r in ((fake, self.r2), (real, self.r1)))
        fakes, reals = D(fake), D(real)
        loss = self.objective(fakes, reals)
        for weight, scores, x in (self.r1, reals, real), (self.r2, fakes, fake):
            if weight:
                loss = loss + 0.5 * weight * zero_centred_penalty(scores, x)
        return loss

    def g_loss(self, D, fake, real):
        """What G is to lower: fake is its samples, a Tensor, and real raw ones, (n, ...) each."""
        return self.objective(D(fake))

    def constrain(self):
        """After each update of D: what its weights must fulfil, nothing here."""

    def step(self, batch):
        """n_critic updates of D, each on as many real samples as fake ones, then one of G; the two
        losses as raw scalars.

        batch: samples (n, ...) or (samples, labels); each update of D takes its share of them.
        """
        real, labels = unpack(batch, self.classes)
        for part in self.slices(len(real)):
            x, told = real[part], labels if labels is None else labels[part]
            D = partial(self.discriminate, labels=told)  # D, told what these samples are to show
            fake = self.generate(self.noise(len(x)), told)
            d_loss = self.d_loss(D, fake.data, x)  # fake.data: a constant, G stays
            self.d_optimizer.step(grad(d_loss, self.d_optimizer.params))
            self.constrain()
        g_loss = self.g_loss(D, fake, x)  # of the last share's fakes, by the D that has just moved
        self.g_optimizer.step(grad(g_loss, self.g_optimizer.params))
        self.ema.update()
        return {"d_loss": d_loss.data, "g_loss": g_loss.data}

    def slices(self, n):
        """The n_critic slices of a batch of n; ValueError unless they can be equal packs."""
        least = self.n_critic * self.packing
        if n % least or not n:
            raise ValueError(
                f"{type(self).__name__}.step: a batch of {n} cannot be cut into n_critic="
                f"{self.n_critic} equal parts of packs of {self.packing}: make its size a multiple "
                f"of {least}"
            )
        return [slice(i, i + n // self.n_critic) for i in range(0, n, n // self.n_critic)]

    def draw(self, points):
        """The averaged generator's samples of points (n, latent + classes)."""
        return self.average(points)


def check(name, value, least=0.0, most=math.inf):
    """ValueError unless an option is a number in that range."""
    if not isinstance(value, int | float) or not least <= value <= most:
        wanted = f"from {least:g} to {most:g}" if most < math.inf else f"at least {least:g}"
        raise ValueError(f"{name} must be a number {wanted}, got {value!r:.50}")


def _smoothed(objective, smoothing):
    """The objective with one-sided label smoothing; ValueError if it has no labels."""
    if "smoothing" not in inspect.signature(objective).parameters:
        raise ValueError(
            f"smoothing: {objective.__name__} has no targets for real and fake to smooth; minimax, "
            "non_saturating and least_squares have"
        )
    return partial(objective, smoothing=smoothing)
