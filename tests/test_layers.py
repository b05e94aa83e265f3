"""Modules in lists and dicts, layers that are a function, labels, sizes; what errors say."""

import collections
import copy
import inspect
import pickle
import warnings

import numpy as np
import pytest

from tinygan import Tensor, grad, nn, ops, optim, random
from tinygan.nn import losses, supervised

ones = np.ones((4, 3), np.float32)


class Nested(nn.Module):
    def __init__(self):
        self.blocks = [nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1d(3), nn.Tanh())]
        self.heads = {"mean": nn.Linear(3, 1), "scales": (nn.Parameter(np.ones(1, np.float32)), 7)}
        self.sizes = [3, 3]

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.heads["mean"](x) * self.heads["scales"][0]


NAMES = "blocks.0.weight blocks.0.bias blocks.1.0.weight blocks.1.0.bias".split()
NAMES += "heads.mean.weight heads.mean.bias heads.scales.0".split()


def test_lists_tuples_and_dicts_are_looked_into():
    net = Nested()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert set(net.state_dict()) == {
        *NAMES,
        *(f"blocks.1.0.{b}" for b in ("running_mean", "running_var", "num_batches_tracked")),
    }
    assert [name for name, _ in net.named_children()] == ["blocks.0", "blocks.1", "heads.mean"]
    assert net.children() == [net.blocks[0], net.blocks[1], net.heads["mean"]]
    assert [name for name, _ in net.named_modules()] == [
        "",
        "blocks.0",
        "blocks.1",
        "blocks.1.0",
        "blocks.1.1",
        "heads.mean",
    ]
    assert "(blocks.1): Sequential(" in repr(net) and "(heads.mean): Linear(3, 1" in repr(net)
    assert not any(m.training for m in net.eval().modules()) and not net.blocks[1][0].training
    assert (
        {p.dtype for p in net.double().parameters()}
        == {np.dtype(np.float64)}
        == {net.blocks[1][0].running_mean.dtype}
    )
    other = Nested().double()
    other.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(
        other(ones.astype(float)).data, net.train()(ones.astype(float)).data
    )


def test_what_is_in_a_list_learns():
    net = Nested()
    before = [p.data.copy() for p in net.parameters()]
    ops.sum(
        net(np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)) ** 2
    ).backward()
    optim.SGD(net.parameters(), 0.1).step()
    moved = {name for (name, p), a in zip(net.named_parameters(), before) if (p.data != a).any()}
    assert moved >= {"blocks.0.weight", "blocks.1.0.weight", "heads.mean.weight", "heads.scales.0"}
    net.zero_grad(set_to_none=False)
    assert all(not p.grad.any() and p.grad.shape == p.shape for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize(
    "again",
    [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))],
    ids=["deepcopy", "pickle"],
)
def test_copies_of_a_module(again):
    net = nn.Sequential(
        Nested(),
        nn.GELU("tanh"),
        nn.CrossEntropyLoss(np.ones(3)),
    )
    copied = again(net)
    assert list(copied.state_dict()) == list(net.state_dict()) and repr(copied) == repr(net)
    np.testing.assert_array_equal(copied[:2](ones).data, net[:2](ones).data)
    copied[0].blocks[0].weight.data += 1
    assert (copied[0].blocks[0].weight.data != net[0].blocks[0].weight.data).all()


@pytest.mark.parametrize(
    "layers", [[nn.Tanh(), nn.ReLU()], ops.relu, None], ids=["list", "function", "None"]
)
def test_sequential_takes_modules(layers):
    with pytest.raises(
        TypeError,
        match=r"Sequential: takes modules, as .*first, second.*, got (list|function|NoneType)",
    ):
        nn.Sequential(layers)


def test_sequential_with_names_of_its_own():
    net = nn.Sequential(
        collections.OrderedDict([("dense", nn.Linear(3, 2)), ("act", nn.Tanh())])
    ).append(nn.Linear(2, 1))
    assert [name for name, _ in net.named_parameters()] == [
        "dense.weight",
        "dense.bias",
        "2.weight",
        "2.bias",
    ]
    assert net(ones).shape == (4, 1) and net.act is net[1] and len(net) == 3


def test_module_list_and_dict():
    blocks = nn.ModuleList([nn.Linear(3, 3)])
    blocks.append(nn.Tanh())
    blocks.extend([nn.Linear(3, 1)])
    assert (
        [type(m).__name__ for m in blocks] == ["Linear", "Tanh", "Linear"]
        and len(blocks) == 3
        and blocks[-1] is blocks[2]
    )
    assert list(blocks.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    named = nn.ModuleDict({"a": nn.Linear(3, 2)})
    named["b"] = nn.ReLU()
    assert (
        list(named) == ["a", "b"]
        and "(a): Linear(3, 2" in repr(named)
        and len(named.parameters()) == 2
    )
    assert not nn.ModuleList([blocks, named]).eval()[0][0].training
    for m in blocks, named:
        with pytest.raises(NotImplementedError, match="no forward"):
            m(ones)


def test_registering_is_an_attribute():
    m = nn.Module()
    m.register_parameter("scale", nn.Parameter(np.ones(2, np.float32)))
    m.register_parameter("none", None)
    m.register_buffer("steps", Tensor(np.zeros(1, np.float32)))
    m.add_module("inner", nn.Linear(1, 1))
    assert (
        list(m.state_dict()) == ["scale", "steps", "inner.weight", "inner.bias"]
        and len(m.parameters()) == 3
    )


def test_apply_visits_children_first():
    seen = []
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU()))
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net and seen == [
        "Linear",
        "ReLU",
        "Sequential",
        "Sequential",
    ]


def test_freezing_a_module_says_what_to_do():
    with pytest.raises(
        AttributeError,
        match="Linear: to freeze a module, give the optimizer, or grad, the",
    ):
        nn.Linear(2, 2).requires_grad_(False)
    assert nn.Linear(2, 2).requires_grad_().parameters()


def test_gradients_move_with_their_parameters():
    m = nn.Linear(3, 1).double()
    ops.sum(m(ones.astype(float))).backward()
    m.float()
    ops.sum(m(ones)).backward()
    assert m.weight.grad.dtype == np.float32 and (m.weight.grad == 8).all()


def test_a_state_dict_of_words_changes_nothing():
    m = nn.Linear(2, 1)
    before = m.weight.data.copy()
    with pytest.raises(ValueError, match="unchanged, since bias holds"):
        m.load_state_dict({"weight": before + 1, "bias": np.array(["x"])})
    np.testing.assert_array_equal(m.weight.data, before)


def test_layers_take_pytorchs_arguments():
    assert str(inspect.signature(nn.MaxPool2d)) == "(kernel_size, stride=None, padding=0)"
    assert str(inspect.signature(nn.LeakyReLU)) == "(negative_slope=0.01, inplace=False)"
    assert (
        repr(nn.LeakyReLU(0.2, True)) == "LeakyReLU(negative_slope=0.2)"
        and nn.Upsample(scale_factor=2).scale_factor == 2
    )
    with pytest.raises(
        TypeError, match=r"MaxPool2d\(kernel_size, .*missing a required argument: 'kernel_size'"
    ):
        nn.MaxPool2d()
    with pytest.raises(
        TypeError, match=r"ReLU\(inplace=False\): got an unexpected keyword argument 'slope'"
    ):
        nn.ReLU(slope=1)

    class Steep(nn.LeakyReLU):
        def forward(self, x):
            return 2 * super().forward(x)

    np.testing.assert_array_equal(Steep(0.5)(np.array([-2.0, 1])), [-2, 2])


@pytest.mark.parametrize("labels", [[0, -1], [0, 3], [-100, 1]], ids=str)
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss", "Embedding"])
def test_a_label_that_is_no_class(labels, name):
    labels = np.array(labels)
    f = {"Embedding": nn.Embedding(3, 2)}.get(name) or (
        lambda y: getattr(losses, name)(np.zeros((2, 3)), y, ignore_index=-5)
    )
    wrong = [i for i in labels.tolist() if not 0 <= i < 3]
    with pytest.raises(IndexError, match=rf" {wrong[0]} is none of 3 \w+, 0 to 2"):
        f(labels)


def test_on_a_gpu_such_a_label_gives_nan(monkeypatch):
    # as there, where a look would halt the device
    monkeypatch.setattr(supervised, "check_labels", lambda *a: None)
    x = Tensor(np.zeros((3, 3)))
    loss = losses.cross_entropy(x, np.array([0, -1, 3]), reduction="none")
    np.testing.assert_array_equal(loss.data, [np.log(3), np.nan, np.nan])


def test_ignored_labels_have_no_gradient_even_of_nan():
    x = Tensor(np.array([[0.0, 1.0], [np.nan, 2.0]]))
    loss = losses.cross_entropy(x, np.array([1, -100]))
    g = grad(losses.nll_loss(x, np.array([1, -100])), x)
    np.testing.assert_allclose(loss.data, np.log1p(np.exp(-1)))
    np.testing.assert_array_equal(g, [[0, -1], [0, 0]])


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: nn.Unflatten(5, (1, 3))(ones), "no axis 5 in x of shape"),
        (lambda: nn.Unflatten(-3, (1, 3))(ones), "no axis -3"),
        (
            lambda: ops.layer_norm(ones, 3, np.ones((4, 1), np.float32)),
            r"layer_norm: weight must have shape \(3,\)",
        ),
        (
            lambda: ops.layer_norm(ones, 3, None, np.ones(1, np.float32)),
            r"layer_norm: bias must have shape \(3,\)",
        ),
        (
            lambda: ops.batch_norm(ones, None, None, ones, training=True),
            r"batch_norm: weight must have shape \(3,\)",
        ),
        (lambda: ops.batch_norm(ones, None, None), "running_mean and running_var unless training"),
        (lambda: ops.group_norm(ones, 2), "channels 2 groups divide"),
        (
            lambda: ops.group_norm(ones, 3, ones[0, :1]),
            r"group_norm: weight must have shape \(3,\)",
        ),
        (lambda: nn.GroupNorm(2, 3), "num_groups=2 must divide num_channels=3"),
        (lambda: nn.InstanceNorm2d(3, track_running_stats=True), "no running statistics"),
        (lambda: nn.InstanceNorm2d(3)(ones), "must have 4 axes, 3 channels"),
        (lambda: nn.InstanceNorm2d(3)(np.ones((1, 2, 3, 3))), "must have 4 axes, 3 channels"),
        (lambda: nn.PReLU(2)(ones), "PReLU: 2 weights for x"),
        (
            lambda: nn.Embedding(3, 2, padding_idx=3),
            "Embedding: row 3 is none of 3 rows",
        ),
        (lambda: nn.Embedding(3, 2)(ones), "rows: needs a raw array of integers"),
        (lambda: ops.gelu(ones, "erf"), "must be 'none' or 'tanh'"),
        (
            lambda: losses.cross_entropy(ones, [0, 1, 2, 0]),
            r"labels: needs a raw array of integers, got \[0, 1, 2, 0\]",
        ),
        (
            lambda: losses.cross_entropy(ones, np.zeros(4, int), ones[0, :2]),
            r"weight must have shape \(3,\)",
        ),
        (
            lambda: losses.cross_entropy(ones, np.zeros(4, int), label_smoothing=2),
            "label_smoothing from 0 to 1",
        ),
        (
            lambda: losses.binary_cross_entropy(2 * ones, ones),
            "needs probabilities.*_with_logits",
        ),
        (lambda: losses.binary_cross_entropy(np.nan * ones, ones), "needs probabilities"),
        (lambda: losses.mse(ones, ones, ones), "reduction must be"),
        (
            lambda: nn.Conv1d(2, 2, 3)(ones),
            r"conv1d: needs x \(n, c, length\)",
        ),
        (lambda: ops.conv1d(ones, ones), "conv1d: needs x"),
        (
            lambda: ops.conv1d(ones[None], ones[None], stride=(1, 1)),
            "stride must be a whole number",
        ),
    ],
)
def test_bad_input_names_the_thing(call, words):
    with pytest.raises((ValueError, IndexError, TypeError), match=words):
        call()


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2, 2), (2, 3, 0, 4)], ids=str)
def test_batch_norm_of_nothing(shape):
    m = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(3)
    x = Tensor(np.ones(shape, np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = m(x)
        gx, gw, gb = grad(out, [x, m.weight, m.bias], np.ones(shape, np.float32))
    assert out.shape == gx.shape == shape and not gw.any() and not gb.any()
    assert not m.running_mean.any() and (m.running_var == 1).all()


def test_a_refused_batch_is_not_counted():
    m = nn.BatchNorm1d(3)
    for x in ones[:1], ones[:, :2], np.arange(12.0).reshape(4, 3):  # the last of float64
        with pytest.raises((ValueError, TypeError)):
            m(x)
    assert m.num_batches_tracked == 0 and not m.running_mean.any() and (m.running_var == 1).all()


@pytest.mark.parametrize("f", [ops.softmax, ops.log_softmax])
def test_softmax_over_nothing(f):
    x = Tensor(np.ones((2, 0)))
    assert f(x, 1).shape == (2, 0) == grad(f(x, 1), x, np.ones((2, 0))).shape


def test_dropout2d_drops_whole_channels():
    random.manual_seed(0)
    x = np.ones((50, 40, 2, 2), np.float32)
    m = nn.Dropout2d(0.25)
    y = m(x)
    assert (y == y[:, :, :1, :1]).all() and set(np.unique(y)) == {
        np.float32(0),
        np.float32(1 / 0.75),
    }
    assert abs(y.mean() - 1) < 0.05 and m.eval()(x) is x


def test_gelu_is_exact_on_both_sides():
    import math

    x = np.linspace(-12, 12, 4001)
    exact = [v * 0.5 * math.erfc(-v * math.sqrt(0.5)) for v in x]
    np.testing.assert_allclose(ops.gelu(x), exact, rtol=5e-14, atol=0)
    np.testing.assert_allclose(ops.gelu(x[1800:2200]), exact[1800:2200], rtol=3e-15, atol=0)
    np.testing.assert_allclose(
        ops.gelu(x.astype(np.float32)), np.array(exact, np.float32), rtol=2e-5, atol=1e-10
    )


def test_raw_integers_count_in_the_layers_dtype():
    image = np.arange(75, dtype=np.uint8).reshape(1, 3, 5, 5)
    for m in nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(3, 4, 3), nn.Linear(5, 2):
        y = m(image)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y.data, m(image.astype(np.float32)).data)


def test_labels_of_one_sample_and_weights_that_are_tensors_are_refused_by_name():
    x = Tensor(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"needs x \(n, classes, ...\), got \(3,\)"):
        losses.cross_entropy(x[0], np.array(0))
    with pytest.raises(TypeError, match="weight must be a raw array"):
        losses.cross_entropy(x, np.array([0, 1]), weight=x[0])


def test_integers_are_averaged_and_dropped_as_numbers():
    x = np.arange(16).reshape(1, 1, 4, 4)
    for f in (
        lambda x: ops.avg_pool2d(x, 2), lambda x: ops.adaptive_avg_pool2d(x, 3),
        lambda x: ops.interpolate(x, 6, mode="bilinear"),
    ):  # fmt: skip
        np.testing.assert_array_equal(f(x), f(x.astype(float)))
    random.manual_seed(0)
    assert set(np.unique(nn.Dropout(0.5)(np.ones((50, 2), int))).tolist()) == {0.0, 2.0}


def test_equal_values_have_a_standard_deviation_of_0_and_no_slope():
    x = Tensor(np.ones((3, 2)))
    y = ops.std(x, axis=0, correction=1)
    assert y.data.tolist() == [0, 0] and not grad(ops.sum(y), x).any()


def test_what_has_no_gradient_cannot_be_a_tensor():
    x, v = Tensor(np.ones((4, 3))), Tensor(np.ones(3))
    for call in (
        lambda: ops.batch_norm(x, v, v, training=True), lambda: ops.batch_norm(x, np.ones(3), v),
        lambda: losses.binary_cross_entropy_with_logits(x, np.ones((4, 3)), pos_weight=v),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="must be .*raw array"):
            call()
    assert (v.data == 1).all()


def test_shapes_and_limits_at_the_edges():
    assert nn.PReLU()(Tensor(np.array(-2.0, np.float32))).shape == ()
    assert ops.gelu(np.array([np.inf, 100.0])).tolist() == [np.inf, 100.0]


def test_a_subclass_of_modulelist_keeps_what_else_it_has():
    class Blocks(nn.ModuleList):
        def __init__(self):
            super().__init__([nn.Linear(2, 2)])
            self.scale, self.drop = nn.Parameter(np.ones(2, np.float32)), nn.Dropout()

    blocks = Blocks().eval()
    assert {n for n, _ in blocks.named_parameters()} == {
        "scale",
        "0.weight",
        "0.bias",
    } and not blocks.drop.training


def test_names_in_a_sequential_are_free_ones():
    s = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    del s.__dict__["1"]
    assert [n for n, _ in s.append(nn.Tanh()).named_children()] == ["0", "2", "3"]
    for name in "forward", "training", "a.b":
        with pytest.raises(ValueError, match="cannot be a name"):
            nn.Sequential({name: nn.Tanh()})
