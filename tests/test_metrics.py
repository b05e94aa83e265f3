"""The measures of distance against exact anchors and brute force."""

import numpy as np
import pytest

from tinygan.metrics import distances


def points(seed, n, d, scale=1.0):
    return np.random.default_rng(seed).standard_normal((n, d)) * scale


def within(values, expected, errors=4.0):
    """Whether the mean of independent values is as far from `expected` as chance allows."""
    assert abs(np.mean(values) - expected) < errors * np.std(values, ddof=1) / np.sqrt(len(values))


# Gaussians: the Frechet distance


def test_frechet_of_commuting_gaussians_is_the_distance_of_deviations():
    a, b, turn = np.array([4.0, 1.0, 0.0]), np.array([1.0, 9.0, 0.25]), np.linalg.qr(points(0, 3, 3))[0]
    m, other = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 3.5])
    expected = 4 + 0.25 + (1 + 4 + 0.25)  # |m - m'|^2 + sum (sqrt a - sqrt b)^2
    assert distances.frechet(m, np.diag(a), other, np.diag(b)) == pytest.approx(expected, rel=1e-12)
    turned = [turn @ np.diag(c) @ turn.T for c in (a, b)]
    assert distances.frechet(m, turned[0], other, turned[1]) == pytest.approx(expected, rel=1e-7)


def test_frechet_of_gaussians_that_do_not_commute():
    a, b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[5.0, -2.0], [-2.0, 1.0]])
    root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))  # trace of a 2x2 matrix's square root
    zero = np.zeros(2)
    assert distances.frechet(zero, a, zero, b) == pytest.approx(5 + 6 - 2 * root, rel=1e-12)
    assert distances.frechet(zero, a, zero, a) == pytest.approx(0, abs=1e-12)


def test_frechet_of_a_shifted_sample_is_the_shift_squared():
    x, shift = points(1, 50, 4).astype(np.float32), np.array([1.0, -2.0, 0.5, 0.0])
    mean, cov = distances.gaussian(x)
    np.testing.assert_allclose(cov, (x - mean).T.astype(float) @ (x - mean) / 49, rtol=1e-5)
    assert distances.frechet(mean, cov, *distances.gaussian(x + shift)) == pytest.approx(5.25, rel=1e-6)


# Kernels: KID


def test_kid_is_made_of_the_unbiased_estimate():
    x, y = points(2, 6, 3), points(3, 6, 3, 2)
    kernel = lambda a, b: (a @ b / 3 + 1) ** 3
    own = sum(kernel(a[i], a[j]) for a in (x, y) for i in range(6) for j in range(6) if i != j) / 30
    expected = own - 2 * np.mean([kernel(a, b) for a in x for b in y])
    assert distances._mmd2(x, y) == pytest.approx(expected, rel=1e-12)


def test_kid_is_zero_on_average_and_knows_its_error():
    draws = [distances.kid(points(2 * i, 60, 3), points(2 * i + 1, 60, 3), subsets=6) for i in range(300)]
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
        assert [len(part) for part in side] == [10] * 4 and np.array_equal(np.sort(np.concatenate(side), 0), of)
        assert not np.array_equal(np.concatenate(side), of)
    assert distances.kid(x, x, subsets=2, size=5) != distances.kid(x, x, subsets=2)
    with pytest.raises(ValueError, match="20 points or more, got 19 and 40"):
        distances.kid(x[:19], y)


# Neighbours: precision, recall, density, coverage, memorisation


def test_neighbourhoods_equal_a_double_loop(monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 7)
    real, fake, k = points(4, 30, 5), points(5, 23, 5, 1.2) + 0.5, 3
    distance = lambda a, b: np.sqrt(((a - b) ** 2).sum())
    radius = [sorted(distance(a, b) for j, b in enumerate(real) if j != i)[k - 1] for i, a in enumerate(real)]
    np.testing.assert_allclose(np.sqrt(distances.radii(real, k)), radius, rtol=1e-12)
    lies = np.array([[distance(f, r) <= radius[j] for j, r in enumerate(real)] for f in fake])
    balls, inside = distances.membership(fake, real, distances.radii(real, k))
    assert np.array_equal(balls, lies.sum(1)) and np.array_equal(inside, lies.sum(0))
    assert 0 < (balls > 0).mean() < 1 and 0 < (inside > 0).mean() < 1
    line = np.array([[0.0], [1.0], [3.0]])  # 5 lies on the edge of the ball around 3
    assert distances.radii(line, 1).tolist() == [1, 1, 4]
    assert distances.membership(np.array([[5.0]]), line, distances.radii(line, 1))[1].tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="more than 3 points, got 3"):
        distances.radii(real[:3], 3)


def coverage_of_equals(n, m, k):
    """Of the n - 1 + m points around a real one, all equally likely to be the nearest, the k nearest are real (Naeem 2020)."""
    i = np.arange(k)
    return 1 - np.prod((n - 1 - i) / (n - 1 + m - i))


def density_and_coverage(real, fake, k):
    balls, inside = distances.membership(fake, real, distances.radii(real, k))
    return balls.mean() / k, (inside > 0).mean()


def test_density_and_coverage_of_equal_distributions():
    values = np.array([density_and_coverage(points(i, 25, 2), points(1000 + i, 15, 2), 3) for i in range(400)])
    within(values[:, 0], 1.0)
    within(values[:, 1], coverage_of_equals(25, 15, 3))


def test_coverage_of_equal_distributions_at_ten_thousand():
    assert coverage_of_equals(10_000, 10_000, 5) == pytest.approx(0.9688, abs=5e-5)
    density, coverage = density_and_coverage(points(6, 10_000, 2), points(7, 10_000, 2), 5)
    assert coverage == pytest.approx(0.9688, abs=0.006) and density == pytest.approx(1, abs=0.03)


def test_memorisation_finds_planted_copies(monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 30)
    training, held_out, samples = (np.abs(points(i, 200, 40)).astype(np.float32) for i in (8, 9, 10))
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
    assert distances.copies(np.array([1.0, 2.0, 9.0]), np.array([2.0, 4.0, 90.0])) == (0.5, 2 / 3)


# The others


def test_sliced_wasserstein_of_a_shift():
    x, shift = points(11, 100, 8), np.linspace(-1, 1, 8)
    assert distances.sliced_wasserstein(x, x[::-1]) < 1e-6
    moved = distances.sliced_wasserstein(x, x[::-1] + shift, projections=4000)
    assert moved == pytest.approx(np.linalg.norm(shift) / np.sqrt(8), rel=0.05)
    assert distances.sliced_wasserstein(np.array([[1.0], [0.0]]), np.array([[2.0], [5.0], [9.0]])) == pytest.approx(np.sqrt(10))


def test_kl_score_and_histogram_by_hand():
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5])
    assert distances.kl(p, q) == pytest.approx(np.log(2)) and distances.kl(q, p) == np.inf and distances.kl(p, p) == 0
    assert distances.score(np.eye(10)[list(range(10)) * 3]) == pytest.approx(10)
    assert distances.score(np.tile(q, (4, 1))) == pytest.approx(1)
    assert distances.score(np.array([[0.9, 0.1], [0.1, 0.9]])) == pytest.approx(2 * 0.9**0.9 * 0.1**0.1)
