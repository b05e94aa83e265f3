"""Toy densities: samples follow their density, which integrates to 1 and agrees with other ways to
compute it; the figures that count modes; and the example that watches a GAN learn them.
"""

import importlib
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runs import same, weights

from tinygan import Tensor, cli, data, export, grad, metrics, models, ops, plot, random, sample
from tinygan import train

TOYS = data.TOYS
NAMES = ["ring", "grid", "roll", "moons", "checkerboard"]


def test_the_names():
    assert [*TOYS] == NAMES and all(TOYS[name].name == name for name in NAMES)
    assert repr(TOYS["ring"]) == "Mixture('ring')"
    assert all(isinstance(toy, data.Toy) for toy in TOYS.values())


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_what_seed_stream_and_step_say(name):
    toy, source = TOYS[name], random.Generator(7, 3)
    first, second = toy.sample(500, source), toy.sample(500, source)
    assert first.shape == (500, 2) and first.dtype == np.float32
    assert (first != second).any(1).all()  # other draws of the step
    np.testing.assert_array_equal(toy.sample(500, random.Generator(7, 3)), first)
    source.next_step()
    assert (toy.sample(500, source) != first).any()
    for other in (random.Generator(8, 3), random.Generator(7, 4)):
        assert (toy.sample(500, other) != first).any(1).mean() > 0.99
    assert toy.sample(0, source).shape == (0, 2)
    assert (abs(toy.sample(20_000, source)) < toy.extent).all()
    batch = data.Batches(first, 100, 0, transform=None).batch(0, 0)
    assert batch.shape == (100, 2) and batch.dtype == np.float32


# Densities


def edges(toy, n):
    return np.linspace(-toy.extent, toy.extent, n + 1)


def masses(toy, n, fine):
    """The probability of each of n x n cells of the window, by a sum over fine x fine middles of
    each, (n, n).
    """
    middles = edges(toy, n * fine)[:-1] + toy.extent / (n * fine)
    places = np.stack(np.meshgrid(middles, middles, indexing="ij"), 2).reshape(-1, 2)
    each = np.exp(toy.log_density(places)).reshape(n, fine, n, fine)
    return each.sum((1, 3)) * (2 * toy.extent / (n * fine)) ** 2


@pytest.mark.parametrize(
    ("name", "fine"), [("grid", 20), ("roll", 3), ("moons", 3), ("checkerboard", 3)]
)
def test_a_density_integrates_to_one_and_samples_follow_it(name, fine):
    """By a chi-squared test of 20 x 20 cells."""
    toy, n = TOYS[name], 40_000
    expected = masses(toy, 20, fine)
    assert abs(expected.sum() - 1) < 1e-3
    points = toy.sample(n, random.Generator(1))
    counts, *_ = np.histogram2d(*points.T, bins=[edges(toy, 20)] * 2)
    full = expected * n > 5
    assert counts[expected == 0].sum() == 0 and counts[~full].sum() < 5 * (~full).sum()
    chi2 = ((counts - expected * n)[full] ** 2 / (expected * n)[full]).sum()
    degrees = full.sum() - 1
    assert abs(chi2 - degrees) < 4 * math.sqrt(2 * degrees)


def test_the_ring_by_hand():
    """Eight peaks so far apart that each is a Gaussian alone, with an eighth of the mass."""
    toy = TOYS["ring"]
    np.testing.assert_allclose(np.hypot(*toy.centres.T), 1)
    peak = -math.log(8 * 2 * math.pi * 1e-4)
    np.testing.assert_allclose(toy.log_density(toy.centres), peak)
    np.testing.assert_allclose(toy.log_density(np.array([[1.03, 0]])), peak - 4.5, rtol=1e-9)
    # half way between two, which both count
    middle = [[math.cos(math.pi / 8), math.sin(math.pi / 8)]]
    squared = (2 * math.sin(math.pi / 16)) ** 2
    np.testing.assert_allclose(toy.log_density(middle), peak + math.log(2) - squared / 2e-4)
    far = toy.log_density([[1e6, -1e6], [3e38, 0]])  # no 0 whose log would be -inf
    assert np.isfinite(far).all() and (far < -1e15).all()
    points = toy.sample(40_000, random.Generator(2))
    angle = (np.arctan2(*points.T[::-1]) / (math.pi / 4)).round().astype(int) % 8
    counts = np.bincount(angle, minlength=8)
    assert (abs(counts - 5000) < 4 * math.sqrt(5000)).all()
    apart = points - toy.centres[angle]
    np.testing.assert_allclose(apart.std(0), 0.01, rtol=0.02)
    assert abs(apart.mean(0)).max() < 4 * 0.01 / 200 and abs(np.corrcoef(apart.T)[0, 1]) < 0.02


def test_the_grid_is_that_of_the_paper():
    toy = TOYS["grid"]
    assert toy.deviation == 0.05 and {*map(tuple, toy.centres)} == {
        (x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)
    }


@pytest.mark.parametrize("name", ["roll", "moons"])
def test_the_density_along_a_curve_is_a_fine_sum(name):
    """On the curve, at its ends, beside it and outside; a mean over many places of the curve by
    the midpoint rule, whose error is known, 1e-7 here.
    """
    toy = TOYS[name]
    assert toy.centres is None and toy.deviation is None
    t = (np.arange(20_000) + 0.5) / 20_000
    nodes = np.concatenate([curve(t) for curve in toy.curves])
    ends = [curve(np.array([0, 1, 0.3])) for curve in toy.curves]
    places = np.concatenate([*ends, toy.sample(20, random.Generator(3)), [[0, 0], [3, -3]]])
    squared = ((places[:, None] - nodes) ** 2).sum(2)
    least = squared.min(1)
    mean = np.exp((least[:, None] - squared) / 0.08).mean(1)
    expected = np.log(mean) - least / 0.08 - math.log(2 * math.pi * 0.04)
    np.testing.assert_allclose(toy.log_density(places), expected, atol=2e-6)


def test_where_the_curves_are():
    roll, moons = TOYS["roll"].curves[0], TOYS["moons"].curves
    t = np.array([0, 0.5, 1])
    # the angles are 1.5, 3 and 4.5 half turns, the radius a fifth of the angle
    np.testing.assert_allclose(np.hypot(*roll(t).T), np.array([1.5, 3, 4.5]) * math.pi / 5)
    np.testing.assert_allclose(roll(t)[1], [-3 * math.pi / 5, 0], atol=1e-12)
    np.testing.assert_allclose(moons[0](t), [[1, -0.2], [-1, 1.8], [-3, -0.2]], atol=1e-12)
    np.testing.assert_allclose(moons[1](t), [[-1, 0.8], [1, -1.2], [3, 0.8]], atol=1e-12)


def test_the_checkerboard():
    toy = TOYS["checkerboard"]
    x = np.array([-3.5, -1.5, 0.5, 2.5])
    places = np.stack(np.meshgrid(x, x, indexing="ij"), 2).reshape(-1, 2)
    inside = np.isfinite(toy.log_density(places)).reshape(4, 4)
    assert inside.tolist() == [[(i + j) % 2 == 0 for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(toy.log_density(places)[inside.ravel()], -math.log(32))
    # edges are inside; beyond, nothing is
    edge = np.array([[4, 4], [-4, -4], [4 + 1e-6, 3], [5, 5], [0, 0]])
    assert np.isfinite(toy.log_density(edge)).tolist() == [True, True, False, False, True]
    assert np.isfinite(toy.log_density(toy.sample(20_000, random.Generator(0)))).all()


@pytest.mark.parametrize("name", ["ring", "roll", "checkerboard"])
def test_a_density_is_of_points_of_the_plane(name):
    log = TOYS[name].log_density
    assert log(np.empty((0, 2))).shape == (0,)
    points = TOYS[name].sample(2500, random.Generator(0))  # more than a block
    whole = log(points)
    assert whole.dtype == np.float64 and whole.shape == (2500,)
    np.testing.assert_array_equal(whole[2000:], log(points[2000:]))
    for wrong in (points[0], points[:, :1], points[None]):
        with pytest.raises(ValueError, match=r"log_density: points must be \(n, 2\) .* got \("):
            log(wrong)
    with pytest.raises(ValueError, match="NaN or infinity among them"):
        log(np.array([[0, 0], [np.nan, 0]]))


# Figures


CENTRES = np.array([[0, 0], [10, 0], [0, 10]])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_modes_counted_by_hand(dtype):
    """Of eight points three are good at the first mode, one at the second; the others are three
    deviations away or more, between modes, or not finite.
    """
    points = [[0, 0], [0.1, 0], [0, -1.49], [10, 1.4], [1.5, 0], [1.2, 1.2], [5, 5], [np.nan, 0]]
    found = metrics.mode_figures(np.array(points, dtype), CENTRES, 0.5)
    assert found["modes"] == 2 and isinstance(found["modes"], int)
    assert found["quality"] == 0.5
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    np.testing.assert_allclose(found["kl"], math.log(3) - entropy)


@pytest.mark.filterwarnings("error")
def test_modes_at_the_extremes():
    none = {"modes": 0, "quality": 0.0, "kl": math.log(3)}
    for points in ([[5, 5]], [[np.nan, np.inf]], [[1e38, 0]]):
        assert metrics.mode_figures(np.array(points, np.float32), CENTRES, 0.5) == none
    one = metrics.mode_figures(np.array([[10.1, 0]]), CENTRES, 0.5)
    assert one == {"modes": 1, "quality": 1.0, "kl": math.log(3)}
    even = metrics.mode_figures(CENTRES.repeat(5, 0), CENTRES, 0.5)
    assert even == {"modes": 3, "quality": 1.0, "kl": 0.0}
    assert metrics.mode_figures(np.zeros((1, 2)), CENTRES[:1], 0.5)["kl"] == 0


@pytest.mark.parametrize(("name", "modes"), [("ring", 8), ("grid", 25)])
def test_real_points_are_as_good_as_a_gaussian_has_them(name, modes):
    toy = TOYS[name]
    found = metrics.mode_figures(
        toy.sample(50_000, random.Generator(5)), toy.centres, toy.deviation
    )
    assert found["modes"] == modes and found["kl"] < 1e-3
    assert abs(found["quality"] - (1 - math.exp(-4.5))) < 4 * math.sqrt(0.0111 / 50_000)


def test_many_modes_are_taken_block_by_block(monkeypatch):
    centres = np.stack(np.meshgrid(np.arange(40), np.arange(25)), 2).reshape(-1, 2)
    points = centres.repeat(3, 0)[:-3] + 0.01
    whole = metrics.mode_figures(points, centres, 0.1)
    assert whole["modes"] == 999 and whole["quality"] == 1
    monkeypatch.setattr(metrics.modes, "BLOCK", 5000)
    assert metrics.mode_figures(points, centres, 0.1) == whole


def test_what_has_no_modes_is_refused():
    for points in (np.empty((0, 2)), np.empty((3, 3)), np.zeros(2)):
        with pytest.raises(ValueError, match="mode_figures: .* got"):
            metrics.mode_figures(points, CENTRES, 0.5)
    with pytest.raises(ValueError, match="got 3 points and 0 centres"):
        metrics.mode_figures(np.zeros((3, 2)), CENTRES[:0], 0.5)
    for deviation in (0, -1, math.nan):
        with pytest.raises(ValueError, match="deviation must be above 0"):
            metrics.mode_figures(np.zeros((3, 2)), CENTRES, deviation)


def test_the_divergence_of_counts():
    kl = metrics.histogram_kl
    assert kl([], 10) == kl([0, 0], 10) == kl([7], 10) == math.log(10)
    assert kl([3] * 10, 10) == 0  # whatever rounding leaves
    np.testing.assert_allclose(kl(np.array([5, 0, 5, 0]), 4), math.log(2))
    np.testing.assert_allclose(kl([5, 5], 4), math.log(2))
    np.testing.assert_allclose(kl(np.full(1000, 26), 1000), 0, atol=1e-12)
    for counts, k in (([1, 2, 3], 2), ([-1, 2], 2), ([math.nan], 2), ([], 0)):
        with pytest.raises(ValueError, match="histogram_kl: counts must be"):
            kl(counts, k)


# The example


@pytest.fixture
def toy_gan(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "examples")
    return importlib.import_module("toy_gan")


def test_the_examples_step_is_the_models(toy_gan):
    made, losses = [], []
    for step in (models.R3GAN.step, toy_gan.adversarial_step):
        random.manual_seed(0)
        gan, points = models.points(width=8, **toy_gan.USUAL), random.Generator(1)
        for i in range(3):
            random.default.seek(i)
            losses.append(step(gan, TOYS["ring"].sample(32, points)))
        made.append(gan)
    assert losses[:3] == losses[3:]
    for part in ("generator", "discriminator", "average"):
        first, second = (getattr(gan, part).parameters() for gan in made)
        assert first and all((p.data == q.data).all() for p, q in zip(first, second, strict=True))


def test_the_examples_points_are_shuffled(toy_gan):
    """They were not, in the first epoch: points and their order came from one random stream, so
    that each batch was one mode.
    """
    points = TOYS["ring"].sample(12_800, random.Generator(0, toy_gan.REAL))
    for batch in data.Batches(points, 128, 0, transform=None):
        modes = (np.arctan2(*batch.T) / (math.pi / 4)).round() % 8
        assert len({*modes}) == 8


def test_a_frame_shows_the_slope_of_gs_loss_and_ds_scores(toy_gan, monkeypatch):
    """Of the first game: -d(-log sigmoid(s))/dx = sigmoid(-s) ds/dx, and a mean over the points."""
    shown = []
    monkeypatch.setattr(plot, "plane", lambda *things: shown.extend(things))
    random.manual_seed(3)
    gan, toy = models.points(width=8), TOYS["grid"]
    toy_gan.frame(gan, toy, "a title")
    which, fake, scores, flow, title = shown
    assert which is toy and fake.shape == (1500, 2) and title == "a title"
    x = Tensor(fake)
    s = gan.discriminator(x)
    expected = grad(ops.sum(s), x) / (1 + np.exp(s.data)) / 1500
    np.testing.assert_allclose(flow, expected, rtol=1e-4, atol=1e-9)
    real = toy.sample(1500, random.Generator(0, toy_gan.SHOWN))
    np.testing.assert_allclose(scores(real).mean(), -scores(fake).mean(), atol=1e-5)
    apart = s.data[0, 0] - s.data[9, 0]
    np.testing.assert_allclose(scores(fake)[0] - scores(fake)[9], apart, atol=1e-6)


@pytest.mark.parametrize("options", [{"packing": 4, "loss": "hinge"}, {"minibatch_std": True}])
def test_a_frame_of_other_games(toy_gan, options):
    picture = toy_gan.frame(models.points(width=8, **options), TOYS["ring"], "ring")
    assert picture.shape[1:] == (960, 3) and picture.dtype == np.uint8


@pytest.fixture
def blank(monkeypatch):
    """What frames show, which are not drawn."""
    shown = []
    keep = lambda *things: shown.append(things) or np.zeros((2, 2, 3), np.uint8)
    monkeypatch.setattr(plot, "plane", keep)
    return shown


def test_a_frame_changes_no_training(toy_gan, blank, tmp_path, monkeypatch):
    """Whose layers' largest singular values are found a little better with each look at them."""
    for out, epochs, *more in (("whole", 2), ("cut", 1), ("cut", 2, "--resume")):
        words = ["toy_gan", "--batch-size", 6400, "--spectral", "--out", tmp_path / out, *more]
        monkeypatch.setattr("sys.argv", [*map(str, words), "--epochs", str(epochs)])
        toy_gan.main()
    cut, whole = (weights(train.load(tmp_path / out)) for out in ("cut", "whole"))
    assert any("weight_u" in name for name in whole) and same(cut, whole)

    gan = train.load(tmp_path / "cut")
    toy_gan.frame(gan, TOYS["ring"], "ring")
    assert same(weights(gan), cut) and gan.discriminator[0].training
    monkeypatch.setattr(plot, "plane", None)  # fails
    with pytest.raises(TypeError):
        toy_gan.frame(gan, TOYS["ring"], "ring")
    assert gan.discriminator[0].training


def test_a_place_is_scored_among_gs_points_where_d_sees_how_much_they_differ(toy_gan, blank):
    """Nearly as one place alone would be among them."""
    random.manual_seed(0)
    gan, toy = models.points(width=8, minibatch_std=True), TOYS["ring"]
    gan.discriminator[-1].weight.data[:, -1] = 5  # all that it looks at
    toy_gan.frame(gan, toy, "ring")
    ((_, fake, says, *_),) = blank
    places = toy.extent * np.linspace([-1, -1], [1, 1], 1000, dtype=np.float32)
    alone = [gan.discriminate(np.concatenate([p[None], fake])).data[0, 0] for p in places[::100]]
    apart = says(places)[::100] - alone  # by where the middle of the scores is
    same = (says(fake) - gan.discriminate(fake).data[:, 0]).mean()
    np.testing.assert_allclose(apart, same, atol=0.05)


def test_the_example_ends_with_an_animation_and_figures(toy_gan, tmp_path, monkeypatch, capsys):
    def run(*flags):
        words = ["toy_gan", "--batch-size", "12800", "--out", str(tmp_path), *flags]
        monkeypatch.setattr("sys.argv", words)
        toy_gan.main()
        return capsys.readouterr().out.splitlines()[-1]

    first = run("--epochs", "1", "--density", "checkerboard")
    assert first.startswith("mean log density -3.47 nats (of real points -3.47), and ")
    again = run("--epochs", "2", "--resume")
    assert " where it is 0; sliced Wasserstein distance " in again and again != first
    with (
        Image.open(tmp_path / "samples.gif") as gif,
        Image.open(tmp_path / "samples/epoch-002.png") as last,
    ):
        assert gif.n_frames == 2 and gif.size == last.size == (960, 540)
    monkeypatch.setattr(
        "sys.argv", ["toy_gan", "--out", str(tmp_path), "--resume", "--density", "ring"]
    )
    with pytest.raises(SystemExit, match="2"):
        cli.run(toy_gan.main)
    assert "config.density was checkerboard, is ring" in capsys.readouterr().err


def test_the_figures_in_words(toy_gan):
    ring, moons = TOYS["ring"], TOYS["moons"]
    words = toy_gan.in_words(ring.sample(2500, random.Generator(0)), ring)
    assert words.startswith("8 of 8 modes, 9") and "(of real ones 98.9%)" in words
    words = toy_gan.in_words(moons.sample(2500, random.Generator(0)), moons)
    assert "where it is 0" not in words and words.startswith("mean log density -2.3")


def test_each_network_learns_at_its_own_rate(toy_gan, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(cli, "run_training", lambda args, gan, *_, **more: made.append(gan))
    for flags in ([], ["--model", "pacgan"], ["--model", "pacgan", "--lr", "0.01"]):
        monkeypatch.setattr("sys.argv", ["toy_gan", "--out", str(tmp_path / "run"), *flags])
        toy_gan.main()
    assert [gan.recipe["lr"] for gan in made] == [0.003, 1e-4, 0.01]
    assert [gan.r1 for gan in made] == [0.05] * 3


def test_a_model_of_points_is_no_maker_of_pictures(tmp_path, monkeypatch, capsys):
    batches = data.Batches(TOYS["ring"].sample(64, random.Generator(0)), 32, transform=None)
    train.train(models.points(width=4), batches, 1, tmp_path)
    capsys.readouterr()

    def said(command, *args):
        monkeypatch.setattr("sys.argv", [command.__name__, *map(str, args)])
        with pytest.raises(SystemExit) as exit:
            cli.run(command.main)
        return exit.value.code, *capsys.readouterr()

    code, _, err = said(sample, tmp_path)
    assert code == 2 and err.count("\n") == 1 and "are no pictures, but of shape (2,)" in err
    for name, words in (("generator", "gives points"), ("discriminator", "takes points (n, 2)")):
        code, out, err = said(export, tmp_path, tmp_path / f"{name}.onnx")
        assert not code and words in out, err
