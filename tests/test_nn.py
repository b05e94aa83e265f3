"""Modules and their state, layers, initial values, losses."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygan import Tensor, grad, nn, ops, random
from tinygan.nn import losses


def net():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.LeakyReLU(0.2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(36, 3),
    )


KEYS = "0.weight 0.bias 1.weight 1.bias 1.running_mean 1.running_var".split()
KEYS += "1.num_batches_tracked 5.weight 5.bias".split()


def test_state_dict_has_pytorchs_keys_in_order():
    assert list(net().state_dict()) == KEYS
    assert [name for name, _ in net().named_parameters()] == [
        k for k in KEYS if "running" not in k and "num" not in k
    ]
    assert nn.ConvTranspose2d(4, 6, (2, 3), groups=2).state_dict()["weight"].shape == (4, 3, 2, 3)


def test_parameters_come_in_order_of_definition_and_once():
    class Tied(nn.Module):
        def __init__(self):
            self.first = nn.Linear(2, 2)
            self.scale = nn.Parameter(np.ones(1, np.float32))
            self.second = self.first
            self.steps = 3

        def forward(self, x):
            return self.second(self.first(x)) * self.scale

    tied = Tied()
    assert [name for name, _ in tied.named_parameters()] == ["first.weight", "first.bias", "scale"]
    assert tied.scale.name == "scale" and len(tied.modules()) == 2
    assert tied(np.ones((1, 2), np.float32)).shape == (1, 2)


def test_load_state_dict_copies_in_place():
    a, b = net(), net()
    memory = b[0].weight.data
    b.load_state_dict(a.state_dict())
    assert b[0].weight.data is memory
    for k, v in a.state_dict().items():
        np.testing.assert_array_equal(v, b.state_dict()[k])
    copied = copy.deepcopy(a)
    copied[0].weight.data += 1
    assert not np.array_equal(copied[0].weight.data, a[0].weight.data)


def test_load_state_dict_lists_every_mismatch_and_changes_nothing():
    m, before = net(), None
    before = {k: v.copy() for k, v in m.state_dict().items()}
    bad = {k: v + 1 for k, v in before.items()}
    bad["5.weight"] = bad["5.weight"].T
    bad["extra"] = bad.pop("0.bias")
    with pytest.raises(ValueError, match="is unchanged") as caught:
        m.load_state_dict(bad)
    for word in (
        "missing 0.bias (4,)",
        "unexpected extra (4,)",
        "5.weight has shape (36, 3), not (3, 36)",
    ):
        assert word in str(caught.value)
    for k, v in m.state_dict().items():
        np.testing.assert_array_equal(v, before[k])
    m.load_state_dict({"0.bias": np.full(4, 7.0)}, strict=False)
    np.testing.assert_array_equal(m[0].bias.data, np.full(4, 7, np.float32))


def test_a_read_only_parameter_is_named_before_anything_is_loaded():
    m = nn.Linear(2, 1)
    before = m.weight.data.copy()
    m.bias.data.flags.writeable = False
    with pytest.raises(ValueError, match="Linear is unchanged, since bias is read-only"):
        m.load_state_dict({k: v + 1 for k, v in m.state_dict().items()})
    np.testing.assert_array_equal(m.weight.data, before)


def test_train_eval_reach_every_module():
    m = net()
    assert not any(x.training for x in m.eval().modules()) and all(
        x.training for x in m.train().modules()
    )


def test_to_dtype_keeps_the_weights_layout_and_integers():
    m = net().double()
    assert m[0].weight.dtype == np.float64 and m[1].num_batches_tracked.dtype == np.int64
    # the matrix a convolution multiplies by, without a copy
    assert m[0].weight.data.transpose(2, 3, 1, 0).flags.c_contiguous
    assert m(np.ones((2, 2, 3, 3))).dtype == np.float64


@pytest.mark.parametrize("dtype", [int, "float16", np.complex64])
def test_parameters_are_made_nothing_but_floats(dtype):
    m = nn.Linear(2, 1)
    with pytest.raises(TypeError, match="Linear.to: .* float32 or float64, got "):
        m.to(dtype=dtype)
    assert m.weight.dtype == m.bias.dtype == np.float32


def test_initial_values_are_pytorchs():
    random.manual_seed(0)
    for layer, fan_in in [
        (nn.Linear(50, 400), 50), (nn.Conv2d(8, 64, 5, groups=2), 4 * 25),
        (nn.ConvTranspose2d(64, 8, 5), 8 * 25),
    ]:  # fmt: skip
        w, b = layer.weight.data, layer.bias.data
        assert np.abs(w).max() <= fan_in**-0.5 and np.abs(b).max() <= fan_in**-0.5
        np.testing.assert_allclose(w.std(), fan_in**-0.5 / 3**0.5, rtol=0.05)
    m = nn.init.dcgan(nn.Sequential(nn.Conv2d(8, 64, 5), nn.BatchNorm2d(64)))
    np.testing.assert_allclose(
        [m[0].weight.data.std(), m[1].weight.data.mean()], [0.02, 1.0], rtol=0.05
    )
    assert not m[0].bias.data.any()


def test_batch_norm_learns_running_statistics_and_uses_them():
    x = np.random.default_rng(0).normal(3, 2, (64, 5, 4, 4)).astype(np.float32)
    m = nn.BatchNorm2d(5)
    m(x)
    np.testing.assert_allclose(m.running_mean, 0.1 * x.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(m.running_var, 0.9 + 0.1 * x.var((0, 2, 3), ddof=1), rtol=1e-5)
    assert m.num_batches_tracked == 1 and m.num_batches_tracked.dtype == np.int64
    m.eval()
    expected = (x - m.running_mean.reshape(-1, 1, 1)) / np.sqrt(
        m.running_var.reshape(-1, 1, 1) + 1e-5
    )
    np.testing.assert_allclose(m(x).data, expected, rtol=1e-4, atol=1e-5)
    average = nn.BatchNorm1d(5, momentum=None)
    average(x[:, :, 0, 0]), average(x[:, :, 1, 1])
    np.testing.assert_allclose(
        average.running_mean, (x[:, :, 0, 0].mean(0) + x[:, :, 1, 1].mean(0)) / 2, rtol=1e-5
    )


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: nn.BatchNorm1d(3)(np.ones((1, 3), np.float32)), "more than one value per channel"),
        (lambda: nn.BatchNorm2d(3)(np.ones((2, 3), np.float32)), "must have 4 axes"),
        (lambda: nn.BatchNorm1d(3)(np.ones((2, 4), np.float32)), "3 channels the second, got"),
        (lambda: nn.Linear(3, 2)(np.ones((2, 4), np.float32)), "last size must be 3"),
        (lambda: nn.LayerNorm((2, 3))(np.ones((2, 4), np.float32)), r"must end in \(2, 3\)"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups=2 must divide"),
        (lambda: nn.Dropout(1.5), "from 0 to 1"),
        (lambda: nn.Module()(1), "no forward"),
        (lambda: losses.mse(np.ones(2), np.ones(3)), "one shape"),
        (lambda: losses.mse(np.ones(2), np.ones(2), "avg"), "reduction must be"),
        (
            lambda: losses.cross_entropy(np.ones((2, 3)), np.ones(2)),
            "labels: needs a raw array of integers",
        ),
    ],
)
def test_bad_input_names_the_thing(call, words):
    with pytest.raises((ValueError, NotImplementedError), match=words):
        call()


def test_dropout_keeps_the_mean_and_draws_anew():
    x = np.ones((100, 1000), np.float32)
    m = nn.Dropout(0.3)
    a, b = m(x), m(x)
    assert (
        set(np.unique(a)) == {np.float32(0), np.float32(1 / 0.7)}
        and abs(a.mean() - 1) < 0.01
        and (a != b).any()
    )
    assert m.eval()(x) is x and not nn.Dropout(1.0)(x).any()


def test_a_parameter_is_not_replaced_by_what_is_none():
    layer = nn.Linear(2, 1)
    for value in np.zeros((1, 2), np.float32), Tensor([[0.0, 0.0]]):
        with pytest.raises(TypeError, match="Linear.weight is a Parameter, and would be none"):
            layer.weight = value
    layer.weight = nn.Parameter(np.zeros((1, 2), np.float32))
    layer.bias = None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]


def test_a_copied_parameter_and_its_array_stay_one_memory():
    p, a = copy.deepcopy((layer := nn.Linear(2, 1), layer.weight.data))
    assert p.weight.data is a


def test_a_parameter_is_not_changed_by_rebinding_its_name():
    layer = nn.Linear(2, 1)
    for p in layer.parameters():
        with pytest.raises(TypeError, match="p.data -= a"):
            p -= 0.1 * p
        p.data -= p.data
    assert not layer.weight.data.any()


def test_flatten_unflatten_and_slicing_a_sequential():
    x = np.arange(24.0).reshape(2, 3, 2, 2)
    m = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (3, 2, 2)))
    np.testing.assert_array_equal(m(x), x)
    assert len(m) == 2 and m[:1](x).shape == (2, 12) and m[-1].unflattened_size == (3, 2, 2)
    assert "(0): Linear(36, 3, bias=True)" in repr(net()[5:])


values = st.floats(-50, 50)


@given(st.lists(st.tuples(values, st.floats(0, 1)), min_size=1, max_size=8))
def test_bce_with_logits_is_its_definition(pairs):
    x, t = np.array(pairs).T
    wide = x.astype(np.longdouble)
    expected = t * np.logaddexp(0, -wide) + (1 - t) * np.logaddexp(0, wide)
    got = losses.binary_cross_entropy_with_logits(x, t, reduction="none")
    np.testing.assert_allclose(got, expected.astype(float), rtol=1e-12, atol=1e-14)


def test_bce_with_logits_is_exact_at_the_extremes():
    x = Tensor(np.array([-1000.0, -40.0, 0.0, 40.0, 1000.0]))
    loss = losses.binary_cross_entropy_with_logits(x, 1.0, reduction="none")
    np.testing.assert_allclose(
        loss.data, [1000, 40 + np.exp(-40), np.log(2), np.exp(-40), 0], rtol=1e-14
    )
    np.testing.assert_allclose(
        grad(ops.sum(loss), x), [-1, -1, -0.5, -np.exp(-40), 0], rtol=1e-12, atol=1e-30
    )


def test_losses_by_hand():
    x, y = np.array([1.0, 3.0]), np.array([0.0, 1.0])
    assert losses.mse(x, y) == 2.5 and losses.mse(x, y, "sum") == 5.0
    logits, labels = np.log([[0.2, 0.8], [0.5, 0.5]]), np.array([1, 0])
    np.testing.assert_allclose(losses.cross_entropy(logits, labels), -np.log([0.8, 0.5]).mean())
    mean, log_variance = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    np.testing.assert_allclose(losses.gaussian_kl(mean, log_variance), 0.5 * (1 + np.e - 2))
    fake, real = np.array([0.5, -2.0]), np.array([2.0, 0.0])
    assert losses.hinge(fake, real) == (0 + 1) / 2 + (1.5 + 0) / 2 and losses.hinge(fake) == 0.75
    assert losses.wasserstein(fake, real) == -0.75 - 1.0 and losses.wasserstein(fake) == 0.75
    np.testing.assert_allclose(losses.non_saturating(fake), np.log1p(np.exp(-fake)).mean())
    np.testing.assert_allclose(
        losses.non_saturating(fake, real), (np.log1p(np.exp(fake)) + np.log1p(np.exp(-real))).mean()
    )


def test_gradient_penalty_of_a_linear_critic_and_its_gradient():
    critic = nn.Linear(3, 1, bias=False).double()
    rng = np.random.default_rng(0)
    real, fake, mix = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), rng.random(4)
    w = critic.weight.data
    norm = np.linalg.norm(w)
    penalty = losses.gradient_penalty(critic, real, fake, mix)
    np.testing.assert_allclose(penalty.item(), (norm - 1) ** 2, rtol=1e-9)
    np.testing.assert_allclose(grad(penalty, critic.weight), 2 * (norm - 1) * w / norm, rtol=1e-9)


def test_gradient_penalty_goes_through_convolutions():
    critic = nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(27, 1)
    ).double()
    rng = np.random.default_rng(0)
    real, fake, mix = rng.normal(size=(2, 1, 7, 7)), rng.normal(size=(2, 1, 7, 7)), rng.random(2)
    weight = critic[0].weight
    g = grad(losses.gradient_penalty(critic, real, fake, mix), weight)
    direction, h = rng.normal(size=weight.shape), 1e-5
    at = weight.data.copy()
    values = []
    for side in (h, -h):
        weight.data[...] = at + side * direction
        values.append(losses.gradient_penalty(critic, real, fake, mix).item())
    np.testing.assert_allclose((values[0] - values[1]) / (2 * h), (g * direction).sum(), rtol=1e-6)
