"""Likelihoods: probabilities that sum to 1, values against another way to compute them, gradients
however wrong the decoder is, and a VAE of colours that learns.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygan import Tensor, grad, models, ops, random
from tinygan.models.likelihoods import LIKELIHOODS, Bernoulli, Logistic, likelihood
from tinygan.testing import check_grads

LEVELS = (np.arange(256) / 127.5 - 1).reshape(256, 1, 1, 1)
any_mean = st.floats(-1e3, 1e3) | st.floats(-1.1, 1.1)
any_scale = st.floats(-1e3, 1e3) | st.floats(-7, 7)


def answer(mean, scale, dtype=np.float64):
    """A decoder's output (256, 2, 1, 1) that is the same for each level."""
    return np.broadcast_to(np.array([mean, scale], dtype).reshape(1, 2, 1, 1), (256, 2, 1, 1))


def plain(mean, scale):
    """The log probability of each level as the difference of two sigmoids, float64, from the side
    on which both are small.
    """
    scale = np.exp(7 * np.tanh(scale / 7))
    edges = np.arange(1, 256) / 127.5 - 1 - 1 / 255
    edges = (np.concatenate([[-np.inf], edges, [np.inf]]) - mean) / scale
    lower, upper = edges[:-1], edges[1:]
    lower, upper = np.where(lower > 0, -upper, lower), np.where(lower > 0, -lower, upper)
    cdf = lambda x: np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x)))
    with np.errstate(divide="ignore"):
        return np.log(cdf(upper) - cdf(lower))


@given(any_mean, any_scale)
def test_the_probabilities_of_the_levels_sum_to_one(mean, scale):
    for dtype, near in ((np.float64, 1e-12), (np.float32, 1e-3)):
        log_p = Logistic().log_p(answer(mean, scale, dtype), LEVELS.astype(dtype))
        assert log_p.shape == (256,) and log_p.dtype == dtype and log_p.max() <= 0
        assert abs(np.exp(log_p.astype(np.float64)).sum() - 1) < near


@given(st.floats(-3, 3), st.floats(-9, 20))
def test_the_value_is_the_difference_of_two_sigmoids(mean, scale):
    expected = plain(mean, scale)
    seen = expected > -600  # less is 0 in float64, if written so
    for dtype, near in ((np.float64, 1e-9), (np.float32, 2e-3)):
        log_p = Logistic().log_p(answer(mean, scale, dtype), LEVELS.astype(dtype))
        np.testing.assert_allclose(log_p[seen], expected[seen], rtol=near, atol=near)
        assert np.isfinite(log_p).all()


def test_images_add_up_and_a_mean_is_a_picture():
    output = np.random.default_rng(0).normal(size=(2, 6, 3, 5))
    x = LEVELS[np.random.default_rng(1).integers(0, 256, (2, 3, 3, 5)), 0, 0, 0]
    by_pixel = [
        plain(output[n, c, i, j], output[n, 3 + c, i, j])[round((x[n, c, i, j] + 1) * 127.5)]
        for n, c, i, j in np.ndindex(x.shape)
    ]
    expected = np.reshape(by_pixel, (2, -1)).sum(axis=1)
    np.testing.assert_allclose(Logistic().log_p(output, x), expected)
    image = Logistic().image(3 * output)
    np.testing.assert_array_equal(image, np.clip(3 * output[:, :3], -1, 1))
    np.testing.assert_array_equal(Logistic().target(x), x)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_gradients(name):
    p = LIKELIHOODS[name]()
    rng = np.random.default_rng(0)
    x = p.target(LEVELS[[0, 1, 100, 254, 255]].reshape(1, 1, 5, 1))
    check_grads(lambda output: p.log_p(output, x), rng.normal(size=(1, p.outputs, 5, 1)))
    check_grads(lambda output: p.image(output), 0.5 * rng.normal(size=(1, p.outputs, 5, 1)))


@pytest.mark.parametrize("mean", [-40.0, -0.9, 0.3, 40.0])
@pytest.mark.parametrize("scale", [-30.0, -5.0, 5.0])
def test_gradients_far_from_the_data(mean, scale):
    x = LEVELS[[0, 1, 100, 254, 255]].reshape(1, 1, 5, 1)
    output = np.broadcast_to(np.array([mean, scale]).reshape(1, 2, 1, 1), (1, 2, 5, 1)).copy()
    check_grads(lambda output: 1e-3 * Logistic().log_p(output, x), output, order=1)


@pytest.mark.parametrize("mean", [-1e6, -1.0, 0.0, 1.0, 1e6])
@pytest.mark.parametrize("scale", [-1e6, -90.0, -7.0, 0.0, 90.0, 1e6])
def test_nothing_a_decoder_may_say_makes_a_gradient_infinite(mean, scale):
    output = Tensor(answer(mean, scale, np.float32).copy())
    log_p = Logistic().log_p(output, LEVELS.astype(np.float32))
    (g,) = grad(ops.sum(log_p), [output])
    assert np.isfinite(log_p.data).all() and np.isfinite(g).all() and g.dtype == np.float32
    # where it is wrong, it is told which way is right: the mean's slope points to the data
    if abs(mean) > 1:
        assert (np.sign(g[:, 0].ravel()[1:-1]) == -np.sign(mean)).all()


def test_which_likelihood_a_builder_takes():
    for channels, kind in ((1, Bernoulli), (3, Logistic)):
        assert type(models.VAES["mlp"](side=4, channels=channels).likelihood) is kind
        assert type(likelihood("auto", channels)) is kind
    grey = models.VAES["conv"](side=8, width=2, likelihood="logistic")
    assert type(grey.likelihood) is Logistic and grey.recipe["likelihood"] == "logistic"
    assert type(models.build(grey.recipe).likelihood) is Logistic
    with pytest.raises(ValueError, match="auto or one of bernoulli, logistic, got 'normal'"):
        models.VAES["conv"](likelihood="normal")


def pictures(n, seed):
    """Discs of any colour and place on white, uint8 levels as (n, 3, 8, 8) in [-1, 1]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:8, :8]
    middle, colour = rng.uniform(2, 6, (2, n, 1, 1)), rng.uniform(0, 255, (n, 3, 1, 1))
    inside = ((y - middle[0]) ** 2 + (x - middle[1]) ** 2 < 6)[:, None]
    noisy = np.where(inside, colour, 250) + rng.normal(0, 4, (n, 3, 8, 8))
    return (np.clip(np.rint(noisy), 0, 255) / 127.5 - 1).astype(np.float32)


def test_a_vae_of_colours_needs_fewer_bits_than_pixels_that_know_nothing_of_each_other():
    random.manual_seed(0)
    learn, held_out = pictures(1000, 0), pictures(100, 1)
    vae = models.VAES["mlp"](latent=6, side=8, channels=3, decay=0.95)
    for i in range(150):
        losses = vae.step(learn[np.arange(40 * i, 40 * i + 40) % 1000])
        random.default.next_step()
    costs = vae.elbo(held_out)
    size = 3 * 8 * 8 * np.log(2)
    assert costs["bits"] == pytest.approx(-costs["elbo"] / size)
    assert losses["bits"].dtype == np.float32 and losses["bits"].shape == ()
    assert losses["bits"] == pytest.approx(losses["loss"] / size, rel=1e-5)
    # each pixel a logistic of its own, of the mean and deviation that it has
    mean, deviation = learn.mean(axis=0), learn.std(axis=0)
    log_scale = np.log(deviation * 3**0.5 / np.pi)
    output = np.concatenate([mean, 7 * np.arctanh(log_scale / 7)])[None].repeat(100, 0)
    baseline = -Logistic().log_p(output, held_out).mean() / size
    assert costs["bits"] < 0.85 * baseline
    # more points bound it closer
    assert vae.iwae(held_out[:20], 50).mean() > vae.iwae(held_out[:20], 1).mean()
    assert "bits" not in models.VAES["mlp"](side=4).elbo(np.zeros((2, 1, 4, 4), np.float32))
