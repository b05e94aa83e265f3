"""Refinement of a GAN's samples: on toys whose densities are known, with the best discriminator
there is, refined samples have the distribution of the data, and those before it have not.
"""

import math
import runpy
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from runs import ROOT, folder

from tinygan import Tensor, checkpoint, cli, data, device, nn, ops, random, refine
from tinygan.models import GAN, MODELS, VAES

WIDTH = 1.5  # G's samples are N(0, 1.5**2)
MODES = ((0.3, -1.5, 0.5), (0.7, 1.0, 0.6))  # the data's: weight, mean, deviation


def log_normal(x, mean, deviation):
    return -0.5 * ((x - mean) / deviation) ** 2 - math.log(deviation * math.sqrt(2 * math.pi))


def cdf(x, modes=MODES):
    normal = np.vectorize(lambda a: 0.5 * (1 + math.erf(a / math.sqrt(2))))
    return sum(w * normal((x - mean) / deviation) for w, mean, deviation in modes)


def off(samples, modes=MODES):
    """The statistic of Kolmogorov and Smirnov over what one sample of a thousand exceeds."""
    x = np.sort(np.ravel(samples).astype(float))
    n, p = len(x), cdf(x, modes)
    steps = np.arange(n + 1) / n
    return max((steps[1:] - p).max(), (p - steps[:-1]).max()) * math.sqrt(n) / 1.95


class Best(nn.Module):
    """The best D: log(p_data / p_G) of x (n, 1), then `scale` times that and `shift`; of classes,
    each mode is one.
    """

    def __init__(self, classes=0, scale=1.0, shift=0.0):
        self.weight = nn.Parameter(np.zeros(1, np.float32))  # an optimizer wants one
        self.modes, self.scale, self.shift = MODES, scale, shift
        self.classes = classes

    def forward(self, x):
        modes = [
            log_normal(x, mean, s) + (0 if self.classes else math.log(w)) for w, mean, s in MODES
        ]
        both = ops.concatenate(modes, 1)
        data = both if self.classes else ops.logsumexp(both, axis=1, keepdims=True)
        return self.scale * (data - log_normal(x, 0.0, WIDTH)) + self.shift


class Of(nn.Module):
    """D as a function of x (n, 1)."""

    def __init__(self, function):
        self.weight = nn.Parameter(np.zeros(1, np.float32))
        self.function = function

    def forward(self, x):
        return self.function(x)


def toy(discriminator=None, classes=0, width=WIDTH, **options):
    """A GAN whose G stretches z (n, 1)."""
    generator = nn.Linear(1 + classes, 1, bias=False)
    generator.weight.data[...] = 0
    generator.weight.data[0, 0] = width
    return GAN(generator, discriminator or Best(classes), latent=1, classes=classes, **options)


def source(seed=0):
    return random.Generator(seed)


def of_data(n, seed=9):
    """n real samples (n, 1) and their modes."""
    rng = np.random.default_rng(seed)
    mode = (rng.uniform(size=n) > MODES[0][0]).astype(int)
    _, mean, deviation = np.array(MODES).T
    x = mean[mode] + deviation[mode] * rng.standard_normal(n)
    return x[:, None].astype(np.float32), mode


def logits(model, x):
    return np.ravel(ops.raw(refine.Critic(model)(x)))


def samples(model, refined):
    return model.sample(len(refined.points), refined.points, refined.labels)


def known(model, n=4000):
    return refine.calibrated(model, of_data(n)[0], source=source(5))


def test_a_generators_samples_are_not_the_datas():
    model = toy()
    assert off(model.sample(4000, model.noise(4000, source()))) > 5


def test_exact_rejection_gives_the_datas_distribution():
    model = toy()
    kept = refine.rejection(model, 4000, percentile=None, source=source())
    assert off(samples(model, kept)) < 1
    # of proposals 1 / M are kept, M the largest ratio
    x = np.linspace(-9, 9, 2001, dtype=np.float32)[:, None]
    largest = math.exp(model.discriminator(x).max())
    assert kept.accepted == pytest.approx(1 / largest, rel=0.05) and kept.labels is None
    assert kept.draws == 10_000 + 500 * ((kept.draws - 10_000) // 500) > 10_000 + 4000
    np.testing.assert_allclose(kept.scores, logits(model, samples(model, kept)))


def test_the_percentile_says_how_many_are_kept():
    model = toy()
    shares = {}
    for percentile in (20.0, 80.0, 99.0):
        kept = refine.rejection(model, 2000, percentile=percentile, source=source())
        shares[percentile] = kept.accepted
        # nearer to the data than G is, and with a bias that falls as fewer are kept
    assert shares[20.0] > shares[80.0] > shares[99.0]
    # half of those at the percentile are kept: sigmoid(F - gamma), by hand
    first = np.log([[0.1, 0.2, 0.4, 0.8, 1.0]])
    acceptance = refine.methods._Acceptance(first, 75, 1e-6)
    p = np.array([0.1, 0.2, 0.4, 0.8])
    odds = p / (1 - p + 1e-6)
    expected = odds / (odds + odds[3])
    np.testing.assert_allclose(np.exp(acceptance(np.log(p), np.zeros(4, int))), expected, 1e-4)
    # a larger ratio than any before becomes M, and has none above it
    assert np.exp(acceptance(np.log([2.0]), np.zeros(1, int))) > 0.999
    assert acceptance.top == np.log(2)


def test_each_class_has_a_largest_ratio_of_its_own():
    """D finds all of one class too frequent by the same factor: among its own none is."""
    levels = np.array([[0, -5, 7]], np.float32)
    model = toy(Of(lambda x: 0 * x + levels), classes=3)
    for percentile, share in (None, 1), (80, 0.5):
        kept = refine.rejection(model, 2000, percentile=percentile, source=source())
        assert kept.accepted == pytest.approx(share, abs=0.05)


def test_metropolis_hastings_gives_the_datas_distribution():
    model = toy()
    ended = refine.metropolis_hastings(model, 3000, known(model), steps=30, source=source())
    assert off(samples(model, ended)) < 1
    # chains of few steps have the right distribution too, but where they never moved
    assert 0.3 < ended.accepted < 0.9 and ended.draws >= 90_000
    np.testing.assert_allclose(
        ended.scores, known(model)(logits(model, samples(model, ended))), 1e-5
    )


def test_of_logits_that_are_wrong_the_calibration_makes_right_ones():
    model = toy(Best(scale=3.0, shift=-2.0))
    right = known(model)
    assert right.slope == pytest.approx(1 / 3, rel=0.1)
    assert right.intercept == pytest.approx(2 / 3, abs=0.1)
    assert abs(right.z) < 3 < abs(right.before) and right.loss < math.log(2) - 0.05
    np.testing.assert_allclose(right.real, right(logits(model, of_data(4000)[0])), atol=1e-5)
    wrong = refine.rejection(model, 3000, percentile=None, source=source())
    kept = refine.rejection(model, 3000, percentile=None, calibration=right, source=source())
    assert off(samples(model, wrong)) > 2 > 1 > off(samples(model, kept))
    ended = refine.metropolis_hastings(model, 3000, right, steps=30, source=source())
    assert off(samples(model, ended)) < 1


def test_a_best_discriminator_is_calibrated_already():
    found = known(toy(), 10_000)
    assert found.slope == pytest.approx(1, abs=0.08) and abs(found.intercept) < 0.06
    assert abs(found.z) < 3 and abs(found.before) < 3 and found.labels is None
    knows_nothing = refine.calibrated(toy(Of(lambda x: 0 * x)), of_data(100)[0], source=source())
    assert knows_nothing.slope == 0 and knows_nothing.loss == pytest.approx(math.log(2))


METHODS = {
    "rejection": lambda model, n, known, **o: refine.rejection(model, n, percentile=None, **o),
    "metropolis_hastings": lambda model, n, known, **o: refine.metropolis_hastings(
        model, n, known, steps=20, **o
    ),
    "best_of": lambda model, n, known, **o: refine.best_of(model, n, 3, **o),
    "latent_optimised": lambda model, n, known, **o: refine.latent_optimised(model, n, **o),
}
gpp = pytest.mark.skipif(not shutil.which("g++"), reason="g++ compiles the kernels for the host")


@pytest.mark.parametrize("name", ["rejection", "metropolis_hastings"])
def test_each_class_has_its_own_distribution_and_labels_stay(name):
    model = toy(classes=2, names=("left", "right"))
    real, modes = of_data(3000)
    right = refine.calibrated(model, real, modes, source=source())
    words = ["left"] * 1500 + ["right"] * 2500
    found = METHODS[name](model, 4000, right, labels=words, source=source())
    assert found.labels.tolist() == [0] * 1500 + [1] * 2500
    x = samples(model, found)
    for k, (_, mean, deviation) in enumerate(MODES):
        assert off(x[found.labels == k], [(1, mean, deviation)]) < 1
        assert off(x[found.labels != k], [(1, mean, deviation)]) > 5


@pytest.mark.parametrize("name", METHODS)
def test_a_seed_gives_the_same_points_and_another_one_others(name):
    model = toy(classes=2)
    right = refine.calibrated(model, *of_data(100), source=source())
    again = [METHODS[name](model, 40, right, source=source(seed)) for seed in (1, 1, 2)]
    assert again[0].labels.tolist() == [0, 1] * 20  # in turn
    np.testing.assert_array_equal(again[0].points, again[1].points)
    assert (again[0].points != again[2].points).any()
    random.manual_seed(1)  # without a source
    np.testing.assert_array_equal(METHODS[name](model, 40, right).points, again[0].points)


def test_a_chain_begins_among_its_class_and_again_if_it_never_moved():
    model = toy(Of(lambda x: ops.concatenate([x, x], 1) * 0), classes=2)
    # of class 0 no offer is taken, of class 1 each
    right = refine.Calibration(1.0, 0.0, 0, 0, 0, np.array([50.0, 0, 0]), np.array([0, 1, 1]))
    found = refine.metropolis_hastings(model, 60, right, steps=2, source=source())
    assert found.draws == 60 * 2 + 30 * 3 and found.accepted == pytest.approx(2 / 3)
    assert (found.scores == 0).all()  # which G's samples have


def test_best_of_is_the_best_of_all_draws():
    model = toy(classes=2)
    score = lambda x, labels: -abs(np.ravel(x) - labels)
    found = refine.best_of(model, 700, 5, score, source=source(3))
    draws, labels = source(3), np.arange(700) % 2
    points = np.stack([model.noise(700, draws) for _ in range(5)])
    scored = np.stack([score(model.sample(700, z, labels), labels) for z in points])
    rows = np.arange(700)
    np.testing.assert_array_equal(found.points, points[scored.argmax(0), rows])
    np.testing.assert_allclose(found.scores, scored.max(0), rtol=1e-6)
    assert found.draws == 3500 and found.accepted == 0.2
    # of equals the first that came
    same = refine.best_of(model, 700, 5, lambda x, labels: 0 * x[:, 0], source=source(3))
    np.testing.assert_array_equal(same.points, points[0])
    # one is no choice; D scores where nobody else does; a VAE has samples too
    once = refine.best_of(model, 9, 1, source=source(3))
    np.testing.assert_array_equal(once.points, model.noise(9, source(3)))
    vae = VAES["mlp"](latent=2)
    bright = lambda images, labels: images.mean((1, 2, 3))
    assert refine.best_of(vae, 2, 3, bright).scores.shape == (2,)


@pytest.mark.parametrize("damping", [None, 5.0])
def test_points_climb_the_logit(damping):
    model = toy(Of(lambda x: -0.5 * (x - 3.0) ** 2))
    found = refine.latent_optimised(model, 600, steps=4, lr=0.1, damping=damping, source=source())
    z = model.noise(600, source()).astype(float)
    for _ in range(4):
        g = WIDTH * (3 - WIDTH * z)
        z = z + 0.1 * (g if damping is None else g / (5 + g**2))
    np.testing.assert_allclose(found.points, z, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.scores, -0.5 * (WIDTH * z[:, 0] - 3) ** 2, atol=1e-4)


# --- calibration


reals = st.floats(-50, 50, allow_nan=False, width=32)


@given(st.lists(st.tuples(reals, st.booleans()), min_size=4, max_size=60), reals, reals)
def test_the_regression_is_at_its_optimum_and_knows_no_units(pairs, factor, shift):
    logits, real = (np.array(a) for a in zip(*pairs))
    slope, intercept = refine.platt(logits, real)
    n, positive = len(real), real.sum()
    target = np.where(real, (positive + 1) / (positive + 2), 1 / (n - positive + 2))
    p = 1 / (1 + np.exp(-(slope * logits + intercept)))
    spread = logits.std() or 1
    if abs(logits).max() < 1e6 * spread or logits.std() == 0:  # else all are taken to be alike
        assert abs((p - target).sum()) < 1e-6 * n
        assert abs(((p - target) * (logits - logits.mean())).sum()) < 1e-6 * n * spread
    order = np.argsort(logits)
    assert (np.diff(p[order]) * np.sign(slope) >= 0).all()  # monotone
    if abs(factor) > 1e-2 and spread > 1e-3:
        other = refine.platt(factor * logits + shift, real)
        other = other[0] * (factor * logits + shift) + other[1]
        np.testing.assert_allclose(other, slope * logits + intercept, atol=1e-3)


@given(st.floats(0.1, 5), st.floats(-2, 2), st.integers(0, 2**16))
def test_the_regression_finds_what_made_the_data(slope, intercept, seed):
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal(20_000) * 2
    p = 1 / (1 + np.exp(-(slope * logits + intercept)))
    found = refine.platt(logits, rng.uniform(size=len(p)) < p)
    x = np.stack([logits, np.ones_like(logits)])
    deviations = np.sqrt(np.diag(np.linalg.inv((x * p * (1 - p)) @ x.T)))
    assert (abs(np.array(found) - (slope, intercept)) < 5.5 * deviations + 0.01).all()


def test_logits_that_separate_or_say_nothing_have_finite_answers():
    for gap in (1.0, 1e-6, 1e6):
        slope, intercept = refine.platt(np.array([0.0] * 50 + [gap] * 50), np.arange(100) >= 50)
        p = 1 / (1 + np.exp(-(slope * np.array([0, gap]) + intercept)))
        np.testing.assert_allclose(p, [1 / 52, 51 / 52], rtol=1e-6)
    far = np.append(np.zeros(99), 1e9)
    assert np.isfinite(refine.platt(far, far > 0)).all()
    # few real ones and logits far out: Newton's whole steps never arrive
    rng = np.random.default_rng(268)
    logits, real = rng.standard_cauchy(500) ** 3, rng.uniform(size=500) < 0.02
    slope, intercept = refine.platt(logits, real)
    p = 0.5 + 0.5 * np.tanh((slope * logits + intercept) / 2)
    target = np.where(real, (real.sum() + 1) / (real.sum() + 2), 1 / (502 - real.sum()))
    assert abs((p - target).sum()) < 1e-6
    for same in (0.0, 7.0, -1e-3):
        slope, intercept = refine.platt(np.full(30, same), np.arange(30) < 10)
        assert slope == 0 and 1 / (1 + np.exp(-intercept)) == pytest.approx(1 / 3, abs=0.02)


# --- what is seen of D, and what is refused


def test_d_is_as_it_was_trained_and_is_left_alone():
    gan = MODELS["mlp"](latent=4, side=8, augment="shift,cutout")
    before = {k: a.copy() for k, a in gan.discriminator.state_dict().items()}
    random.manual_seed(0)
    critic, images = refine.Critic(gan), gan.sample(5, gan.noise(5, source()))
    np.testing.assert_array_equal(critic(images).data, critic(images).data)  # no dropout, no change
    assert random.default.draw == 0 and critic(images).shape == (5,)
    assert gan.discriminator.training
    refine.latent_optimised(gan, 3, steps=1, source=source())
    after = gan.discriminator.state_dict()
    assert all((before[k] == after[k]).all() for k in before)


def refused(words, call, kind=ValueError):
    with pytest.raises(kind, match=words) as error:
        call()
    assert "\n" not in str(error.value) and len(str(error.value)) < 250


def test_a_discriminator_without_a_score_for_one_sample_is_refused():
    refused("VAE has no discriminator; best_of", lambda: refine.rejection(VAES["mlp"](), 5))
    packed = toy()
    packed.packing = 2
    refused("packs of 2 samples", lambda: refine.best_of(packed, 5, 2))
    beside = toy(Of(lambda x: x - ops.mean(x, axis=0, keepdims=True)))
    refused("beside others", lambda: refine.latent_optimised(beside, 5))
    for little in (lambda x: 1e-3 * (x + 0.1 * x.mean(0)), lambda x: 50 + 0.1 * (x + x.std(0))):
        few = toy(Of(lambda x, f=little: Tensor(f(ops.raw(x)))))
        refused("beside others", lambda few=few: refine.best_of(few, 5, 2))
    batch = nn.Linear(1, 1), nn.BatchNorm1d(1, track_running_stats=False), nn.Linear(1, 1)
    batch[2].weight.data[...] = 1e-4
    refused("beside others", lambda: refine.best_of(toy(nn.Sequential(*batch)), 5, 2))
    weak = MODELS["dcgan"](width=1, latent=2, minibatch_std=True)  # not trained yet
    refused("beside others", lambda: refine.best_of(weak, 5, 2))
    for size in (None, 4):
        layers = nn.Linear(1, 2), nn.MinibatchStdDev(size), nn.Linear(3, 1)
        refused("beside others", lambda: refine.rejection(toy(nn.Sequential(*layers)), 5))
    normalised = toy(nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)))  # by its running figures
    assert np.isfinite(refine.best_of(normalised, 5, 2).scores).all()


def test_what_is_asked_for_must_fit():
    model, two = toy(), toy(classes=2)
    real, modes = of_data(100)
    right = refine.calibrated(two, real, modes * 0, source=source())
    refused("n must be at least 1", lambda: refine.rejection(model, 0))
    refused("taught no classes", lambda: refine.best_of(model, 2, 2, labels=[0, 0]))
    refused(r"labels of shape \(3,\), got \(2,\)", lambda: refine.rejection(two, 3, [0, 1]))
    refused("percentile must be from 0 to 100", lambda: refine.rejection(model, 1, percentile=101))
    refused("burn_in must be", lambda: refine.rejection(model, 1, burn_in=0))
    refused("steps must be", lambda: refine.metropolis_hastings(two, 1, right, steps=0))
    refused("steps must be", lambda: refine.latent_optimised(model, 1, steps=0))
    refused("k must be", lambda: refine.best_of(model, 1, 0))
    refused("class 1", lambda: refine.metropolis_hastings(two, 4, right))
    refused("20 real samples or more, got 19", lambda: refine.calibrated(model, real[:19]))
    refused("needs the labels", lambda: refine.calibrated(two, real))
    wide = lambda x, labels: np.zeros((len(x), 2))
    refused(r"for each of 4 samples, got \(4, 2\)", lambda: refine.best_of(model, 4, 2, wide))
    for bad in (0, 2.5, np.nan):
        refused("n must be at least 1 and whole", lambda bad=bad: refine.best_of(model, bad, 1))
        refused("k must be", lambda bad=bad: refine.best_of(model, 1, bad))
        refused("steps must be", lambda bad=bad: refine.latent_optimised(model, 1, steps=bad))
        refused("burn_in must be", lambda bad=bad: refine.rejection(model, 1, burn_in=bad))
    for bad in (0, np.nan, np.inf):
        refused("epsilon must be", lambda bad=bad: refine.rejection(model, 1, epsilon=bad))
    refused("refine.calibrated", lambda: refine.metropolis_hastings(model, 4, None))
    for bad in (lambda x: x[:, 0], 3):
        refused(r"of \(samples, labels\)", lambda bad=bad: refine.best_of(model, 4, 2, bad))
    lost = lambda x, labels: np.full(len(x), np.nan)
    refused("not all of it finite", lambda: refine.best_of(model, 4, 2, lost))


def test_a_calibration_refuses_images_of_another_range():
    """Of those from 0 to 255 D's logits mean nothing: the slope was -141."""
    gan = MODELS["mlp"](latent=2, side=8)
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8)
    for wrong in (images, images[:, None].astype(np.float32), data.scale(images)[:, :, :4]):
        refused(
            "calibrated: needs .* data.scale", lambda wrong=wrong: refine.calibrated(gan, wrong)
        )
    refused("finite", lambda: refine.calibrated(toy(), of_data(30)[0] * np.float32(np.nan)))
    both = [
        refine.calibrated(gan, x, source=source())
        for x in (data.scale(images), data.scale(images).astype(float))
    ]
    assert both[0].slope == both[1].slope


def test_numpys_scalars_change_no_dtype():
    model = toy(Of(lambda x: -0.5 * (x - 3.0) ** 2))
    climb = lambda of: refine.latent_optimised(
        model, 5, steps=2, lr=of(0.1), damping=of(5), source=source()
    )
    np.testing.assert_array_equal(climb(np.float64).points, climb(float).points)
    assert climb(np.float64).points.dtype == np.float32


def test_rejection_ends_where_nearly_all_are_rejected():
    """Of samples above 3 * 1.5 one in a thousand; all others are e**40 times too frequent."""
    model = toy(Of(lambda x: ops.where(ops.raw(x) > 4.5, 40.0 + 0 * x, 0 * x)))
    reject = lambda most: refine.rejection(model, 30, percentile=None, most=most, source=source())
    refused("1250 draws gave .* of 30 samples", lambda: reject(1250), refine.RejectionError)
    assert (samples(model, reject(10**6)) > 4.5).all()


# --- the example


@pytest.fixture
def table(monkeypatch, capsys):
    """The example as a command: its exit code, its rows of words and its complaint."""

    def call(*flags):
        monkeypatch.setattr("sys.argv", ["refine.py", *map(str, flags)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / "examples/refine.py"), run_name="__main__")
        printed = capsys.readouterr()
        return end.value.code, [line.split() for line in printed.out.splitlines()], printed.err

    return call


def run_of(model, path, **arguments):
    """The folder of a run that learnt nothing from a hundred digits."""
    folder(path, 100)
    notes = {"arguments": {"data": str(path)} | arguments}
    meta = {"model": model.recipe, "notes": notes, "step": 0}
    checkpoint.save(path / "checkpoint.npz", model.parts(), meta)
    return path


def test_the_example_prints_one_table_and_writes_samples(table, tmp_path):
    gan = MODELS["dcgan"](width=1, latent=3, classes=10)
    run = run_of(gan, tmp_path / "gan")
    code, rows, complaint = table(run, "--n", 40, "--k", 3, "--method", "best", "agreed")
    assert code is None and not complaint
    rows = {" ".join(row[:1]): row for row in rows if row}
    assert {"real", "as", "best", "agreed"} <= rows.keys()
    assert rows["agreed"][-1] == rows["best"][-1] == "3.00"
    code, _, complaint = table(run, "--n", 40, "--method", "best", "--out", tmp_path / "better")
    assert code is None
    made, learnt = cli.read_samples(tmp_path / "better.npz")
    assert made.images.shape == (40, 28, 28) and learnt["data"] == str(run)
    chosen = refine.best_of(gan, 40, 4, source=random.Generator(0))
    expected = 127.5 * samples(gan, chosen)[:, 0] + 127.5
    assert abs(made.images - expected).max() <= 1 and (made.labels == chosen.labels).all()


def test_the_example_refuses_in_one_line(table, tmp_path):
    def complains(*flags, words):
        code, _, complaint = table(*flags)
        assert code == 2 and words in complaint and complaint.count("\n") == 1

    complains(tmp_path, words="no checkpoint")
    gan = run_of(MODELS["dcgan"](width=1, latent=3), tmp_path / "gan")
    complains(gan, "--out", tmp_path / "x", words="one --method")
    complains(gan, "--n", 40, "--method", "surest", words="a model of classes")
    vae = run_of(VAES["mlp"](latent=2), tmp_path / "vae")
    complains(vae, "--n", 40, words="VAE has no discriminator")
    elsewhere = run_of(MODELS["dcgan"](width=1, latent=3), tmp_path / "else", data=3)
    complains(elsewhere, words="does not say what its model learnt from")


def test_the_example_sees_that_the_classes_have_changed(table, tmp_path):
    """A folder of pictures of which a class was deleted, or has another name: labels would mean
    other classes than the model's.
    """
    for name in "abc":
        for k in range(15):
            image = np.random.default_rng(k).integers(0, 256, (8, 8), np.uint8)
            (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / "set" / name / f"{k}.png")
    gan = MODELS["mlp"](latent=2, side=8, classes=3, names=["a", "b", "c"])
    notes = {"arguments": {"data": str(tmp_path / "set")}}
    meta = {"model": gan.recipe, "notes": notes, "step": 0}
    (tmp_path / "run").mkdir()
    checkpoint.save(tmp_path / "run/checkpoint.npz", gan.parts(), meta)
    call = lambda: table(tmp_path / "run", "--n", 20, "--method", "best")
    code, rows, _ = call()
    assert code is None and rows[-1][:4] == "Of the Frechet distance".split()
    (tmp_path / "set/b").rename(tmp_path / "set/d")
    code, _, complaint = call()
    assert code == 2 and "has 3 classes now (a, c, d), and the model knows 3 (a, b, c)" in complaint
    shutil.rmtree(tmp_path / "set/d")
    code, _, complaint = call()
    assert code == 2 and "has 2 classes now (a, c)" in complaint and complaint.count("\n") == 1


@gpp
def test_a_gpu_chooses_the_same_points(gpu):
    found = {}
    for where in ("cpu", "gpu"):
        random.manual_seed(0)
        gan = MODELS["dcgan"](width=1, latent=3, classes=3, device=where)
        images = np.tanh(np.random.default_rng(0).standard_normal((40, 1, 28, 28)))
        images = device.to(images.astype(np.float32), where)
        right = refine.calibrated(gan, images, np.arange(40) % 3, source=source())
        for name, method in METHODS.items():
            options = {"burn_in": 30} if name == "rejection" else {}
            chosen = method(gan, 7, right, source=source(), **options)
            assert device.of(chosen.points) == device.of(samples(gan, chosen)) == where
            found[name, where] = device.to_host(chosen.points), chosen.scores
    for name in METHODS:
        for cpu, other in zip(found[name, "cpu"], found[name, "gpu"]):
            np.testing.assert_allclose(cpu, other, rtol=1e-3, atol=1e-4)
