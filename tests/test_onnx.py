"""ONNX export: every layer and operation, run by onnxruntime, gives what it gives here, at another
batch size than those traced; what a graph cannot hold is refused by name.
"""

import copy
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygan import Tensor, grad, io, models, nn, ops, primitive, random
from tinygan.io import layers
from tinygan.testing import strategies

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
rng = np.random.default_rng(0)


def real(*shape):
    return rng.standard_normal(shape).astype(np.float32)


class Of(nn.Module):
    """A function as a network."""

    def __init__(self, f, *parameters):
        self.f, self.own = f, [nn.Parameter(p) for p in parameters]

    def forward(self, *xs):
        return self.f(*xs, *self.own)


def run(path, *arrays):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {i.name: a for i, a in zip(session.get_inputs(), arrays)})


def agree(path, net, *arrays, tolerance=1e-5, **options):
    """Export with the first row as the example; run all rows, of which there are seven."""
    with warnings.catch_warnings(action="error"):
        io.export_onnx(net, tuple(a[:1] for a in arrays), path, **options)
    training = [m.training for m in net.modules()]
    out = copy.deepcopy(net).eval()(*(Tensor(a) if a.dtype.kind == "f" else a for a in arrays))
    outs = out if isinstance(out, tuple) else (out,)
    found = run(path, *arrays)
    assert len(found) == len(outs) and training == [m.training for m in net.modules()]
    for ours, theirs in zip(outs, found):
        np.testing.assert_allclose(theirs, ours.data, rtol=tolerance, atol=tolerance)
    return onnx.load(path)


def kinds(model):
    return [node.op_type for node in model.graph.node]


LAYERS = {
    nn.Linear: [((4, 3), (7, 4)), ((4, 3), (7, 2, 4)), ((4, 3, False), (7, 4))],
    nn.Conv1d: [((2, 4, 3, 2, 1), (7, 2, 9))],
    nn.Conv2d: [((4, 6, 3, 2, 1, 2, 2), (7, 4, 9, 8)), ((1, 2, (2, 3), 1, "same"), (7, 1, 4, 4))],
    nn.ConvTranspose1d: [((2, 4, 3, 2, 1), (7, 2, 9))],
    nn.ConvTranspose2d: [((4, 6, 3, 2, 1, 1, 2, False, 2), (7, 4, 5, 4))],
    nn.BatchNorm1d: [((3,), (7, 3)), ((3,), (7, 3, 5)), ((3, 1e-3, 0.1, False), (7, 3))],
    nn.BatchNorm2d: [((3,), (7, 3, 4, 5)), ((3, 0.3, 0.1, True, False), (7, 3, 4, 5))],
    nn.LayerNorm: [((4,), (7, 4)), (((3, 4), 1e-3, False), (7, 2, 3, 4))],
    nn.GroupNorm: [((2, 4), (7, 4, 3, 3)), ((2, 4, 1e-3, False), (7, 4))],
    nn.InstanceNorm1d: [((3, 1e-3, 0.1, True), (7, 3, 5))],
    nn.InstanceNorm2d: [((3,), (7, 3, 4, 5))],
    nn.ReLU: [((), (7, 3))],
    nn.LeakyReLU: [((0.2,), (7, 3))],
    nn.ELU: [((0.7,), (7, 3))],
    nn.PReLU: [((), (7, 3)), ((4,), (7, 4, 3, 3))],
    nn.GELU: [((), (7, 9)), (("tanh",), (7, 9))],
    nn.SiLU: [((), (7, 3))],
    nn.Hardtanh: [((-0.5, 0.3), (7, 3))],
    nn.Tanh: [((), (7, 3))],
    nn.Sigmoid: [((), (7, 3))],
    nn.Softplus: [((2.0,), (7, 3))],
    nn.Softmax: [((1,), (7, 3, 4)), ((), (7, 3))],
    nn.LogSoftmax: [((1,), (7, 3, 4))],
    nn.MaxPool2d: [((2,), (7, 3, 5, 6)), (((3, 2), (2, 1), (1, 0)), (7, 3, 5, 6))],
    nn.AvgPool2d: [((2,), (7, 3, 5, 6)), ((3, 2, 1), (7, 3, 5, 6))],
    nn.AdaptiveAvgPool2d: [((1,), (7, 3, 5, 6)), (((2, 4),), (7, 3, 5, 6))],
    nn.Upsample: [
        ((None, 2), (7, 3, 4, 5)),
        (((6, 10),), (7, 3, 9, 5)),
        ((None, (2, 3), "bilinear"), (7, 3, 4, 5)),
        (((7, 3), None, "bilinear", True), (7, 3, 4, 5)),
    ],
    nn.ZeroPad2d: [(((1, 2, 0, 1),), (7, 2, 3, 4))],
    nn.ReflectionPad2d: [(((1, 2, 0, 1),), (7, 2, 3, 4))],
    nn.ReplicationPad2d: [((1,), (7, 2, 3, 4))],
    nn.PixelShuffle: [((2,), (7, 8, 3, 4))],
    nn.PixelUnshuffle: [((2,), (7, 3, 4, 6)), ((3,), (7, 2, 6, 3))],
    nn.SinusoidalEmbedding: [((6,), (7,))],
    nn.SelfAttention2d: [((4, 2), (7, 4, 3, 2)), ((3,), (7, 3, 2, 2))],
    nn.RotaryEmbedding: [((4,), (7, 3, 4)), ((2, 50.0), (7, 2, 3, 2))],
    nn.TransformerEncoderLayer: [
        ((8, 2, 6, 0.1, "relu", 1e-3, True), (7, 3, 8)),
        ((8, 2, 6, 0.1, "gelu", 1e-5, True, True, False), (7, 3, 8)),
        ((8, 2, 6, 0.1, "gelu_tanh"), (7, 2, 8)),  # the batch is second, and the length is any
    ],
    nn.Flatten: [((), (7, 2, 3)), ((0,), (7, 2)), ((2, -1), (7, 2, 3, 4))],
    nn.Unflatten: [((1, (2, 3)), (7, 6)), ((-1, (2, 3)), (7, 4, 6))],
    nn.Maxout: [((2,), (7, 6)), ((3,), (7, 6, 2, 2))],
    nn.MinibatchStdDev: [((), (7, 6)), ((), (7, 2, 3, 3)), ((1,), (7, 4))],
    nn.Identity: [((), (7, 3))],
    nn.Dropout: [((), (7, 3))],
    nn.Dropout2d: [((), (7, 3, 2, 2))],
}
OTHERS = {nn.Embedding, nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Module}  # below
OTHERS |= {nn.MultiheadAttention, nn.TransformerEncoder}
LOSSES = {nn.BCELoss, nn.BCEWithLogitsLoss, nn.CrossEntropyLoss, nn.L1Loss, nn.MSELoss}
LOSSES |= {nn.NLLLoss, nn.SmoothL1Loss}  # no networks


def filled(net):
    """The net with weights, and running statistics, that are none it began with."""
    for name, a in net.state_dict().items():
        if a.dtype.kind == "f":
            a[...] = rng.uniform(0.5, 1.5, a.shape) if "var" in name else real(*a.shape) / 2
    return net


def test_each_layer_there_is_is_tried():
    there = {kind for kind in vars(nn).values() if isinstance(kind, type)}
    assert {k for k in there if issubclass(k, nn.Module)} == {*LAYERS} | OTHERS | LOSSES


CASES = [(kind, args, shape) for kind, cases in LAYERS.items() for args, shape in cases]


@pytest.mark.parametrize("kind, args, shape", CASES, ids=lambda a: getattr(a, "__name__", str(a)))
def test_a_layer(tmp_path, kind, args, shape):
    agree(tmp_path / "a.onnx", filled(kind(*args)), real(*shape))


@pytest.mark.parametrize("padding_idx", [None, 2])
def test_an_embedding_takes_whole_numbers(tmp_path, padding_idx):
    labels = np.array([0, 2, 4, 1, 3, 2, 0])
    model = agree(tmp_path / "a.onnx", nn.Embedding(5, 3, padding_idx), labels)
    assert kinds(model) == ["Gather"]
    agree(tmp_path / "a.onnx", nn.Embedding(5, 3), np.stack([labels, labels], 1))


class Looking(nn.Module):
    """Attention from one input to another, with masks, or from one input to itself."""

    def __init__(self, **options):
        self.attention, self.options = nn.MultiheadAttention(8, 2, batch_first=True), options

    def forward(self, x, y=None):
        y = x if y is None else y
        found, weights = self.attention(x, y, y, **self.options)
        return found if weights is None else (found, weights)


@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_in_heads(tmp_path, need_weights):
    options = {"need_weights": need_weights, "average_attn_weights": False}
    agree(tmp_path / "a.onnx", filled(Looking(**options, is_causal=True)), real(7, 4, 8))
    options["attn_mask"] = ~MASK
    agree(tmp_path / "a.onnx", filled(Looking(**options)), real(7, 4, 8), real(7, 3, 8))


def test_a_stack_of_blocks(tmp_path):
    layer = nn.TransformerEncoderLayer(8, 2, 6, batch_first=True)
    net = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8))
    model = agree(tmp_path / "a.onnx", filled(net), real(7, 3, 8))
    assert {"layers.1.self_attn.in_proj_weight", "norm.bias"} <= {
        a.name for a in model.graph.initializer
    }
    assert kinds(model).count("Softmax") == 2 and kinds(model).count("LayerNormalization") == 5


def test_spectral_norm(tmp_path):
    net = nn.Sequential(
        nn.spectral_norm(nn.Conv2d(2, 3, 3)), nn.Flatten(), nn.spectral_norm(nn.Linear(27, 2))
    )
    agree(tmp_path / "a.onnx", net, real(7, 2, 5, 5))


def test_a_deviation_of_groups_is_of_batches_that_they_fill(tmp_path):
    with pytest.raises(ValueError, match="MinibatchStdDev: group_size=4 must divide the batch of"):
        io.export_onnx(nn.MinibatchStdDev(4), real(4, 3), tmp_path / "a.onnx")


def test_layers_that_onnx_has_are_one_node_each(tmp_path):
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ELU(), nn.MaxPool2d(2),
        nn.InstanceNorm2d(4, affine=True), nn.PReLU(4), nn.Upsample(scale_factor=2),
        nn.ReflectionPad2d(1), nn.PixelShuffle(2), nn.AvgPool2d(2), nn.Flatten(), nn.LayerNorm(64),
        nn.Linear(64, 2), nn.ReLU(), nn.Dropout(),
    )  # fmt: skip
    model = agree(tmp_path / "a.onnx", filled(net), real(7, 1, 8, 8))
    assert (
        kinds(model)
        == (
            "Conv BatchNormalization Elu MaxPool InstanceNormalization Reshape PRelu Resize Pad"
            " DepthToSpace AveragePool Reshape LayerNormalization Gemm Relu"
        ).split()
    )
    names = {a.name for a in model.graph.initializer}
    state = {n for n in net.state_dict() if "tracked" not in n}
    assert state <= names and all(n.startswith("/constant") for n in names - state)
    assert model.graph.node[0].name == "/0/Conv_1"
    assert model.opset_import[0].version == 18 and model.producer_name == "tinygan"
    ends = [*model.graph.input, *model.graph.output]
    assert [end.name for end in ends] == ["input", "output"]
    assert {end.type.tensor_type.shape.dim[0].dim_param for end in ends} == {"batch"}


def twice(x):
    return x + x


def slope(x):
    """The derivative of a network within a network, as an energy has it."""
    y = ops.sum(ops.leaky_relu(ops.pad(x, [(0, 0), (1, 0), (2, 3)]), 0.1)[:, 1:] ** 3)
    return grad(y + ops.sum(ops.relu(x) * x), x, create_graph=True)


X = (7, 4, 6)
MASK = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 1]], bool)  # the second row sees nothing
OPERATIONS = {
    "arithmetic": (lambda x, y: (x - y * 2) / (3 + abs(y)) + 1 - -x, X, X),
    "broadcast": (lambda x, y: x + y, X, (7, 1, 6)),
    "power": (lambda x: x**2 + (abs(x) + 1) ** 0.5 + 2.0**x, X),
    "exp, log": (lambda x: ops.log(ops.exp(x) + 1) + ops.sqrt(abs(x)), X),
    "sin, cos": (lambda x: ops.sin(x) * ops.cos(x), X),
    "maximum": (lambda x, y: ops.maximum(x, y) - ops.minimum(x, 0.5), X, X),
    "clip": (lambda x: ops.clip(x, 0) + ops.clip(x, max=0.5) + x.clip(-0.1, 0.1), X),
    "clip by arrays": (lambda x: ops.clip(x, np.zeros(6, np.float32), np.ones((4, 1), int)), X),
    "where": (lambda x: ops.where(np.arange(6) % 2 == 0, x, -1.0), X),
    "where, of numbers": (lambda x: ops.where(np.arange(6) % 2, x, 0.0), X),
    "sum": (lambda x: x.sum(-1) + ops.sum(x, (1, 2), keepdims=True)[:, 0], X),
    "sum of all": (lambda x: x * ops.sum(x), X),
    "mean, of the batch": (lambda x: x - ops.mean(x, 0) + ops.mean(x), X),
    "mean of all": (lambda x: ops.mean(x), X),
    "var, std": (lambda x: ops.var(x, 1, 1) + ops.std(x, 1), X),
    "var, of the batch": (lambda x: x * ops.var(x, 0, correction=1), X),
    "var of all": (lambda x: ops.var(x), X),
    "std, of the batch": (lambda x: x * ops.std(x, 0) + ops.std(x, correction=1), X),
    "a root of the batch": (lambda x: x / len(x) ** 0.5, X),
    "max, min": (lambda x: ops.max(x, 1) - ops.min(x, axis=1), X),
    "max of all": (lambda x: x - ops.max(x), X),
    "prod": (lambda x: ops.prod(x, 1) + x.prod((1, 2), keepdims=True)[:, 0], X),
    "logsumexp": (lambda x: ops.logsumexp(x * 100, 1), X),
    "vector_norm": (lambda x: ops.vector_norm(x, (1, 2)), X),
    "cumsum": (lambda x: ops.cumsum(x, 1) + ops.cumsum(x, -1), X),
    "flip": (lambda x: ops.flip(x, 2) + ops.flip(x, 0), X),
    "reshape": (lambda x: x.reshape(-1, 24) * 2, X),
    "reshape, batch within": (lambda x: x.reshape(2, -1, 6)[1], (8, 4, 6)),
    "reshape, batch twice": (lambda x: ops.sum(x.reshape(1, len(x), 4, 6), 0), X),
    "reshape, a batch to the last": (lambda x: x.reshape(24, -1).T, X),
    "reshape of nothing": (lambda x: ops.sum(x[:, :0].reshape(len(x), 3, 0), 2), X),
    "transpose, of one": (lambda x: ops.sum(x).T + ops.transpose(ops.sum(x, (1, 2))), X),
    "einsum, to one": (lambda x, y: ops.einsum("bij,bij->", x, y), X, X),
    "transpose": (lambda x: x.T + ops.transpose(x, (2, -2, 0)), X),
    "swapaxes": (lambda x: ops.swapaxes(x, 1, -1), X),
    "squeeze": (lambda x: ops.squeeze(ops.unsqueeze(x, 2), 2), X),
    "broadcast_to": (lambda x: ops.broadcast_to(x[:, :1], x.shape), X),
    "broadcast_to new axes": (lambda x: ops.broadcast_to(x, (2, *x.shape)), X),
    "stack": (lambda x, y: ops.stack([x, y], 1), X, X),
    "concatenate": (lambda x, y: ops.concatenate([x, y, x], 0), X, X),
    "a constant beside": (lambda x: ops.concatenate([x[:1], np.ones((2, 4, 6), np.float32)]), X),
    "slices": (lambda x: x[:, 1:-1, ::2] + x[:, 2:, -6:5:2][:, :2, :3], X),
    "backwards": (lambda x: x[:, ::-1, 4:0:-2], X),
    "slices of the batch": (lambda x: x[1:] - x[:-1], X),
    "twice the batch": (lambda x: ops.concatenate([x, x])[: len(x) * 2 - 1], X),
    "numbers": (lambda x: x[:, 1, -1], X),
    "the last": (lambda x: x[len(x) - 1] + x[0], X),
    "new axes": (lambda x: x[:, None, 2, :, None], X),
    "ellipsis": (lambda x: x[..., 1] + x[..., None, 2][..., 0], X),
    "rows": (lambda x: x[:, [0, 2, 0]][:, :, np.array([[1], [3]])], X),
    "pad": (lambda x: ops.pad(x, [(0, 0), (1, 0), (2, 3)]), X),
    "matmul": (lambda x, y: x @ y.transpose(0, 2, 1) @ np.ones((4, 2), np.float32), X, X),
    "a row and a column": (lambda x: ops.matmul(np.ones(4, np.float32), x) @ np.ones(6, "f"), X),
    "einsum": (lambda x, y: ops.einsum("nij,nkj->nik", x, y), X, X),
    "softmax": (lambda x: ops.softmax(x, 1) + ops.log_softmax(x, -1), X),
    "relu": (lambda x: ops.relu(x) + ops.leaky_relu(x, 0.3) + ops.silu(x) + ops.gelu(x), X),
    "gelu": (lambda x: ops.gelu(x, "tanh"), X),
    "layer norm": (lambda x: ops.layer_norm(x, x.shape[1:], np.full((4, 6), 2, "f")), X),
    "a derivative": (slope, X),
    "a result twice": (lambda x: twice(twice(x)), X),
    "two results": (lambda x: (x * 2, x[:, 0]), X),
    "a result and itself": (lambda x: (x, x * 2, x), X),
    "a result as two": (lambda x: (x * 2,) * 2, X),
    "float32 again": (lambda x: x * 2 + x.float() * 3 + x, X),
    "a copy of the memory": (lambda x: x * Tensor(x.data), X),
    "attention": (lambda x: ops.scaled_dot_product_attention(x, x * 2, x), X),
    "causal attention": (
        lambda x: ops.scaled_dot_product_attention(x, x[:, 1:], x[:, 1:], MASK, is_causal=True),
        X,
    ),
    "interpolate": (lambda x: ops.interpolate(x, (3, 5)), (7, 2, 4, 6)),
    "circular": (lambda x: ops.pad2d(x, 1, "circular"), (7, 2, 4, 6)),
    "batch norm": (lambda x: ops.batch_norm(x, np.ones(4, "f"), np.full(4, 2, "f")), X),
    "a batch's first rows": (lambda x: (x[:5], x[:20] * 2, x[3:]), X),
    "minibatch deviation": (
        lambda x: x * ops.broadcast_to(ops.mean(ops.sqrt(ops.var(x, 0))), (*x.shape[:2], 1)),
        X,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OPERATIONS)
def test_an_operation(tmp_path, case):
    f, *shapes = OPERATIONS[case]
    agree(tmp_path / "a.onnx", Of(f), *(real(*shape) for shape in shapes))


def test_each_operation_that_has_a_counterpart_is_tried(tmp_path, monkeypatch):
    """By the cases above, and no others."""
    met = set()
    call = io.onnx.Graph.call
    monkeypatch.setattr(io.onnx.Graph, "call", lambda g, c: (met.add(c.op), call(g, c)))
    for f, *shapes in OPERATIONS.values():
        io.export_onnx(Of(f), tuple(real(*s) for s in shapes), tmp_path / "a.onnx")
    for kind, args, shape in CASES:
        io.export_onnx(kind(*args), real(*shape), tmp_path / "a.onnx")
    assert not {op.__name__ for op in io.onnx.WRITERS.keys() - met}
    assert {type(op.layer) for op in met if hasattr(op, "layer")} == layers.TABLE.keys()


@given(strategies.convolutions(), st.booleans(), st.integers(1, 4))
def test_convolutions(tmp_path_factory, case, bias, n):
    x, w, y = case.shapes
    net = Of(lambda *a: ops.conv2d(*a, **case.options), real(*w), *([real(w[0])] if bias else []))
    agree(tmp_path_factory.getbasetemp() / "a.onnx", net, real(n, *x[1:]))


@given(strategies.convolutions(transposed=True), st.booleans(), st.integers(1, 4))
def test_transposed_convolutions(tmp_path_factory, case, bias, n):
    x, w, y = case.shapes
    options = case.options | {"output_padding": case.extra}
    bias = [real(x[1])] if bias else []
    net = Of(lambda *a: ops.conv_transpose2d(*a, **options), real(*w), *bias)
    agree(tmp_path_factory.getbasetemp() / "a.onnx", net, real(n, *y[1:]))


@pytest.mark.parametrize("options", [{}, {"positions": "rotary", "bias": False}])
@pytest.mark.parametrize("causal", [True, False])
def test_a_transformer(tmp_path, causal, options):
    """From tokens to scores, of a language model, or of one that guesses hidden tokens."""
    random.manual_seed(0)
    net = filled(models.Transformer(11, 6, 16, 2, 2, causal=causal, dropout=0.1, **options))
    tokens = rng.integers(0, 11, (7, 6))
    model = agree(tmp_path / "a.onnx", net, tokens, input_names="tokens", tolerance=1e-4)
    assert "tokens.weight" in {a.name for a in model.graph.initializer}
    size = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert size == ["batch", 6]  # the length is fixed
    with pytest.raises(Exception, match="Got invalid dimensions|Got: 4 Expected: 6"):
        run(tmp_path / "a.onnx", tokens[:, :4])
    if causal:  # a shorter text has anything behind it
        shorter = tokens.copy()
        shorter[:, 4:] = 0
        [found] = run(tmp_path / "a.onnx", shorter)
        expected = net.eval()(tokens[:, :4]).data
        np.testing.assert_allclose(found[:, :4], expected, rtol=1e-4, atol=1e-4)


def test_a_model_of_text(tmp_path):
    """Its network, as it is trained and sampled: the next token is the same."""
    random.manual_seed(0)
    model = models.gpt(context=8, width=16, depth=1, heads=2)
    tokens = model.tokenizer.encode("to be or")[None].astype(np.int64)
    io.export_onnx(model.network, tokens, tmp_path / "a.onnx")
    [scores] = run(tmp_path / "a.onnx", tokens)
    assert scores[0, -1].argmax() == next(model.stream(tokens, 1, temperature=0))[0]


MODELS = [("gan", name) for name in models.MODELS] + [("vae", name) for name in models.VAES]


@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize("family, name", MODELS, ids=lambda a: a if isinstance(a, str) else None)
def test_the_networks_of_each_model(tmp_path, family, name, classes):
    random.manual_seed(3)
    model = models.build({"family": family, "model": name, "classes": classes})
    points = real(7, model.latent + classes)
    images = real(7, *model.sample(1).shape[1:])
    nets = (
        [model.encoder, model.decoder] if family == "vae" else [model.discriminator, model.average]
    )
    for net, x in zip(nets, [images, points]):
        agree(tmp_path / "a.onnx", net, x)


@pytest.mark.parametrize("opset", [18, 19, 20, 21, 22])
def test_newer_opsets(tmp_path, opset):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.GELU(), nn.Upsample(None, 2))
    net.append(nn.AvgPool2d(2)).append(nn.ZeroPad2d(1)).append(nn.Softmax(1))
    model = agree(tmp_path / "a.onnx", net, real(7, 1, 8, 8), opset=opset)
    assert model.opset_import[0].version == opset


class Conditional(nn.Module):
    """Noise and labels to samples."""

    def __init__(self):
        self.classes, self.dense = nn.Embedding(3, 2), nn.Linear(6, 5)

    def forward(self, noise, labels):
        return self.dense(ops.concatenate([noise, self.classes(labels)], 1))


def test_several_inputs_and_names(tmp_path):
    labels = np.array([0, 2, 1, 1, 2, 0, 1])
    model = agree(tmp_path / "a.onnx", Conditional(), real(7, 4), labels)
    assert [i.name for i in model.graph.input] == ["input_0", "input_1"]
    assert [i.type.tensor_type.elem_type for i in model.graph.input] == [1, 7]
    options = {"input_names": ["noise", "labels"], "output_names": "samples"}
    options["metadata"] = {"who": "mé"}
    model = agree(tmp_path / "a.onnx", Conditional(), real(7, 4), labels, **options)
    assert [end.name for end in [*model.graph.input, *model.graph.output]] == [
        "noise", "labels", "samples",
    ]  # fmt: skip
    assert [(p.key, p.value) for p in model.metadata_props] == [("who", "mé")]


@primitive
def logarithm_of_two(x):
    return np.log2(x)


def drawn(x):
    return x + random.default.normal(x.shape)


def of_parity(x):
    return x if len(x) % 2 else x * 2


class Deep(nn.Module):
    def __init__(self):
        self.body = nn.Sequential(nn.Linear(6, 6), Of(lambda x: ops.elu(x)))

    def forward(self, x):
        return self.body(x)


REFUSED = {
    "logarithm_of_two, in Of, has no counterpart": lambda x: logarithm_of_two(x),
    "add, in Of, is given what follows": drawn,
    "getitem, in Of, is given what follows": lambda x: x[np.argsort(x.data[:, 0, 0])],
    "where, in Of, is given .* nn.ELU": lambda x: ops.where(x.data > 0, x, 0.0),
    "multiply, in Of, is given what follows": lambda x: x * np.sign(x.data),
    "calls other operations": of_parity,
    "gives .* no Tensor": lambda x: x.data,
    "divide, in Of, is given": lambda x: x / len(x) ** 0.4,
    "getitem, in Of, is given what": lambda x: x[: min(len(x), 8)],
    "an output of the network is given what": lambda x: Tensor(x.data * 2),
    "the network gives nothing": lambda x: (),
    "by a list of what grows": lambda x: x[[len(x) - 1, 0]],
    "by a list .* the batch": lambda x: x[:, [[0, 1], [len(x) - len(x), int(x.data[0, 0, 0] > 1)]]],
    "transposed, in Of, of pictures whose size": lambda x: ops.conv_transpose2d(
        x.transpose(1, 0, 2)[None], np.ones((4, 2, 3, 3), np.float32)
    ),
    "by a mask": lambda x: x[:, np.arange(4) > 2],
    "several arrays": lambda x: x[:, [0, 1], [1, 0]],
    "over no axis": lambda x: ops.sum(x, ()),
    "to float64": lambda x: x.double(),
    "a pad of sizes that stay": lambda x: ops.pad(x, [(0, len(x)), (0, 0), (0, 0)]),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_a_graph_cannot_hold_is_refused_by_name(tmp_path, words):
    with pytest.raises(io.ExportError, match=f"^[^\n]*{words}[^\n]*$"):
        io.export_onnx(Of(REFUSED[words]), abs(real(1, 4, 6)) + 1, tmp_path / "a.onnx")
    assert not [*tmp_path.iterdir()]


def in_chunks(x):
    return ops.concatenate([x[i : i + 64] for i in range(0, len(x), 64)])


FOLLOWED = "is given what follows"
BENT = [  # sizes that grow evenly for some batches only
    (FOLLOWED, lambda x: x - ops.mean(x[:64], 0)),
    (FOLLOWED, lambda x: ops.var(x[:20], 0)),
    (FOLLOWED, lambda x: x[:20] / len(x[:20])),
    (FOLLOWED, lambda x: x * min(len(x), 32)),
    (FOLLOWED, lambda x: x / max(len(x) - 1, 1)),
    (FOLLOWED, lambda x: x[:20].reshape(-1, 4, 6)),
    (FOLLOWED, lambda x: ops.broadcast_to(x[:1], x[:20].shape)),
    (FOLLOWED, lambda x: x / min(len(x), 32) ** 0.5),
    ("calls other operations", in_chunks),
    ("calls other operations", lambda x: x * 2 if len(x) > 1 else x),
    ("gives .* number of axes", lambda x: ops.squeeze(x) * 2),
    ("at row 300 of the batch", lambda x: x - ops.mean(x[:300], 0)),
    ("at row -300 of", lambda x: x[len(x) - 300 :]),
    ("at row 300 of", lambda x: x[:20][300:]),
    ("at row 5 of", lambda x: x[:20][5:]),
    ("a pad of sizes", lambda x: ops.pad(x[:20], [(0, 3), (0, 0), (0, 0)])),
    (FOLLOWED, lambda x: x * (2.0 if len(x) < 9 else float("inf"))),
    (FOLLOWED, lambda x: grad(ops.sum(x[:20]), x, create_graph=True)),
]


@pytest.mark.parametrize("words, f", BENT)
def test_a_size_that_bends_is_refused(tmp_path, words, f):
    with pytest.raises(io.ExportError, match=f"^[^\n]*{words}[^\n]*$"):
        io.export_onnx(Of(f), real(1, 4, 6), tmp_path / "a.onnx")


def half_of(x):
    y = x * 2
    y.data[y.data < 0] = 0
    return y + 1


def bound_anew(x):
    y = x * 2
    y.data = np.maximum(y.data, 0)
    return y + 1


def doubled_within(x):
    x.data *= 2
    return x + 1


def through_a_view(x):
    y = x * 2
    y.reshape(-1).data[0] = 7
    return y + 1


def by_a_hundredth(x):
    y = x * 2
    y.data *= 1.01
    return y + 1


def of_what_is_far(x):
    x.data[x.data > 500] = 500
    return x + 1


class Slopes(nn.Module):
    """A weight, or an attribute, that is another between two calls, and at the end what it was."""

    def __init__(self, layer, change):
        self.layer, self.change = layer, change

    def forward(self, x):
        y = self.layer(x)
        self.change(self.layer, 2)
        z = self.layer(y)
        self.change(self.layer, 0.5)
        return z


def weigh(layer, factor):
    layer.weight.data *= factor


def bend(layer, factor):
    layer.alpha *= factor


CHANGED = [half_of, bound_anew, doubled_within, through_a_view, by_a_hundredth, of_what_is_far]
CHANGED = [Of(f) for f in CHANGED] + [Slopes(nn.PReLU(), weigh), Slopes(nn.ELU(), bend)]


@pytest.mark.parametrize("net", CHANGED)
def test_a_change_in_place_is_refused(tmp_path, net):
    with pytest.raises(io.ExportError, match="^[^\n]*in place[^\n]*$"):
        io.export_onnx(net, real(1, 4), tmp_path / "a.onnx")


def one_way(x):
    return x * 2 if x.data.max() < 50 else x


def another_way(x):
    return x * 2 if x.data.min() > -3 else -x


BRANCHES = [
    ("calls other operations|what follows", one_way, [real(1, 4)]),
    ("calls other operations", another_way, [real(1, 4) * 0 + 0.5]),
    (FOLLOWED, lambda x: ops.where((x.data > -50).all(0), x, 0.0), [real(1, 4)]),
    (FOLLOWED, lambda x: x[:, np.argmax(x.data.sum(0))], [np.float32([[0, 1, 2, 100]])]),
    (FOLLOWED, lambda x, k: x * float(k[0]), [real(1, 4), np.array([3])]),
    (FOLLOWED, lambda x, k: x * float(k[0]), [real(1, 4), np.array([0])]),
    (FOLLOWED, lambda x, k: x * (k > 0).any(0), [real(1, 4), np.array([[1, 2, 3, 1]])]),
    ("calls other operations", lambda x: x if x.data.any() else x * 2, [real(1, 4)]),
    (FOLLOWED, lambda x, k: x[:, : int(k.max())], [real(1, 4), np.array([3])]),
]


@pytest.mark.parametrize("words, f, arrays", BRANCHES)
def test_what_follows_values_far_from_the_example_is_refused(tmp_path, words, f, arrays):
    with pytest.raises(io.ExportError, match=words):
        io.export_onnx(Of(f), arrays, tmp_path / "a.onnx")


def test_a_network_that_refuses_other_numbers_is_asked_for_the_examples(tmp_path):
    def of_pixels(x, k):
        if x.data.min() < 0 or x.data.max() > 1 or {*k.flat} - {3, 4}:
            raise ValueError("pixels from 0 to 1, labels 3 and 4")
        return x * 2

    arrays = rng.random((7, 3), np.float32), np.array([3, 4, 4, 3, 4, 3, 3])
    io.export_onnx(Of(of_pixels), arrays, tmp_path / "a.onnx")
    (y,) = run(tmp_path / "a.onnx", *arrays)
    np.testing.assert_array_equal(y, arrays[0] * 2)
    with pytest.raises(io.ExportError, match="holds nan or inf"):
        io.export_onnx(nn.Tanh(), np.float32([[1, np.nan]]), tmp_path / "a.onnx")


@pytest.mark.parametrize("memory, largest", [(1 << 30, 257), (1000, 67)])
def test_the_batches_that_are_tried(tmp_path, monkeypatch, memory, largest):
    monkeypatch.setattr(io.runs, "MEMORY", memory)
    seen = []
    net = Of(lambda x: (seen.append(len(x)), x * 2)[1])
    io.export_onnx(net, real(1, 4), tmp_path / "a.onnx")
    assert seen[:5] == [1, 2, 3, 17, largest]


def test_a_network_may_refuse_a_batch_of_one(tmp_path):
    """For one has no variance."""
    net = nn.BatchNorm1d(3, track_running_stats=False)
    agree(tmp_path / "a.onnx", nn.Sequential(nn.Linear(4, 3), net), real(7, 4))


class Counting(nn.Module):
    def __init__(self):
        self.seen = np.zeros(6, np.float32)

    def forward(self, x):
        self.seen[...] = x.data.mean((0, 1))
        return x - self.seen


def test_a_network_that_changes_itself_is_refused(tmp_path):
    with pytest.raises(io.ExportError, match="the network changes its own seen"):
        io.export_onnx(Counting(), real(1, 4, 6), tmp_path / "a.onnx")


class Caching(nn.Module):
    """Its running mean, or its scale, is there from the first batch on."""

    mean = None

    def forward(self, x):
        if self.mean is None:
            self.mean = x.data.mean(0)
        return x - self.mean


def test_a_network_that_begins_to_hold_something_is_refused(tmp_path):
    with pytest.raises(io.ExportError, match="the network changes its own mean"):
        io.export_onnx(Caching(), real(1, 4, 6), tmp_path / "a.onnx")


def test_a_layer_with_a_forward_of_its_own_is_what_that_does(tmp_path):
    net = nn.Sequential(nn.ELU(), nn.MaxPool2d(2))
    net[0].forward = lambda x: x * 2
    assert kinds(agree(tmp_path / "a.onnx", net, real(7, 1, 4, 4))) == ["Mul", "MaxPool"]


def test_errors_name_the_layer(tmp_path):
    with pytest.raises(io.ExportError, match=r"where, in layer body\.1 \(Of\), is given .*nn.ELU"):
        io.export_onnx(Deep(), real(1, 6), tmp_path / "a.onnx")


def test_wrong_arguments(tmp_path, monkeypatch):
    net, path = nn.Linear(4, 3), tmp_path / "a.onnx"

    def refused(words, kind=io.ExportError, net=net, x=None, **options):
        with pytest.raises(kind, match=words):
            io.export_onnx(net, np.ones((1, 4)) if x is None else x, path, **options)

    for x in (np.float32(1), np.ones((0, 4)), np.ones((1, 4), bool), "abcd"):
        refused("whose first axis is the batch", x=x)
    refused("needs an example of each input", x=())
    refused("opset must be from 18", opset=17)
    refused("needs a Module", TypeError, net=lambda x: x)
    refused("1 inputs need as many names", input_names=["a", "b"])
    refused("'weight' would be the name of two", output_names="weight")
    refused("'a' would be the name", input_names="a", output_names="a")
    for name in ("", 3, "/constant_0", "//Gemm_1", "\ud800"):
        refused("is no name of an input", input_names=[name])
        refused("is no name of an output", output_names=[name])
    for metadata in ({"a": 1}, {1: "a"}, {"a": "\ud800"}, "a", [("a", "b")]):
        refused("metadata must be text", metadata=metadata)
    with pytest.raises(ValueError) as caught:
        io.export_onnx(net, np.ones((1, 5)), path)
    assert "in a trace of inputs (2, 5)" in caught.value.__notes__[-1]
    monkeypatch.setattr(io.onnx, "MOST", 50)
    refused("60 bytes of weights")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    refused(r'pip install "tinygan\[io\]"', ImportError)
    assert not [*tmp_path.iterdir()]


def test_the_network_stays_as_it_is(tmp_path):
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout()).double()
    net[1].eval()
    before = {k: a.copy() for k, a in net.state_dict().items()}
    with pytest.warns(UserWarning, match="float64 are written as float32"):
        io.export_onnx(net, np.ones((1, 4)), tmp_path / "a.onnx")
    assert [m.training for m in net.modules()] == [True, True, False, True]
    assert all("forward" not in vars(m) for m in net.modules())
    assert all(np.array_equal(a, before[k]) for k, a in net.state_dict().items())
    x = real(7, 4)
    (y,) = run(tmp_path / "a.onnx", x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, net.eval()(x.astype(float)).data, atol=1e-5)


class Held(nn.Module):
    """A layer by way of a function, which a copy shares."""

    def __init__(self):
        self.norm, self.drop = nn.BatchNorm1d(3), nn.Dropout()
        self.f = lambda x: self.drop(self.norm(x))

    def forward(self, x):
        return self.f(x)


@pytest.mark.parametrize("where", ["within", "outside"])
def test_a_layer_that_a_function_holds_is_in_eval_mode_too(tmp_path, where):
    held = Held()
    net = held if where == "within" else Of(lambda x: nn.Dropout()(held(x)))
    filled(held).drop.eval()
    before = {k: a.copy() for k, a in held.state_dict().items()}
    io.export_onnx(net, real(1, 3), tmp_path / "a.onnx")
    assert all(np.array_equal(a, before[k]) for k, a in held.state_dict().items())
    assert [m.training for m in held.modules()] == [True, True, False]
    x = real(7, 3)
    (y,) = run(tmp_path / "a.onnx", x)
    np.testing.assert_allclose(y, held.eval()(Tensor(x)).data, atol=1e-5)


def test_a_layer_in_another_thread_keeps_its_mode(tmp_path):
    layer, modes = nn.Sequential(Of(lambda x: x)), []
    layer[0].f = lambda x: modes.append(layer.training)

    def forward(x):
        other = threading.Thread(target=layer, args=(x,))
        other.start()
        other.join()
        return x * 2

    io.export_onnx(Of(forward), real(1, 3), tmp_path / "a.onnx")
    assert len(modes) > 4 and all(modes)


def test_no_draw_is_counted(tmp_path):
    def drawn(x):
        random.default.next_step()
        return x + random.default.normal(x.shape)

    random.default.seek(5)
    random.default.normal((2,))
    with pytest.raises(io.ExportError, match="what follows"):
        io.export_onnx(Of(drawn), real(1, 3), tmp_path / "a.onnx")
    assert (random.default.step, random.default.draw) == (5, 1)


def test_a_parameter_that_is_shared_is_there_once(tmp_path):
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    model = agree(tmp_path / "a.onnx", net, real(7, 4))
    assert sorted(a.name for a in model.graph.initializer) == ["0.bias", "0.weight", "2.bias"]
