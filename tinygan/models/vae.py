"""The variational autoencoder (Kingma & Welling 2014): an encoder, a decoder, the evidence lower
bound, `step` and `sample`.

All figures are nats per image. This room knows layers, losses and optimizers; it knows nothing of
files, progress bars or data sets.
"""

import copy
import math

import numpy as np

from .. import nn, ops, optim, random
from ..autograd import describe, grad
from ..recording import no_grad
from ..nn.losses import binary_cross_entropy_with_logits, gaussian_kl
from .labels import chosen, joined, one_hot, unpack

EVALUATION = 3  # the random stream of `elbo` and `iwae`: the same noise whenever they are asked


class VAE:
    """An encoder that names a Gaussian of latent points for each image, q(z|x), and a decoder back
    from points, p(x|z).

    encoder: x (n, ...) in [0, 1] -> (n, 2 * latent), means then log variances; decoder: (n, latent)
    -> logits of x's shape. beta weighs the KL term (Higgins 2017); 0 leaves out the noise too: a
    plain autoencoder. Both networks learn by Adam; samples and bounds come from `average`, a moving
    average of their weights. For another p(x|z) override the three methods `target`,
    `log_likelihood` and `image`. With classes the decoder takes (n, latent + classes), the encoder
    gives an answer for each, (n, classes * 2 * latent), batches are (images, labels) and bounds are
    on log p(x|label).
    """

    def __init__(
        self, encoder, decoder, latent, lr=1e-3, beta=1.0, decay=0.999, device="cpu", classes=0
    ):
        self.network = nn.Module()
        self.encoder, self.decoder = self.network.encoder, self.network.decoder = encoder, decoder
        self.network.to(device)
        self.latent, self.classes, self.beta, self.device = latent, classes, beta, device
        self.average = copy.deepcopy(self.network).eval()
        self.ema = optim.EMA(self.average, self.network, decay)
        self.optimizer = optim.Adam(self.network.parameters(), lr)

    def noise(self, n, source=None):
        """n latent points from N(0, 1), (n, latent)."""
        return (source or random.default).normal((n, self.latent), device=self.device)

    def target(self, images):
        """x of images in [-1, 1]: the probability of ink, from 0 to 1."""
        return (images + 1) / 2

    def log_likelihood(self, output, x):
        """log p(x|z) for each image, (n,), of what the decoder gave for z: ink with probability
        sigmoid(output).
        """
        return -ops.sum(
            binary_cross_entropy_with_logits(output, x, reduction="none"),
            axis=tuple(range(1, x.ndim)),
        )

    def image(self, output):
        """What the decoder gave as images in [-1, 1]: the mean of p(x|z)."""
        return 2 * ops.sigmoid(output) - 1

    def encode(self, x, encoder=None, rows=None):
        """Mean and log variance of q(z|x, label), (n, latent) each; by the averaged encoder unless
        told otherwise.
        """
        out = chosen((encoder or self.average.encoder)(x), rows)
        if out.shape[1:] != (2 * self.latent,):
            raise ValueError(
                f"VAE: the encoder must give (n, {2 * self.latent}), means and log variances; got {describe(out)}"
            )
        return out[:, : self.latent], out[:, self.latent :]

    def terms(self, images, rows, network, source=None):
        """The costs whose sum is minus the bound (equation 10), (n,) each: -log p(x|z) at one z
        from q, KL(q || N(0, 1)).
        """
        x = self.target(images)
        mean, log_variance = self.encode(x, network.encoder, rows)
        z = mean
        if self.beta:
            noise = self.noise(len(x), source).astype(mean.dtype, copy=False)
            z = mean + ops.exp(0.5 * log_variance) * noise
        return -self.log_likelihood(network.decoder(joined(z, rows)), x), gaussian_kl(
            mean, log_variance, "none"
        )

    def step(self, batch):
        """One update on a batch, images (n, ...) in [-1, 1] or (images, labels); the loss and its
        two terms as raw scalars.
        """
        reconstruction, kl = map(ops.mean, self.terms(*unpack(batch, self.classes), self.network))
        loss = reconstruction + self.beta * kl
        self.optimizer.step(grad(loss, self.optimizer.params))
        self.ema.update()
        return {"loss": loss.data, "reconstruction": reconstruction.data, "kl": kl.data}

    def sample(self, n, noise=None, labels=None):
        """n images in [-1, 1], raw, of fresh points of the prior or the `noise` (n, latent) given;
        labels (n,), None: in turn.
        """
        noise = self.noise(n) if noise is None else noise
        points = joined(noise, one_hot(labels, self.classes, noise))
        with no_grad():
            return np.concatenate(
                [
                    self.image(self.average.decoder(points[i : i + 250])).data
                    for i in range(0, n, 250)
                ]
            )

    @no_grad()
    def elbo(self, batch, rows=1000):
        """The evidence lower bound, mean over a batch as `step` has it, taken `rows` at a time, and
        the costs it consists of.

        With beta 0 it bounds nothing: z is q's mean, and `reconstruction` alone says how well that
        does.
        """
        source, costs = random.Generator(random.default.seed, EVALUATION), np.zeros(2)
        images, labels = unpack(batch, self.classes)
        for i in range(0, len(images), rows):
            piece = images[i : i + rows], labels[i : i + rows]
            costs += [float(ops.sum(t)) for t in self.terms(*piece, self.average, source)]
        reconstruction, kl = (costs / len(images)).tolist()
        return {"elbo": -reconstruction - kl, "reconstruction": reconstruction, "kl": kl}

    @no_grad()
    def iwae(self, batch, k=5000, rows=1000):
        """log(mean of p(x, z) / q(z|x) over k points z from q) (Burda 2016, equation 8), for each
        image: raw, (n,) float64.

        It rises with k towards log p(x). `rows` points are decoded at a time: memory grows with
        neither k nor n.
        """
        if not 1 <= k or not 1 <= rows:
            raise ValueError(f"iwae: k and rows must be at least 1, got k={k}, rows={rows}")
        source, draws, bounds = random.Generator(random.default.seed, EVALUATION), min(k, rows), []
        images, labels = unpack(batch, self.classes)
        for i in range(0, len(images), rows // draws):
            x, told = self.target(images[i : i + rows // draws]), labels[i : i + rows // draws]
            # (n, 1, latent)
            mean, log_variance = (t.data[:, None] for t in self.encode(x, rows=told))
            total = np.full_like(x, -np.inf, shape=len(x), dtype=np.float64)
            for done in range(0, k, draws):
                m = min(draws, k - done)
                noise = self.noise(len(x) * m, source).reshape(len(x), m, self.latent)
                z = mean + np.exp(0.5 * log_variance) * noise
                output = self.average.decoder(
                    joined(z.reshape(-1, self.latent), told.repeat(m, axis=0))
                )
                log_p = self.log_likelihood(output, x.repeat(m, axis=0)).data.reshape(len(x), m)
                # 2 pi cancels
                log_prior_over_q = 0.5 * (noise**2 - z**2 + log_variance).sum(axis=2)
                total = np.logaddexp(total, ops.logsumexp(log_p + log_prior_over_q, axis=1))
            bounds.append(total - math.log(k))
        return np.concatenate(bounds)

    def parts(self):
        """Everything that training changes, by name: what a checkpoint holds."""
        return {name: getattr(self, name) for name in ("network", "average", "ema", "optimizer")}

    @property
    def optimizers(self):
        """For a trainer that schedules the learning rate."""
        return [self.optimizer]


def mlp(latent=20, lr=3e-3, classes=0, **options):
    """The VAE of dense layers, 784-400-latent-400-784, of PyTorch's examples (vae/main.py)."""
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, (classes or 1) * 2 * latent)
    )
    decoder = nn.Sequential(
        nn.Linear(latent + classes, 400),
        nn.ReLU(),
        nn.Linear(400, 784),
        nn.Unflatten(1, (1, 28, 28)),
    )
    return VAE(encoder, decoder, latent, lr, classes=classes, **options)


def conv(latent=20, lr=3e-3, classes=0, **options):
    """The VAE of two 4x4 convolutions 28 -> 14 -> 7 with 32 and 64 channels, and their transposes
    back.
    """
    encoder = nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * 7 * 7, (classes or 1) * 2 * latent),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(latent + classes, 64 * 7 * 7), nn.ReLU(), nn.Unflatten(1, (64, 7, 7)),
        nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1), nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
    )  # fmt: skip
    return VAE(encoder, decoder, latent, lr, classes=classes, **options)
