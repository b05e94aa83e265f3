"""The variational bound of a diffusion, in nats (Ho 2020, equation 5; Kingma 2021, section 4).

Each step that takes noise out pays for the difference between where it goes and where it would go
if the sample were known: the KL divergence of two Gaussians. How wide the first one is, is a choice
(Ho 2020, section 3.2): as the second, "posterior", right where the sample has one possible value,
or as the step that brought the noise, "step", right where it may be anywhere. In the first steps
they differ by half and more, and data that have a density lose 0.3 to 1.4 nats for each of their
numbers by "posterior", however many steps there are.
"""

import math

import numpy as np

from .. import device, ops, random
from ..recording import no_grad
from .given import check_pictures, fitting
from .labels import asked_rows
from .options import checked_options

BOUND = 12  # the random stream of the noise
BATCH = 500  # samples at a time
LEVEL = 1 / 127.5  # between two of a pixel's 256, in [-1, 1]
LEAST = 1e-12  # of a probability, whose log is wanted


def bound(self, x, labels=None, discrete=None, variance=None, seed=0):
    """A lower bound on log p(x) in nats, (n,) float64 on the host: samples x (n, *shape) by the
    averaged network, one draw of the noise at each of all its steps.

    discrete: x are pictures of 256 levels in [-1, 1], and p is their probability (Ho 2020, equation
    13); else a density; None: if they are pictures. labels: (n,), for log p(x | label). variance:
    of the steps, "posterior", or "step"; None: the first if discrete, else the second.
    """
    discrete = len(self.sample_shape) == 3 if discrete is None else discrete
    if discrete:
        check_pictures("bound: a probability of levels", self)
    variance = ("posterior" if discrete else "step") if variance is None else variance
    checked_options("bound", variance=variance)
    x = fitting("bound", self, x) / self.scale
    rows = asked_rows("bound", self, labels, x)
    source, found = random.Generator(seed, BOUND), []
    for i in range(0, len(x), BATCH):
        with no_grad():
            part = x[i : i + BATCH]
            costs, clean = _costs(self, part, rows[i : i + BATCH], variance == "step", source)
        host = device.to_host(part).astype(np.float64).reshape(len(part), -1)
        found.append(_last(self, host, clean, discrete) - costs)
    return np.concatenate(found)


def _costs(self, x, rows, wide, source):
    """What all steps but the last cost, (n,), and what the last one makes of x_1, (n, latent)."""
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
        if k > 1:  # Kingma 2021, equation 13; if the step is wider, the distance counts for less
            share = (1 - abar[k - 1]) / (1 - abar[k]) if wide else 1.0  # of the two variances
            squares = (signal[k - 2] - signal[k - 1]) * ((host - clean) ** 2).sum(1)
            costs += 0.5 * (self.latent * (share - 1 - math.log(share)) + share * squares)
    return costs, clean


def _last(self, x, clean, discrete):
    """log p(x | x_1), (n,), of the last step, whose deviation is that of the noise in x_1."""
    deviation = math.sqrt(1 - self.abar[1])
    if discrete:
        return _log_levels(x * self.scale, clean * self.scale, deviation * self.scale).sum(1)
    constant = math.log(deviation * self.scale * math.sqrt(2 * math.pi))
    return -(0.5 * ((x - clean) / deviation) ** 2 + constant).sum(1)


def _log_levels(x, mean, deviation):
    """The log probability of the level that x has, of 256 in [-1, 1], which is that of all between
    it and its neighbours on either side; the first and the last have all beyond them.
    """
    cdf = lambda z: 0.5 * (1 + _erf(z / (deviation * math.sqrt(2))))
    above = np.where(x > 1 - LEVEL / 2, 1.0, cdf(x + LEVEL / 2 - mean))
    below = np.where(x < LEVEL / 2 - 1, 0.0, cdf(x - LEVEL / 2 - mean))
    return np.log(np.maximum(above - below, LEAST))


_erf = np.vectorize(math.erf, otypes=[np.float64])
