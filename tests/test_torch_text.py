"""The layers of Transformers beside PyTorch's, if installed: keys, values and gradients.
And GPT-2's checkpoints, of a network in PyTorch alone.

Everything is float64 and agrees to 1e-10. Where ours differs on purpose, a test shows both.
"""

import itertools

import numpy as np
import pytest
from test_torch import close

from tinygan import Tensor, grad, io, models, nn, ops
from tinygan.data import DataError

torch = pytest.importorskip("torch")
rng = np.random.default_rng(5)
N, Q, K, WIDTH, HEADS = 2, 3, 5, 8, 2


def real(*shape):
    return rng.standard_normal(shape)


def twins(name, *args, **options):
    """Our layer and PyTorch's, in float64, with the same weights, none of them 0."""
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    ours, theirs = ours.double(), theirs.double()
    for a in ours.state_dict().values():
        a[...] = real(*a.shape) / 2
    theirs.load_state_dict({k: torch.tensor(a) for k, a in ours.state_dict().items()})
    return ours, theirs


def agree(ours, theirs, *arrays, **options):
    """The results of the same arrays, and a mix of their gradients, of inputs and weights."""
    xs, ts = [Tensor(a) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    if len(arrays) == 1 and isinstance(ours, nn.MultiheadAttention):
        xs, ts = xs * 3, ts * 3
    found = ours(*xs, **options)
    expected = theirs(*ts, **{k: tensor(v) for k, v in options.items()})
    found, expected = (y if isinstance(y, tuple) else (y,) for y in (found, expected))
    pairs = [(y, z) for y, z in zip(found, expected, strict=True) if y is not None or z is not None]
    loss, other = 0, 0
    for y, z in pairs:
        close(y, z)
        g = real(*y.shape)
        loss, other = loss + ops.sum(y * g), other + (z * torch.tensor(g)).sum()
    named = dict(theirs.named_parameters())
    ts = [*ts[: len(arrays)], *(named[name] for name, _ in ours.named_parameters())]
    slopes = torch.autograd.grad(other, ts)
    own = [*xs[: len(arrays)], *ours.parameters()]
    for a, b in zip(grad(loss, own), slopes, strict=True):
        close(a, b)


def tensor(a):
    return torch.tensor(a) if isinstance(a, np.ndarray) else a


def inputs(batch_first, cross, single=False):
    """One array to look about in, or query, key and value."""
    lengths = (Q, K, K) if cross else (Q,)
    if single:
        return [real(n, WIDTH) for n in lengths]
    return [real(*((N, n) if batch_first else (n, N)), WIDTH) for n in lengths]


def masks(kind, *shape):
    """Of bool or floats, with a place to look at in each row."""
    hidden = rng.random(shape) < 0.4
    hidden[..., 0] = False
    if kind == "bool":
        return hidden
    return real(*shape) if kind == "float" else np.where(hidden, -np.inf, real(*shape))


def attention(*args, **options):
    return twins("MultiheadAttention", WIDTH, HEADS, *args, **options)


LAYERS = [
    ("MultiheadAttention", (WIDTH, HEADS), {}),
    ("MultiheadAttention", (WIDTH, HEADS, 0.1, False), {"batch_first": True}),
    ("TransformerEncoderLayer", (WIDTH, HEADS, 12), {}),
    ("TransformerEncoderLayer", (WIDTH, HEADS), {"bias": False, "norm_first": True}),
]


@pytest.mark.parametrize("name, args, options", LAYERS)
def test_state_dicts_go_both_ways(name, args, options):
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    own, other = ours.state_dict(), theirs.state_dict()
    assert {k: a.shape for k, a in own.items()} == {k: tuple(t.shape) for k, t in other.items()}
    ours.load_state_dict(other)
    for k, a in ours.state_dict().items():
        assert np.array_equal(a, other[k].numpy())
        a += 1
    theirs.load_state_dict({k: torch.tensor(a) for k, a in ours.state_dict().items()})
    assert all((theirs.state_dict()[k].numpy() == a).all() for k, a in own.items())


def test_first_weights_are_drawn_as_in_pytorch():
    ours, theirs = nn.MultiheadAttention(64, 4), torch.nn.MultiheadAttention(64, 4)
    for name, a in ours.state_dict().items():
        b = theirs.state_dict()[name].numpy()
        assert np.abs(a).max() == pytest.approx(np.abs(b).max(), rel=0.02), name
        assert a.std() == pytest.approx(b.std(), rel=0.03), name


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first, single", [(True, False), (False, False), (False, True)])
@pytest.mark.parametrize("cross", [False, True])
def test_attention(cross, batch_first, single, bias):
    pair = attention(0.0, bias, batch_first=batch_first)
    arrays = inputs(batch_first, cross, single)
    for need, average in ((True, True), (True, False), (False, True)):
        agree(*pair, *arrays, need_weights=need, average_attn_weights=average)


KINDS = [None, "bool", "float", "float with -inf"]


@pytest.mark.parametrize("padding, mask", [*itertools.product(KINDS, KINDS)])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.filterwarnings("ignore:Support for mismatched")
def test_masks(padding, mask, need_weights):
    pair = attention(batch_first=True)
    arrays, single = inputs(True, cross=True), inputs(True, cross=True, single=True)
    for shape in ((Q, K), (N * HEADS, Q, K)):
        options = {"need_weights": need_weights}
        options["key_padding_mask"] = masks(padding, N, K) if padding else None
        options["attn_mask"] = masks(mask, *shape) if mask else None
        agree(*pair, *arrays, **options)
    options["key_padding_mask"] = masks(padding, K) if padding else None
    options["attn_mask"] = masks(mask, HEADS, Q, K) if mask else None
    agree(*pair, *single, **options)


def test_as_many_samples_as_places_are_no_other_mask():
    """One array as both masks, which fits both ways."""
    mask = masks("bool", 3, 3)
    agree(*attention(batch_first=True), real(3, 3, WIDTH), key_padding_mask=mask, attn_mask=mask)


def test_a_causal_mask_may_be_left_out_here():
    (ours, theirs), x = attention(batch_first=True), real(N, K, WIDTH)
    later = ~np.tri(K, dtype=bool)
    for need in (True, False):
        options = {"attn_mask": later, "need_weights": need}
        agree(ours, theirs, x, **options)
        agree(ours, theirs, x, **options, is_causal=True)
        found, expected = ours(x, x, x, **options)[0], ours(x, x, x, is_causal=True)[0]
        np.testing.assert_allclose(found.data, expected.data, rtol=1e-14)
        with pytest.raises(RuntimeError, match="attn_mask"):
            theirs(*[torch.tensor(x)] * 3, need_weights=need, is_causal=True)
    padding = masks("bool", N, K)
    agree(ours, theirs, x, attn_mask=later, key_padding_mask=padding)


def test_who_may_look_nowhere_finds_zeros_here_and_nan_in_pytorch():
    (ours, theirs), x = attention(0.0, False, batch_first=True), real(N, Q, WIDTH)
    mask = np.zeros((Q, Q), bool)
    mask[1] = True
    found, weights = (y.data for y in ours(x, x, x, attn_mask=mask))
    others = theirs(*[torch.tensor(x)] * 3, attn_mask=torch.tensor(mask))
    expected, other = (y.detach().numpy() for y in others)
    assert not found[:, 1].any() and not weights[:, 1].any()
    assert np.isnan(expected[:, 1]).all() and np.isnan(other[:, 1]).all()
    seen = [0, 2]
    np.testing.assert_allclose(found[:, seen], expected[:, seen], rtol=1e-10)


def test_weights_that_are_given_are_those_that_dropout_left():
    (ours, theirs), x = attention(0.5, batch_first=True), real(8, 9, WIDTH)
    weights = ours(x, x, x, average_attn_weights=False)[1].data
    other = theirs(*[torch.tensor(x)] * 3, average_attn_weights=False)[1].detach().numpy()
    for a in (weights, other):
        assert (a == 0).mean() == pytest.approx(0.5, abs=0.05)
    whole = ours.eval()(x, x, x, average_attn_weights=False)[1].data
    kept = weights != 0
    np.testing.assert_allclose(weights[kept], 2 * whole[kept], rtol=1e-12)


BLOCKS = [*itertools.product((False, True), (False, True), ("relu", "gelu"), (False, True))]


@pytest.mark.parametrize("batch_first, norm_first, activation, bias", BLOCKS)
def test_a_block(batch_first, norm_first, activation, bias):
    options = {"batch_first": batch_first, "norm_first": norm_first, "bias": bias}
    pair = twins("TransformerEncoderLayer", WIDTH, HEADS, 12, 0.0, activation, 1e-3, **options)
    [x] = inputs(batch_first, cross=False)
    agree(*pair, x)
    given = {"src_mask": ~np.tri(Q, dtype=bool), "src_key_padding_mask": masks("bool", N, Q)}
    agree(*pair, x, **given)
    agree(*pair, x, src_mask=given["src_mask"], is_causal=True)
    agree(*pair, real(Q, WIDTH), src_mask=masks("float", Q, Q))


def test_a_block_has_pytorchs_order_of_arguments():
    args = WIDTH, HEADS, 12, 0.0, "gelu", 1e-3, True, True, False
    agree(*twins("TransformerEncoderLayer", *args), real(N, Q, WIDTH))


def test_a_block_with_the_approximation_and_with_a_function():
    pair = [
        module.TransformerEncoderLayer(WIDTH, HEADS, 12, 0.0, activation, batch_first=True)
        for module, activation in (
            (nn, "gelu_tanh"), (torch.nn, lambda x: torch.nn.functional.gelu(x, approximate="tanh"))
        )
    ]  # fmt: skip
    ours, theirs = (layer.double() for layer in pair)
    theirs.load_state_dict({k: torch.tensor(a) for k, a in ours.state_dict().items()})
    agree(ours, theirs, real(N, Q, WIDTH))
    ours.activation, theirs.activation = ops.tanh, torch.tanh
    agree(ours, theirs, real(N, Q, WIDTH))


@pytest.mark.parametrize("norm", [False, True])
def test_a_stack_of_blocks(norm):
    made = []
    for module in (nn, torch.nn):
        layer = module.TransformerEncoderLayer(WIDTH, HEADS, 12, 0.0, batch_first=True)
        last = module.LayerNorm(WIDTH) if norm else None
        made.append(module.TransformerEncoder(layer, 3, last).double())
    ours, theirs = made
    first, *others = ours.layers
    for layer in others:  # copies
        for a, b in zip(layer.parameters(), first.parameters()):
            assert a is not b and np.array_equal(a.data, b.data)
    for a in ours.state_dict().values():
        a[...] = real(*a.shape) / 2
    theirs.load_state_dict({k: torch.tensor(a) for k, a in ours.state_dict().items()})
    x = real(N, K, WIDTH)
    agree(ours, theirs, x)
    padding, mask = masks("bool", N, K), masks("bool", K, K)
    agree(ours, theirs, x, src_key_padding_mask=padding)
    agree(ours, theirs, x, mask=mask)
    agree(ours, theirs, x, mask=~np.tri(K, dtype=bool), is_causal=True)


def rotate_half(x):
    first, second = x.chunk(2, -1)
    return torch.cat([-second, first], -1)


def test_rotary_positions_are_as_gpt_neox_has_them():
    x, start = real(N, HEADS, Q, WIDTH), 3
    speeds = 10_000.0 ** -(torch.arange(0, WIDTH, 2, dtype=torch.float64) / WIDTH)
    angles = torch.outer(torch.arange(start, start + Q, dtype=torch.float64), speeds)
    angles = torch.cat([angles, angles], -1)
    t = torch.tensor(x)
    expected = t * angles.cos() + rotate_half(t) * angles.sin()
    close(nn.RotaryEmbedding(WIDTH)(Tensor(x), start), expected)


class Attention(torch.nn.Module):
    def __init__(self, width, heads, context):
        super().__init__()
        self.heads = heads
        self.c_attn, self.c_proj = Conv1D(width, 3 * width), Conv1D(width, width)
        seen = torch.ones(context, context).tril()[None, None]
        self.register_buffer("bias", seen)
        self.register_buffer("masked_bias", torch.tensor(-1e4))

    def forward(self, x):
        n, t, c = x.shape
        q, k, v = (
            y.reshape(n, t, self.heads, -1).transpose(1, 2) for y in self.c_attn(x).split(c, 2)
        )
        scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
        scores = scores.masked_fill(self.bias[:, :, :t, :t] == 0, self.masked_bias)
        found = torch.softmax(scores, -1) @ v
        return self.c_proj(found.transpose(1, 2).reshape(n, t, c))


class Conv1D(torch.nn.Module):
    """A dense layer with its weight as (in, out)."""

    def __init__(self, width, out):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(width, out) / width**0.5)
        self.bias = torch.nn.Parameter(torch.randn(out) / 5)

    def forward(self, x):
        return x @ self.weight + self.bias


class GPT2(torch.nn.Module):
    """By the names of the published checkpoints."""

    def __init__(self, vocabulary, context, width, depth, heads):
        super().__init__()
        self.wte = torch.nn.Embedding(vocabulary, width)
        self.wpe = torch.nn.Embedding(context, width)
        self.h = torch.nn.ModuleList(
            torch.nn.ModuleDict({
                "ln_1": torch.nn.LayerNorm(width), "attn": Attention(width, heads, context),
                "ln_2": torch.nn.LayerNorm(width),
                "mlp": torch.nn.ModuleDict(
                    {"c_fc": Conv1D(width, 4 * width), "c_proj": Conv1D(4 * width, width)}
                ),
            })
            for _ in range(depth)
        )  # fmt: skip
        self.ln_f = torch.nn.LayerNorm(width)
        for name, p in self.named_parameters():
            if "ln_" in name:
                torch.nn.init.normal_(p, 1.0 if "weight" in name else 0.0, 0.3)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.h:
            x = x + block["attn"](block["ln_1"](x))
            u = block["mlp"]["c_fc"](block["ln_2"](x))
            gelu = 0.5 * u * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (u + 0.044715 * u**3)))
            x = x + block["mlp"]["c_proj"](gelu)
        return self.ln_f(x) @ self.wte.weight.T


SIZES = {"vocabulary": 13, "context": 7, "width": 12, "depth": 3, "heads": 2}


def checkpoint(prefix="", **others):
    """A tiny GPT-2 in PyTorch, and its state dict, some of whose arrays are others."""
    torch.manual_seed(0)
    net = GPT2(**SIZES)
    state = {prefix + name: a.detach().clone() for name, a in net.state_dict().items()}
    state |= {prefix + name: torch.tensor(a) for name, a in others.items() if a is not None}
    return net, {k: a for k, a in state.items() if others.get(k, a) is not None}


def written(path, state):
    pytest.importorskip("safetensors.torch").save_file(state, path)
    return path


@pytest.mark.parametrize("prefix, tied", [("", False), ("transformer.", True)])
def test_gpt2s_checkpoints_give_gpt2s_scores(tmp_path, prefix, tied):
    net, state = checkpoint(prefix)
    if tied:
        state["lm_head.weight"] = state[f"{prefix}wte.weight"].clone()
    ours = io.load_gpt2(written(tmp_path / "gpt2.safetensors", state), heads=SIZES["heads"])
    assert not ours.training and ours.context == SIZES["context"] and len(ours.blocks) == 3
    for length in (1, 4, 7):
        tokens = rng.integers(0, 13, (3, length))
        expected = net(torch.tensor(tokens)).detach().numpy()
        np.testing.assert_allclose(ours(tokens).data, expected, rtol=1e-5, atol=1e-5)
    # and back: another reader has what was there
    io.save_gpt2(tmp_path / "back.safetensors", ours)
    back = io.load(tmp_path / "back.safetensors")
    again = GPT2(**SIZES)
    names = again.load_state_dict({k: torch.tensor(a) for k, a in back.items()}, strict=False)
    assert not names.unexpected_keys and all(".attn." in k for k in names.missing_keys)
    torch.testing.assert_close(again(torch.tensor(tokens)), net(torch.tensor(tokens)))
    assert io.read_metadata(tmp_path / "back.safetensors") == {"format": "pt"}


def test_a_head_has_64_features_unless_told_and_half_precision_is_read(tmp_path):
    torch.manual_seed(0)
    net = GPT2(5, 4, 128, 1, 2).half()
    path = written(tmp_path / "a.safetensors", net.state_dict())
    with pytest.warns(UserWarning, match="arrays of F16 are read as float32"):
        ours = io.load_gpt2(path)
    tokens = np.array([[1, 2, 3, 4]])
    expected = net.float()(torch.tensor(tokens)).detach().numpy()
    np.testing.assert_allclose(ours(tokens).data, expected, rtol=1e-4, atol=1e-4)


ZEROS = np.zeros((12, 12), np.float32)
ODD = {
    "a part": ({"h.1.mlp.c_fc.weight": None}, r"GPT-2 of 3 blocks of 12: missing h.1.mlp.c_fc.wei"),
    "another shape": (
        {"h.2.attn.c_attn.weight": ZEROS},
        r"h.2.attn.c_attn.weight \(12, 12\) float32, which should be floats \(12, 36\)$",
    ),
    "the other way round": (
        {"h.0.mlp.c_fc.weight": np.zeros((48, 12), np.float32)}, r"\(48, 12\) .* floats \(12, 48\)"
    ),
    "whole numbers": ({"ln_f.bias": np.zeros(12, int)}, r"ln_f.bias \(12,\) int64, which should"),
    "no numbers": ({"ln_f.bias": np.full(12, np.nan, np.float32)}, "holds what is no number"),
    "too large": ({"ln_f.bias": np.full(12, 1e300)}, r"ln_f.bias .* or too large"),
    "more": ({"h.0.attn.rotary": ZEROS}, r"unexpected h.0.attn.rotary \(12, 12\) float32"),
    "a block of nothing": ({"h.9.ln_1.weight": ZEROS[0]}, "of 4 blocks.*missing h.3.attn.c_attn"),
    "two names": ({"transformer.ln_f.bias": ZEROS[0]}, "holds ln_f.bias twice"),
    "a last layer": ({"lm_head.weight": ZEROS}, r"lm_head.weight \(12, 12\) .* is not wte.weight"),
    "no tokens": ({"wte.weight": None}, r"needs wte.weight \(vocabulary, width\) .*, has h.0"),
    "flat tokens": ({"wte.weight": ZEROS[0]}, "needs wte.weight"),
    "empty tokens": ({"wte.weight": ZEROS[:0]}, "needs wte.weight"),
    "another width": ({"wpe.weight": np.zeros((7, 13), np.float32)}, r"wpe.* floats \(7, 12\)"),
    "a vast width": (
        {"wte.weight": np.zeros((1, 1 << 20), np.float32)}, "blocks of 1048576: .* and 31 more"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_a_file_of_other_arrays_is_refused_by_their_names(tmp_path, case):
    others, words = ODD[case]
    path = written(tmp_path / "a.safetensors", checkpoint(**others)[1])
    with pytest.raises(DataError, match=words) as error:
        io.load_gpt2(path, heads=2)
    assert str(error.value).startswith(f"{path}: no GPT-2") and "\n" not in str(error.value)


def test_a_damaged_file_and_heads_that_do_not_fit(tmp_path):
    path = written(tmp_path / "a.safetensors", checkpoint()[1])
    with pytest.raises(ValueError, match="load_gpt2: heads must be given: 12 features"):
        io.load_gpt2(path)
    for heads, words in ((5, "5 heads cannot share 12"), (0, "heads must be at least 1")):
        with pytest.raises(ValueError, match=words):
            io.load_gpt2(path, heads=heads)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a whole .safetensors"):
        io.load_gpt2(path, heads=2)
    net = models.Transformer(5, 4, 8, 1, 2)
    with pytest.raises(ValueError, match='save_gpt2: GPT-2 is causal.*activation="gelu_tanh"'):
        io.save_gpt2(path, net)
    for odd in ({"causal": False}, {"positions": "rotary"}, {"bias": False}):
        net = models.Transformer(5, 4, 8, 1, 2, **odd, activation="gelu_tanh")
        with pytest.raises(ValueError, match="and this network is not"):
            io.save_gpt2(path, net)
