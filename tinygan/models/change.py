"""The exact likelihood of a flow by the change of variables (Chen 2018, theorem 1; Grathwohl 2019).

Along dx/dt = v(x, t) the log of the density changes by minus the divergence of v, the sum of
dv_i/dx_i. So from a sample back to the noise that it comes of: log p(x) = log N(x0; 0, 1) minus the
integral of the divergence over the way. It is exact but for the solver's error where the divergence
is; where dimensions are many it is estimated without bias by probes (Hutchinson 1990).
"""

import functools
import math
from itertools import pairwise

import numpy as np

from .. import device, ops, random
from ..autograd import Tensor, grad
from .given import check_pictures, fitting
from .labels import asked_rows
from .options import checked_options
from .solvers import SOLVERS

PROBED = 10  # the random stream of probes, and of what is between two levels of a pixel
BATCH = 500  # samples at a time
LEVELS = 127.5  # of a pixel's 256, in [-1, 1], to a unit


def log_prob(self, x, labels=None, steps=25, method="rk4", probes=0, seed=0):
    """log p(x) in nats, (n,) float64 on the host, of samples x (n, *shape) by the averaged network;
    with labels (n,), log p(x | label), else of the samples whose label it is not told.

    steps, method: of `solvers`, back to the noise, dense where samples are narrow (`_times`); take
    twice as many to see what they leave (25 of "rk4": 0.002 nats of ring and grid, 0.0001 bits per
    dimension of digits). probes: vectors of random signs to a sample, which estimate the
    divergence; 0 for the exact one, at the price of a backward pass for each dimension. The mean of
    many samples is near the truth with one probe each. seed: of the probes.
    """
    checked_options("log_prob", method=method, steps=steps, probes=probes)
    x = fitting("log_prob", self, x) / self.scale
    rows = asked_rows("log_prob", self, labels, x)
    source = random.Generator(seed, PROBED)
    found = []
    for i in range(0, len(x), BATCH):
        part = x[i : i + BATCH]
        signs = _signs(source, (probes, *part.shape), self.device, x.dtype)
        v = functools.partial(_changes, self, part.shape, rows[i : i + BATCH], signs)
        # one array holds the points and, beside them, how their log density changed
        state = np.concatenate(
            [part.reshape(len(part), -1), part.reshape(len(part), -1)[:, :1] * 0], 1
        )
        for a, b in pairwise(_times(steps)):
            state = SOLVERS[method](v, state, a, b)
        found.append(device.to_host(state))
    state = np.concatenate(found).astype(np.float64)
    noise, change = state[:, :-1], state[:, -1]
    constant = self.latent * (math.log(2 * math.pi) / 2 + math.log(self.scale))
    return change - 0.5 * (noise**2).sum(1) - constant


def _times(steps):
    """From 1 back to 0 so that 1 - t grows as the cube of equal steps (Karras 2022, equation 5,
    with rho 3, where they find the errors of all steps about equal).

    Data of a small deviation s, such as paper, become as narrow only when 1 - t is about s: a step
    that is longer jumps over it, and equal steps would have to be 1 / s and more.
    """
    return [1 - (k / steps) ** 3 for k in range(steps + 1)]


def _changes(self, shape, rows, signs, state, t):
    """d/dt of a state (n, latent + 1): the velocity, and its divergence, which the log density on
    the way back gains.
    """
    x = Tensor(state[:, :-1].reshape(shape))
    v = self.answer(x, t, rows, guidance=1)
    if len(signs):  # the mean over probes e of e^T (dv/dx) e
        slopes = [e * grad(ops.sum(v * e), x) for e in signs]
        divergence = sum(s.reshape(len(state), -1).sum(1) for s in slopes) / len(signs)
    else:  # row i of dv/dx for all samples at once, of which i is wanted
        flat = ops.reshape(v, (len(state), -1))
        slopes = [grad(ops.sum(flat[:, i]), x).reshape(len(state), -1) for i in range(self.latent)]
        divergence = sum(s[:, i] for i, s in enumerate(slopes))
    return np.concatenate([ops.raw(v).reshape(len(state), -1), divergence[:, None]], 1)


def _signs(source, shape, where, dtype):
    """Random signs, 1 or -1."""
    return np.sign(source.uniform(shape, dtype, where) - 0.5 + 1e-9)


def bits_per_dim(self, x, labels=None, probes=1, seed=0, **how):
    """(mean, standard error) of the bits that pictures x (n, c, h, w) of 256 levels in [-1, 1] take
    for each of their numbers, an upper bound: a random place between its level and the next stands
    for each number (Theis 2016, section 3.1), and the flow's density there is asked for. Of one
    picture the error is not known, NaN.

    Only a model that was taught such places (`data.Dequantise`) makes sense of them. how: steps and
    method of `log_prob`.
    """
    check_pictures("bits_per_dim", self)
    x = fitting("bits_per_dim", self, x)
    source = random.Generator(seed, PROBED)
    source.seek(1)  # other numbers than the probes are made of
    places = source.uniform(x.shape, x.dtype, self.device)
    at = ((x + 1) * LEVELS + places) * (2 / 256) - 1  # 0 to 256 levels as [-1, 1]
    nats = log_prob(self, at, labels, probes=probes, seed=seed, **how)
    bits = 7 - nats / self.latent / math.log(2)  # a level is 2 / 256 wide, 2^-7
    error = bits.std(ddof=1) / len(bits) ** 0.5 if len(bits) > 1 else math.nan
    return float(bits.mean()), float(error)
