"""tinygan under its own checker: every operation, layer, loss and model's step, on whatever the
strategies draw, to second order.

Arrays come with ties and zeros, so that kinks and jumps are met; `grads.py` has the fixed cases
away from them.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygan import Tensor, nn, ops, random
from tinygan.models import GAN, Transformer, dcgan, ddpm, flow, point_ddpm, point_flow
from tinygan.nn import losses
from tinygan.testing import check_grads
from tinygan.testing.strategies import arrays, broadcastable, convolutions, shapes

SMOOTH = [ops.exp, ops.tanh, ops.sigmoid, ops.softplus, ops.negative]
KINKED = [
    ops.relu,
    ops.leaky_relu,
    ops.abs,
    lambda x: ops.leaky_relu(x, 0.3),
    lambda x: ops.clip(x, -1, 2),
    lambda x: x**2,
]
DOMAIN = [ops.log, ops.sqrt, lambda x: x**-1.5, lambda x: 1 / x, lambda x: ops.xlogy(x, x)]
BINARY = [
    ops.add,
    ops.subtract,
    ops.multiply,
    ops.maximum,
    ops.minimum,
    lambda x, y: ops.where(ops.raw(x) > 0, x, y),
]
REDUCED = [ops.sum, ops.mean, ops.max, ops.min, ops.prod, ops.logsumexp, ops.var]


@given(st.sampled_from(SMOOTH + KINKED), arrays())
def test_elementwise(f, x):
    check_grads(f, x)


@given(st.sampled_from(DOMAIN), arrays(ties=False, low=1))
def test_elementwise_of_positive_numbers(f, x):
    check_grads(f, x)


@given(st.sampled_from(BINARY), broadcastable(2))
def test_binary(f, xs):
    check_grads(f, *xs)


@given(st.sampled_from([ops.divide, ops.power, ops.xlogy]), broadcastable(2, ties=False, low=1))
def test_binary_of_positive_numbers(f, xs):
    check_grads(f, *xs)


@given(st.data())
def test_reductions(data):
    f = data.draw(st.sampled_from(REDUCED))
    x = data.draw(arrays(shapes(min_side=1, max_side=3)))
    axis = data.draw(
        st.none() | (hnp.valid_tuple_axes(x.ndim, min_size=1) if x.ndim else st.none())
    )
    check_grads(lambda x: f(x, axis=axis, keepdims=data.draw(st.just(True))), x)
    check_grads(lambda x: f(x, axis=axis), x, order=1)


@given(arrays(shapes(min_dims=1, min_side=1, max_side=3), ties=False), st.booleans())
def test_vector_norm(x, keepdims):
    check_grads(lambda x: ops.vector_norm(x, axis=-1, keepdims=keepdims), x)


@given(st.data())
def test_moving_elements_about(data):
    x = data.draw(arrays(shapes(min_dims=1, max_side=3)))
    index = data.draw(hnp.basic_indices(x.shape, allow_newaxis=True))
    axes = data.draw(st.permutations(range(x.ndim)))
    widths = data.draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=x.ndim, max_size=x.ndim)
    )
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    check_grads(lambda x: x[index], x)
    check_grads(lambda x: ops.transpose(x, axes), x, order=1)
    check_grads(lambda x: ops.pad(x, widths), x, order=1)
    check_grads(lambda x: ops.concatenate([x, 2 * x], axis), x, order=1)
    check_grads(lambda x: ops.stack([x, x * x], axis), x)
    check_grads(lambda x: ops.reshape(x, (x.size, 1)), x, order=1)


@given(st.data())
def test_fancy_indices(data):
    x = data.draw(arrays(shapes(min_dims=1, min_side=1, max_side=3)))
    index = data.draw(
        hnp.integer_array_indices(x.shape, result_shape=hnp.array_shapes(max_dims=2, max_side=3))
    )
    check_grads(lambda x: x[index], x)


@given(st.data())
def test_matmul(data):
    drawn = data.draw(
        hnp.mutually_broadcastable_shapes(
            signature="(m?,n),(n,p?)->(m?,p?)", max_dims=2, min_side=0, max_side=3
        )
    )
    check_grads(ops.matmul, *[data.draw(arrays(s)) for s in drawn.input_shapes])


@given(
    arrays(shapes(min_dims=1, min_side=1, max_side=3)),
    st.sampled_from([ops.softmax, ops.log_softmax]),
    st.data(),
)
def test_softmax(x, f, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    check_grads(lambda x: f(x, axis), x)


@given(convolutions())
def test_conv2d(c):
    x, w, _ = map(drawn, c.shapes)
    check_grads(lambda x, w, b: ops.conv2d(x, w, b, **c.options), x, w, drawn(c.shapes[1][:1]))


@given(convolutions(transposed=True))
def test_conv_transpose2d(c):
    _, w, y = map(drawn, c.shapes)
    check_grads(
        lambda y, w, b: ops.conv_transpose2d(y, w, b, output_padding=c.extra, **c.options),
        y,
        w,
        drawn(c.shapes[0][1:2]),
    )


def drawn(shape):
    return np.random.default_rng(list(shape)).standard_normal(shape)


def in_float32(*shape):
    return drawn(shape).astype(np.float32)


@pytest.mark.parametrize("f, shapes", [
    (ops.matmul, [(17, 33), (33, 9)]), (ops.linear, [(8, 30), (20, 30), (20,)]),
    (ops.sum, [(40, 50)]),
    (lambda x, w: ops.conv2d(x, w, stride=2, padding=1), [(2, 3, 9, 9), (5, 3, 4, 4)]),
    (lambda x, w: ops.conv_transpose2d(x, w, stride=2, padding=1), [(2, 3, 5, 5), (3, 4, 4, 4)]),
])  # fmt: skip
def test_what_is_linear_is_exact_in_float32(f, shapes):
    check_grads(f, *(in_float32(*s) for s in shapes))


def functional(module):
    """A module as a function of its inputs and its parameters, in double precision."""
    module.double()
    names, parameters = zip(*module.named_parameters()) if module.parameters() else ((), ())

    def f(*args, **options):
        xs, values = args[: -len(parameters) or None], args[len(args) - len(parameters) :]
        owners = [
            (owner, key)
            for owner in module.modules()
            for key, v in vars(owner).items()
            if any(v is p for p in parameters)
        ]
        try:
            for (owner, key), value in zip(owners, values, strict=True):
                vars(owner)[key] = value
            return module(*xs, **options)
        finally:
            for (owner, key), p in zip(owners, parameters):
                vars(owner)[key] = p

    return f, [p.data for p in parameters]


LAYERS = {
    "Linear": (nn.Linear(3, 2), (2, 3)),
    "Conv2d": (nn.Conv2d(2, 4, 2, 2, 1, groups=2), (1, 2, 3, 3)),
    "ConvTranspose2d": (nn.ConvTranspose2d(2, 2, 3, 2, 1, 1), (1, 2, 2, 2)),
    "BatchNorm1d": (nn.BatchNorm1d(3), (4, 3)),
    "BatchNorm2d": (nn.BatchNorm2d(2), (2, 2, 2, 2)), "LayerNorm": (nn.LayerNorm(4), (3, 4)),
    "ReLU": (nn.ReLU(), (2, 3)),
    "BatchNorm1d eval": (nn.BatchNorm1d(3).eval(), (4, 3)),
    "LeakyReLU": (nn.LeakyReLU(0.2), (2, 3)), "Tanh": (nn.Tanh(), (2, 3)),
    "Sigmoid": (nn.Sigmoid(), (2, 3)), "Softplus": (nn.Softplus(), (2, 3)),
    "Flatten": (nn.Flatten(), (2, 3, 2)),
    "Maxout": (nn.Maxout(2), (2, 6)), "MinibatchStdDev": (nn.MinibatchStdDev(), (4, 3)),
    "Unflatten": (nn.Unflatten(1, (2, 3)), (2, 6)),
    "Dropout": (nn.Dropout(0.5), (4, 3)), "Dropout2d": (nn.Dropout2d(), (4, 3, 2, 2)),
    "ELU": (nn.ELU(0.5), (2, 3)),
    "GELU": (nn.GELU(), (2, 3)), "GELU tanh": (nn.GELU("tanh"), (2, 3)),
    "SiLU": (nn.SiLU(), (2, 3)),
    "Hardtanh": (nn.Hardtanh(), (2, 3)), "PReLU": (nn.PReLU(3), (2, 3)),
    "Softmax": (nn.Softmax(1), (2, 3)),
    "LogSoftmax": (nn.LogSoftmax(0), (2, 3)), "Softplus beta": (nn.Softplus(3), (2, 3)),
    "Identity": (nn.Identity(), (2, 3)),
    "PixelUnshuffle": (nn.PixelUnshuffle(2), (1, 2, 4, 2)),
    "SinusoidalEmbedding": (nn.SinusoidalEmbedding(4, 0.3, 2), (3,)),
    "SelfAttention2d": (nn.SelfAttention2d(4, 2), (2, 4, 2, 1)),
    "RotaryEmbedding": (nn.RotaryEmbedding(4), (2, 3, 4)),
    "TransformerEncoderLayer":
        (nn.TransformerEncoderLayer(3, 3, 2, 0.0, "gelu", norm_first=True), (2, 1, 3)),
    "TransformerEncoderLayer after":
        (nn.TransformerEncoderLayer(3, 1, 1, 0.2, "gelu_tanh", bias=False), (2, 1, 3)),
    "TransformerEncoder": (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(3, 1, 1, 0.0, "gelu", bias=False), 1),
        (1, 1, 3),
    ),
    "Conv1d": (nn.Conv1d(2, 4, 2, 2, 1, groups=2), (1, 2, 4)),
    "ConvTranspose1d": (nn.ConvTranspose1d(2, 2, 3, 2, 1, 1), (1, 2, 3)),
    "GroupNorm": (nn.GroupNorm(2, 4), (2, 4, 2)),
    "PixelShuffle": (nn.PixelShuffle(2), (1, 4, 2, 1)),
    "InstanceNorm1d": (nn.InstanceNorm1d(2), (2, 2, 4)),
    "InstanceNorm2d": (nn.InstanceNorm2d(2, affine=True), (2, 2, 2, 2)),
    "MaxPool2d": (nn.MaxPool2d(2, 1), (2, 2, 3, 3)),
    "AvgPool2d": (nn.AvgPool2d(2), (2, 2, 4, 5)), "Upsample": (nn.Upsample(3), (1, 1, 2, 2)),
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d(2), (1, 2, 3, 4)),
    "ZeroPad2d": (nn.ZeroPad2d(1), (1, 1, 2, 2)),
    "ReflectionPad2d": (nn.ReflectionPad2d(1), (1, 1, 2, 2)),
    "ReplicationPad2d": (nn.ReplicationPad2d(2), (1, 1, 2, 2)),
    "Upsample bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), (1, 2, 2, 2)),
    "Sequential":
        (nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 1)), (2, 3)),
}  # fmt: skip


@pytest.mark.parametrize("layer, shape", LAYERS.values(), ids=LAYERS)
def test_layers(layer, shape):
    f, parameters = functional(layer)

    def same_mask(*args):  # a forward pass draws from the generator: each one the same
        random.manual_seed(0)
        return f(*args)

    check_grads(same_mask, drawn(shape), *parameters)


def test_the_table_has_every_layer():
    # no layer; takes integers, or three inputs: below
    others = {"Module", "Parameter", "ModuleList", "ModuleDict", "Embedding"}
    others |= {"MultiheadAttention"}
    layers = {
        name
        for name, thing in vars(nn).items()
        if isinstance(thing, type) and not name.endswith("Loss")
    } - others
    assert layers == {name.split()[0] for name in LAYERS}


def test_embedding():
    f, weight = functional(nn.Embedding(4, 3))
    check_grads(lambda w: f(np.array([[1, 0], [1, 3]]), w), *weight)


HIDDEN = np.array([[False, True], [True, True], [False, False]])  # the second sees nothing


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("cross", [False, True])
def test_attention_in_heads(cross, need_weights, length):
    """Its result, and its weights too where there are some; rows that may look nowhere."""
    f, parameters = functional(nn.MultiheadAttention(4, 2, batch_first=True))
    options = {"need_weights": need_weights}
    options |= {"attn_mask": HIDDEN[:length]} if cross else {"is_causal": True}

    def looked(x, y, *weights):
        inputs = (x, y, ops.tanh(y)) if cross else (x, x, x)
        found, seen = f(*inputs, *weights, **options)
        return ops.concatenate([found, seen], 2) if need_weights else found

    check_grads(looked, drawn((2, length, 4)), drawn((2, 2, 4)), *parameters)


@pytest.mark.parametrize("length, causal, positions", [
    (1, True, "learnt"), (3, True, "rotary"), (2, False, "learnt"),
])  # fmt: skip
def test_the_loss_of_a_tiny_transformer(length, causal, positions):
    """By a step along a line for each array of weights, which all of them are on."""
    random.manual_seed(0)
    f, parameters = functional(Transformer(3, 3, 4, 1, 2, 0.2, causal, positions))
    tokens, wanted = np.array([[0, 2, 1]])[:, :length], np.array([2, 1, 1])[:length]
    # the model's own start is small, and nearly linear
    start = [10 * p for p in parameters]
    lines = [drawn(p.shape) for p in parameters]

    def loss(steps):
        random.manual_seed(1)
        weights = [p + steps[i] * line for i, (p, line) in enumerate(zip(start, lines))]
        return losses.cross_entropy(f(tokens, *weights)[0], wanted)

    check_grads(loss, np.zeros(len(start)), layouts=False, skip=("same array twice", "partial"))


labels, t = np.array([0, 2, 2]), np.random.default_rng(1).uniform(size=(3, 4))


def penalty(a, b):
    critic = lambda x: ops.tanh(x @ a) @ b
    return losses.gradient_penalty(critic, t, t * t, np.array([0.1, 0.5, 0.9]))


def zero_centred(a, b):
    x = Tensor(t)
    return losses.zero_centred_penalty(ops.tanh(x @ a) @ b, x)


LOSSES = {
    "binary_cross_entropy_with_logits": (losses.binary_cross_entropy_with_logits, (3, 4), (3, 4)),
    "mse": (losses.mse, (3, 4), (3, 4)),
    "cross_entropy": (lambda x: losses.cross_entropy(x, labels), (3, 4)),
    "cross_entropy of soft targets":
        (lambda x, y: losses.cross_entropy(x, y, label_smoothing=0.1), (3, 4), (3, 4)),
    "cross_entropy of images":
        (lambda x: losses.cross_entropy(x, labels[:, None], t[0], 2, "sum", 0.1), (3, 4, 1)),
    "nll_loss": (lambda x: losses.nll_loss(x, labels, t[0]), (3, 4)),
    "l1_loss": (losses.l1_loss, (3, 4), (3, 4)),
    "smooth_l1_loss": (losses.smooth_l1_loss, (3, 4), (3, 4)),
    "binary_cross_entropy":
        (lambda x, y: losses.binary_cross_entropy(ops.sigmoid(x), y, t), (3, 4), (3, 4)),
    "binary_cross_entropy_with_logits weighted":
        (lambda x, y: losses.binary_cross_entropy_with_logits(x, y, t, pos_weight=t[0]),
         (3, 4), (3, 4)),
    "gaussian_kl": (losses.gaussian_kl, (3, 4), (3, 4)),
    "non_saturating": (losses.non_saturating, (3, 1), (3, 1)),
    "hinge": (losses.hinge, (3, 1), (3, 1)), "wasserstein": (losses.wasserstein, (3, 1), (3, 1)),
    "non_saturating G": (losses.non_saturating, (3, 1)), "hinge G": (losses.hinge, (3, 1)),
    "wasserstein G": (losses.wasserstein, (3, 1)),
    "minimax": (losses.minimax, (3, 1), (3, 1)), "minimax G": (losses.minimax, (3, 1)),
    "least_squares": (losses.least_squares, (3, 1), (3, 1)),
    "least_squares G": (losses.least_squares, (3, 1)),
    "relativistic": (losses.relativistic, (3, 1), (3, 1)),
    "gradient_penalty": (penalty, (4, 3), (3, 1)),
    "zero_centred_penalty": (zero_centred, (4, 3), (3, 1)),
}  # fmt: skip


@pytest.mark.parametrize("loss, shapes", [(f, s) for f, *s in LOSSES.values()], ids=LOSSES)
def test_losses(loss, shapes):
    check_grads(loss, *map(drawn, shapes))


def test_the_table_has_every_loss():
    others = {"reduced", "same_shape", "raw", "grad", "Tensor"}
    public = {name for name, f in vars(losses).items() if callable(f) and name[0] != "_"} - others
    assert public == {name.split()[0] for name in LOSSES}


def tiny():
    G = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3), nn.Tanh())
    return GAN(
        G,
        nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(4, 1)),
        latent=2,
    )


MODELS = {"tiny": (tiny, (4, 3), 2), "dcgan": (lambda: dcgan(width=1, latent=2), (2, 1, 28, 28), 1)}


@pytest.mark.parametrize("make, shape, order", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("objective", [losses.non_saturating, losses.hinge, losses.wasserstein])
def test_both_losses_of_a_gans_step(make, shape, order, objective):
    random.manual_seed(0)
    gan, real = make(), drawn(shape)
    (G, g_parameters), (D, d_parameters) = functional(gan.generator), functional(gan.discriminator)
    # the models' own start is small: every ReLU is near its kink
    for i, p in enumerate(g_parameters + d_parameters):
        p += 0.2 * np.random.default_rng(i).standard_normal(p.shape)
    z = drawn((len(real), gan.latent))

    def d_loss(*values):
        random.manual_seed(0)
        return objective(D(G(z, *g_parameters), *values), D(real, *values))

    def g_loss(*values):
        random.manual_seed(0)
        return objective(D(G(z, *values), *d_parameters))

    check_grads(d_loss, *d_parameters, order=order)
    check_grads(g_loss, *g_parameters, order=order)


NET = {"width": 8, "hidden": 8, "heads": 1, "side": 8, "classes": 2}
DIFFUSIONS = {
    "flow": lambda: flow(**NET),
    "ddpm": lambda: ddpm(**NET, predict="eps"),
    "points by flow": lambda: point_flow(width=4, depth=2),
    "points by ddpm": lambda: point_ddpm(width=4, depth=2),
}


@pytest.mark.parametrize("name", DIFFUSIONS)
def test_the_loss_of_a_whole_diffusions_step(name):
    """By every weight, none of which is 0 as many are at first, and by the samples."""
    random.manual_seed(0)
    model = DIFFUSIONS[name]()
    network = model.network
    for i, p in enumerate(network.parameters()):
        p.data += 0.2 * np.random.default_rng(i).standard_normal(p.shape)
    rows = np.eye(2)[[0, 1]] if model.classes else np.empty((2, 0))
    model.noise = lambda n: random.default.normal((n, model.latent), np.float64)
    f, parameters = functional(network)

    sizes = np.cumsum([0, *(p.size for p in parameters)])

    def loss(x, every):  # the weights as one argument, for time's sake
        random.manual_seed(1)
        values = [every[a:b].reshape(p.shape) for a, b, p in zip(sizes, sizes[1:], parameters)]
        model.network = lambda at, t, rows: f(at, t, rows, *values)
        return model.loss(x, rows)

    every = np.concatenate([p.reshape(-1) for p in parameters])
    order = 2 if "points" in name else 1  # test_torch_diffusion.py has the others' second order
    asked = {"layouts": False, "skip": ("memory", "repeats", "same array twice", "partial")}
    check_grads(loss, drawn((2, *model.sample_shape)), every, order=order, **asked)


@pytest.mark.parametrize("name", DIFFUSIONS)
def test_no_part_of_a_network_hides_a_method_of_all_modules(name):
    """As a list of layers called `double` would."""
    for module in DIFFUSIONS[name]().network.modules():
        assert not {k for k in vars(module) if callable(getattr(nn.Module, k, None))}
