"""The measures against exact anchors and brute force, the judge against digits that it knows, and
what the command line makes of both.
"""

import io
import os
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from runs import example, folder

from tinygan import cli, data, evaluate, random
from tinygan.data import DataError
from tinygan.metrics import Judge, classifier, distances, frozen, judge

DIGITS, LABELS, _ = data.load("bundled")
IMAGES = (DIGITS.astype(np.float32) / 127.5 - 1)[:, None]


def points(seed, n, d, scale=1.0):
    return np.random.default_rng(seed).standard_normal((n, d)) * scale


def within(values, expected, errors=4.0):
    """Whether the mean of independent values is as far from `expected` as chance allows."""
    assert abs(np.mean(values) - expected) < errors * np.std(values, ddof=1) / np.sqrt(len(values))


# Gaussians: the Frechet distance


def test_frechet_of_commuting_gaussians_is_the_distance_of_deviations():
    a, b, turn = (
        np.array([4.0, 1.0, 0.0]),
        np.array([1.0, 9.0, 0.25]),
        np.linalg.qr(points(0, 3, 3))[0],
    )
    m, other = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 3.5])
    expected = 4 + 0.25 + (1 + 4 + 0.25)  # |m - m'|^2 + sum (sqrt a - sqrt b)^2
    assert distances.frechet(m, np.diag(a), other, np.diag(b)) == pytest.approx(expected, rel=1e-12)
    turned = [turn @ np.diag(c) @ turn.T for c in (a, b)]
    assert distances.frechet(m, turned[0], other, turned[1]) == pytest.approx(expected, rel=1e-7)


def test_frechet_of_gaussians_that_do_not_commute():
    a, b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[5.0, -2.0], [-2.0, 1.0]])
    # trace of a 2x2 matrix's square root
    root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    zero = np.zeros(2)
    assert distances.frechet(zero, a, zero, b) == pytest.approx(5 + 6 - 2 * root, rel=1e-12)
    assert distances.frechet(zero, a, zero, a) == pytest.approx(0, abs=1e-12)


def test_frechet_of_a_shifted_sample_is_the_shift_squared():
    x, shift = points(1, 50, 4).astype(np.float32), np.array([1.0, -2.0, 0.5, 0.0])
    mean, cov = distances.gaussian(x)
    np.testing.assert_allclose(cov, (x - mean).T.astype(float) @ (x - mean) / 49, rtol=1e-5)
    assert distances.frechet(mean, cov, *distances.gaussian(x + shift)) == pytest.approx(
        5.25, rel=1e-6
    )


# Kernels: KID


def test_kid_is_made_of_the_unbiased_estimate():
    x, y = points(2, 6, 3), points(3, 6, 3, 2)
    kernel = lambda a, b: (a @ b / 3 + 1) ** 3
    own = sum(kernel(a[i], a[j]) for a in (x, y) for i in range(6) for j in range(6) if i != j) / 30
    expected = own - 2 * np.mean([kernel(a, b) for a in x for b in y])
    assert distances._mmd2(x, y) == pytest.approx(expected, rel=1e-12)


def test_kid_is_zero_on_average_and_knows_its_error():
    draws = [
        distances.kid(points(2 * i, 60, 3), points(2 * i + 1, 60, 3), subsets=6) for i in range(300)
    ]
    values, errors = np.array(draws).T
    within(values, 0.0)
    assert values.min() < 0 < values.max()
    assert 0.8 < np.mean(errors**2) / values.var() < 1.25
    assert distances.kid(points(0, 60, 3), points(1, 60, 3, 2))[0] > 5 * errors.mean()


def test_kid_uses_every_point_once_in_any_order():
    x, y = np.arange(40.0)[:, None], np.arange(40.0)[:, None] + 7
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "_mmd2", lambda x, y: seen.append((x, y)) or len(seen))
        assert distances.kid(x, y, subsets=4) == (2.5, pytest.approx(np.sqrt(5 / 3) / 2))
    for side, of in zip(zip(*seen), (x, y)):
        assert [len(part) for part in side] == [10] * 4 and np.array_equal(
            np.sort(np.concatenate(side), 0), of
        )
        assert not np.array_equal(np.concatenate(side), of)
    assert distances.kid(x, x, subsets=2, size=5) != distances.kid(x, x, subsets=2)
    with pytest.raises(ValueError, match="20 points or more, got 19 and 40"):
        distances.kid(x[:19], y)


# Neighbours: precision, recall, density, coverage, memorisation


def test_neighbourhoods_equal_a_double_loop(monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 7)
    real, fake, k = points(4, 30, 5), points(5, 23, 5, 1.2) + 0.5, 3
    distance = lambda a, b: np.sqrt(((a - b) ** 2).sum())
    radius = [
        sorted(distance(a, b) for j, b in enumerate(real) if j != i)[k - 1]
        for i, a in enumerate(real)
    ]
    np.testing.assert_allclose(np.sqrt(distances.radii(real, k)), radius, rtol=1e-12)
    lies = np.array([[distance(f, r) <= radius[j] for j, r in enumerate(real)] for f in fake])
    balls, inside = distances.membership(fake, real, distances.radii(real, k))
    assert np.array_equal(balls, lies.sum(1)) and np.array_equal(inside, lies.sum(0))
    assert 0 < (balls > 0).mean() < 1 and 0 < (inside > 0).mean() < 1
    line = np.array([[0.0], [1.0], [3.0]])  # 5 lies on the edge of the ball around 3
    assert distances.radii(line, 1).tolist() == [1, 1, 4]
    assert distances.membership(np.array([[5.0]]), line, distances.radii(line, 1))[1].tolist() == [
        0,
        0,
        1,
    ]
    with pytest.raises(ValueError, match="more than 3 points, got 3"):
        distances.radii(real[:3], 3)


def coverage_of_equals(n, m, k):
    """Of the n - 1 + m points around a real one, all equally likely to be the nearest, the k
    nearest are real (Naeem 2020).
    """
    i = np.arange(k)
    return 1 - np.prod((n - 1 - i) / (n - 1 + m - i))


def density_and_coverage(real, fake, k):
    balls, inside = distances.membership(fake, real, distances.radii(real, k))
    return balls.mean() / k, (inside > 0).mean()


def test_density_and_coverage_of_equal_distributions():
    values = np.array(
        [density_and_coverage(points(i, 25, 2), points(1000 + i, 15, 2), 3) for i in range(400)]
    )
    within(values[:, 0], 1.0)
    within(values[:, 1], coverage_of_equals(25, 15, 3))


def test_coverage_of_equal_distributions_at_ten_thousand():
    assert coverage_of_equals(10_000, 10_000, 5) == pytest.approx(0.9688, abs=5e-5)
    density, coverage = density_and_coverage(points(6, 10_000, 2), points(7, 10_000, 2), 5)
    assert coverage == pytest.approx(0.9688, abs=0.006) and density == pytest.approx(1, abs=0.03)


def test_memorisation_finds_planted_copies(monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 30)
    training, held_out, samples = (
        np.abs(points(i, 200, 40)).astype(np.float32) for i in (8, 9, 10)
    )
    samples[5::10] = training[40:60]
    index, distance = distances.nearest(samples, training)
    assert np.array_equal(index[5::10], np.arange(40, 60)) and not distance[5::10].any()
    full = np.sqrt(((samples[:, None] - training) ** 2).sum(2))
    np.testing.assert_allclose(distance, full.min(1), rtol=1e-6)
    unseen = distances.nearest(held_out, training)[1]
    ratio, share = distances.copies(distance, unseen)
    assert 0.9 < ratio < 1.05 and 0.1 <= share < 0.14
    assert distances.copies(unseen, unseen) == (1.0, 0.01)
    assert distances.copies(np.zeros(5), unseen) == (0.0, 1.0)
    unseen[:9] = 0  # the set holds some pictures twice
    assert distances.copies(np.array([0.0, 0.0, 9.0, 1e-3]), unseen)[1] == 0.5
    assert distances.copies(np.array([1.0, 2.0, 9.0]), np.array([2.0, 4.0, 90.0])) == (0.5, 2 / 3)


# The others


def test_sliced_wasserstein_of_a_shift():
    x, shift = points(11, 100, 8), np.linspace(-1, 1, 8)
    assert distances.sliced_wasserstein(x, x[::-1]) < 1e-6
    moved = distances.sliced_wasserstein(x, x[::-1] + shift, projections=4000)
    assert moved == pytest.approx(np.linalg.norm(shift) / np.sqrt(8), rel=0.05)
    assert distances.sliced_wasserstein(
        np.array([[1.0], [0.0]]), np.array([[2.0], [5.0], [9.0]])
    ) == pytest.approx(np.sqrt(10))


def test_kl_score_and_histogram_by_hand():
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5])
    assert (
        distances.kl(p, q) == pytest.approx(np.log(2))
        and distances.kl(q, p) == np.inf
        and distances.kl(p, p) == 0
    )
    assert distances.score(np.eye(10)[list(range(10)) * 3]) == pytest.approx(10)
    assert distances.score(np.tile(q, (4, 1))) == pytest.approx(1)
    assert distances.score(np.array([[0.9, 0.1], [0.1, 0.9]])) == pytest.approx(
        2 * 0.9**0.9 * 0.1**0.1
    )
    np.testing.assert_allclose(
        judge.histogram(np.array([[0.2, 0.8, 0], [0.9, 0.1, 0], [0, 1, 0]])), [1 / 3, 2 / 3, 0]
    )


# What is asked of every set of points


NAN = np.array([[1.0, 2.0], [np.nan, 0.0], [3.0, np.inf], [0.0, 0.0]] * 10)
FINE = points(12, 40, 2)
SETS = {  # a function of distances, and its arguments with two sets of points
    "gaussian": lambda x, y: (x,),
    "kid": lambda x, y: (x, y),
    "radii": lambda x, y: (x, 3),
    "membership": lambda x, y: (x, y, np.ones(len(y))),
    "nearest": lambda x, y: (x, y),
    "copies": lambda x, y: (x[:, 0], y[:, 0]),
    "sliced_wasserstein": lambda x, y: (x, y),
    "score": lambda x, y: (x,),
}


@pytest.mark.parametrize("name", SETS)
def test_points_that_are_not_finite_are_named_and_counted(name):
    f, wrong = getattr(distances, name), 10 if name == "copies" else 20
    with pytest.raises(
        ValueError,
        match=rf"^{name}: {wrong} of the 40 rows of (\w+) hold NaN or infinity.*\1\[np.isfinite",
    ):
        f(*SETS[name](NAN, FINE))
    if len(SETS[name](FINE, FINE)) > 1 and name != "radii":
        with pytest.raises(
            ValueError, match=rf"^{name}: {wrong} of the 40 rows of (y|centres|held_out) hold"
        ):
            f(*SETS[name](FINE, NAN))
    f(*SETS[name](NAN[np.isfinite(NAN).all(1)], FINE))


@pytest.mark.parametrize("name", SETS)
def test_no_points_are_an_error_that_says_so(name):
    with pytest.raises(ValueError, match=f"^{name}: .* must be .n, d. with n of"):
        getattr(distances, name)(*SETS[name](FINE[:0], FINE))
    if name in ("kid", "membership", "nearest", "sliced_wasserstein"):
        with pytest.raises(ValueError, match=rf"^{name}: .*\(40, 2\) and \w+ \(40, 1\)"):
            getattr(distances, name)(*SETS[name](FINE, FINE[:, :1]))
        with pytest.raises(ValueError, match=rf"^{name}: y must|^{name}: centres must"):
            getattr(distances, name)(*SETS[name](FINE, FINE[:, 0]))


def test_other_wrong_arguments_of_the_measures():
    (mean, cov), (other, _) = distances.gaussian(FINE), distances.gaussian(FINE + 1)
    with pytest.raises(ValueError, match="frechet: 2 of the 2 rows of cov hold NaN"):
        distances.frechet(mean, cov * np.nan, other, cov)
    with pytest.raises(ValueError, match=r"frechet: .*mean \(1, 2\).*other_mean \(1, 1\)"):
        distances.frechet(mean, cov, other[:1], cov)
    with pytest.raises(ValueError, match="radii: k must be 1 or more, got 0"):
        distances.radii(FINE, 0)
    with pytest.raises(ValueError, match=r"membership: 40 centres .*squared_radii, got \(3,\)"):
        distances.membership(FINE, FINE, np.ones(3))
    with pytest.raises(ValueError, match="histogram: 1 of the 2 rows of probabilities"):
        judge.histogram(np.array([[0.5, 0.5], [np.nan, 1]]))


# The judge


@pytest.fixture(scope="module")
def halves():
    """A judge of 1,000 real digits, and 1,000 others."""
    order = random.permutation(10_000, 0, 0)[:2000]
    return Judge(IMAGES[order[:1000]]), IMAGES[order[1000:]], LABELS[order[1000:]]


def test_the_classifier_that_ships_knows_99_percent_of_the_test_digits(halves):
    features, p = halves[0].look(IMAGES)
    assert (
        features.shape == (10_000, 64) and p.shape == (10_000, 10) and features.dtype == np.float32
    )
    assert (p.argmax(1) == LABELS).mean() >= 0.994
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    some = halves[0].look(IMAGES[498:502].astype(float))[0]
    assert some.dtype == np.float32
    np.testing.assert_allclose(some, features[498:502], atol=1e-4)
    assert classifier.WEIGHTS.stat().st_size < 400_000


def test_the_classifiers_file_is_checked(tmp_path):
    content = bytearray(classifier.WEIGHTS.read_bytes())
    content[1000] ^= 1
    (tmp_path / "judge.npz").write_bytes(content)
    with pytest.raises(DataError, match="judge.npz: .*SHA-256 differs"):
        frozen(tmp_path / "judge.npz")
    with pytest.raises(DataError, match="none.npz: No such file or directory; install tinygan ag"):
        frozen(tmp_path / "none.npz")


def test_judging_leaves_the_random_numbers_of_a_run_alone(halves):
    def next_after(act):
        random.manual_seed(5)
        random.default.normal((3,))
        act()
        return random.default.normal((3,)).tolist()

    assert next_after(lambda: Judge(IMAGES[:30])(IMAGES[30:60])) == next_after(lambda: None)


def test_real_digits_pass_and_worse_ones_are_worse(halves):
    judge, others, labels = halves
    floor = judge(others)
    assert floor == judge(others)
    assert floor["fid"] < 1.2 and abs(floor["kid"]) < 4 * floor["kid_error"] and floor["score"] > 9
    assert (
        floor["coverage"] == pytest.approx(coverage_of_equals(1000, 1000, 5), abs=0.03)
        and floor["missing"] == 0
    )
    assert floor["density"] == pytest.approx(1, abs=0.1) and floor["class_kl"] < 0.02
    x, real = judge.look(others)[0], judge.features
    inside = lambda points, centres: (
        distances.membership(points, centres, distances.radii(centres, 3))[0] > 0
    ).mean()
    assert (floor["precision"], floor["recall"]) == (inside(x, real), inside(real, x))
    assert all(0.75 < floor[name] < 0.95 for name in ("precision", "recall"))
    rng = np.random.default_rng(0)
    before = floor
    for noise in (0.1, 0.3, 1.0):
        figures = judge(np.clip(others + noise * rng.standard_normal(others.shape), -1, 1))
        assert all(figures[name] > before[name] for name in ("fid", "kid", "sliced"))
        assert all(
            figures[name] < before[name] for name in ("precision", "recall", "density", "coverage")
        )
        before = figures
    copies = judge(others[np.arange(1000) % 50])
    assert copies["precision"] > 0.8 and copies["recall"] < 0.05 and copies["coverage"] < 0.3
    kept = labels > 2
    few = judge(others[kept])
    assert few["missing"] == 3 and few["class_kl"] == pytest.approx(-np.log(kept.mean()), abs=0.05)
    kept[np.flatnonzero(labels == 0)[:3]] = True
    assert judge(others[kept])["missing"] == 3


@pytest.mark.parametrize(
    "wrong", [DIGITS[:30], IMAGES[:30, 0], IMAGES[:30, :, 1:], DIGITS[:30, None]]
)
def test_the_judge_wants_images_in_the_houses_form(halves, wrong):
    with pytest.raises(ValueError, match=r"Judge: needs images \(n, 1, 28, 28\) of floats"):
        halves[0](wrong)


@pytest.mark.parametrize("judged", [lambda judge: judge, lambda judge: Judge])
def test_samples_of_a_model_that_diverged_are_counted(judged, halves):
    images = IMAGES[:30].copy()
    images[3, 0, 5, 5], images[7:9] = np.inf, np.nan
    with pytest.raises(ValueError, match="^Judge: 3 of the 30 rows of images hold NaN or infinity"):
        judged(halves[0])(images)
    with pytest.raises(ValueError, match="^Judge: images must be .* got .0, 784.$"):
        judged(halves[0])(images[:0])


def test_few_real_digits_judge_nothing(tmp_path):
    with pytest.raises(data.DataError, match="^Judge: needs 20 real images or more, got 19$"):
        Judge(IMAGES[:19])
    assert Judge(IMAGES[:20])(IMAGES[20:40])["fid"] > 0
    folder(tmp_path / "data", 15)
    flags = ["--data", tmp_path / "data", "--batch-size", 5, "--out", tmp_path / "run"]
    done = example("mnist_gan", *flags, "--epochs", 1, "--evaluate", 1)
    assert done.returncode == 2 and not (tmp_path / "run").exists()
    words = f"{tmp_path / 'data'}: the judge needs 20 pictures, found 15; leave out --evaluate"
    assert done.stderr == f"mnist_gan.py: {words}\n"


# The command


def command(monkeypatch, capsys, *args):
    """(exit code, lines printed, lines of complaint) of python -m tinygan.evaluate."""
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, args)])
    with pytest.raises(SystemExit) as exit:
        cli.run(evaluate.main)
    return exit.value.code, *(text.splitlines() for text in capsys.readouterr())


def figures(lines):
    """{row: its figures} of a printed table whose columns are 13 wide."""
    cells = lambda line: [line[i : i + 13].strip() for i in range(40, len(line), 13)]
    return {
        line[:40].strip(): [float(cell) if cell else None for cell in cells(line)] for line in lines
    }


def test_the_command_prints_a_table_and_a_page(tmp_path, monkeypatch, capsys):
    order = random.permutation(10_000, 0, 0)
    # half of them are copies: training is the first half of the shuffled digits
    samples = DIGITS[order[4850:5150]]
    np.savez(tmp_path / "samples.npz", images=samples)
    args = tmp_path / "samples.npz", "--report", tmp_path / "page.png"
    code, out, complaint = command(monkeypatch, capsys, *args)
    assert code is None and not complaint and out[-1] == str(tmp_path / "page.png")
    assert (
        out[0]
        == "300 samples against 300 pictures of bundled; nearest neighbours among 5000; on the CPU"
    )
    assert out[1].startswith("300 are few, and ")
    assert out[2].startswith("real pictures: the other half of bundled") and "has seen" in out[2]
    assert out[3] == f"judge: {classifier.SHIPPED}"
    assert out[4].split() == ["model", "real", "class", "means", "noise"]
    table = figures(out[5:-1])
    model, real, means, noise = table["Frechet distance (low)"]
    assert model < 4 and real < 4 and 50 < means < noise
    assert table["suspiciously near to one (0.01)"] == [
        pytest.approx(0.5, abs=0.02),
        0.01,
        None,
        None,
    ]
    assert table["distance to nearest training picture (1)"][0] < 0.8
    assert len(table) == len(evaluate.ROWS) - 1  # without labels nobody asked for a class
    from PIL import Image

    page = np.asarray(Image.open(tmp_path / "page.png").convert("L"))
    assert page.shape[0] > 800 and 0.02 < (page < 128).mean() < 0.3
    code, again, _ = command(monkeypatch, capsys, args[0], "--n", 300)
    assert again == out[:-1]


def test_the_command_judges_four_sets_of_one_size(tmp_path, monkeypatch, capsys):
    judged, page = [], []

    class Spy(Judge):
        def __call__(self, images):
            judged.append(images)
            assert len(self.features) == len(images)
            return super().__call__(images)

    monkeypatch.setattr(judge, "Judge", Spy)
    np.savez(tmp_path / "samples.npz", images=DIGITS[:90])
    monkeypatch.setattr(evaluate.plot, "report", lambda *args: page.extend(args))
    assert (
        command(monkeypatch, capsys, tmp_path / "samples.npz", "--n", 40, "--report", "x.png")[0]
        is None
    )
    samples, held_out, means, noise = judged
    real = evaluate.split("bundled")
    (_, labels, _), training = real.training, data.scale(real.training.images)
    assert np.array_equal(samples, IMAGES[:40])
    assert np.array_equal(held_out, data.scale(real.others.images[:40]))
    assert all(
        np.allclose(means[i], training[labels == labels[i]].mean(0), atol=1e-5) for i in range(40)
    )
    assert (
        noise.shape == samples.shape
        and noise.min() < -0.99
        and abs(noise.mean()) < 0.02
        and noise.max() > 0.99
    )

    path, title, table, shown, pairs, classes, names = page
    assert str(path) == "x.png" and "40 samples" in title and len(table) == len(evaluate.ROWS)
    assert np.array_equal(shown, DIGITS[:40]) and names == ()
    (closest, theirs), (some, nearest) = pairs.values()
    distance = lambda a, b: np.sqrt(((a.astype(float) - b) ** 2).sum((1, 2)))
    index, expected = distances.nearest(samples.reshape(40, -1), training.reshape(5000, -1))
    np.testing.assert_allclose(distance(closest, theirs) / 127.5, np.sort(expected)[:12], rtol=1e-5)
    np.testing.assert_allclose(distance(some, nearest) / 127.5, expected[:12], rtol=1e-5)
    assert np.array_equal(some, DIGITS[:12]) and np.array_equal(
        nearest, evaluate.plot.to_uint8(training[index[:12]])
    )
    assert [np.argmax(shares) for shares in classes.values()] == [
        np.bincount(x[:40]).argmax() for x in (LABELS, labels)
    ]


def test_full_is_held_against_the_test_digits_and_the_bundled_against_their_other_half(monkeypatch):
    parts = {
        "train": data.Pictures(DIGITS[:300], LABELS[:300]),
        "test": data.Pictures(DIGITS[300:400], LABELS[300:400]),
    }
    monkeypatch.setitem(data.SETS, "full", data.SETS["full"]._replace(read=parts.get))
    whole = lambda pictures: sorted(map(bytes, pictures.images))
    real = evaluate.split("full")
    assert not real.seen
    assert whole(real.training) == whole(parts["train"])
    assert whole(real.others) == whole(parts["test"])
    label_of = {bytes(image): label for image, label in zip(DIGITS[:300], LABELS)}
    assert [label_of[bytes(image)] for image in real.training.images] == list(real.training.labels)
    real = evaluate.split("bundled")
    assert real.seen and real.part == "the other half"
    assert len(real.training.images) == len(real.others.images) == len(DIGITS) // 2
    assert sorted(whole(real.training) + whole(real.others)) == whole(data.load())


COLOURS = np.zeros((30, 28, 28, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "args", "words"),
    [
        (None, [], "there is no such file"),
        (b"PK", [], "not a whole .npz"),
        ({"pictures": DIGITS[:30]}, [], "has no `images`, but pictures"),
        ({"images": DIGITS[:30, :20]}, [], "got (30, 20, 28) uint8"),
        ({"images": DIGITS[:30, :0, :0]}, [], "got (30, 0, 0) uint8"),
        ({"images": COLOURS[..., :2]}, [], "got (30, 28, 28, 2) uint8"),
        ({"images": COLOURS[0, 0]}, [], "got (28, 3) uint8"),
        ({"images": DIGITS[:30], "names": np.arange(3)}, [], "`names` must be words, (classes,)"),
        ({"images": DIGITS[:30], "labels": LABELS[:29]}, [], "`labels` must be (30,) whole"),
        ({"images": DIGITS[:30], "labels": np.ones(30)}, [], "got (30,) float64"),
        ({"images": DIGITS[:30] % 2}, [], "images * 255"),
        (
            {"images": IMAGES[:30, 0]},
            [],
            "must be uint8, (n, side, side) grey or (n, side, side, 3)",
        ),
        ({"images": DIGITS[:30, None]}, [], "got (30, 1, 28, 28)"),
        ({"images": DIGITS[:19]}, [], "the judge needs 20 samples, found 19"),
        ({"images": DIGITS[:30]}, ["--data", "nowhere"], "nowhere"),
        ({"images": DIGITS[:30]}, ["--n", "19"], "must be at least 20"),
        ({"images": DIGITS[:30]}, ["--report", "no/folder/page.png"], "no folder no/folder"),
        ({"images": DIGITS[:30]}, ["--report", "page.txt"], "choose .png"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(
    arrays, args, words, tmp_path, monkeypatch, capsys
):
    path = tmp_path / "samples.npz"
    if isinstance(arrays, bytes):
        path.write_bytes(arrays)
    elif arrays:
        np.savez(path, **arrays)
    code, out, complaint = command(monkeypatch, capsys, path, *args)
    assert code == 2 and not out and len(complaint) == 1
    assert complaint[0].startswith("evaluate.py: ") and words in complaint[0]


def test_a_samples_file_that_inflates_to_gigabytes_is_refused_from_its_header(
    tmp_path, monkeypatch, capsys
):
    path, n = tmp_path / "samples.npz", 1_400_000
    head = io.BytesIO()
    described = {"descr": "|u1", "fortran_order": False, "shape": (n, 28, 28)}
    np.lib.format.write_array_header_1_0(head, described)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        with file.open("images.npy", "w", force_zip64=True) as array:
            array.write(head.getvalue())
            for _ in range(n // 100):
                array.write(bytes(78_400))
    assert path.stat().st_size < 8 << 20
    tracemalloc.start()
    code, out, complaint = command(monkeypatch, capsys, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert code == 2 and not out and peak < 8 << 20
    (line,) = complaint
    assert "1097600000 bytes, more than the 1073741824 allowed" in line


def test_the_command_says_what_it_leaves_out_and_whether_classes_are_those_asked_for(
    tmp_path, monkeypatch, capsys
):
    asked = LABELS[:60].astype(np.int64)
    asked[:15] = (asked[:15] + 1) % 10
    np.savez(tmp_path / "samples.npz", images=DIGITS[:60], labels=asked)
    few = data.Pictures(DIGITS[100:200], LABELS[100:200])
    for room in (data, data.sets):
        monkeypatch.setattr(room, "load", lambda source, *args, **kwargs: few)
    _, out, _ = command(monkeypatch, capsys, tmp_path / "samples.npz", "--n", 40)
    assert out[1] == "of the 60 samples the first 40 are judged: --n is 40"
    row = figures(out[6:])["judge sees the class asked for (1)"]
    assert row[0] == pytest.approx(25 / 40, abs=0.03) and row[1] > 0.9 and row[2:] == [None] * 2
    _, out, _ = command(monkeypatch, capsys, tmp_path / "samples.npz")
    assert out[1] == "of the 60 samples the first 50 are judged: there are 50 pictures of each half"


def test_real_digits_are_called_held_out_only_if_they_are(tmp_path, monkeypatch):
    def origin(source):
        return evaluate.origin(source, evaluate.split(source))

    def fill(part):
        for name, array in (("images-idx3", DIGITS[:30]), ("labels-idx1", LABELS[:30])):
            head = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
            (tmp_path / f"{part}-{name}-ubyte").write_bytes(head + array.tobytes())

    assert origin("bundled").startswith("the other half of bundled, which a model that trained on")
    fill("train")
    assert origin(str(tmp_path)).startswith(f"the other half of {tmp_path}, which a model")
    monkeypatch.setattr(cli.real, "HALVED", 29)
    assert origin(str(tmp_path)).startswith("a tenth of") and "seen" in origin(str(tmp_path))
    fill("t10k")
    assert origin(str(tmp_path)).startswith("held out, no model")


def test_the_module_runs_and_a_small_folder_is_refused(tmp_path):
    folder(tmp_path, 30)
    np.savez(tmp_path / "samples.npz", images=DIGITS[:30])
    run = [
        sys.executable,
        "-m",
        "tinygan.evaluate",
        str(tmp_path / "samples.npz"),
        "--data",
        str(tmp_path),
    ]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(run, capture_output=True, text=True, env=env, timeout=60)
    assert (
        done.returncode == 2
        and done.stderr
        == f"evaluate.py: {tmp_path}: the judge needs 20 pictures of each half, found 15\n"
    )
