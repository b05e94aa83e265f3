"""Pooling, resizing and padding against loops; `test_torch.py` compares them with PyTorch."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygan import Tensor, grad, ops
from tinygan.testing import check_grads

rng = np.random.default_rng(0)


def windows(x, kernel, stride):
    """The pixels of each window of an image (h, w)."""
    counts = [(n - k) // stride + 1 for n, k in zip(x.shape, kernel)]
    for i, j in itertools.product(*map(range, counts)):
        yield x[i * stride : i * stride + kernel[0], j * stride : j * stride + kernel[1]]


@given(st.data())
def test_pooling_is_a_loop_over_windows(data):
    h, w, stride = (data.draw(st.integers(1, n)) for n in (7, 7, 4))
    kernel = data.draw(st.integers(1, min(h, 4))), data.draw(st.integers(1, min(w, 4)))
    padding = data.draw(st.integers(0, min(kernel) // 2))
    x = rng.integers(-3, 4, (h, w)).astype(float)
    geometry = x[None, None], kernel, stride, padding
    for f, number, frame in (ops.max_pool2d, np.max, -np.inf), (ops.avg_pool2d, np.mean, 0):
        framed = np.pad(x, padding, constant_values=frame)
        expected = [number(pixels) for pixels in windows(framed, kernel, stride)]
        np.testing.assert_allclose(f(*geometry).ravel(), expected, rtol=1e-14, atol=1e-15)


def test_the_first_of_a_tie_has_the_gradient():
    x = Tensor(np.array([[[[1.0, 5, 5], [5, 5, 0], [5, 1, 2]]]]))
    np.testing.assert_array_equal(
        grad(ops.sum(ops.max_pool2d(x, 2, 1)), x), [[[[0, 2, 0], [1, 1, 0], [0, 0, 0]]]]
    )


def test_max_pooling_of_what_is_not_finite():
    row = np.array([[[[np.nan, 1, 2, np.nan, -np.inf, -np.inf, np.inf, -np.inf]]]])
    x = Tensor(row)
    y = ops.max_pool2d(x, (1, 2))
    np.testing.assert_array_equal(y.data, [[[[np.nan, np.nan, -np.inf, np.inf]]]])
    np.testing.assert_array_equal(grad(y, x, np.ones(y.shape)), [[[[1, 0, 0, 1, 1, 0, 1, 0]]]])
    nothing = np.full((1, 1, 2, 2), -np.inf)
    np.testing.assert_array_equal(ops.max_pool2d(nothing, 2, 1, 1), np.full((1, 1, 3, 3), -np.inf))


def test_max_pooling_of_many_channels():
    x = rng.standard_normal((1, 512, 2, 70)).astype(np.float32)
    expected = x.reshape(1, 512, 1, 2, 35, 2).max((3, 5))
    np.testing.assert_array_equal(ops.max_pool2d(x, 2), expected)


def test_windows_that_overlap_to_second_order():
    x = rng.permutation(2 * 5 * 5).reshape(1, 2, 5, 5) / 7
    check_grads(lambda x: ops.max_pool2d(x * x, 3, 2, 1), x)
    check_grads(lambda x: ops.avg_pool2d(x * x, 3, 2, 1), x)


def test_resizing():
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(
        ops.interpolate(x, scale_factor=(2, 3)), x.repeat(2, 2).repeat(3, 3)
    )
    np.testing.assert_array_equal(ops.interpolate(x, (3, 2)), x[:, :, [0, 1, 2]][..., [0, 2]])
    ramp = np.linspace(0, 1, 4)[None, None, :, None] + np.linspace(0, 2, 5)
    fine = np.linspace(0, 1, 7)[None, None, :, None] + np.linspace(0, 2, 11)
    np.testing.assert_allclose(
        ops.interpolate(ramp, (7, 11), mode="bilinear", align_corners=True), fine, atol=1e-15
    )
    halves = ops.interpolate(np.array([[[[0.0, 4.0]]]]), (1, 4), mode="bilinear")
    np.testing.assert_array_equal(halves, [[[[0, 1, 3, 4]]]])
    for f in (
        lambda: ops.interpolate(x, scale_factor=2, mode="bilinear"),
        lambda: ops.avg_pool2d(x, 2),
    ):
        assert f().dtype == np.float32


@pytest.mark.parametrize(
    "mode, numpys",
    [("constant",) * 2, ("reflect",) * 2, ("replicate", "edge"), ("circular", "wrap")],
)
def test_padding(mode, numpys):
    x = rng.standard_normal((2, 3, 4, 5))
    for left, right, top, bottom in ((1, 2, 0, 3), (0, 0, 0, 0), (2, 0, 1, 1)):
        expected = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), numpys)
        np.testing.assert_array_equal(ops.pad2d(x, (left, right, top, bottom), mode), expected)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: ops.avg_pool2d(x, 2),
        lambda x: ops.adaptive_avg_pool2d(x, 3),
        lambda x: ops.interpolate(x, (4, 4), mode="bilinear"),
        lambda x: ops.pad2d(x, 1, "reflect"),
    ],
)
def test_a_pixel_that_is_not_a_number_spoils_its_channel_and_no_other(f):
    x = np.zeros((2, 2, 6, 6))
    x[1, 0, 2, 3] = np.nan
    np.testing.assert_array_equal(np.isnan(f(x)).mean(axis=(2, 3)), [[0, 0], [1, 0]])


def test_pixel_shuffle():
    x = np.arange(16.0).reshape(1, 4, 2, 2)
    expected = [[[[0, 4, 1, 5], [8, 12, 9, 13], [2, 6, 3, 7], [10, 14, 11, 15]]]]
    np.testing.assert_array_equal(ops.pixel_shuffle(x, 2), expected)
    np.testing.assert_array_equal(ops.pixel_unshuffle(np.array(expected), 2), x)
    x = rng.standard_normal((2, 18, 2, 1))
    np.testing.assert_array_equal(ops.pixel_unshuffle(ops.pixel_shuffle(x, 3), 3), x)
    np.testing.assert_array_equal(ops.adaptive_avg_pool2d(x, 1), x.mean((2, 3), keepdims=True))


def test_images_stay_channels_last_in_memory():
    x = rng.standard_normal((2, 6, 6, 4)).transpose(0, 3, 1, 2)
    for f in (
        lambda x: ops.max_pool2d(x, 2), lambda x: ops.avg_pool2d(x, 2),
        lambda x: ops.interpolate(x, 12),
        lambda x: ops.pad2d(x, 1), lambda x: ops.interpolate(x, 7, mode="bilinear"),
        lambda x: ops.pad2d(x, 1, "reflect"), lambda x: ops.pixel_shuffle(x, 2),
        lambda x: ops.pixel_unshuffle(x, 2),
    ):  # fmt: skip
        assert f(x).transpose(0, 2, 3, 1).flags.c_contiguous


image = np.ones((1, 1, 4, 5))


@pytest.mark.parametrize(
    "call, words",
    [
        (
            lambda: ops.max_pool2d(image[0, 0], 2),
            r"max_pool2d: needs x \(n, c, h, w\) or \(c, h, w\), got \(4, 5\)",
        ),
        (lambda: ops.max_pool2d(image, 6), r"kernel \(6, 6\) does not fit .* images of \(4, 5\)"),
        (lambda: ops.avg_pool2d(image, 3, padding=2), r"padding \(2, 2\), at most half of it"),
        (lambda: ops.avg_pool2d(image, 0), "kernel_size must be a whole number >= 1"),
        (lambda: ops.adaptive_avg_pool2d(image, (2, 0)), "output_size must be a whole number >= 1"),
        (lambda: ops.interpolate(image), "needs either size or scale_factor"),
        (lambda: ops.interpolate(image, 2, 2), "needs either size or scale_factor"),
        (lambda: ops.interpolate(image, 2, mode="cubic"), "'nearest' or 'bilinear', got 'cubic'"),
        (lambda: ops.interpolate(image, scale_factor=1.5), r"whole number .* got \[6, 7.5\]"),
        (lambda: ops.pad2d(image, 1, "mean"), r"mode must be constant or one of .*'mean'"),
        (lambda: ops.pad2d(image, -1), "padding must be a whole number >= 0"),
        (lambda: ops.pad2d(image, (1, 2)), r">= 0, or 4 of them, got \(1, 2\)"),
        (lambda: ops.pixel_shuffle(image, 2), "1 channels are no multiple of 2 squared"),
        (lambda: ops.pixel_unshuffle(image, 2), "4 x 5 pixels make no squares of 2 x 2"),
        (lambda: ops.pixel_unshuffle(image, 0), "4 x 5 pixels make no squares of 0 x 0"),
    ],
)
def test_bad_input_names_the_thing(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_single_image():
    x = np.arange(48.0).reshape(3, 4, 4)
    assert (ops.max_pool2d(x, 2) == ops.max_pool2d(x[None], 2)[0]).all()
