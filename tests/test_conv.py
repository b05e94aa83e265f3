"""Convolutions: every legal configuration against their definition, and against one another.

The definition is one sum over (image, filter, position, tap) that pairs a pixel with a weight and
an output; convolution, its transpose and its filter gradient are that sum with one of the three
left out. On whole numbers they must agree exactly.
"""

import functools
import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygan import Tensor, grad, kernels, ops
from tinygan.kernels import reference
from tinygan.testing import check_grads, strategies


class Config(strategies.Convolution):
    """A legal configuration, and arrays for it."""

    @functools.cached_property
    def rng(self):
        return np.random.default_rng([self.n, self.groups, self.c, self.o, *sum(self.axes, ())])

    def arrays(self):
        """x, w and y, of whole numbers."""
        return [self.rng.integers(-9, 10, s).astype(float) for s in self.shapes]

    def forward(self, x, w, b=None):
        return ops.conv2d(x, w, b, **self.options)

    def transposed(self, y, w, b=None):
        return ops.conv_transpose2d(y, w, b, output_padding=self.extra, **self.options)

    def by_definition(self, x, w, y):
        """The three results of the sum, each from the other two."""
        to_x, to_w, to_y = np.zeros_like(x), np.zeros_like(w), np.zeros_like(y)
        for b, k, i, j, m, u, v in itertools.product(
            *map(range, (self.n, len(w), *self.out, self.c, *self.kernel))
        ):
            channel = k // self.o * self.c + m
            p = i * self.stride[0] - self.padding[0] + u * self.dilation[0]
            q = j * self.stride[1] - self.padding[1] + v * self.dilation[1]
            if 0 <= p < self.image[0] and 0 <= q < self.image[1]:
                to_y[b, k, i, j] += x[b, channel, p, q] * w[k, m, u, v]
                to_x[b, channel, p, q] += y[b, k, i, j] * w[k, m, u, v]
                to_w[k, m, u, v] += y[b, k, i, j] * x[b, channel, p, q]
        return to_x, to_w, to_y


def configs(transposed=False):
    return strategies.convolutions(transposed).map(lambda c: Config(**vars(c)))


@given(configs())
def test_values_and_first_gradients_equal_the_definition(config):
    x, w, y = config.arrays()
    to_x, to_w, to_y = config.by_definition(x, w, y)
    xs = [Tensor(x), Tensor(w)]
    out = config.forward(*xs)
    for found, expected in zip((out.data, *grad(out, xs, y)), (to_y, to_x, to_w)):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(config.transposed(y, w), to_x)


@given(configs(transposed=True))
def test_transposed_values_and_first_gradients_equal_the_definition(config):
    x, w, y = config.arrays()
    to_x, to_w, to_y = config.by_definition(x, w, y)
    xs = [Tensor(y), Tensor(w)]
    out = config.transposed(*xs)
    for found, expected in zip((out.data, *grad(out, xs, x)), (to_x, to_y, to_w)):
        np.testing.assert_array_equal(found, expected)


def lay(a, order, dtype=float):
    """a with its axes (n, c, h, w) in another order in memory, channels-last for one."""
    axes = ["nchw".index(letter) for letter in order]
    return np.ascontiguousarray(a.astype(dtype).transpose(axes)).transpose(np.argsort(axes))


@given(
    configs(),
    st.sampled_from(["f4", "f8"]),
    st.sampled_from(["nchw", "nhwc", "hwnc"]),
    st.sampled_from(["nchw", "hwcn"]),
)
def test_the_three_are_adjoint_in_every_layout(config, dtype, of_images, of_filters):
    x, w, y = (
        lay(a, order, dtype)
        for a, order in zip(config.arrays(), (of_images, of_filters, of_images))
    )
    before, weight = [a.copy() for a in (x, w, y)], Tensor(w)
    out = config.forward(x, w)
    to_x = config.transposed(y, w)
    to_w = grad(config.forward(x, weight), weight, y)
    assert out.dtype == to_x.dtype == to_w.dtype == dtype
    assert np.vdot(out, y) == np.vdot(x, to_x) == np.vdot(w, to_w)
    for a, b in zip((x, w, y), before):
        np.testing.assert_array_equal(a, b)


FEW = [  # kernel, out, stride, padding, dilation, extra: of the rows and of the columns
    Config(1, 1, 2, 2, ((3, 2, 2, 1, 1, 1), (2, 2, 1, 0, 1, 0))),
    Config(2, 2, 1, 2, ((2, 2, 1, 1, 2, 0), (1, 2, 3, 0, 1, 2))),
    Config(1, 2, 2, 1, ((2, 2, 2, 0, 2, 1), (1, 1, 3, 0, 1, 1))),
    Config(0, 1, 2, 3, ((2, 2, 2, 0, 1, 1), (2, 1, 1, 0, 1, 0))),
]


@pytest.mark.parametrize("config", FEW, ids=str)
def test_gradients_to_second_order(config):
    x, w, y = (config.rng.standard_normal(a.shape) for a in config.arrays())
    check_grads(config.forward, x, w, config.rng.standard_normal(len(w)))
    check_grads(config.transposed, y, w, config.rng.standard_normal(x.shape[1]))


@given(configs(), st.integers(1, 40))
def test_blocks_of_the_batch_change_nothing(config, numbers):
    x, w, y = config.arrays()
    x, y = (np.concatenate([a, 2 * a, -a]) for a in (x, y))
    results = []
    for size in (numbers, 1 << 20):
        with pytest.MonkeyPatch.context() as patch:
            for face in reference.convolutions(
                reference.im2col, reference.col2im, reference.gemm, np.empty, size
            ):
                patch.setattr(kernels.of(x), face.__name__, face)
            weight = Tensor(w)
            results.append(
                (
                    config.forward(x, w),
                    config.transposed(y, w),
                    grad(config.forward(x, weight), weight, y),
                )
            )
    for a, b in zip(*results):
        np.testing.assert_array_equal(a, b)


@given(configs())
def test_one_image_without_batch_axis_and_bias(config):
    x, w, y = config.arrays()
    b, d = np.arange(1.0, len(w) + 1), np.arange(1.0, x.shape[1] + 1)
    np.testing.assert_array_equal(
        config.forward(x[0], w, b), config.forward(x, w)[0] + b[:, None, None]
    )
    np.testing.assert_array_equal(
        config.transposed(y[0], w, d), config.transposed(y, w)[0] + d[:, None, None]
    )


@pytest.mark.parametrize(
    "kernel, dilation", [*itertools.product([(1, 1), (2, 3), (4, 2)], [1, 2, (1, 3)])]
)
def test_same_and_valid_padding(kernel, dilation):
    x = np.random.default_rng(0).integers(-9, 10, (2, 1, 2, 7, 6)).astype(float)
    w = np.ones((3, 2, *kernel))
    w[:, :, 0, 0] = 5
    d = np.broadcast_to(dilation, 2)
    before, after = d * (np.array(kernel) - 1) // 2, -(-d * (np.array(kernel) - 1) // 2)
    wide = np.pad(x[0], ((0, 0), (0, 0), *zip(before, after)))
    same = ops.conv2d(Tensor(x[0]), w, padding="same", dilation=dilation)
    assert same.shape == (1, 3, 7, 6)
    np.testing.assert_array_equal(same.data, ops.conv2d(wide, w, dilation=dilation))
    np.testing.assert_array_equal(
        ops.conv2d(wide, w, padding="valid", dilation=dilation), same.data
    )
    check_grads(
        lambda x: ops.conv2d(x, w, padding="same", dilation=dilation), x[0, :, :, :3, :2], order=1
    )


X, W = np.zeros((8, 3, 28, 28), np.float32), np.zeros((64, 3, 4, 4), np.float32)
Y, V = np.zeros((8, 6, 5, 5), np.float32), np.zeros((6, 2, 3, 3), np.float32)
ERRORS = [
    (
        lambda: ops.conv2d(X, np.zeros((64, 5, 4, 4), np.float32)),
        "conv2d: x has 3 channels but weight expects 5 "
        "(x: (8, 3, 28, 28) float32 cpu, weight: (64, 5, 4, 4) float32 cpu)",
    ),
    (
        lambda: ops.conv2d(X[0], W[:, :1], groups=2),
        "conv2d: x has 3 channels but weight expects 2 (x: (1, 3, 28, 28)",
    ),
    (
        lambda: ops.conv2d(X, W, groups=3),
        "conv2d: groups=3 must be at least 1 and divide weight's first size 64 (x: (8, 3,",
    ),
    (lambda: ops.conv2d(X, W, groups=0), "conv2d: groups=0"),
    (
        lambda: ops.conv2d(X[0, 0], W),
        "conv2d: needs x (n, c, h, w) or (c, h, w), and weight with 4 axes (x: (28, 28)",
    ),
    (lambda: ops.conv2d(X, W[0]), "conv2d: needs x (n, c, h, w)"),
    (lambda: ops.conv2d(X, W[:, :, 0, 0]), "conv2d: needs x (n, c, h, w)"),
    (
        lambda: ops.conv2d(X[..., :3], W),
        "conv2d: kernel (4, 4), dilation (1, 1), does not fit padding (0, 0) around x: (8, 3,",
    ),
    (
        lambda: ops.conv2d(X, W, dilation=(1, 10)),
        "conv2d: kernel (4, 4), dilation (1, 10), does not fit",
    ),
    (
        lambda: ops.conv2d(X, W, stride=0),
        "conv2d: stride must be a whole number >= 1, or 2 of them, got 0",
    ),
    (
        lambda: ops.conv2d(X, W, stride=(1, 1.5)),
        "conv2d: stride must be a whole number >= 1, or 2 of them, got (1, 1.5)",
    ),
    (lambda: ops.conv2d(X, W, stride=(1, 1, 1)), "conv2d: stride"),
    (lambda: ops.conv2d(X, W, padding=-1), "conv2d: padding must be a whole number >= 0"),
    (lambda: ops.conv2d(X, W, padding="full"), "conv2d: padding must be"),
    (lambda: ops.conv2d(X, W, dilation=0), "conv2d: dilation"),
    (
        lambda: ops.conv2d(X, W, padding="same", stride=2),
        "conv2d: padding='same' needs stride 1, got (2, 2)",
    ),
    (
        lambda: ops.conv2d(X, W, np.zeros(3, np.float32)),
        "conv2d: bias must have shape (64,), got (3,) float32 cpu (x: (8, 3, 28",
    ),
    (
        lambda: ops.conv_transpose2d(X, V),
        "conv_transpose2d: x has 3 channels but weight expects 6 (x: (8, 3, 28, 28)",
    ),
    (
        lambda: ops.conv_transpose2d(Y, V, groups=4),
        "conv_transpose2d: groups=4 must be at least 1 and divide weight's first",
    ),
    (
        lambda: ops.conv_transpose2d(Y, V, stride=2, output_padding=2),
        "conv_transpose2d: output_padding (2, 2) must be "
        "smaller than stride (2, 2) or dilation (1, 1)",
    ),
    (
        lambda: ops.conv_transpose2d(Y, V, output_padding=-1),
        "conv_transpose2d: output_padding must be",
    ),
    (lambda: ops.conv_transpose2d(Y, V, stride=-1), "conv_transpose2d: stride must be"),
    (lambda: ops.conv_transpose2d(Y, V, dilation="2"), "conv_transpose2d: dilation must be"),
    (
        lambda: ops.conv_transpose2d(Y, V, padding=4),
        "conv_transpose2d: padding (4, 4) leaves a result of (-1, -1)",
    ),
    (
        lambda: ops.conv_transpose2d(Y, V, np.zeros(2, np.float32), groups=3),
        "conv_transpose2d: bias must have shape (6,), got",
    ),
    (lambda: ops.conv_transpose2d(Y, V[0]), "conv_transpose2d: needs x (n, c, h, w)"),
]


@pytest.mark.parametrize("call, message", ERRORS, ids=[message[:60] for _, message in ERRORS])
def test_errors(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_no_channels_and_numpy_integers():
    assert (
        ops.conv2d(np.zeros((2, 0, 4, 4)), np.zeros((3, 0, 2, 2))).tolist()
        == np.zeros((2, 3, 3, 3)).tolist()
    )
    pair = np.int64(2), np.int32(1)
    assert (
        ops.conv2d(X, W, stride=pair).shape
        == ops.conv2d(X, W, stride=(2, 1)).shape
        == (8, 64, 13, 25)
    )


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_a_bias_of_another_type_is_added_as_numpy_adds_it(dtype):
    x = np.ones((2, 3, 4, 4), np.float32)
    w = np.ones((5, 3, 2, 2), np.float32)
    b = np.arange(5).astype(dtype)
    d = np.arange(3).astype(dtype)
    for out, plain, bias in (
        (ops.conv2d(x, w, b), ops.conv2d(x, w), b),
        (
            ops.conv_transpose2d(ops.conv2d(x, w), w, d),
            ops.conv_transpose2d(ops.conv2d(x, w), w),
            d,
        ),
    ):
        expected = plain + bias[:, None, None]
        assert out.dtype == expected.dtype
        np.testing.assert_array_equal(out, expected)
