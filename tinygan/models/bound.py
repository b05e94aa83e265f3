"""The variational bound of a diffusion, in nats (Ho 2020, equation 5; Kingma 2021, section 4).

Each step that takes noise out pays for the difference between where it goes and where it would go
if the sample were known: two Gaussians of one deviation, so that a squared distance is all of it.
"""

import math

import numpy as np

from .. import device, ops, random
from ..recording import no_grad
from .labels import one_hot
from .latent import fitting

BOUND = 12  # the random stream of the noise
BATCH = 500  # samples at a time
LEVEL = 1 / 127.5  # between two of a pixel's 256, in [-1, 1]
LEAST = 1e-12  # of a probability, whose log is wanted


def bound(self, x, labels=None, discrete=True, seed=0):
    """A lower bound on log p(x) in nats, (n,) float64 on the host: samples x (n, *shape) by the
    averaged network, one draw of the noise at each of all its steps.

    discrete: x are pictures of 256 levels in [-1, 1], and p is their probability (Ho 2020, equation
    13); else a density. labels: (n,), for log p(x | label).
    """
    x = fitting("bound", self, x) / self.scale
    told = self.classes and labels is not None
    rows = (
        one_hot(labels, self.classes, x) if told else np.zeros_like(x, shape=(len(x), self.classes))
    )
    source, found = random.Generator(seed, BOUND), []
    for i in range(0, len(x), BATCH):
        with no_grad():
            found.append(_bound(self, x[i : i + BATCH], rows[i : i + BATCH], discrete, source))
    return np.concatenate(found)


def _bound(self, x, rows, discrete, source):
    """The same of one batch."""
    host = device.to_host(x).astype(np.float64).reshape(len(x), -1)
    abar = self.abar
    # the last x_T against N(0, 1), of which the first step starts
    costs = 0.5 * (abar[-1] * (host**2 - 1) - math.log(1 - abar[-1])).sum(1)
    signal = abar[1:] / (1 - abar[1:])  # to noise, at k = 1 to T
    for k in range(self.timesteps, 0, -1):
        t = 1 - k / self.timesteps
        noise = source.normal(x.shape, x.dtype, self.device)
        clean, _ = self.estimate(self.noised(x, noise, t), t, rows, guidance=1)
        clean = device.to_host(ops.raw(clean)).astype(np.float64).reshape(len(x), -1)
        if k > 1:  # Kingma 2021, equation 13
            costs += 0.5 * (signal[k - 2] - signal[k - 1]) * ((host - clean) ** 2).sum(1)
    deviation = math.sqrt(1 - abar[1])  # of the last step, from x_1 to x_0
    if discrete:
        return _log_levels(host, clean, deviation).sum(1) - costs
    distances = ((host - clean) / deviation) ** 2
    constant = math.log(deviation * self.scale * math.sqrt(2 * math.pi))
    return -(0.5 * distances + constant).sum(1) - costs


def _log_levels(x, mean, deviation):
    """The log probability of the level that x has, of 256 in [-1, 1], which is that of all between
    it and its neighbours on either side; the first and the last have all beyond them.
    """
    cdf = lambda z: 0.5 * (1 + _erf(z / (deviation * math.sqrt(2))))
    above = np.where(x > 1 - LEVEL / 2, 1.0, cdf(x + LEVEL / 2 - mean))
    below = np.where(x < LEVEL / 2 - 1, 0.0, cdf(x - LEVEL / 2 - mean))
    return np.log(np.maximum(above - below, LEAST))


_erf = np.vectorize(math.erf, otypes=[np.float64])
