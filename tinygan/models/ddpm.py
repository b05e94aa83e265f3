"""Denoising diffusion (Ho 2020): noise is added to data in a thousand small steps, and a network
learns to take it out again.

After k of them a sample x_0 has become x_k = sqrt(abar_k) x_0 + sqrt(1 - abar_k) noise. The network
sees x_k and k and says which noise that was; taking out a little of it at a time, from k = T, where
only noise is left, to k = 0, makes a sample. Here time goes the other way, t = 1 - k / T.
"""

import math

import numpy as np

from .. import device, ops, random
from ..nn.losses import mse
from .bound import bound
from .diffusion import Diffusion
from .options import checked_options


def linear(timesteps):
    """abar of betas on a straight line, such that for 1,000 they go from 1e-4 to 0.02 (Ho 2020)."""
    betas = np.linspace(0.1, 20, timesteps) / timesteps
    return np.cumprod(1 - np.minimum(betas, 0.999))


def cosine(timesteps):
    """abar along the square of a cosine: less noise early (Nichol & Dhariwal 2021, equation 17)."""
    at = (np.arange(timesteps + 1) / timesteps + 0.008) / 1.008
    abar = np.cos(at * math.pi / 2) ** 2
    return np.cumprod(np.maximum(abar[1:] / abar[:-1], 1e-3))


SCHEDULES = {"linear": linear, "cosine": cosine}
LEFT = 0.1  # of the variance of a sample in x_T, which sampling takes for noise, at most


class DDPM(Diffusion):
    """A diffusion of `timesteps` steps, as many as samples are made in at most, whatever `steps`
    says; for the rest see `Diffusion`.

    schedule: of `SCHEDULES`, how fast the noise grows. predict: what the network answers, "eps",
    the noise (Ho 2020), or "v" = sqrt(abar) noise - sqrt(1 - abar) x, which says something at both
    ends (Salimans & Ho 2022, appendix D). eta: how much noise a step of sampling adds: 1, DDPM; 0,
    none, DDIM (Song 2021), which does with far fewer steps. clip: the samples that steps are made
    towards are kept within [-1, 1], as pictures are. What the network is taught by, timesteps,
    schedule and predict, is for good; other options may be changed.
    """

    how = *Diffusion.how, "eta"
    bound = bound  # on log p(x)

    def __init__(
        self, network, shape, timesteps=1000, schedule="cosine", predict="v", eta=0.0, clip=True,
        **options,
    ):  # fmt: skip
        own = {"timesteps": timesteps, "schedule": schedule, "predict": predict, "eta": eta}
        vars(self).update(checked_options("DDPM", **own), clip=clip)
        self.abar = np.concatenate([[1.0], SCHEDULES[schedule](timesteps)])  # at k = 0 to T
        if self.abar[-1] > LEFT:
            few = f"timesteps {timesteps} are too few for schedule {schedule}: they leave"
            raise ValueError(f"DDPM: {few} {self.abar[-1]:.0%} of a sample; make them 2 or more")
        super().__init__(network, shape, **options)
        self._abar = device.to(self.abar, self.device)

    def loss(self, x, rows):
        """|noise - eps(x_k, k)|^2 in the mean, at random k (Ho 2020, equation 14), or that of v."""
        u = random.default.uniform((len(x),), device=self.device)
        k = (u * self.timesteps).astype(int) + 1
        noise = self.noise(len(x)).reshape(x.shape)
        a, s = self.shares(k, x)
        target = noise if self.predict == "eps" else a * noise - s * x
        t = (1 - k / self.timesteps).astype(x.dtype)
        return mse(self.network(a * x + s * noise, t, rows), target)

    def shares(self, k, x):
        """sqrt(abar_k) and sqrt(1 - abar_k) for k (n,), in a form that samples x (n, ...) take."""
        abar = self._abar[k].astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        return np.sqrt(abar), np.sqrt(1 - abar)

    def count(self, t):
        """How many steps of noise there are at a time."""
        return round((1 - t) * self.timesteps)

    def noised(self, x, noise, t):
        """sqrt(abar) x + sqrt(1 - abar) noise (Ho 2020, equation 4)."""
        abar = float(self.abar[self.count(t)])
        return abar**0.5 * x + (1 - abar) ** 0.5 * noise

    def estimate(self, x, t, rows, guidance):
        """What the network at x and t takes for the sample, and for the noise."""
        k = self.count(t)
        a, s = float(self.abar[k]) ** 0.5, float(1 - self.abar[k]) ** 0.5
        out = self.answer(x, 1 - k / self.timesteps, rows, guidance)  # the time it was taught at k
        clean = (x - s * out) / a if self.predict == "eps" else a * x - s * out
        most = 1 / self.scale  # as the network sees a 1
        clean = ops.clip(clean, -most, most) if self.clip else clean
        return clean, (x - a * clean) / s

    def advance(self, x, a, b, rows, guidance, *, eta):
        """To fewer steps of noise, some of it fresh (Song 2021, equations 12 and 16)."""
        k, j = self.count(a), self.count(b)
        if j == k:
            return x
        clean, noise = self.estimate(x, a, rows, guidance)
        of_k, of_j = self.abar[k], self.abar[j]
        fresh = float(eta * math.sqrt((1 - of_j) / (1 - of_k) * (1 - of_k / of_j)))
        x = float(of_j) ** 0.5 * clean + math.sqrt(max(0.0, 1 - of_j - fresh**2)) * noise
        return x + fresh * self.noise(len(x)).reshape(x.shape) if fresh else x
