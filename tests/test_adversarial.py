"""The adversarial family: each game's losses by their equations, one step for all, and the options
that fit any of them.
"""

import argparse
import importlib
import itertools

import numpy as np
import pytest
from runs import ROOT, example, weights
from test_checkpoint import same

from tinygan import Tensor, cli, data, grad, metrics, models, nn, ops, optim, random, train
from tinygan.nn import losses

normal = lambda *shape: np.random.default_rng(0).normal(size=shape)
FAKE, REAL = normal(2, 5, 1)
log_sigmoid = lambda s: -np.log1p(np.exp(-s))
# game -> D's loss and G's, of the scores of fakes f and reals r, as the papers write them
EQUATIONS = {
    losses.minimax: (
        lambda f, r: -np.mean(log_sigmoid(r)) - np.mean(log_sigmoid(-f)),
        lambda f, r: np.mean(log_sigmoid(-f)),
    ),
    losses.non_saturating: (
        lambda f, r: -np.mean(log_sigmoid(r)) - np.mean(log_sigmoid(-f)),
        lambda f, r: -np.mean(log_sigmoid(f)),
    ),
    losses.least_squares: (
        lambda f, r: np.mean((r - 1) ** 2) / 2 + np.mean(f**2) / 2,
        lambda f, r: np.mean((f - 1) ** 2) / 2,
    ),
    losses.hinge: (
        lambda f, r: np.mean(np.maximum(0, 1 - r)) + np.mean(np.maximum(0, 1 + f)),
        lambda f, r: -np.mean(f),
    ),
    losses.wasserstein: (lambda f, r: f.mean() - r.mean(), lambda f, r: -f.mean()),
}


@pytest.mark.parametrize("objective", EQUATIONS, ids=lambda f: f.__name__)
def test_each_objective_is_its_papers_equation(objective):
    for_d, for_g = EQUATIONS[objective]
    fake, real = Tensor(FAKE), Tensor(REAL)
    np.testing.assert_allclose(objective(fake, real).data, for_d(FAKE, REAL), rtol=1e-14)
    np.testing.assert_allclose(objective(fake).data, for_g(FAKE, REAL), rtol=1e-14)


def test_relativistic_pairs_compare_and_the_roles_exchange():
    fake, real = Tensor(FAKE), Tensor(REAL)
    d = losses.relativistic(fake, real).data
    np.testing.assert_allclose(d, -np.mean(log_sigmoid(REAL - FAKE)), rtol=1e-14)
    g = losses.relativistic(real, fake).data
    np.testing.assert_allclose(g, -np.mean(log_sigmoid(FAKE - REAL)), rtol=1e-14)


@pytest.mark.parametrize("objective", [losses.minimax, losses.non_saturating, losses.least_squares])
def test_smoothing_is_one_sided(objective):
    """A score whose probability is 1 - smoothing is best for real samples; fakes, and G, have 0."""
    fake, best = Tensor(FAKE), 0.9 if objective is losses.least_squares else np.log(9)
    real = Tensor(np.full((3, 1), best))
    smooth = lambda real: objective(fake, real, smoothing=0.1)
    np.testing.assert_allclose(grad(smooth(real), real), 0, atol=1e-15)
    assert np.array_equal(grad(smooth(real), fake), grad(objective(fake, real), fake)), (
        "fakes are not smoothed"
    )
    assert objective(fake, smoothing=0.1).data == objective(fake).data


def test_zero_centred_penalty_of_known_slopes():
    """Of s(x) = w.x / 2 + |x|^2, the slope at x is w / 2 + 2x."""
    w, x = normal(3), normal(4, 3)
    weight, point = Tensor(w), Tensor(x)
    scores = ops.sum(0.5 * weight * point + point**2, axis=1, keepdims=True)
    penalty = losses.zero_centred_penalty(scores, point)
    np.testing.assert_allclose(penalty.data, np.mean(np.sum((w / 2 + 2 * x) ** 2, 1)), rtol=1e-14)
    # d/dw mean |w/2 + 2x|^2 = mean (w/2 + 2x)
    np.testing.assert_allclose(grad(penalty, weight), np.mean(w / 2 + 2 * x, axis=0), rtol=1e-13)


def line(kind=models.GAN, **options):
    """G(z) = 0 and D(x) = w x + b of numbers: all losses are known."""
    generator, critic = nn.Linear(1, 1).double(), nn.Linear(1, 1).double()
    for p in (*generator.parameters(), *critic.parameters()):
        p.data[...] = 0.0
    critic.weight.data[...] = 0.5
    model = kind(generator, critic, latent=1, **options)
    model.noise = lambda n: random.default.normal((n, 1), np.float64)
    return model


def test_r1_and_r2_are_added_with_half_their_weights():
    real = np.full((4, 1), 2.0)
    plain, both = (line(r1=r1, r2=r2, lr=0.0).step(real)["d_loss"] for r1, r2 in ((0, 0), (3, 5)))
    np.testing.assert_allclose(both - plain, (3 + 5) / 2 * 0.5**2, rtol=1e-12)
    r3gan = line(models.R3GAN, r1=3, r2=5, lr=0.0).step(real)
    pairs = np.log1p(np.exp(-0.5 * 2.0))  # s(real) - s(fake) = 0.5 * 2
    np.testing.assert_allclose(r3gan["d_loss"], pairs + 1.0, rtol=1e-12)
    np.testing.assert_allclose(r3gan["g_loss"], np.log1p(np.exp(0.5 * 2.0)), rtol=1e-12)


@pytest.mark.parametrize(("r1", "r2", "squares"), [(2.0, 0.0, 16.0), (0.0, 2.0, 0.0)])
def test_r1_is_at_real_samples_and_r2_at_fake_ones(r1, r2, squares):
    """With s(x) = x^2 the slope is 4 at the real 2, and 0 at the fake 0."""
    model = line(r1=r1, r2=r2)
    model.discriminator.forward = lambda x: x**2
    loss = model.d_loss(model.discriminate, np.zeros((3, 1)), np.full((3, 1), 2.0))
    game = model.objective(*(Tensor(np.array([[s]])) for s in (0.0, 4.0)))
    np.testing.assert_allclose(loss.data - game.data, squares, atol=1e-12)


def test_the_clipped_critic_stays_in_its_box_and_g_does_not():
    model = line(models.WGAN, clip=0.25, lr=10.0)
    model.step(np.full((4, 1), 2.0))
    assert np.abs(model.discriminator.weight.data).max() == 0.25
    assert np.abs(model.generator.bias.data).max() > 1


@pytest.mark.parametrize(("d_lr", "rate"), [(None, 1e-3), (4e-3, 4e-3), (0.0, 0.0)])
def test_d_has_a_rate_of_its_own(d_lr, rate):
    model = line(lr=1e-3, d_lr=d_lr)
    rates = [o.param_groups[0]["lr"] for o in (model.g_optimizer, model.d_optimizer)]
    assert rates == [1e-3, rate]


def test_each_update_of_d_has_its_share_of_the_batch_and_g_moves_once():
    model, seen = line(n_critic=3, lr=1e-3), []
    plain = model.d_loss
    model.d_loss = lambda D, fake, real: (seen.append((fake, real)), plain(D, fake, real))[1]
    moved = {"d": 0, "g": 0}
    for name, optimizer in (("d", model.d_optimizer), ("g", model.g_optimizer)):
        step = optimizer.step
        optimizer.step = lambda g, name=name, step=step: (
            moved.update({name: moved[name] + 1}),
            step(g),
        )
    batch = np.arange(6.0)[:, None]
    model.step(batch)
    assert moved == {"d": 3, "g": 1}
    assert np.array_equal(np.concatenate([real for _, real in seen]), batch)
    assert all(len(fake) == 2 for fake, _ in seen)


def test_labels_go_with_their_share():
    random.manual_seed(0)
    model, told = models.mlp(latent=2, side=4, classes=3, n_critic=2), []
    plain = model.discriminate
    model.discriminate = lambda x, labels: (told.append(labels), plain(x, labels))[1]
    model.step((np.zeros((6, 1, 4, 4), np.float32), np.array([0, 1, 2, 2, 1, 0])))
    assert [list(t) for t in told] == [[0, 1, 2]] * 2 + [[2, 1, 0]] * 3


def test_packs_are_samples_one_behind_another_as_channels():
    random.manual_seed(0)
    model, seen = models.dcgan(width=1, latent=2, side=8, channels=3, packing=2), []
    plain = model.discriminator.forward
    model.discriminator.forward = lambda x: (seen.append(ops.raw(x)), plain(x))[1]
    x = normal(4, 3, 8, 8).astype(np.float32)
    assert model.discriminate(x).shape == (2, 1)
    pairs = [np.concatenate([x[i], x[i + 1]]) for i in (0, 2)]
    assert np.array_equal(seen[0], pairs)
    points = models.points(packing=3)
    assert points.discriminate(np.zeros((6, 2), np.float32)).shape == (2, 1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: models.points(loss="wasserstien"), "there is no 'wasserstien'; there are non-s"),
        (lambda: models.points(loss="hinge", smoothing=0.1), "smoothing: hinge has no targets"),
        (lambda: models.mlp(classes=3, packing=2), "packing is of samples without labels"),
        (lambda: models.points(packing=0), "packing must be at least 1, got 0"),
        (lambda: models.points(n_critic=0), "n_critic must be at least 1, got 0"),
        (lambda: models.points(n_critic=2.5), "n_critic cannot be 2.5"),
        (lambda: models.points(spectral="yes"), "spectral cannot be 'yes'"),
    ],
)
def test_what_cannot_be_played_is_refused_before_it_begins(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("n", [0, 3, 7])
def test_a_batch_that_cannot_be_cut_is_refused_and_nothing_moves(n):
    random.manual_seed(0)
    model = models.points(n_critic=2, packing=2)
    before = weights(model)
    with pytest.raises(ValueError, match=f"a batch of {n} cannot be cut .* a multiple of 4"):
        model.step(np.zeros((n, 2), np.float32))
    assert same(before, weights(model))


OPTIONS = [{}, {"spectral": True, "minibatch_std": True}, {"packing": 2, "n_critic": 2}]
OPTIONS += [{"r1": 0.5, "r2": 0.5, "d_lr": 1e-3}]


@pytest.mark.parametrize(("loss", "options"), [*itertools.product(models.LOSSES, OPTIONS)])
def test_every_game_with_every_option_is_remembered_and_moves_all_weights(loss, options):
    random.manual_seed(0)
    model = models.points(width=16, loss=loss, **options)
    again = models.build(model.recipe)
    assert again.recipe == model.recipe and type(again) is type(model)
    assert again.objective == model.objective
    bounded = [hasattr(layer, "weight_u") for layer in model.discriminator]
    assert any(bounded) == bool(options.get("spectral"))
    before = weights(model)
    model.step(normal(32, 2).astype(np.float32))
    after = weights(model)
    networks = {"generator": model.generator, "discriminator": model.discriminator}
    learnt = [f"{n}/{k}" for n, net in networks.items() for k, _ in net.named_parameters()]
    # the last bias moves no difference of scores; clipping does
    still = [n for n in learnt if same({0: before[n]}, {0: after[n]})]
    gap = loss in ("hinge", "wgan-gp", "r3gan")
    last = f"discriminator/{len(model.discriminator) - 1}.bias"
    assert still == ([last] if gap else [])


def test_pacgans_networks_are_those_of_its_code():
    model = models.pacgan(packing=2)
    count = lambda network: sum(p.size for p in network.parameters())
    assert count(model.generator) == 2 * 400 + 3 * 400**2 + 4 * 2 * 400 + 400 * 2 + 2
    assert count(model.discriminator) == 4 * 1000 + 2 * 200 * 1000 + 3 * 1000 + 200 + 1
    assert model.g_optimizer.param_groups[0]["betas"] == (0.8, 0.999)


def test_a_run_of_another_game_resumes_with_its_flags(tmp_path):
    np.save(tmp_path / "few.npy", data.load().images[:64])
    words = ["mnist_gan", "--data", tmp_path / "few.npy", "--side", 8, "--width", 1, "--r1", 0.5]
    words += ["--batch-size", 32, "--loss", "r3gan", "--spectral", "--minibatch-std"]
    words += ["--n-critic", 2, "--packing", 2, "--augment", "none"]
    for out, epochs in (("whole", 2), ("cut", 1)):
        done = example(*words, "--epochs", epochs, "--out", tmp_path / out)
        assert not done.returncode, done.stderr
    done = example("mnist_gan", "--resume", "--epochs", 2, "--out", tmp_path / "cut")
    assert not done.returncode, done.stderr
    cut, whole = (train.load(tmp_path / out) for out in ("cut", "whole"))
    assert cut.recipe == whole.recipe and same(weights(cut), weights(whole))
    assert cut.recipe["spectral"] is True and (cut.r1, cut.packing) == (0.5, 2)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--packing", 3, "--no-conditional"], "--packing 3: a batch of 32 leaves a rest"),
        (["--packing", 2], "packing is of samples without labels"),
        (["--loss", "hinge", "--smoothing", 0.1], "smoothing: hinge has no targets for real"),
        (["--smoothing", 0.7], "must be from 0 to 0.5"),
        (["--n-critic", 0], "must be from 1 to 100"),
        (["--loss", "wasserstein"], "invalid choice: 'wasserstein'"),
    ],
)
def test_a_mistake_at_the_command_line_is_one_line(flags, words, tmp_path):
    done = example("mnist_gan", *flags, "--epochs", 1, "--out", tmp_path / "run")
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_stacks_are_three_digits_each_and_their_number():
    digits = data.load()
    one = data.stacked(digits, 500, random.Generator(3, 1))
    assert one.images.shape == (500, 28, 28, 3) and one.labels.shape == (500,)
    for colour, power in ((0, 100), (1, 10), (2, 1)):
        shown = one.labels // power % 10
        for image, digit in zip(one.images[:50, ..., colour], shown[:50]):
            known = digits.images[digits.labels == digit]
            assert (known == image).all((1, 2)).any()
    again = data.stacked(digits, 500, random.Generator(3, 1))
    assert np.array_equal(one.images, again.images) and len(np.unique(one.labels)) > 350
    with pytest.raises(data.DataError, match="needs grey pictures"):
        data.stacked(one, 5, random.Generator(0))


def test_pairs_and_flat_slopes_find_the_whole_ring():
    """With eight modes of a radius of 1, and samples within 0.2 of one taken for its own."""
    random.manual_seed(1)
    ring = data.TOYS["ring"]
    model = models.points(width=32, loss="r3gan", lr=3e-3, r1=0.3, r2=0.3)
    batches = data.Batches(ring.sample(2000, random.Generator(0)), 50, transform=None)
    for _ in train.loop(model, batches, epochs=15):
        pass
    samples = model.sample(1000, random.Generator(0, 5).normal((1000, 2)))
    found = metrics.mode_figures(samples, ring.centres, deviation=0.2 / 3)
    assert found["modes"] == 8 and found["quality"] > 0.5


def test_the_optimizers_of_both_are_scheduled():
    assert [type(o) for o in models.points().optimizers] == [optim.Adam, optim.Adam]


def test_the_thousand_modes_are_counted_by_what_the_judge_reads(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "examples")
    stacked_mnist = importlib.import_module("stacked_mnist")
    digits = data.load()
    judge = metrics.Judge(data.scale(digits.images[:100]))
    pictures = data.stacked(digits, 500, random.Generator(1))
    seen = stacked_mnist.modes(data.scale(pictures.images), judge)
    assert (seen == pictures.labels).mean() > 0.98
    alike = data.scale(pictures.images[:1].repeat(50, 0))
    found = stacked_mnist.figures(alike, judge)
    assert found == {"modes": 1, "kl": pytest.approx(np.log(1000))}

    monkeypatch.setattr(stacked_mnist, "JUDGED", 40)
    flags = ["--pictures", 128, "--epochs", 1, "--width", 1, "--count", 1]
    monkeypatch.setattr(
        "sys.argv", ["stacked_mnist.py", *map(str, flags), "--out", f"{tmp_path}/x"]
    )
    stacked_mnist.main()
    *_, last = capsys.readouterr().out.splitlines()
    assert "of 1000 modes, KL" in last
    assert train.load(tmp_path / "x").recipe["loss"] == "r3gan"


def test_a_penalty_is_of_what_d_sees_as_one():
    """D of packs (x1, x2) is 3 x1 + 4 x2, of slope 5; of each x alone it would be 3 and 4."""
    w = np.array([[3.0], [4.0]])
    D = lambda x: ops.matmul(ops.reshape(x, (-1, 2)), w)
    x = Tensor(normal(6, 1))
    np.testing.assert_allclose(losses.zero_centred_penalty(D(x), x).data, 25.0)
    mix = np.array([0.2, 0.5, 0.9])
    np.testing.assert_allclose(losses.gradient_penalty(D, x.data, -x.data, mix).data, 16.0)
    seen = []
    losses.gradient_penalty(lambda x: (seen.append(x.data), D(x))[1], x.data, 0 * x.data, mix)
    np.testing.assert_allclose(seen[0], x.data * mix.repeat(2)[:, None])


def test_a_packed_wgan_gp_mixes_pack_by_pack(monkeypatch):
    random.manual_seed(0)
    model, drawn = models.points(width=3, loss="wgan-gp", packing=2), []
    plain = losses.gradient_penalty
    monkeypatch.setattr(
        "tinygan.models.wgan.gradient_penalty",
        lambda *given: (drawn.append(given[-1].shape), plain(*given))[1],
    )
    model.step(np.zeros((8, 2), np.float32))
    assert drawn == [(4,)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"packing": -1}, "packing must be a whole number of at least 1, got -1"),
        ({"n_critic": 0}, "n_critic must be a whole number of at least 1, got 0"),
        ({"n_critic": 2.0}, "n_critic must be a whole number of at least 1, got 2.0"),
        ({"r1": -1.0}, "r1 must be a number at least 0, got -1.0"),
        ({"r2": [1, 2]}, "r2 must be a number at least 0"),
        ({"r1": float("nan")}, "r1 must be a number at least 0, got nan"),
        ({"smoothing": 3.0}, "smoothing must be a number from 0 to 0.5, got 3.0"),
        ({"kind": models.WGAN, "clip": 0.0}, "clip must be a number at least 1e-30, got 0.0"),
        ({"kind": models.WGANGP, "penalty": -1}, "penalty must be a number at least 0, got -1"),
    ],
)
def test_options_out_of_range_are_refused_in_code_as_well(options, words):
    with pytest.raises(ValueError, match=words):
        line(**options)


def test_scores_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match="relativistic"):
        losses.relativistic(Tensor(FAKE), Tensor(REAL[:, 0]))
    with pytest.raises(ValueError, match="see models.R3GAN"):
        line(objective=losses.relativistic).step(np.zeros((2, 1)))
    assert models.points(d_lr=None).recipe["d_lr"] is None


class Lists(nn.Module):
    """Layers in a list, one of them used twice."""

    def __init__(self):
        one = nn.Linear(2, 2)
        self.layers = [one, one, nn.Conv1d(1, 1, 2)]

    def forward(self, x):
        for layer in self.layers[:2]:
            x = layer(x)
        return ops.reshape(self.layers[2](x[:, None]), (-1, 1))


def test_every_matrix_of_a_discriminator_is_bounded_wherever_it_is_held():
    model = models.adversarial(nn.Linear(2, 2), Lists(), 2, spectral=True)
    first, second, third = model.discriminator.layers
    assert first is second and hasattr(first, "weight_u") and hasattr(third, "weight_u")
    assert not any(name.endswith("weight") for name in model.discriminator.state_dict())
    model.step(normal(4, 2).astype(np.float32))
    with pytest.raises(ValueError, match="spectral: the discriminator has no layer with a matrix"):
        models.adversarial(nn.Linear(2, 2), nn.Sequential(nn.ReLU()), 2, spectral=True)


def test_what_the_judge_cannot_read_is_not_counted(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "examples")
    stacked_mnist = importlib.import_module("stacked_mnist")
    digits = data.load()

    def stop(*args, **options):
        raise data.DataError("enough")

    monkeypatch.setattr(stacked_mnist.cli, "built", stop)
    words = ["stacked_mnist", "--pictures", "64", "--out", str(tmp_path / "run")]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(data.DataError, match="enough"):
        stacked_mnist.main()
    assert capsys.readouterr().out.startswith("64 stacks of three digits; 64 of them: modes 6")
    rows = np.arange(len(digits.labels)) // 10
    for every, read in ((20, True), (5, False)):  # how many labels are wrong
        labels = np.where(rows % every, digits.labels, (digits.labels + 1) % 10)
        monkeypatch.setattr(data, "load", lambda *_, labels=labels: digits._replace(labels=labels))
        with pytest.raises(data.DataError, match="enough" if read else "--data bundled: the judge"):
            stacked_mnist.main()


def test_a_step_takes_a_batch_for_each_update_and_flags_not_given_are_no_options():
    args = argparse.Namespace(packing=None, n_critic=3, spectral=False, r1=0.0, loss=None)
    assert cli.share(args, 32, 1000) == 96
    assert cli.options(args, "spectral", "r1", "loss", "n_critic") == {"r1": 0.0, "n_critic": 3}
