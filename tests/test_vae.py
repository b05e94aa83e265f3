"""The VAE: bounds against a likelihood known in closed form, `step` against the example's, the
trainer, the pictures.
"""

import json
import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from runs import ROOT, Narrow, example, folder, resumed, same, weights

from tinygan import data, models, nn, ops, plot, random, train
from tinygan.testing import check_grads

DIGITS = data.load("bundled").images


def tiny(seed=0, **options):
    random.manual_seed(seed)
    return models.VAES["mlp"](latent=3, **options), data.Batches(
        DIGITS[:160], 32, seed, data.binarised
    )


@pytest.mark.parametrize("name", models.VAES)
def test_every_model_steps_and_samples(name):
    random.manual_seed(0)
    vae = models.VAES[name]()
    before, batch = weights(vae), data.scale(DIGITS[:4])
    losses = vae.step(batch)
    assert all(v.dtype == np.float32 and v.shape == () for v in losses.values())
    assert losses["loss"] == losses["reconstruction"] + losses["kl"]
    # 784 pixels, about log 2 = 0.69 nats each
    assert 450 < losses["reconstruction"] < 600 and 0 < losses["kl"] < 5
    moved = {k for k, v in weights(vae).items() if not np.array_equal(v, before[k])}
    assert {
        f"{part}/{k}" for part in ("network", "average") for k, _ in vae.network.named_parameters()
    } <= moved
    z = vae.noise(300)
    images = vae.sample(300, z)
    assert (
        images.shape == (300, 1, 28, 28)
        and images.dtype == np.float32
        and np.abs(images).max() <= 1
    )
    # one sample, whatever its batch
    np.testing.assert_allclose(images[270:], vae.sample(30, z[270:]), atol=1e-5)
    np.testing.assert_allclose(
        images[:30], vae.likelihood.image(vae.average.decoder(z[:30])).data, atol=1e-5
    )
    assert vae.sample(3).shape == (3, 1, 28, 28) and vae.iwae(batch, k=3).dtype == np.float64


def test_figures_and_samples_record_no_graph(monkeypatch):
    vae, _ = tiny()
    seen = []
    for name in ("log_p", "image"):
        method = getattr(vae.likelihood, name)
        monkeypatch.setattr(
            vae.likelihood,
            name,
            lambda output, *x, method=method: (seen.append(output.op), method(output, *x))[1],
        )
    images = data.scale(DIGITS[:2])
    vae.elbo(images), vae.iwae(images, k=2), vae.sample(2)
    assert seen == [None] * 3
    vae.step(images)
    assert seen[3] is not None


@pytest.mark.parametrize("beta", [1.0, 0.3, 0.0])
def test_the_examples_step_is_the_models_step(beta):
    sys.path.insert(0, str(ROOT / "examples"))
    from mnist_vae import elbo_step

    results = []
    for step in (lambda vae, x: vae.step(x), elbo_step):
        vae, batches = tiny(beta=beta)
        for i in range(3):
            losses = step(vae, batches.batch(0, i))
            random.default.next_step()
        results.append(weights(vae) | losses)
    assert same(*results)


class LinearGaussian(models.VAE):
    """p(x|z) = N(W z + b, 0.5**2): p(x) is N(b, W W' + 0.25), and with orthogonal columns of W so
    is p(z|x) of q's form.
    """

    def __init__(self, off):
        super().__init__(nn.Linear(6, 4).double(), nn.Linear(2, 6).double(), 2, likelihood=Narrow())
        w, self.b = (
            np.linalg.qr(np.random.default_rng(1).normal(size=(6, 2)))[0] * [2.0, 0.7],
            np.arange(6) / 5,
        )
        precision = 1 + (w**2).sum(axis=0) / 0.25
        self.covariance = w @ w.T + 0.25 * np.eye(6)
        to_mean = w.T / 0.25 / precision[:, None]
        self.average.decoder.load_state_dict({"weight": w, "bias": self.b})
        bias = np.concatenate([off - to_mean @ self.b, off - np.log(precision)])
        self.average.encoder.load_state_dict(
            {"weight": np.concatenate([to_mean, np.zeros((2, 6))]), "bias": bias}
        )

    def log_p(self, x):
        d = x - self.b
        distance = (d * np.linalg.solve(self.covariance, d.T).T).sum(axis=1)
        return -0.5 * (distance + np.linalg.slogdet(2 * np.pi * self.covariance)[1])


def points(model, n):
    return np.random.default_rng(2).multivariate_normal(model.b, model.covariance, n)


@pytest.mark.parametrize(("k", "rows"), [(1, 1000), (1, 1), (7, 5), (10, 25), (5, 5), (40, 1000)])
def test_weights_from_the_true_posterior_are_all_p_of_x(k, rows):
    model = LinearGaussian(off=0.0)
    x = points(model, 12)
    bound = model.iwae(x, k, rows)
    assert bound.dtype == np.float64
    np.testing.assert_allclose(bound, model.log_p(x), atol=1e-12)


def test_elbo_is_below_iwae_which_rises_to_log_p_of_x():
    random.manual_seed(0)
    model = LinearGaussian(off=0.4)
    x = points(model, 20_000)
    before, elbo = random.default.draw, model.elbo(x, rows=700)
    gaps = model.log_p(x).mean() - [elbo["elbo"], model.iwae(x, 1).mean()]
    log_variance = model.average.encoder.bias.data[2:] - 0.4
    # KL(q(z|x) || p(z|x)), for every x
    kl = 0.5 * (0.4**2 * np.exp(-log_variance) + np.exp(0.4) - 1 - 0.4).sum()
    assert elbo["elbo"] == -elbo["reconstruction"] - elbo["kl"]
    np.testing.assert_allclose(gaps, kl, atol=0.05)
    x = x[:200]
    truth, bounds = model.log_p(x).mean(), [model.iwae(x, k).mean() for k in (1, 5, 25, 250, 5000)]
    rising = [truth - kl, *bounds[1:], truth]
    assert rising == sorted(rising) and truth - bounds[-1] < 0.01 < 0.5 < bounds[1] - bounds[0]
    # a run's random numbers are left alone
    assert model.elbo(x) == model.elbo(x) and random.default.draw == before


def test_kl_against_monte_carlo():
    mean, log_variance = np.array([[0.7, -1.2]]), np.array([[0.5, -1.5]])
    noise = random.Generator(5).normal((400_000, 2))
    z = mean + np.exp(0.5 * log_variance) * noise
    estimate = 0.5 * (z**2 - noise**2 - log_variance).sum(axis=1).mean()
    np.testing.assert_allclose(nn.losses.gaussian_kl(mean, log_variance), estimate, rtol=5e-3)


def test_gradients_of_the_bound():
    vae = models.VAE(nn.Linear(3, 4).double(), nn.Linear(2, 3).double(), 2)

    def bound(x, encoder, decoder):
        vars(vae.encoder)["weight"], vars(vae.decoder)["weight"] = encoder, decoder
        reconstruction, kl = vae.terms(x, None, vae.network, random.Generator(3))
        return ops.sum(reconstruction + 0.5 * kl)

    rng = np.random.default_rng(0)
    check_grads(
        bound,
        rng.uniform(0.1, 0.9, (2, 3)),
        rng.normal(size=(4, 3)),
        rng.normal(size=(2, 2)).repeat([1, 2], axis=0),
    )


def test_memory_does_not_grow_with_draws_or_images():
    vae, _ = tiny()
    images = data.scale(DIGITS[:64])

    def peak(n, k):
        tracemalloc.start()
        vae.iwae(images[:n], k, rows=50)
        at_most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return at_most

    # 900 draws for each of 4 at once: 11 MB an array
    assert max(peak(64, 60), peak(4, 900)) < 4 << 20


def test_an_autoencoder_draws_nothing_and_reconstructs():
    random.manual_seed(0)
    vae = models.VAES["mlp"](latent=8, beta=0.0, decay=0.9)
    start, batch = random.default.draw, data.scale(DIGITS[:32])
    losses = [vae.step(batch) for _ in range(60)]
    assert random.default.draw == start
    assert losses[-1]["loss"] == losses[-1]["reconstruction"] < 0.5 * losses[0]["loss"]
    means, _ = vae.encode(vae.likelihood.target(batch), network=vae.average)
    ink = vae.sample(32, means.data)
    # a digit of its own for each
    assert np.mean((ink - batch) ** 2) < 0.5 * np.mean((batch.mean(axis=0) - batch) ** 2)


@pytest.mark.parametrize(("beta", "bounds"), [(0.0, False), (0.5, True)])
def test_only_a_bound_has_bits(beta, bounds):
    images = np.zeros((4, 3, 8, 8), np.float32)
    model = models.VAES["mlp"](2, side=8, channels=3, beta=beta)
    assert ("bits" in model.step(images)) is ("bits" in model.elbo(images)) is bounds


def test_a_resumed_run_ends_with_the_same_weights(tmp_path):
    vae, batches = tiny()
    train.train(vae, batches, 3, tmp_path / "whole")
    expected = weights(vae)
    assert same(weights(resumed(tiny, 3, 11, tmp_path / "cut")), expected)
    assert not same(weights(tiny(seed=1)[0]), weights(tiny()[0])) and same(
        weights(tiny()[0]), weights(tiny()[0])
    )
    assert (tmp_path / "cut/losses.png").stat().st_size


def test_curves_shows_every_loss(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    names, draw = [], Axes.plot
    monkeypatch.setattr(
        Axes,
        "plot",
        lambda self, *args, label: (names.append(label), draw(self, *args, label=label)),
    )
    plot.curves(
        [{"step": i, "epoch": 1, "loss": 3.0, "g_loss": 1.0, "seconds": 0.1} for i in range(3)],
        tmp_path / "c.png",
    )
    assert names == ["loss", "g loss"]


def test_manifold_cuts_the_normal_into_equal_shares():
    grid = plot.manifold(4).reshape(4, 4, 2)
    assert grid.dtype == np.float32 and (grid[0, :, 1] == grid[0, 0, 1]).all()
    # 1/8, 3/8, 5/8, 7/8
    np.testing.assert_allclose(grid[0, :, 0], [-1.15035, -0.31864, 0.31864, 1.15035], atol=1e-5)
    np.testing.assert_allclose(grid[:, 2, 1], grid[0, ::-1, 0], atol=1e-6)  # up is positive


def test_errors():
    with pytest.raises(
        ValueError,
        match=r"the encoder must give \(n, 6\), means and log variances; got \(2, 3\) float32",
    ):
        models.VAE(nn.Linear(4, 3), nn.Linear(3, 4), latent=3).step(np.zeros((2, 4), np.float32))
    for k, rows in ((0, 10), (10, 0)):
        with pytest.raises(ValueError, match=f"iwae: .* k={k}, rows={rows}"):
            tiny()[0].iwae(data.scale(DIGITS[:2]), k, rows)


def test_the_example_makes_its_pictures_and_figures(tmp_path):
    flags = ["--epochs", 2, "--latent", 2, "--targets", "static", "--samples", 30, "--iwae", 3]
    flags += ["--device", "cpu", "--out", tmp_path]
    done = example("mnist_vae", *flags)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert f"30 samples: {tmp_path / 'samples.npz'}" in lines
    assert lines[-1] == str(tmp_path / "samples/epoch-002.png")
    elbo = float(lines[-3].split("elbo ")[1].split(",")[0])
    costs = lines[-3].replace(",", "").split()
    assert lines[-3].startswith("1000 held-out pictures") and -210 < elbo < -100
    assert abs(elbo + float(costs[-3]) + float(costs[-1])) < 0.02
    assert elbo < float(lines[-2].split("at least ")[1].split()[0]) < -100
    assert lines[-2].endswith("(IWAE-3 of 1000 pictures)")
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    held_out = [r["held_out_loss"] for r in log if "held_out_loss" in r]
    assert len(held_out) == 2 and held_out[1] == pytest.approx(-elbo, abs=0.01)
    sizes = {"reconstructions.png": (16, 2), "interpolation.png": (16, 1), "manifold.png": (20, 20)}
    for name, (columns, rows) in (sizes | {"samples/epoch-001.png": (8, 8)}).items():
        assert Image.open(tmp_path / name).size == (56 * columns, 56 * rows)
    strip = np.asarray(Image.open(tmp_path / "interpolation.png")).reshape(28, 2, 16, 56)[
        :, 0, :, ::2
    ]
    sheet = np.asarray(Image.open(tmp_path / "reconstructions.png"))
    # binarised digits over grey means
    assert set(np.unique(sheet[:56])) == {0, 255} and len(np.unique(sheet[56:])) > 50
    assert np.array_equal(strip[:, 0], sheet[56::2, :56:2]) and np.array_equal(
        strip[:, 15], sheet[56::2, 56:112:2]
    )
    gif = Image.open(tmp_path / "interpolation.gif")
    assert gif.size == (112, 112) and gif.n_frames == 16
    assert np.load(tmp_path / "samples.npz")["images"].shape == (30, 28, 28)
    again = example("mnist_vae", "--out", tmp_path, "--resume").stdout.splitlines()
    assert again[0] == lines[0] and "2 epochs are done already" in again[1]
    assert again[2:] == lines[-4:]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--beta", "-1"], "must be"),
        (["--targets", "black"], "grey"),
        (["--latent", "0"], "must be from 1 to 4096"),
    ],
)
def test_a_users_mistake_is_one_line(args, words, tmp_path):
    done = example("mnist_vae", *args, "--out", tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and words in done.stderr


@pytest.mark.parametrize("held_out", [1, 2])
def test_the_example_draws_with_one_held_out_digit(held_out, tmp_path):
    folder(tmp_path, 10 * held_out)
    flags = ["--data", tmp_path, "--epochs", 1, "--latent", 2, "--batch-size", 3]
    done = example("mnist_vae", *flags, "--device", "cpu", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert f"{held_out} held-out pictures" in done.stdout
    walk = np.asarray(Image.open(tmp_path / "run/interpolation.png"))
    assert walk.shape == (56, 16 * 56)
    assert (walk[:, :56] == walk[:, -56:]).all() == (held_out == 1)
