"""Flows and diffusions against what is known: solvers on flows whose end has a formula; networks
that are the exact answer for Gaussian data, so that likelihood, bound and samples are known, too;
and what the networks are taught, by hand.
"""

import copy
import itertools
import math
import pickle
import sys
import warnings

import numpy as np
import pytest

from tinygan import Tensor, models, nn, ops, random
from tinygan.models.bound import _log_levels
from tinygan.models.ddpm import SCHEDULES
from tinygan.models.flow import optimal
from tinygan.models.options import OPTIONS
from tinygan.models.solvers import SOLVERS

RNG = np.random.default_rng(0)
ORDERS = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}
# Gaussian data of three correlated coordinates, as the network sees them
MEAN = np.array([0.5, -0.3, 0.2])
ROOT = np.array([[0.6, 0.0, 0.0], [0.3, 0.4, 0.0], [-0.2, 0.3, 0.5]])
COV = ROOT @ ROOT.T
VALUES, AXES = np.linalg.eigh(COV)


def gaussian(n, scale=1.0):
    """Samples (n, 3) of the data, and their log density (n,)."""
    noise = RNG.normal(size=(n, 3))
    log = -0.5 * (noise**2).sum(1) - 1.5 * math.log(2 * math.pi) - math.log(np.linalg.det(ROOT))
    return scale * (noise @ ROOT.T + MEAN), log - 3 * math.log(scale)


class Exact(nn.Module):
    """What a network would answer that has learnt Gaussian data in full, N(MEAN, COV); its weight
    counts for nothing.
    """

    def __init__(self, mean=MEAN, values=VALUES, axes=AXES):
        self.weight = nn.Parameter(np.zeros(1, np.float32))
        self.data = tuple(np.float32(part) for part in (mean, values, axes))

    def along(self, x, shift, factor):
        """(x - shift), each of the axes by its factor (n, d)."""
        _, _, axes = self.data
        return ops.matmul(ops.matmul(x - shift, axes) * factor, axes.T) + 0 * self.weight


class Velocity(Exact):
    """E[x1 - x0 | x_t], by the covariance of x1 - x0 and x_t = (1 - t) x0 + t x1."""

    def forward(self, x, t, rows):
        (mean, values, _), t = self.data, t.reshape(-1, 1)
        factor = (t * values - (1 - t)) / ((1 - t) ** 2 + t**2 * values)
        return self.along(x, t * mean, factor) + mean


class Denoiser(Exact):
    """E[noise | x_k], or that of v = sqrt(abar) noise - sqrt(1 - abar) x, likewise."""

    def __init__(self, abar, predict, *data):
        super().__init__(*data)
        self.abar, self.predict = np.concatenate([[1], abar]).astype(np.float32), predict

    def forward(self, x, t, rows):
        shape, (mean, values, _) = x.shape, self.data
        k = ((1 - t) * (len(self.abar) - 1)).round().astype(int)
        abar = self.abar[k].reshape(-1, 1)
        a, s = np.sqrt(abar), np.sqrt(1 - abar)
        flat = ops.reshape(x, (len(k), -1))
        clean = mean + self.along(flat, a * mean, a * values / (abar * values + s**2))
        noise = (flat - a * clean) / s
        return ops.reshape(noise if self.predict == "eps" else a * noise - s * clean, shape)


class Told(nn.Module):
    """Answers what a function of (x, t, rows) says, and remembers what it was asked."""

    def __init__(self, says):
        self.weight, self.says = nn.Parameter(np.zeros(1, np.float32)), says
        self.asked = []

    def __deepcopy__(self, memo):
        return Told(self.says)

    def forward(self, x, t, rows):
        self.asked.append(tuple(map(ops.raw, (x, t, rows))))
        return self.says(x, t, rows) + 0 * self.weight


def diffusion(timesteps, predict="v", schedule="cosine", scale=1.0, **options):
    network = Denoiser(SCHEDULES[schedule](timesteps), predict)
    told = {"timesteps": timesteps, "predict": predict, "schedule": schedule, "clip": False}
    return models.DDPM(network, (3,), scale=scale, **told, **options)


def assert_gaussian(x, scale=1.0, slack=0.0):
    """Mean and covariance of samples (n, 3) are the data's, within four standard errors and what a
    solver leaves.
    """
    deviations = np.sqrt(np.diag(COV))
    error = 4 / math.sqrt(len(x)) + slack
    assert (abs(x.mean(0) / scale - MEAN) < error * deviations).all()
    apart = abs(np.cov(x.T) / scale**2 - COV) / np.outer(deviations, deviations)
    assert (apart < 1.5 * error).all()


# Solvers


def rotation(x, t):
    return x @ np.array([[-0.5, 2.0], [-2.0, -0.5]]).T


def rotated(x, t):
    c, s = math.cos(2 * t), math.sin(2 * t)
    return math.exp(-t / 2) * x @ np.array([[c, s], [-s, c]]).T


FLOWS = {
    "linear": (rotation, rotated),
    "of the time": (lambda x, t: (1 + t) * x, lambda x, t: x * math.exp(t + t**2 / 2)),
}


@pytest.mark.parametrize("way", FLOWS)
@pytest.mark.parametrize("method", SOLVERS)
def test_a_solvers_error_falls_as_its_order_says(method, way):
    """Forwards and backwards."""
    v, at = FLOWS[way]
    start = np.array([[1.0, -0.5]])

    def error(steps, a, b):
        x, h = at(start, a), (b - a) / steps
        for i in range(steps):
            x = SOLVERS[method](v, x, a + i * h, a + (i + 1) * h)
        return abs(x - at(start, b)).max()

    assert ORDERS.keys() == SOLVERS.keys()
    for a, b in (0, 1), (1, 0):
        order = math.log2(error(40, a, b) / error(80, a, b))
        assert abs(order - ORDERS[method]) < 0.15 and error(80, a, b) > 1e-12


def test_a_flow_follows_its_velocity_and_asks_nothing_at_the_end():
    """v = x: e**1 by as many calls as the methods cost; the last step of those that would look at
    t = 1 is Euler's, of rk4 the midpoint's.
    """
    calls = {"euler": 8, "midpoint": 16, "heun": 15, "rk4": 30}
    points = np.ones((3, 2), np.float32)
    for method, count in calls.items():
        model = models.Flow(Told(lambda x, t, rows: x), (2,), steps=8, method=method)
        x = model.sample(3, points)
        times = [t[0] for _, t, _ in model.average.asked]
        assert len(times) == count and times[0] == 0 and max(times) < 1
        h, second = 1 / 8, 1 + 1 / 8 + 1 / 8**2 / 2
        step = {"euler": 1 + h, "rk4": 1 + h + h**2 / 2 + h**3 / 6 + h**4 / 24}
        step, last = step.get(method, second), {"heun": 1 + h, "rk4": second}.get(method)
        np.testing.assert_allclose(x, step**7 * (last or step), rtol=1e-6)
        np.testing.assert_allclose(model.sample(3, points, steps=2, method="euler"), 2.25)


# Gaussian data, of which all is known


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_the_likelihood_of_a_gaussian_is_exact(scale):
    """Of more samples than one batch, and by one solver as by another."""
    model = models.Flow(Velocity(), (3,), scale=scale)
    x, log = gaussian(1100, scale)
    found = model.log_prob(x)
    assert found.dtype == np.float64 and found.shape == (1100,)
    np.testing.assert_allclose(found, log, atol=1e-4)
    for method, steps in ("midpoint", 100), ("heun", 100):
        other = model.log_prob(x[:9], steps=steps, method=method)
        np.testing.assert_allclose(other, log[:9], atol=5e-3)
    np.testing.assert_array_equal(model.log_prob(x[990:], steps=25, method="rk4"), found[990:])


@pytest.mark.parametrize("deviation", [0.1, 0.01, 0.002])
def test_the_likelihood_of_narrow_data_is_exact(deviation):
    """All of it comes to be in the last moments, where steps are dense: what they leave still falls
    as h^4; of levels of a pixel, whose deviation is the last one's, as of wide data.
    """
    values = deviation**2 * np.array([1.0, 1.2, 0.7])
    model = models.Flow(Velocity(MEAN, values, AXES), (3,))
    noise = RNG.normal(size=(50, 3))
    log = -0.5 * (noise**2).sum(1) - 1.5 * math.log(2 * math.pi) - 0.5 * np.log(values).sum()
    x = MEAN + (noise * np.sqrt(values)) @ AXES.T
    few, usual, many = (abs(model.log_prob(x, steps=n) - log).max() for n in (12, 25, 50))
    assert few < 0.5 and usual < few / 10 and many < usual / 10


def test_probes_estimate_the_divergence_without_bias():
    """Signs differ from sample to sample, seed to seed and batch to batch."""
    model = models.Flow(Velocity(), (3,))
    x, log = gaussian(1500)
    how = {"steps": 15}
    few, many = (model.log_prob(x, probes=probes, **how) - log for probes in (1, 4))
    for apart in few, many:
        assert apart.std() > 0.1 and abs(apart.mean()) < 4 * apart.std() / math.sqrt(1500)
    assert abs(few.std() / many.std() - 2) < 0.3  # the error of a mean of four
    # the error is the same function of the signs at every sample, of which there are eight
    signs = few.round(2)
    assert len(np.unique(signs)) <= 5 and (signs[:500] != signs[500:1000]).any()
    again, other = (model.log_prob(x[:500], probes=1, seed=i, **how) - log[:500] for i in (0, 1))
    np.testing.assert_array_equal(again, few[:500])
    assert (other != again).any()


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_a_flows_samples_are_the_gaussian(scale):
    model = models.Flow(Velocity(), (3,), scale=scale, steps=50)
    random.manual_seed(1)
    for method in "midpoint", "heun":
        assert_gaussian(model.sample(4000, method=method), scale, slack=0.02)


@pytest.mark.parametrize("predict", ["eps", "v"])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_bound_of_a_gaussian_comes_up_to_its_likelihood(schedule, predict):
    """Of steps as wide as those of the noise; with those of `eta` 1, narrower, something stays."""
    x, log = gaussian(600, 2.0)
    gaps = []
    for timesteps in 10, 50, 500:
        model = diffusion(timesteps, predict, schedule, scale=2.0)
        apart = log - model.bound(x, discrete=False)
        error = apart.std() / math.sqrt(600)
        gaps.append(apart.mean())
        assert gaps[-1] > -4 * error and apart.shape == (600,)
    assert gaps[2] < 0.03 + 4 * error < 0.5
    assert gaps[0] > 0.1 + gaps[2]
    narrow = log - model.bound(x, discrete=False, variance="posterior")
    assert narrow.mean() > gaps[2] + 0.5
    if schedule == "cosine":
        np.testing.assert_allclose(model.bound(x, discrete=False), log - apart, rtol=1e-12)
        assert (model.bound(x[:9], discrete=False, seed=1) != (log - apart)[:9]).all()


@pytest.mark.parametrize("predict", ["eps", "v"])
@pytest.mark.parametrize(("eta", "steps"), [(0.0, 50), (1.0, 100), (0.5, 100)])
def test_a_diffusions_samples_are_the_gaussian(predict, eta, steps):
    random.manual_seed(2)
    x = diffusion(100, predict, eta=eta, steps=steps, scale=2.0).sample(2000)
    assert_gaussian(x, 2.0, slack=0.03)


def test_the_bound_pays_for_what_is_left_of_the_sample():
    """Two steps, after which a tenth of it is there: KL(N(a x, s^2) || N(0, 1)) by hand; the middle
    of the network's answers is 0, so that the rest of the bound is known, too.
    """
    model = models.DDPM(Told(lambda x, t, rows: x), (2,), 2, "linear", "v", clip=False)
    model.abar, model.average.says = np.array([1.0, 0.9, 0.2]), model.network.says
    model.estimate = lambda x, t, rows, guidance: (0 * x, x)
    x = RNG.normal(size=(5, 2)).astype(np.float32)
    squares = (x.astype(np.float64) ** 2).sum(1)
    left = 0.5 * (0.2 * (squares - 2) - 2 * math.log(0.8))
    step = 0.5 * (0.9 / 0.1 - 0.2 / 0.8) * squares
    last = -0.5 * squares / 0.1 - math.log(2 * math.pi * 0.1)
    found = model.bound(x, discrete=False, variance="posterior")
    np.testing.assert_allclose(found, last - left - step, rtol=1e-6)
    wide = 0.5 * (2 * (1 / 8 - 1 + math.log(8)) + (0.9 / 0.1 - 0.2 / 0.8) / 8 * squares)
    np.testing.assert_allclose(model.bound(x, discrete=False), last - left - wide, rtol=1e-6)


def test_half_a_way_begins_where_its_points_are():
    random.manual_seed(3)
    x = gaussian(2000, 2.0)[0].astype(np.float32)
    for model in models.Flow(Velocity(), (3,), scale=2.0), diffusion(100, scale=2.0):
        points = model.noised(x / 2, model.noise(2000), 0.4)
        *way, last = model.path(points, steps=60, start=0.4)
        assert len(way) == 59
        assert_gaussian(ops.raw(last), 2.0, slack=0.03)


def test_what_was_seen_stays():
    for model in models.Flow(Velocity(), (3,), scale=2.0), diffusion(50, scale=2.0, eta=1.0):
        x, noise = gaussian(8, 2.0)[0].astype(np.float32), model.noise(8)
        known = np.arange(24).reshape(8, 3) % 2 == 0
        found = ops.raw(model.draw(model.noise(8), seen=(x, known, noise), steps=20))
        np.testing.assert_allclose(found[known], x[known], atol=1e-6)
        assert (abs(found - x)[~known] > 1e-3).all()
        first, *_ = model.path(model.noise(8), seen=(x, known, noise), steps=20)
        expected = 2.0 * model.noised(x / 2.0, noise, 1 / 20)
        np.testing.assert_allclose(ops.raw(first)[known], expected[known], atol=1e-6)


# Pictures of 256 levels


def test_the_probabilities_of_all_levels_add_to_one():
    """Those of the last step, whatever it is sure of; and those that the bound promises, which is
    the true ones but for what ten steps of noise a level leave.
    """
    levels = np.linspace(-1, 1, 256)
    for mean, deviation in (0.0, 0.01), (0.9, 0.2), (-3.0, 1.0), (1.0, 0.002):
        log = _log_levels(levels, mean, deviation)
        np.testing.assert_allclose(np.exp(log).sum(), 1, atol=1e-6)
    np.testing.assert_allclose(math.exp(_log_levels(levels[-1:], 3.0, 0.1)[0]), 1)
    network = Denoiser(SCHEDULES["cosine"](100), "v", np.array([0.3]), np.array([0.25]), np.eye(1))
    for scale in 1.0, 0.5:
        model = models.DDPM(network, (1, 1, 1), timesteps=100, clip=False, scale=scale)
        x = np.tile(levels[:, None, None, None], (40, 1, 1, 1))
        narrow = model.bound(x).reshape(40, 256).mean(0)
        log = model.bound(x, variance="step").reshape(40, 256).mean(0)
        assert np.exp(narrow).sum() < np.exp(log).sum() < 1.01 and np.exp(log).sum() > 0.9
        inner = np.exp(-((levels / scale - 0.3) ** 2) / 0.5) / math.sqrt(0.5 * math.pi)
        apart = np.log(inner * 2 / 255 / scale)[1:-1] - log[1:-1]
        assert abs(apart[100:200].mean()) < 0.1


def test_pictures_are_kept_within_their_range():
    """As the network sees them, too."""
    for scale in 1.0, 0.5:
        model = models.DDPM(Told(lambda x, t, rows: 0 * x - 9), (1, 1, 1), scale=scale)
        x = model.sample(4)
        assert abs(x).max() <= 1 + 1e-6
        np.testing.assert_allclose(x, 1, atol=1e-6)


def test_bits_of_a_pixel_by_hand():
    """A pixel's Gaussian, whose mean over a level has a formula."""
    network = Velocity(np.array([0.2]), np.array([0.09]), np.eye(1))
    network.forward = lambda x, t, rows: ops.reshape(
        Velocity.forward(network, ops.reshape(x, (-1, 1)), t, rows), x.shape
    )
    model = models.Flow(network, (1, 1, 1), scale=0.5)
    level = RNG.integers(0, 256, (900, 1, 1, 1))
    x = level / 127.5 - 1
    mean, error = model.bits_per_dim(x, probes=0, steps=20, method="rk4")
    deviation, width = 0.15, 2 / 256
    middles = (level + 0.5) * width - 1
    nats = 0.5 * math.log(2 * math.pi * deviation**2) - math.log(width)
    nats = nats + ((middles - 0.1) ** 2 + width**2 / 12) / (2 * deviation**2)
    np.testing.assert_allclose(mean, nats.mean() / math.log(2), rtol=2e-3)
    np.testing.assert_allclose(error, nats.std() / math.log(2) / 30, rtol=0.02)
    assert model.bits_per_dim(x[:9], seed=1) != model.bits_per_dim(x[:9])


# What is taught


def test_a_flow_is_taught_the_velocity():
    x = RNG.normal(size=(6, 2)).astype(np.float32)
    for times in "uniform", "logit-normal":
        network = Told(lambda x, t, rows: 2 * x)
        model = models.Flow(network, (2,), times=times, scale=4.0)
        random.manual_seed(4)
        loss = model.step(4 * x)["loss"]
        ((at, t, rows),) = network.asked
        random.manual_seed(4)
        noise = random.default.normal((6, 2))
        if times == "uniform":
            expected = random.default.uniform((6,))
        else:
            expected = 1 / (1 + np.exp(-random.default.normal((6,))))
        np.testing.assert_allclose(t, expected, rtol=1e-5)
        line = (1 - t[:, None]) * noise + t[:, None] * x
        np.testing.assert_allclose(at, line, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(loss, ((2 * at - (x - noise)) ** 2).mean(), rtol=1e-5)
        assert rows.shape == (6, 0)


def test_a_diffusion_is_taught_the_noise_or_v():
    x, timesteps = RNG.normal(size=(64, 2)).astype(np.float32), 7
    abar = np.concatenate([[1], SCHEDULES["cosine"](timesteps)])
    for predict in "eps", "v":
        network = Told(lambda x, t, rows: 2 * x)
        model = models.DDPM(network, (2,), timesteps, predict=predict, scale=4.0)
        random.manual_seed(5)
        loss = model.step(4 * x)["loss"]
        ((at, t, _),) = network.asked
        random.manual_seed(5)
        k = 1 + np.floor(random.default.uniform((64,)) * timesteps).astype(int)
        noise = random.default.normal((64, 2))
        assert {*k} == {*range(1, timesteps + 1)}
        np.testing.assert_allclose(t, 1 - k / timesteps, atol=1e-6)
        a, s = np.sqrt(abar[k])[:, None], np.sqrt(1 - abar[k])[:, None]
        np.testing.assert_allclose(at, a * x + s * noise, rtol=1e-5, atol=1e-6)
        target = noise if predict == "eps" else a * noise - s * x
        np.testing.assert_allclose(loss, ((2 * at - target) ** 2).mean(), rtol=1e-5)
        one = 1 - 3 / timesteps
        expected = abar[3] ** 0.5 * x + (1 - abar[3]) ** 0.5 * noise
        np.testing.assert_allclose(model.noised(x, noise, one), expected, atol=1e-6)


def test_schedules_are_the_papers():
    """Ho 2020: betas from 1e-4 to 0.02, of which 4e-5 of the signal is left; Nichol 2021, section
    3.2: the first deviation is a little below a level of a pixel, and half of the signal is left
    half way; betas are at most 0.999.
    """
    linear, cosine = SCHEDULES["linear"](1000), SCHEDULES["cosine"](1000)
    np.testing.assert_allclose(linear, np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)), rtol=1e-9)
    np.testing.assert_allclose(linear[-1], 4.0358e-5, rtol=1e-4)
    assert 0.8 / 127.5 < math.sqrt(1 - cosine[0]) < 1 / 127.5
    f = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(cosine[:-1], (f / f[0])[1:-1], rtol=1e-9)
    np.testing.assert_allclose(cosine[-1] / cosine[-2], 1e-3)
    assert abs(cosine[499] - 0.5) < 0.01
    for schedule in SCHEDULES.values():  # shorter ones reach as far, and none is negative
        for timesteps in 1, 2, 10:
            abar = schedule(timesteps)
            assert len(abar) == timesteps and (abar > 0).all() and (np.diff(abar) < 0).all()
        np.testing.assert_allclose(schedule(2000)[999], schedule(1000)[499], rtol=2e-2)


def answering_labels(**options):
    """A flow of two classes, whose network answers 1 or 2 for the class it is told, else 0."""
    says = lambda x, t, rows: 0 * x + (rows @ np.array([[1.0], [2.0]], np.float32))
    return models.Flow(Told(says), (2,), classes=2, steps=1, method="euler", **options)


def test_guidance_goes_beyond_what_the_label_says():
    """untold + w (told - untold), and one call where nothing is to be guided."""
    model = answering_labels(guidance=3.0)
    noise, labels = np.zeros((4, 2), np.float32), np.array([0, 1, 1, 0])
    told = np.array([[1.0], [2.0], [2.0], [1.0]]) * [1, 1]
    for w, calls in (1.0, 1), (2.5, 2), (0.0, 2):
        model.average.asked.clear()
        x = model.sample(4, noise, labels, guidance=w)
        np.testing.assert_allclose(x, w * told)
        seen = [rows for *_, rows in model.average.asked]
        assert len(seen) == calls and not any(rows.any() for rows in seen[1:])
        np.testing.assert_allclose(seen[0], np.eye(2)[labels], atol=1e-6)
    np.testing.assert_allclose(model.sample(4, noise, labels), 3 * told)


def test_some_labels_are_kept_back():
    for drop in 0.0, 0.3, 0.9:
        model = answering_labels(drop=drop)
        labels = np.arange(4000) % 2
        model.step((np.zeros((4000, 2), np.float32), labels))
        ((_, _, rows),) = model.network.asked
        told = rows.any(1)
        np.testing.assert_array_equal(rows[told], np.eye(2)[labels[told]])
        assert abs(told.mean() - (1 - drop)) <= 4 * math.sqrt(drop * (1 - drop) / 4000)


def test_a_likelihood_may_be_told_the_label():
    """The velocity is the label's, everywhere: the noise is so far from the sample; of the second
    batch, too.
    """
    model, x = answering_labels(), np.zeros((2, 2), np.float32)
    constant = -math.log(2 * math.pi)
    np.testing.assert_allclose(model.log_prob(x, steps=2), constant, rtol=1e-6)
    labels, x = np.arange(502) // 501, np.zeros((502, 2), np.float32)
    told = model.log_prob(x, labels, steps=2)
    np.testing.assert_allclose(told, constant - np.array([1, 4])[labels], rtol=1e-6)


# Couplings


def test_the_optimal_coupling_is_the_best_of_all():
    pytest.importorskip("scipy")
    for labels in np.zeros(5, int), np.array([0, 1, 0, 1, 0]):
        rows = np.eye(2, dtype=np.float32)[labels]
        noise, x = RNG.normal(size=(2, 5, 1, 3))
        order = optimal(noise, x, rows)
        assert sorted(order) == [0, 1, 2, 3, 4] and (labels[order] == labels).all()
        costs = {
            p: ((noise[list(p)] - x) ** 2).sum()
            for p in itertools.permutations(range(5))
            if (labels[list(p)] == labels).all()
        }
        assert min(costs, key=costs.get) == tuple(order) != (0, 1, 2, 3, 4)


def test_the_optimal_coupling_is_found_far_from_0():
    """Where float32 has no digits left for the squares of what differs."""
    pytest.importorskip("scipy")
    noise, x = RNG.normal(size=(2, 64, 3)).astype(np.float32)
    cost = ((noise[optimal(noise, x, x[:, :0])] - x) ** 2).sum()
    far = x + np.float32(4096)
    again = ((noise[optimal(noise, far, x[:, :0])] - x) ** 2).sum()
    np.testing.assert_allclose(again, cost, rtol=1e-3)


def test_lines_of_an_optimal_coupling_are_shorter(monkeypatch):
    pytest.importorskip("scipy")
    x, lengths = RNG.normal(size=(64, 2)).astype(np.float32), []
    for coupling in OPTIONS["coupling"]:
        network = Told(lambda x, t, rows: 0 * x)  # whose loss is the lines' mean square
        random.manual_seed(6)
        lengths.append(float(models.Flow(network, (2,), coupling=coupling).step(x)["loss"]))
    assert lengths[1] < 0.3 * lengths[0]
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r'"optimal" needs SciPy: pip install "tinygan\[flow\]"'):
        models.Flow(network, (2,), coupling="optimal").step(x)


# Randomness and errors


def test_samples_are_what_the_seed_says():
    """Of all batches of a sample, and where the way itself draws."""
    for model in models.Flow(Velocity(), (3,), steps=4), diffusion(20, eta=1.0, steps=5):
        random.manual_seed(7)
        first, second = model.sample(600), model.sample(600)
        assert (first != second).all()
        random.manual_seed(7)
        np.testing.assert_array_equal(model.sample(600), first)
    noise = np.tile(model.noise(1), (500, 1))
    x = model.sample(500, noise)
    assert len(np.unique(x[:, 0])) == 500  # no noise twice, from one batch to the next, too
    step = random.default.step
    model.draw(noise[:3])  # the next one draws anew
    assert random.default.step == step + 1
    assert len(np.unique(model.sample(500, noise, eta=0.0)[:, 0])) == 1
    points = Tensor(noise[:3])
    whole = model.draw(points, eta=0.0)
    assert isinstance(whole, Tensor)
    np.testing.assert_allclose(whole.data, ops.raw(model.draw(noise[:3], eta=0.0)))


@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
@pytest.mark.parametrize("build", models.PLANES.values(), ids=models.PLANES)
def test_a_copy_has_all_but_the_recording(build, copied):
    """Of a model that has made samples: that of a graph is of this one's own memory."""
    model = build(width=4, steps=3)
    noise = np.ones((3, 2), np.float32)
    x = model.sample(3, noise)
    again = copied(model)
    assert again._recorded == (None, None) != model._recorded
    assert np.array_equal(again.sample(3, noise), x)
    again.average.last.bias.data += 0.5
    assert not np.array_equal(again.sample(3, noise), x)
    assert np.array_equal(model.sample(3, noise), x)
    assert again._recorded[1] is not model._recorded[1]
    # and learns by itself
    assert all(p is q for p, q in zip(again.optimizer.params, again.network.parameters()))
    before = [p.data.copy() for p in model.network.parameters()]
    again.step(noise)
    assert all(map(np.array_equal, before, (p.data for p in model.network.parameters())))


def test_training_learns_and_samples_come_from_the_average():
    random.manual_seed(8)
    x = RNG.normal(3.0, 0.5, (256, 2)).astype(np.float32)
    for build in models.PLANES.values():
        model = build(width=16, depth=1, lr=1e-2, decay=0.9)
        first = model.step(x)["loss"]
        for _ in range(80):
            last = model.step(x)["loss"]
            random.default.next_step()
        assert last < 0.5 * first
        before = model.sample(4, np.ones((4, 2), np.float32))
        for p in model.network.parameters():
            p.data[...] = 0
        np.testing.assert_array_equal(model.sample(4, np.ones((4, 2), np.float32)), before)


WRONG = [
    (models.point_flow, {"method": "rk5"}, "method must be one of euler, midpoint, heun, rk4, got"),
    (models.point_flow, {"times": "normal"}, "times must be one of uniform, logit-normal, got"),
    (models.point_flow, {"coupling": "best"}, "coupling must be one of independent, optimal, got"),
    (models.point_flow, {"drop": 1.5}, "drop must be from 0 to 1, got 1.5"),
    (models.point_ddpm, {"schedule": "sine"}, "schedule must be one of linear, cosine, got 'sine'"),
    (models.point_ddpm, {"predict": "x"}, "predict must be one of eps, v, got 'x'"),
    (models.point_ddpm, {"timesteps": 0}, "timesteps must be at least 1, got 0"),
    (models.point_ddpm, {"timesteps": 1, "schedule": "linear"}, "1 are too few .* leave 90%"),
    (models.point_ddpm, {"eta": 1.5}, "DDPM: eta must be from 0 to 1, got 1.5"),
    (models.point_ddpm, {"scale": 0.0}, "DDPM: scale must be from 1e-30 to 1e"),
]


@pytest.mark.parametrize(("build", "options", "words"), WRONG)
def test_a_wrong_option_is_refused(build, options, words):
    with pytest.raises(ValueError, match=words):
        build(width=4, **options)


def test_a_wrong_question_is_refused():
    """In a line that begins with what was asked."""
    flow, x = models.point_flow(width=4), np.zeros((2, 2), np.float32)
    ddpm, told = models.point_ddpm(width=4), models.point_flow(width=4, classes=3)
    whole, share = " must be at least {} and whole, got ", " must be from 0 to 1, got "
    for wrong, words in (
        (lambda: flow.log_prob(x, method="rk5"), "log_prob: method must be one of euler, "),
        (lambda: flow.log_prob(x, steps=0), "log_prob: steps" + whole.format(1)),
        (lambda: flow.log_prob(x, steps=2.5), "log_prob: steps" + whole.format(1)),
        (lambda: flow.log_prob(x, probes=-1), "log_prob: probes" + whole.format(0)),
        (lambda: flow.log_prob(x, probes=1.5), "log_prob: probes" + whole.format(0)),
        (lambda: flow.log_prob(x[:, :1]), r"log_prob: needs images \(n, 2\) of floats, got"),
        (lambda: ddpm.bound(x[:, :1]), r"bound: needs images \(n, 2\) of floats, got"),
        (lambda: ddpm.bound(x, variance="beta"), "bound: variance must be one of posterior, st"),
        (lambda: ddpm.bound(x, discrete=True), r"bound: .* is of pictures, not of samples \(2,\)"),
        (lambda: flow.sample(0), "sample: n" + whole.format(1)),
        (lambda: flow.sample(2, method="rk5"), "sample: method must be one of euler, "),
        (lambda: flow.sample(2, steps=0), "sample: steps" + whole.format(1)),
        (lambda: flow.sample(2, steps=2.5), "sample: steps" + whole.format(1)),
        (lambda: flow.sample(2, steps=True), "sample: steps" + whole.format(1)),
        (lambda: flow.sample(2, start=2.0), "sample: start" + share),
        (lambda: ddpm.sample(2, start=-1.0), "sample: start" + share),
        (lambda: ddpm.sample(2, eta=7.0), "sample: eta" + share),
        (lambda: flow.draw(x, start=math.nan), "draw: start" + share),
        (lambda: [*flow.path(x, start="a")], "path: start" + share),
        (lambda: flow.vary(x, "a"), "vary: strength" + share),
        (lambda: told.sample(2, guidance="a"), "sample: guidance must be from -1e"),
        (lambda: told.sample(2, guidance=np.ones(2)), "sample: guidance must be from -1e"),
        (lambda: flow.sample(2, guidance=5), "sample: guidance 5 enlarges .* none is told"),
        (lambda: told.vary(x, 0.5, guidance=9.0), "vary: guidance 9.0 enlarges .* none is told"),
        (lambda: told.draw(told.noise(2)), "path: needs points .*2 of noise and 3 of the label"),
        (lambda: [*told.path(x)], r"path: needs points .*, got \(2, 2\) float32"),
        (lambda: flow.step(x.astype(np.uint8)), r"step: needs images \(n, 2\) of floats, got"),
        (lambda: flow.step(x.astype(float)), r"step: images must be float32, .*, got .* float64"),
        (lambda: flow.step(x.astype(np.float16)), "step: images must be float32, .* float16"),
        (lambda: flow.sample(2, x.tolist()), r"sample: noise must be float32, .*, got \[\["),
        (
            lambda: flow.sample(2, x.astype(float)),
            r"sample: noise must be .*, got \(2, 2\) float64",
        ),
        (lambda: flow.sample(2, x > 0), "sample: noise must be .* bool"),
        (lambda: flow.step(x[:, :1]), r"step: needs images \(n, 2\) of floats, got \(2, 1\)"),
        (lambda: flow.inpaint(x, x > 0), r"inpaint: a mask is of pictures, not of samples \(2,\)"),
        (lambda: models.Flow(Told(None), (2,), steps=0), "Flow: steps" + whole.format(1)),
        (lambda: models.Flow(Told(None), (2,), guidance=None), "Flow: guidance must be from"),
        (lambda: models.Flow(Told(None), (2,), guidance=math.nan), "Flow: guidance must be from"),
        (lambda: models.DDPM(Told(None), (2,), 10.5), "DDPM: timesteps" + whole.format(1)),
    ):
        with pytest.raises(ValueError, match=f"^{words}[^\n]*$"):
            wrong()
    for wrong, words in (
        (lambda: flow.sample(2, eta=1.0), "sample: there is no option eta here: Flow takes steps"),
        (lambda: ddpm.draw(x, method="heun"), "draw: there is no option method here: DDPM takes"),
        (lambda: flow.vary(x, 0.5, start=0.1), "vary: there is no option start here"),
        (lambda: flow.vary(x, 0.5, seen=1), "vary: there is no option seen here"),
    ):
        with pytest.raises(TypeError, match=f"^{words}[^\n]*$"):
            wrong()


@pytest.mark.parametrize("build", models.PLANES.values(), ids=models.PLANES)
def test_numbers_may_be_numpys(build):
    """As options of one call, which a graph is known by, and of the model."""
    noise, model = np.ones((3, 2), np.float32), build(width=4, steps=3)
    model.average.last.bias.data += 0.5
    x = model.sample(3, noise, steps=3)
    assert np.array_equal(model.sample(3, noise, steps=np.int64(3), start=np.float32(0)), x)
    random.manual_seed(0)
    kind = type(model)
    own = {"timesteps": np.int64(9)} if kind is models.DDPM else {}
    again = kind(model.network, (2,), steps=np.int32(3), scale=np.float64(2.0), **own)
    numbers = (v for v in vars(again).values() if isinstance(v, np.generic))
    assert not [*numbers] and again.sample(3, noise).dtype == np.float32
    assert again.step(noise)["loss"].dtype == np.float32


CHANGED = [
    ("flow", "method", "leap", ValueError, "method must be one of euler, midpoint, heun, rk4, got"),
    ("flow", "coupling", "optimall", ValueError, "coupling must be one of independent, optimal, g"),
    ("flow", "times", "unifrom", ValueError, "times must be one of uniform, logit-normal, got"),
    ("flow", "drop", 2.0, ValueError, "drop must be from 0 to 1, got 2.0"),
    ("flow", "drop", 1.0, ValueError, "drop 1.0 keeps back all labels of 3 classes"),
    ("flow", "drop", 0, ValueError, "guidance 2.0 needs a network that was taught samples"),
    ("flow", "scale", 0, ValueError, "scale must be from 1e-30 to"),
    ("flow", "steps", 2.5, ValueError, "steps must be at least 1 and whole, got 2.5"),
    ("ddpm", "guidance", math.nan, ValueError, "guidance must be from -1e"),
    ("ddpm", "eta", 2, ValueError, "eta must be from 0 to 1, got 2"),
    ("ddpm", "predict", "eps2", ValueError, "predict must be one of eps, v, got 'eps2'"),
    ("ddpm", "predict", "eps", AttributeError, "predict .* make another model"),
    ("ddpm", "timesteps", 10, AttributeError, "timesteps .* make another model"),
    ("ddpm", "schedule", "linear", AttributeError, "schedule .* make another model"),
]


@pytest.mark.parametrize(("name", "option", "value", "error", "words"), CHANGED)
def test_an_option_that_is_changed_is_looked_at(name, option, value, error, words):
    model = models.PLANES[name](width=4, classes=3, guidance=2.0)
    before = {k: v for k, v in vars(model).items() if isinstance(v, (int, float, str))}
    with pytest.raises(error, match=f"^{type(model).__name__}: {words}[^\n]*$"):
        setattr(model, option, value)
    assert before.items() <= vars(model).items()


def test_how_samples_are_made_may_be_changed():
    """Which is heard from the next on, and NumPy's numbers are Python's."""
    for name, own in ("flow", {"method": "euler"}), ("ddpm", {"eta": 1.0}):
        model = models.PLANES[name](width=4, classes=3)
        model.average.last.bias.data += 0.5
        noise, how = model.noise(6), {"steps": np.int64(3), "guidance": np.float32(2), **own}
        random.manual_seed(1)
        asked = model.sample(6, noise, **how)
        random.manual_seed(1)
        assert not np.array_equal(model.sample(6, noise), asked)
        for option, value in how.items():
            setattr(model, option, value)
        assert type(model.steps) is int and type(model.guidance) is float
        random.manual_seed(1)
        assert np.array_equal(model.sample(6, noise), asked)


@pytest.mark.parametrize("build", models.PLANES.values(), ids=models.PLANES)
def test_a_network_of_float64_makes_samples_of_it(build):
    model = build(width=4)
    wide = type(model)(model.network.double(), (2,), steps=2)
    for x in wide.sample(3), wide.vary(np.zeros((3, 2)), 0.5), wide.noise(3):
        assert x.dtype == np.float64
    assert np.isfinite(wide.step(np.zeros((3, 2)))["loss"])


def test_a_diffusion_is_asked_at_the_times_that_it_was_taught():
    """Of more steps than there are, too, which change nothing."""
    model, noise = diffusion(10), np.ones((2, 3), np.float32)
    model.average = Told(lambda x, t, rows: 0.1 * x)
    x = model.sample(2, noise, steps=10)
    for steps, calls in (7, 7), (16, 10):
        model.average.asked.clear()
        again = model.sample(2, noise, steps=steps)
        times = np.array([t[0] for _, t, _ in model.average.asked]) * 10
        assert len(times) == calls and abs(times - times.round()).max() < 1e-5
    assert np.array_equal(x, again)


def test_a_width_may_be_any_number():
    """Of which groups of about eight channels are made, or fewer, larger ones."""
    for width, groups in (24, {3, 6}), (28, {1, 7}), (4, {1}), (20, {2, 5}), (17, {1, 2}):
        model = models.flow(width=width, hidden=8, side=8, heads=1)
        norms = (m for m in model.network.modules() if isinstance(m, nn.GroupNorm))
        assert {m.num_groups for m in norms} - {1} == groups - {1}
    assert np.isfinite(model.step(np.zeros((2, 1, 8, 8), np.float32))["loss"])


def test_the_words_of_options_are_what_there_is():
    assert OPTIONS["method"] == tuple(SOLVERS) and OPTIONS["schedule"] == tuple(SCHEDULES)


@pytest.mark.parametrize("build", models.PLANES.values(), ids=models.PLANES)
def test_points_hear_their_label(build):
    random.manual_seed(0)
    model = build(width=32, depth=1, classes=2, guidance=1.0, decay=0.9, lr=1e-2)
    labels = np.arange(256) % 2
    for _ in range(150):
        x = random.default.normal((256, 2)) * 0.1 + (2 * labels[:, None] - 1).astype(np.float32)
        model.step((x, labels))
        random.default.next_step()
    means = [model.sample(100, labels=np.full(100, k)).mean() for k in (0, 1)]
    assert means[0] < -0.5 and means[1] > 0.5


def test_what_was_never_taught_cannot_guide():
    with pytest.raises(ValueError, match="guidance 1.25 needs a network that was taught"):
        models.flow(classes=3, drop=0.0, width=8, hidden=8)
    model = models.flow(classes=3, drop=0.0, guidance=1.0, width=8, hidden=8, side=8)
    with pytest.raises(ValueError, match="guidance 2 needs"):
        model.sample(3, guidance=2)
    with pytest.raises(ValueError, match="^Flow: drop 1.0 keeps back all labels of 3 classes"):
        models.flow(classes=3, drop=1.0, width=8, hidden=8)
    models.flow(drop=1.0, width=8, hidden=8, side=8)  # of no classes there is nothing to tell


def test_a_way_ends_at_1_wherever_it_starts():
    """Or Heun's method would ask the network there."""
    seen = []

    def velocity(x, t, rows):
        seen.append(float(t[0]))
        return 0 * x

    net = nn.Module()
    net.weight = nn.Parameter(np.zeros(1, np.float32))
    net.forward = velocity
    model = models.Flow(net, (2,))
    for start in (0.1, 0.2, 0.3, 0.7):
        for steps in range(1, 50):
            [*model.path(np.zeros((1, 2), np.float32), steps=steps, start=start)]
    assert max(seen) < 1


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda m, x: m.log_prob(x, labels=[0]), "6 samples need labels of shape"),
        (lambda m, x: m.bits_per_dim(x, labels=[0, 1]), "6 samples need labels"),
    ],
)
def test_what_does_not_fit_is_refused(call, says):
    model = models.flow(classes=3, width=8, hidden=8, side=8)
    with pytest.raises(ValueError, match=says):
        call(model, np.zeros((6, 1, 8, 8), np.float32))


def test_bits_are_of_pictures():
    with pytest.raises(ValueError, match="is of pictures"):
        models.point_flow(width=8).bits_per_dim(np.zeros((3, 2), np.float32))
    model = models.flow(width=4, hidden=4, side=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of one, nobody knows how far the next would be from it
        bits, error = model.bits_per_dim(np.zeros((1, 1, 8, 8), np.float32), steps=1)
    assert math.isfinite(bits) and math.isnan(error)
    points = np.zeros((3, 2), np.float32)  # have a density, and no levels
    model = models.point_ddpm(width=8, timesteps=3)
    np.testing.assert_array_equal(model.bound(points), model.bound(points, discrete=False))


@pytest.mark.parametrize("dtype", [int, np.float64])
def test_a_mask_of_numbers_is_not_added_unasked(dtype):
    q = np.ones((2, 3, 4), np.float32)
    with pytest.raises(TypeError, match="attn_mask must be bool or float32, got"):
        ops.scaled_dot_product_attention(q, q, q, attn_mask=np.ones((3, 3), dtype))
