"""The variational autoencoder (Kingma & Welling 2014): an encoder, a decoder, the evidence lower
bound, `step` and `sample`.

All figures are nats per image, but for `bits`. This room knows layers, losses and optimizers; it
knows nothing of files, progress bars or data sets.
"""

import copy
import math

import numpy as np

from .. import nn, ops, optim, random
from ..autograd import describe, grad
from ..nn.losses import gaussian_kl
from ..recording import no_grad
from .labels import checked, chosen, joined, one_hot, unpack
from .latent import LatentModel
from .likelihoods import Bernoulli

EVALUATION = 3  # the random stream of `elbo` and `iwae`: the same noise whenever they are asked


class VAE(LatentModel):
    """An encoder that names a Gaussian of latent points for each image, q(z|x), and a decoder back
    from points, p(x|z).

    encoder: x (n, ...) in [0, 1] -> (n, 2 * latent), means then log variances; decoder: (n, latent)
    -> what the likelihood asks for, logits of x's shape for Bernoulli's. beta weighs the KL term
    (Higgins 2017); 0 leaves out the noise too: a plain autoencoder. Both networks learn by Adam;
    samples and bounds come from `average`, a moving average of their weights. likelihood: p(x|z),
    an object as those of `likelihoods` are. With classes the decoder takes (n, latent + classes),
    the encoder gives an answer for each, (n, classes * 2 * latent), batches are (images, labels)
    and bounds are on log p(x|label).
    """

    trained = "network", "average", "ema", "optimizer"

    def __init__(
        self, encoder, decoder, latent, lr=1e-3, beta=1.0, decay=0.999, device="cpu", classes=0,
        names=(), likelihood=None,
    ):  # fmt: skip
        self.names, self.likelihood = checked(names, classes), likelihood or Bernoulli()
        self.network = nn.Module()
        self.encoder, self.decoder = self.network.encoder, self.network.decoder = encoder, decoder
        self.network.to(device)
        self.latent, self.classes, self.beta, self.device = latent, classes, beta, device
        self.average = copy.deepcopy(self.network).eval()
        self.ema = optim.EMA(self.average, self.network, decay)
        self.optimizer = optim.Adam(self.network.parameters(), lr)

    def encode(self, x, labels=None, network=None):
        """Mean and log variance of q(z|x, label), (n, latent) each, by the network that learns or
        by another, such as `average`.
        """
        encoder = (network or self.network).encoder
        out = chosen(encoder(x), one_hot(labels, self.classes, x))
        if out.shape[1:] != (2 * self.latent,):
            wanted = f"(n, {2 * self.latent}), means and log variances"
            raise ValueError(f"VAE: the encoder must give {wanted}; got {describe(out)}")
        return out[:, : self.latent], out[:, self.latent :]

    def decode(self, z, labels=None, network=None):
        """What the decoder gives, (n, ...), for points z (n, latent) and their labels (n,)."""
        rows = one_hot(labels, self.classes, z)
        return (network or self.network).decoder(joined(z, rows))

    def terms(self, images, labels, network, source=None):
        """The costs whose sum is minus the bound (equation 10), (n,) each: -log p(x|z) at one z
        from q, KL(q || N(0, 1)).
        """
        x = self.likelihood.target(images)
        mean, log_variance = self.encode(x, labels, network)
        z = mean
        if self.beta:
            noise = self.noise(len(x), source).astype(mean.dtype, copy=False)
            z = mean + ops.exp(0.5 * log_variance) * noise
        cost = -self.likelihood.log_p(self.decode(z, labels, network), x)
        return cost, gaussian_kl(mean, log_variance, "none")

    def step(self, batch):
        """One update on images (n, ...) in [-1, 1] or (images, labels); the loss and its terms."""
        images, labels = unpack(batch, self.classes)
        reconstruction, kl = map(ops.mean, self.terms(images, labels, self.network))
        loss = reconstruction + self.beta * kl
        self.optimizer.step(grad(loss, self.optimizer.params))
        self.ema.update()
        found = {"loss": loss.data, "reconstruction": reconstruction.data, "kl": kl.data}
        return found | self.bits(found, images)

    def bits(self, costs, images):
        """The bound in bits of each number of an image, the field's measure, {"bits": ...}; {} for
        a likelihood that is no probability of pictures, and with beta 0, where there is no bound.
        """
        if not self.beta or not self.likelihood.discrete:
            return {}
        nats = costs["reconstruction"] + costs["kl"]
        return {"bits": nats / (math.prod(images.shape[1:]) * math.log(2))}

    def draw(self, points):
        """The averaged decoder's images in [-1, 1] of points (n, latent + classes)."""
        return self.likelihood.image(self.average.decoder(points))

    @no_grad()
    def elbo(self, batch, rows=1000):
        """The evidence lower bound, mean over a batch as `step` has it, taken `rows` at a time, and
        the costs it consists of.

        With beta 0 it bounds nothing: z is q's mean, and `reconstruction` alone says how well it
        does.
        """
        source, costs = random.Generator(random.default.seed, EVALUATION), np.zeros(2)
        images, labels = unpack(batch, self.classes)
        for i in range(0, len(images), rows):
            told = None if labels is None else labels[i : i + rows]
            terms = self.terms(images[i : i + rows], told, self.average, source)
            costs += [float(ops.sum(t)) for t in terms]
        reconstruction, kl = (costs / len(images)).tolist()
        found = {"elbo": -reconstruction - kl, "reconstruction": reconstruction, "kl": kl}
        return found | self.bits(found, images)

    @no_grad()
    def iwae(self, batch, k=5000, rows=1000):
        """log(mean of p(x, z) / q(z|x) over k points z from q), which rises with k towards log p(x)
        (Burda 2016, equation 8), for each image: raw, (n,) float64. `rows` points are decoded at a
        time.
        """
        if not 1 <= k or not 1 <= rows:
            raise ValueError(f"iwae: k and rows must be at least 1, got k={k}, rows={rows}")
        source = random.Generator(random.default.seed, EVALUATION)
        images, labels = unpack(batch, self.classes)
        draws, bounds = min(k, rows), []  # points of one image at a time; what was found
        for i in range(0, len(images), rows // draws):
            x = self.likelihood.target(images[i : i + rows // draws])
            told = None if labels is None else labels[i : i + rows // draws]
            encoded = self.encode(x, told, self.average)
            mean, log_variance = (t.data[:, None] for t in encoded)  # (n, 1, latent)
            total = np.full_like(x, -np.inf, shape=len(x), dtype=np.float64)
            for done in range(0, k, draws):
                m = min(draws, k - done)
                noise = self.noise(len(x) * m, source).reshape(len(x), m, self.latent)
                z = mean + np.exp(0.5 * log_variance) * noise
                again = None if told is None else told.repeat(m)
                output = self.decode(z.reshape(-1, self.latent), again, self.average)
                log_p = self.likelihood.log_p(output, x.repeat(m, axis=0)).data.reshape(len(x), m)
                # log p(z) - log q(z|x), in which 2 pi cancels
                log_prior_over_q = 0.5 * (noise**2 - z**2 + log_variance).sum(axis=2)
                total = np.logaddexp(total, ops.logsumexp(log_p + log_prior_over_q, axis=1))
            bounds.append(total - math.log(k))
        return np.concatenate(bounds)
