"""The layers of Transformers beside PyTorch's, if installed: keys, values and gradients.

Everything is float64 and agrees to 1e-10. Where ours differs on purpose, a test shows both.
"""

import itertools

import numpy as np
import pytest
from test_torch import close

from tinygan import Tensor, grad, nn, ops

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
