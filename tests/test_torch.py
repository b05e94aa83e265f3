"""Conformance with PyTorch, if installed: values, derivatives, state dicts, optimizers.

Everything is float64 and agrees to 1e-10 or better; trajectories of the optimizers to 1e-12. Where
PyTorch's conventions differ from ours on purpose (kinks, ties), `test_ops.py` says what ours are.
"""

import collections
import functools
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_conv import configs

from tinygan import Tensor, grad, nn, ops, optim
from tinygan.nn import losses

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # the arrays are tiny
F = torch.nn.functional
rng = np.random.default_rng(2)


def real(*shape):
    return rng.standard_normal(shape)


def positive(*shape):
    return rng.uniform(0.3, 2, shape)


def agree(ours, theirs, *arrays, rtol=1e-10):
    """Two functions of the same arrays: values, gradients, gradients of a mix of the gradients."""
    xs, ts = [Tensor(a) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = ours(*xs), theirs(*ts)
    close(y, z, rtol)
    g = np.random.default_rng(0).standard_normal(y.shape)
    c, d = Tensor(g), torch.tensor(g, requires_grad=True)
    first = grad(y, xs, c, create_graph=True)
    expected = torch.autograd.grad(z, ts, d, create_graph=True)
    for found in first, grad(y, xs, g):
        for a, b in zip(found, expected, strict=True):
            close(a, b, rtol)
    v = [np.random.default_rng(i).standard_normal(a.shape) for i, a in enumerate(arrays)]
    slope = sum((ops.sum(a * w) for a, w in zip(first, v)), Tensor(np.zeros(())))
    other = sum((b * torch.tensor(w)).sum() for b, w in zip(expected, v))
    second = torch.autograd.grad(other, (*ts, d), allow_unused=True)
    for a, b, t in zip(grad(slope, [*xs, c], allow_unused=True), second, (*ts, d), strict=True):
        close(np.zeros(t.shape) if a is None else a, torch.zeros_like(t) if b is None else b, rtol)


def close(ours, theirs, rtol=1e-10):
    a, b = np.asarray(ops.raw(ours)), theirs.detach().numpy(force=True)
    assert a.shape == b.shape and a.dtype == b.dtype
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(1, np.abs(b).max(initial=0)))


def both(name, *arrays):
    return pytest.param(getattr(ops, name), getattr(torch, name), arrays, id=name)


def dim(name, *shape, axis, keepdims=False, torch_name):
    theirs = getattr(torch, torch_name)
    return pytest.param(
        lambda x: getattr(ops, name)(x, axis, keepdims=keepdims),
        lambda x: theirs(x, axis, keepdim=keepdims),
        (real(*shape),),
        id=f"{name} over {axis}",
    )


def case(name, ours, theirs, *arrays):
    return pytest.param(ours, theirs, arrays, id=name)


index = np.array([[0, 2], [2, 1]])
mask = np.array([[True, False, True, True], [False, False, True, False], [True] * 4])
TABLE = [
    *(
        both(name, real(3, 4))
        for name in (
            "abs",
            "exp",
            "negative",
            "tanh",
            "sigmoid",
            "relu",
            "sum",
            "mean",
            "max",
            "min",
        )
    ),
    *(both(name, positive(3, 4)) for name in ("log", "sqrt")),
    *(
        both(name, real(3, 4), real(4))
        for name in ("add", "subtract", "multiply", "maximum", "minimum")
    ),
    *(both(name, real(3, 1), positive(2, 1, 4)) for name in ("divide", "add", "multiply")),
    case("power", ops.power, torch.pow, positive(3, 4), real(4)),
    *(
        both("matmul", real(*a), real(*b))
        for a, b in (((3, 4), (4, 2)), ((4,), (4,)), ((2, 1, 3, 4), (5, 4, 2)))
    ),
    *(both("matmul", real(*a), real(*b)) for a, b in (((4,), (2, 4, 3)), ((2, 3, 4), (4,)))),
    *(
        dim(
            name,
            3,
            4,
            2,
            axis=axis,
            keepdims=k,
            torch_name={"max": "amax", "min": "amin"}.get(name, name),
        )
        for name in ("sum", "mean", "max", "min", "logsumexp")
        for axis, k in ((1, False), ((0, 2), True), (-1, True))
    ),
    case("var", lambda x: ops.var(x, (0, 2), 1), lambda x: torch.var(x, (0, 2)), real(3, 4, 2)),
    case("x ** 3", lambda x: x**3, lambda x: x**3, real(3, 4)),
    case("2 ** x", lambda x: 2.0**x, lambda x: 2.0**x, real(3, 4)),
    case(
        "leaky_relu", lambda x: ops.leaky_relu(x, 0.2), lambda x: F.leaky_relu(x, 0.2), real(3, 4)
    ),
    case("softplus", ops.softplus, F.softplus, real(3, 4)),
    case("clip", lambda x: ops.clip(x, -0.5, 0.7), lambda x: torch.clip(x, -0.5, 0.7), real(3, 4)),
    case(
        "where",
        lambda x, y: ops.where(mask, x, y),
        lambda x, y: torch.where(torch.tensor(mask), x, y),
        real(3, 4),
        real(4),
    ),
    case("softmax", lambda x: ops.softmax(x, 0), lambda x: torch.softmax(x, 0), real(3, 4)),
    case("log_softmax", ops.log_softmax, lambda x: torch.log_softmax(x, -1), real(3, 4)),
    case("transpose", lambda x: x.transpose(2, 0, 1), lambda x: x.permute(2, 0, 1), real(3, 4, 2)),
    case("getitem", lambda x: x[index, 1], lambda x: x[torch.tensor(index), 1], real(3, 4)),
    case("boolean mask", lambda x: x[mask], lambda x: x[torch.tensor(mask)], real(3, 4)),
    case(
        "concatenate",
        lambda x, y: ops.concatenate([x, y, x], 1),
        lambda x, y: torch.cat([x, y, x], 1),
        real(3, 4),
        real(3, 2),
    ),
    case(
        "stack",
        lambda x, y: ops.stack([x, y], -1),
        lambda x, y: torch.stack([x, y], -1),
        real(3, 4),
        real(3, 4),
    ),
    case(
        "pad", lambda x: ops.pad(x, ((1, 2), (0, 3))), lambda x: F.pad(x, (0, 3, 1, 2)), real(3, 4)
    ),
    case("flatten", lambda x: ops.flatten(x, 1), lambda x: torch.flatten(x, 1), real(3, 4, 2)),
    case("linear", ops.linear, F.linear, real(2, 3, 4), real(5, 4), real(5)),
    case(
        "layer_norm",
        lambda x, w, b: ops.layer_norm(x, (4, 2), w, b),
        lambda x, w, b: F.layer_norm(x, (4, 2), w, b),
        real(3, 4, 2),
        real(4, 2),
        real(4, 2),
    ),
]
for r in "mean", "sum", "none":
    functions = F.binary_cross_entropy_with_logits, F.mse_loss, F.cross_entropy
    bce, mse, cross = (functools.partial(f, reduction=r) for f in functions)
    TABLE += [
        case(
            f"bce {r}",
            lambda x, t, r=r: losses.binary_cross_entropy_with_logits(x, t, reduction=r),
            bce,
            real(3, 4),
            positive(3, 4) / 2,
        ),
        case(f"mse {r}", lambda x, t, r=r: losses.mse(x, t, r), mse, real(3, 4), real(3, 4)),
        case(
            f"cross_entropy {r}",
            lambda x, r=r: losses.cross_entropy(x, index[0], reduction=r),
            lambda x, f=cross: f(x, torch.tensor(index[0])),
            real(2, 4),
        ),
    ]


classes, spots = np.array([[0, 2], [3, -100], [1, 1]]), np.array([0.5, 1.0, 2.0, 0.25])
soft = torch.softmax(torch.tensor(real(3, 4, 2)), 1).numpy()
for r, smoothing in itertools.product(("mean", "sum", "none"), (0.0, 0.2)):
    settings = {"reduction": r, "label_smoothing": smoothing}
    for name, labels, w, ignore in (
        ("labels", classes, None, -100),
        ("weights", classes, spots, 3),
        ("soft", soft, spots, -100),
    ):
        if name == "weights":
            labels = np.where(labels < 0, 3, labels)
        ours = functools.partial(
            losses.cross_entropy, target=labels, weight=w, ignore_index=ignore, **settings
        )
        tensors = {"target": torch.tensor(labels), "weight": None if w is None else torch.tensor(w)}
        theirs = functools.partial(F.cross_entropy, ignore_index=ignore, **tensors, **settings)
        TABLE.append(case(f"cross_entropy of {name} {settings}", ours, theirs, real(3, 4, 2)))
        if name != "soft" and not smoothing:
            ours = functools.partial(
                losses.nll_loss, target=labels, weight=w, ignore_index=ignore, reduction=r
            )
            theirs = functools.partial(F.nll_loss, ignore_index=ignore, reduction=r, **tensors)
            TABLE.append(case(f"nll_loss, {name} {r}", ours, theirs, real(3, 4, 2)))
weight = rng.uniform(0.3, 2, 4)
LOSSES = {
    "l1_loss": [{}], "smooth_l1_loss": [{}, {"beta": 0.3}, {"beta": 0.0}],
    "binary_cross_entropy": [{}, {"weight": weight}],
    "binary_cross_entropy_with_logits":
        [{"weight": weight}, {"pos_weight": weight}, {"pos_weight": weight, "weight": weight}],
}  # fmt: skip
for name, settings in LOSSES.items():
    for r, options in itertools.product(("mean", "sum", "none"), settings):
        tensors = {
            k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()
        }
        ours, theirs = (functools.partial(getattr(m, name), reduction=r) for m in (losses, F))
        TABLE.append(
            case(
                f"{name} {r} {list(options)}",
                functools.partial(ours, **options),
                functools.partial(theirs, **tensors),
                positive(3, 4) / 2.1,
                positive(3, 4) / 2.1,
            )
        )

for name, options in {
    "elu": [{}, {"alpha": 0.3}], "gelu": [{}, {"approximate": "tanh"}], "silu": [{}],
}.items():  # fmt: skip
    for o in options:
        ours, theirs = (functools.partial(getattr(m, name), **o) for m in (ops, F))
        TABLE.append(case(f"{name} {o}", ours, theirs, real(3, 4) * 3))

WINDOWS = [{"kernel_size": 2}, {"kernel_size": 2, "stride": 1}]
WINDOWS += [{"kernel_size": (3, 2), "stride": 2, "padding": 1}]
IMAGES = {
    "max_pool2d": WINDOWS,
    "avg_pool2d": WINDOWS,
    "adaptive_avg_pool2d": [{"output_size": 1}, {"output_size": (3, 4)}],
    "interpolate": [{"scale_factor": 2}, {"size": (3, 8)}, {"scale_factor": (3.0, 0.5)}]
    + [{"mode": "bilinear", "align_corners": a, **size} for a in (False, True)
       for size in ({"scale_factor": 2}, {"size": (3, 8)}, {"scale_factor": (1.6, 0.5)},
                    {"size": 1}, {"size": (5, 6)})],
    "pixel_shuffle": [{"upscale_factor": 2}],
}  # fmt: skip
for name, options in IMAGES.items():
    for o in options:
        ours, theirs = (functools.partial(getattr(m, name), **o) for m in (ops, F))
        TABLE.append(case(f"{name} {o}", ours, theirs, real(2, 4, 5, 6)))
TABLE.append(
    case(
        "pixel_unshuffle",
        lambda x: ops.pixel_unshuffle(x, 3),
        lambda x: F.pixel_unshuffle(x, 3),
        real(2, 4, 6, 9),
    )
)
triangle = np.tri(4, 5, 1, dtype=bool)
ATTENDED = {"plain": {}, "scaled": {"scale": 0.3}, "causal": {"is_causal": True}}
ATTENDED |= {"masked": {"attn_mask": triangle}, "biased": {"attn_mask": real(2, 1, 4, 5)}}
ATTENDED |= {"by key": {"attn_mask": real(2, 1, 1, 5) > -1}, "by query": {"attn_mask": real(4, 1)}}
for name, o in ATTENDED.items():
    tensors = {k: torch.tensor(v) if k == "attn_mask" else v for k, v in o.items()}
    ours = functools.partial(ops.scaled_dot_product_attention, **o)
    theirs = functools.partial(F.scaled_dot_product_attention, **tensors)
    arrays = real(2, 3, 4, 6), real(2, 3, 5, 6), real(2, 3, 5, 2)
    TABLE.append(case(f"attention, {name}", ours, theirs, *arrays))
for mode, padding in itertools.product(
    ("reflect", "replicate", "circular"), ((1, 2, 0, 3), (2, 2, 2, 2))
):
    TABLE.append(
        case(
            f"pad2d {mode} {padding}",
            lambda x, p=padding, m=mode: ops.pad2d(x, p, m),
            lambda x, p=padding, m=mode: F.pad(x, p, mode=m),
            real(2, 3, 4, 5),
        )
    )
TABLE.append(
    case(
        "pad2d",
        lambda x: ops.pad2d(x, (1, 2, 0, 3)),
        lambda x: F.pad(x, (1, 2, 0, 3)),
        real(2, 3, 4, 5),
    )
)
for groups, padding in ((1, "same"), (2, 1)):
    ours, theirs = (
        functools.partial(m.conv1d, padding=padding, dilation=2, groups=groups) for m in (ops, F)
    )
    TABLE.append(
        case(
            f"conv1d {groups} groups", ours, theirs, real(2, 4, 7), real(6, 4 // groups, 3), real(6)
        )
    )
    ours, theirs = (
        functools.partial(m.conv_transpose1d, stride=3, padding=1, output_padding=2, groups=groups)
        for m in (ops, F)
    )
    TABLE.append(
        case(
            f"conv_transpose1d {groups} groups",
            ours,
            theirs,
            real(2, 4, 5),
            real(4, 6 // groups, 3),
            real(6),
        )
    )
for n in 1, 2, 4:
    TABLE.append(
        case(
            f"group_norm of {n}",
            lambda x, w, b, n=n: ops.group_norm(x, n, w, b, 1e-3),
            lambda x, w, b, n=n: F.group_norm(x, n, w, b, 1e-3),
            real(2, 4, 3, 5),
            real(4),
            real(4),
        )
    )


@pytest.mark.parametrize("ours, theirs, arrays", TABLE)
def test_operations_and_losses(ours, theirs, arrays):
    agree(ours, theirs, *arrays)


def test_gaussian_kl():
    a, b = real(3, 4), real(3, 4)
    normal = torch.distributions.Normal
    theirs = (
        torch.distributions.kl_divergence(
            normal(torch.tensor(a), torch.tensor(b / 2).exp()), normal(0.0, 1.0)
        )
        .sum(1)
        .mean()
    )
    close(losses.gaussian_kl(Tensor(a), Tensor(b)), theirs)


@given(configs(), st.booleans())
def test_conv2d(c, bias):
    x, w, _ = (c.rng.standard_normal(a.shape) for a in c.arrays())
    options = c.stride, c.padding, c.dilation, c.groups
    agree(c.forward, lambda x, w, b=None: F.conv2d(x, w, b, *options), x, w, *[real(len(w))] * bias)


@given(configs(transposed=True), st.booleans())
def test_conv_transpose2d(c, bias):
    _, w, y = (c.rng.standard_normal(a.shape) for a in c.arrays())
    options = c.stride, c.padding, c.extra, c.groups, c.dilation
    agree(
        c.transposed,
        lambda y, w, b=None: F.conv_transpose2d(y, w, b, *options),
        y,
        w,
        *[real(w.shape[1] * c.groups)] * bias,
    )


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 2)
)
def test_same_padding(c, o, kh, kw, dilation):
    ours, theirs = (
        functools.partial(f, padding="same", dilation=dilation) for f in (ops.conv2d, F.conv2d)
    )
    agree(ours, theirs, real(2, c, 5, 6), real(o, c, kh, kw))


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 5), (40, 3, 9, 7)], ids=str)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm(shape, training, affine):
    ours, theirs = [[np.arange(3.0), np.array([1.0, 2.0, 0.5])] for _ in range(2)]
    theirs = [torch.tensor(a) for a in theirs]

    def f(x, w=None, b=None):
        return ops.batch_norm(x, *ours, w, b, training, 0.3, 1e-3)

    def g(x, w=None, b=None):
        return F.batch_norm(x, *theirs, w, b, training, 0.3, 1e-3)

    x = real(*shape) * 2 + 1
    for _ in range(2):
        agree(f, g, x, *[real(3), real(3)] * affine)
        for a, b in zip(ours, theirs):
            close(a, b)


def Loop(nn):
    """The same module of lists and dicts of layers, ours or theirs."""

    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])
            self.blocks.append(nn.Tanh())
            self.heads = nn.ModuleDict(
                {
                    "a": nn.Linear(4, 2),
                    "b": nn.Sequential(collections.OrderedDict(top=nn.Linear(4, 2))),
                }
            )

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return self.heads["a"](x) + self.heads["b"](x)

    return Loop()


LAYERS = {
    "Linear": (lambda nn: nn.Linear(4, 3), (2, 4)),
    "Linear without bias": (lambda nn: nn.Linear(4, 3, bias=False), (2, 5, 4)),
    "Conv2d": (lambda nn: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2), (2, 4, 7, 6)),
    "Conv2d same": (lambda nn: nn.Conv2d(2, 3, 4, padding="same", bias=False), (2, 2, 7, 6)),
    "ConvTranspose2d": (
        lambda nn: nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (1, 2), 2, True, (1, 2)),
        (2, 4, 5, 4),
    ),
    "BatchNorm1d": (lambda nn: nn.BatchNorm1d(3), (5, 3)),
    "BatchNorm1d, plain average": (lambda nn: nn.BatchNorm1d(3, momentum=None), (5, 3, 2)),
    "BatchNorm2d": (lambda nn: nn.BatchNorm2d(3, eps=1e-3, momentum=0.2), (4, 3, 2, 5)),
    "BatchNorm2d, nothing learnt": (lambda nn: nn.BatchNorm2d(3, affine=False), (4, 3, 2, 5)),
    "BatchNorm2d, nothing tracked": (
        lambda nn: nn.BatchNorm2d(3, track_running_stats=False),
        (4, 3, 2, 5),
    ),
    "LayerNorm": (lambda nn: nn.LayerNorm((3, 4)), (2, 3, 4)),
    "LayerNorm of one axis": (lambda nn: nn.LayerNorm(4, 1e-3), (2, 4)),
    "GroupNorm": (lambda nn: nn.GroupNorm(2, 4, 1e-3), (3, 4, 5)),
    "InstanceNorm2d": (lambda nn: nn.InstanceNorm2d(3), (2, 3, 4, 5)),
    "InstanceNorm1d": (lambda nn: nn.InstanceNorm1d(3, affine=True), (2, 3, 5)),
    "Conv1d": (lambda nn: nn.Conv1d(4, 6, 3, 2, 1, 2, 2), (2, 4, 9)),
    "Conv1d same": (lambda nn: nn.Conv1d(2, 3, (4,), padding="same", bias=False), (2, 2, 7)),
    "ConvTranspose1d": (lambda nn: nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, 2, True, 2), (2, 4, 5)),
    "PReLU": (lambda nn: nn.PReLU(), (2, 3)),
    **{
        f"spectral norm of {layer}": (
            lambda nn, layer=layer: getattr(nn, "utils", nn).spectral_norm(eval(f"nn.{layer}")),
            shape,
        )
        for layer, shape in {
            "Linear(4, 3)": (2, 4),
            "Conv2d(4, 6, (3, 2), groups=2)": (2, 4, 5, 4),
            "Conv1d(4, 3, 2, bias=False)": (2, 4, 5),
            "ConvTranspose2d(4, 6, (3, 2), 2)": (2, 4, 3, 2),
            "ConvTranspose1d(4, 6, 2, groups=2)": (2, 4, 5),
        }.items()
    },
    "PReLU of channels": (lambda nn: nn.PReLU(3, 0.1), (2, 3, 4, 4)),
    **{
        f"nn.{layer}": (lambda nn, layer=layer: eval(f"nn.{layer}"), (2, 4, 5, 6))
        for layer in (
            "ReLU(True)",
            "LeakyReLU(0.2, inplace=True)",
            "ELU(0.5, True)",
            "GELU()",
            "GELU('tanh')",
            "SiLU()",
            "Hardtanh()",
            "Hardtanh(-0.5, 0.3)",
            "Softplus(3)",
            "Softmax(dim=1)",
            "LogSoftmax(-1)",
            "Identity(3, a=1)",
            "MaxPool2d(2)",
            "MaxPool2d(3, 2, 1)",
            "MaxPool2d(3, stride=1)",
            "AvgPool2d(3, 2, 1)",
            "AdaptiveAvgPool2d((2, 3))",
            "Upsample(scale_factor=2)",
            "Upsample((7, 9), mode='bilinear')",
            "ZeroPad2d(1)",
            "Upsample(scale_factor=2, mode='bilinear', align_corners=True)",
            "ReflectionPad2d((1, 2, 0, 3))",
            "ReplicationPad2d(2)",
            "PixelShuffle(2)",
            "PixelUnshuffle(1)",
            "Flatten(2)",
            "Unflatten(1, (2, 2))",
            "Unflatten(-1, (3, 2))",
            "Dropout2d(0.0, True)",
        )
    },
    "ModuleList": (lambda nn: Loop(nn), (5, 4)),
    "Sequential": (
        lambda nn: nn.Sequential(
            nn.Linear(4, 6),
            nn.LeakyReLU(0.2),
            nn.Unflatten(1, (2, 3)),
            nn.BatchNorm1d(2),
            nn.Flatten(),
            nn.Softplus(),
            nn.Sequential(nn.Tanh(), nn.Sigmoid(), nn.ReLU()),
            nn.Linear(6, 1),
        ),
        (5, 4),
    ),
}


@pytest.mark.parametrize("make, shape", LAYERS.values(), ids=LAYERS)
def test_state_dict_both_ways(make, shape):
    ours, theirs = make(nn).double(), make(torch.nn).double()
    x = real(*shape)
    with torch.no_grad():
        for t in theirs.state_dict().values():  # away from ones and zeros
            t.copy_(torch.tensor(positive(*t.shape))) if t.dtype == torch.float64 else t.fill_(3)
    ours.load_state_dict(theirs.state_dict())
    for mode in (True, False):
        ours.train(mode), theirs.train(mode)
        for _ in range(2):
            close(ours(Tensor(x)), theirs(torch.tensor(x)), 1e-12)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for a, b in zip(ours.state_dict().values(), theirs.state_dict().values()):
            close(a, b, 1e-12)
    other = make(torch.nn).double()
    other.load_state_dict(
        {name: torch.from_numpy(a.copy()) for name, a in ours.state_dict().items()}
    )
    close(ours(Tensor(x)), other.eval()(torch.tensor(x)), 1e-12)


OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.03, "alpha": 0.9, "eps": 1e-3, "momentum": 0.5, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "betas": (0.0, 0.9)}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "maximize": True}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "maximize": True}),
    ("Adam", {"amsgrad": True, "weight_decay": 0.1, "maximize": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.3, "amsgrad": True, "maximize": True}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.1}),
    ("Adadelta", {"rho": 0.95, "weight_decay": 0.1}),
    ("Adamax", {"weight_decay": 0.1}),
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    # PyTorch keeps numbers of NAdam and ASGD in float32: bench/torch_optim.py compares them
]


@pytest.mark.parametrize(
    "name, options", OPTIMIZERS, ids=[f"{name} {options}" for name, options in OPTIMIZERS]
)
def test_ten_steps_of_an_optimizer(name, options):
    start = [real(3, 4), real(4), real(100, 400)]
    ps = [nn.Parameter(a.copy()) for a in start]
    ts = [torch.tensor(a, requires_grad=True) for a in start]
    ours, theirs = getattr(optim, name)(ps, **options), getattr(torch.optim, name)(ts, **options)
    for i in range(10):
        for k, (p, t) in enumerate(zip(ps, ts)):
            p.grad = real(*p.shape) if (i + k) % 4 else None
            t.grad = torch.tensor(p.grad) if (i + k) % 4 else None
        ours.step()
        theirs.step()
        for p, t in zip(ps, ts):
            close(p, t, 1e-12)


def test_groups_take_the_same_steps():
    start = [real(3, 4), real(4), real(5)]
    ps = [nn.Parameter(a.copy()) for a in start]
    ts = [torch.tensor(a, requires_grad=True) for a in start]
    optimizers = []
    for package, (a, b, c) in ((optim, ps), (torch.optim, ts)):
        o = package.AdamW(
            [{"params": [a], "weight_decay": 0.0, "betas": (0.5, 0.9)}, {"params": b, "lr": 0.1}],
            0.01,
        )
        o.add_param_group({"params": c, "amsgrad": True, "maximize": True})
        optimizers.append(o)
    for i in range(10):
        for p, t in zip(ps, ts):
            p.grad = real(*p.shape)
            t.grad = torch.tensor(p.grad)
        for o in optimizers:
            o.param_groups[1]["lr"] = 0.1 / (i + 1)
            o.step()
        for p, t in zip(ps, ts):
            close(p, t, 1e-12)


@pytest.mark.parametrize(
    "kind, most", [(1, 2.0), (2, 2.0), (2, 100.0), (3.5, 1.0), (float("inf"), 0.5)]
)
def test_clipping(kind, most):
    grads = [real(3, 4), real(4), np.array(0.3)]
    ours = [g.copy() for g in grads]
    theirs = [torch.zeros(g.shape, dtype=torch.float64) for g in grads]
    for t, g in zip(theirs, grads):
        t.grad = torch.tensor(g)
    total = torch.nn.utils.clip_grad_norm_(theirs, most, kind)
    np.testing.assert_allclose(optim.clip_grad_norm_(ours, most, kind), total, rtol=1e-12)
    for g, t in zip(ours, theirs):
        close(g, t.grad, 1e-12)
    optim.clip_grad_value_(ours, 0.2), torch.nn.utils.clip_grad_value_(theirs, 0.2)
    for g, t in zip(ours, theirs):
        close(g, t.grad, 1e-12)


def test_embedding():
    ours = nn.Embedding(5, 3, padding_idx=2).double()
    theirs = torch.nn.Embedding(5, 3, padding_idx=2).double()
    assert (
        not ours.weight.data[2].any() and abs(nn.Embedding(100, 100).weight.data.std() - 1) < 0.05
    )
    ours.load_state_dict(theirs.state_dict())
    x, g = np.array([[0, 2, 1], [4, 4, 2]]), real(2, 3, 3)
    y, z = ours(x), theirs(torch.tensor(x))
    close(y, z)
    close(grad(y, ours.weight, g), torch.autograd.grad(z, theirs.weight, torch.tensor(g))[0])


@pytest.mark.parametrize("name", "MSELoss L1Loss SmoothL1Loss BCELoss BCEWithLogitsLoss".split())
def test_loss_classes(name):
    x, t = positive(3, 4) / 2.1, positive(3, 4) / 2.1
    for reduction in "mean", "sum", "none":
        ours, theirs = (getattr(m, name)(reduction=reduction) for m in (nn, torch.nn))
        close(ours(Tensor(x), t), theirs(torch.tensor(x), torch.tensor(t)))


def test_loss_classes_of_labels():
    x, labels, weight = real(3, 4), np.array([1, 3, 0]), positive(4)
    for name, more in ("CrossEntropyLoss", {"label_smoothing": 0.1}), ("NLLLoss", {}):
        ours = getattr(nn, name)(weight, ignore_index=3, **more)
        theirs = getattr(torch.nn, name)(torch.tensor(weight), ignore_index=3, **more)
        close(ours(Tensor(x), labels), theirs(torch.tensor(x), torch.tensor(labels)))
        assert list(ours.state_dict()) == ["weight"] == list(theirs.state_dict())


def test_bce_of_certain_and_wrong_probabilities_is_pytorchs():
    x, t = np.array([0.0, 1.0, 1.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0])
    ours, theirs = Tensor(x), torch.tensor(x, requires_grad=True)
    loss = losses.binary_cross_entropy(ours, t, reduction="none")
    other = F.binary_cross_entropy(theirs, torch.tensor(t), reduction="none")
    close(loss, other)
    slope, expected = grad(ops.sum(loss), ours), torch.autograd.grad(other.sum(), theirs)[0]
    close(slope[:2], expected[:2], 1e-8)  # its 1e-12 is a float32
    np.testing.assert_array_equal(slope[2:], [-1, 1])  # where PyTorch has 0
