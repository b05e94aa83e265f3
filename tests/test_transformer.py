"""The layers of Transformers: lengths, dtypes, masks, dropout, rotary positions, and errors; and a
`models.Transformer` that keeps to them. `test_torch_text.py` has their numbers, `test_gradients.py`
their derivatives.
"""

import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygan import Tensor, device, grad, models, nn, ops, random
from tinygan.testing import check_grads

rng = np.random.default_rng(0)


def real(*shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def attention(*args, **options):
    """Of eight features in two heads, with biases that are not 0."""
    layer = nn.MultiheadAttention(8, 2, *args, **{"batch_first": True} | options)
    for name, a in layer.state_dict().items():
        if "bias" in name:
            a[...] = real(*a.shape)
    return layer


block = functools.partial(nn.TransformerEncoderLayer, 8, 2, 12, batch_first=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_means_this_loop(dtype, need_weights):
    layer = attention().to(dtype=dtype)
    query, key, value = (real(2, n, 8, dtype=dtype) for n in (3, 5, 5))
    hidden, added = rng.random((3, 5)) < 0.5, real(2, 5, dtype=dtype)
    found, weights = layer(query, key, value, added, need_weights, hidden, False)
    state = layer.state_dict()
    parts = zip(np.split(state["in_proj_weight"], 3), np.split(state["in_proj_bias"], 3))
    q, k, v = (x @ w.T + b for x, (w, b) in zip((query, key, value), parts))
    joined = np.zeros((2, 3, 8))
    for n, h, i in np.ndindex(2, 2, 3):
        own = slice(4 * h, 4 * h + 4)
        scores = k[n, :, own] @ q[n, i, own] / 2 + added[n]
        likely = np.exp(scores) * ~hidden[i]
        likely /= max(likely.sum(), 1e-30)
        joined[n, i, own] = likely @ v[n, :, own]
        if need_weights:
            np.testing.assert_allclose(weights.data[n, h, i], likely, rtol=1e-4, atol=1e-6)
    expected = joined @ state["out_proj.weight"].T + state["out_proj.bias"]
    np.testing.assert_allclose(found.data, expected, rtol=1e-4, atol=1e-5)
    assert found.dtype == dtype and (weights is not None) == need_weights
    assert weights is None or weights.dtype == dtype


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(2, 1), (0, 3), (2, 0), (1, 1)])
def test_sequences_of_one_and_of_nothing(shape, dtype):
    x = Tensor(real(*shape, 8, dtype=dtype))
    layer, whole = attention().to(dtype=dtype), block(norm_first=True).to(dtype=dtype)
    for causal in (False, True):
        found, weights = layer(x, x, x, is_causal=causal)
        assert weights.shape == (shape[0], shape[1], shape[1])
        assert found.shape == whole(x, is_causal=causal).shape == x.shape
        if shape[1] == 1:
            assert (weights.data == 1).all()
            _, _, v = layer.heads(x, x, x)
            np.testing.assert_allclose(found.data, layer.joined(v).data, rtol=1e-6)
    crossed, _ = layer(
        x, Tensor(real(shape[0], 4, 8, dtype=dtype)), real(shape[0], 4, 8).astype(dtype)
    )
    assert crossed.shape == x.shape


def test_nothing_to_look_at_gives_what_a_row_that_sees_nothing_gives():
    layer, query = attention(), real(2, 3, 8)
    nothing = real(2, 0, 8)
    found, weights = layer(query, nothing, nothing)
    assert weights.shape == (2, 3, 0)
    bias = np.broadcast_to(layer.out_proj.bias.data, found.shape)
    np.testing.assert_array_equal(found.data, bias)


MASKS = {
    "attn_mask": (3, 3),
    "attn_mask of each head": (4, 3, 3),
    "key_padding_mask": (2, 3),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("of_floats", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
def test_rows_that_see_nothing_give_zeros_and_zero_gradients(name, of_floats, need_weights):
    mask = np.full(MASKS[name], -np.inf if of_floats else True, np.float32 if of_floats else bool)
    layer = attention()
    layer.out_proj.bias.data[...] = 0
    x = Tensor(real(2, 3, 8))
    options = {name.split()[0]: mask, "need_weights": need_weights}
    found, weights = layer(x, x, x, **options)
    assert not found.data.any() and (weights is None or not weights.data.any())
    own = [x, layer.in_proj_weight, layer.in_proj_bias, layer.out_proj.weight]
    for g in grad(ops.sum(found * real(2, 3, 8)), own):
        assert not g.any()
    # in a block, what comes in goes through, and learns
    mixed = block(dropout=0.0)
    y = mixed(x, **{f"src_{name.split()[0].removeprefix('attn_')}": mask})
    gradients = grad(ops.sum(y * real(2, 3, 8)), [x, *mixed.parameters()])
    assert np.isfinite(y.data).all() and all(np.isfinite(g).all() for g in gradients)


def test_a_mask_of_floats_may_learn():
    layer, x = attention(bias=False).double(), real(2, 3, 8, dtype=np.float64)
    hidden = np.array([[False, True, False], [False, False, False]])

    def f(added):
        return layer(x, x, x, key_padding_mask=hidden, attn_mask=added)[0]

    check_grads(f, real(3, 3, dtype=np.float64))


def test_hidden_keys_have_no_influence():
    layer, x = attention(), real(2, 5, 8)
    other, padding = x.copy(), np.zeros((2, 5), bool)
    padding[1, 3:] = True
    other[1, 3:] = 1e6
    for need in (False, True):
        ours, theirs = (layer(x, a, a, padding, need)[0].data for a in (x, other))
        np.testing.assert_array_equal(ours, theirs)
    short = block(dropout=0.0)
    np.testing.assert_allclose(
        short(x, src_key_padding_mask=padding).data[1, :3], short(x[1:, :3]).data[0], rtol=1e-4,
        atol=1e-5,
    )  # fmt: skip


def test_arrays_of_masks_stay_as_they_are():
    layer, x = attention(), real(2, 3, 8)
    padding, mask = rng.random((2, 3)) < 0.3, real(3, 3)
    before = padding.copy(), mask.copy()
    layer(x, x, x, padding, attn_mask=mask)
    np.testing.assert_array_equal(padding, before[0])
    np.testing.assert_array_equal(mask, before[1])


@pytest.mark.parametrize("need_weights", [False, True])
def test_dropout_keeps_the_mean_and_is_of_training_alone(need_weights):
    random.manual_seed(0)
    layer, x = attention(0.3), real(2, 4, 8)
    first, second = (layer(x, x, x, need_weights=need_weights)[0].data for _ in range(2))
    assert not np.array_equal(first, second)
    mean = sum(layer(x, x, x, need_weights=need_weights)[0].data for _ in range(2000)) / 2000
    draw = random.default.draw
    whole, again = (layer.eval()(x, x, x, need_weights=need_weights)[0].data for _ in range(2))
    np.testing.assert_array_equal(whole, again)
    assert random.default.draw == draw
    np.testing.assert_allclose(mean, whole, atol=0.1)
    assert np.abs(mean - whole).max() < 0.15 * np.abs(first - whole).max()


def test_a_block_drops_in_four_places_and_none_in_eval_mode():
    random.manual_seed(0)
    layer, x = block(dropout=0.5), Tensor(real(2, 4, 8))
    draw = random.default.draw
    layer(x)
    assert random.default.draw == draw + 4
    layer.eval()
    np.testing.assert_array_equal(layer(x).data, layer(x).data)
    assert random.default.draw == draw + 4
    assert all(m.p == 0.5 for m in layer.modules() if isinstance(m, nn.Dropout))
    assert layer.self_attn.dropout == 0.5


def test_a_stack_in_training_drops_in_each_copy():
    stack, x = nn.TransformerEncoder(block(dropout=0.5), 2), real(2, 4, 8)
    draw = random.default.draw
    stack(x)
    assert random.default.draw == draw + 8
    assert np.array_equal(stack.eval()(x).data, stack(x).data)


@given(st.integers(1, 4), st.integers(0, 500), st.integers(0, 40), st.integers(0, 500))
def test_products_of_turned_vectors_depend_on_distance_alone(half, i, apart, j):
    rotary = nn.RotaryEmbedding(2 * half)
    draw = np.random.default_rng(half)
    q, k = (draw.standard_normal((1, 2 * half)) for _ in range(2))
    here = np.sum(rotary(q, i) * rotary(k, i + apart))
    there = np.sum(rotary(q, j) * rotary(k, j + apart))
    np.testing.assert_allclose(here, there, rtol=0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(rotary(q, i)), np.linalg.norm(q))


@pytest.mark.parametrize("dtype, near", [("float32", 1e-5), ("float64", 1e-12)])
def test_rotary_positions_mean_this_loop(dtype, near):
    x = real(2, 3, 6, dtype=dtype)
    found = nn.RotaryEmbedding(6, base=50.0)(Tensor(x), start=4)
    for n, place, j in np.ndindex(2, 3, 3):
        angle = (4 + place) * 50.0 ** (-2 * j / 6)
        a, b = float(x[n, place, j]), float(x[n, place, j + 3])
        turned = complex(a, b) * complex(math.cos(angle), math.sin(angle))
        pair = found.data[n, place, [j, j + 3]]
        np.testing.assert_allclose(pair, [turned.real, turned.imag], rtol=near, atol=near)
    assert found.dtype == dtype
    assert nn.RotaryEmbedding(6).state_dict() == {}  # there is nothing to save


def of(**shapes):
    """query, key and value of those shapes."""
    shapes = {"key": shapes["query"], "value": shapes.get("key", shapes["query"])} | shapes
    return [np.zeros(shapes[name], np.float32) for name in ("query", "key", "value")]


X = of(query=(2, 3, 8))
NEEDED = r"MultiheadAttention: needs query \(n, q, 8\), key and value \(n, k, 8\), or all without n"
REFUSED = {
    "heads": (lambda: nn.MultiheadAttention(8, 3), "Attention: 3 heads cannot share 8 features"),
    "no heads": (lambda: nn.MultiheadAttention(8, 0), "0 heads cannot share 8 features equally"),
    "dropout": (lambda: nn.MultiheadAttention(8, 2, 1.5), "Dropout: p must be from 0 to 1, got 1"),
    "width": (lambda: attention()(*of(query=(2, 3, 7))), rf"{NEEDED}, got \(2, 3, 7\) float32 cpu"),
    "axes": (lambda: attention()(*of(query=(2, 3, 1, 8))), NEEDED),
    "one axis": (lambda: attention()(*of(query=(8,))), NEEDED),
    "a key without n": (lambda: attention()(*of(query=(2, 3, 8), key=(3, 8))), NEEDED),
    "key and value": (
        lambda: attention()(*of(query=(2, 3, 8), key=(2, 5, 8), value=(2, 4, 8))),
        rf"{NEEDED}, got \(2, 3, 8\) float32 cpu, \(2, 5, 8\) float32 cpu, \(2, 4, 8\)",
    ),
    "key's width": (lambda: attention()(*of(query=(2, 3, 8), key=(2, 3, 6))), NEEDED),
    "another n": (lambda: attention()(*of(query=(2, 3, 8), key=(1, 5, 8))), NEEDED),
    "another n, second": (
        lambda: attention(batch_first=False)(*of(query=(2, 3, 8), key=(2, 5, 8))),
        r"needs query \(q, n, 8\), key and value \(k, n, 8\), or all without n",
    ),
    "a mask of another shape": (
        lambda: attention()(*X, attn_mask=np.zeros((2, 3), bool)),
        r"attn_mask must be \(3, 3\) or \(4, 3, 3\), of bool or float32, got \(2, 3\) bool cpu",
    ),
    "padding of another shape": (
        lambda: attention()(*X, np.zeros((3, 3), bool)),
        r"key_padding_mask must be \(2, 3\), of bool or float32, got \(3, 3\) bool cpu",
    ),
    "padding without n": (
        lambda: attention()(*of(query=(3, 8)), np.zeros((1, 3), bool)),
        r"key_padding_mask must be \(3,\), of bool or float32, got \(1, 3\)",
    ),
    "whole numbers": (
        lambda: attention()(*X, attn_mask=np.zeros((3, 3), int)),
        r"attn_mask must be .*, of bool or float32, got \(3, 3\) int64 cpu",
    ),
    "another dtype": (
        lambda: attention()(*X, attn_mask=np.zeros((3, 3))),
        "attn_mask must be .*, of bool or float32, got .* float64 cpu",
    ),
    "a list": (lambda: attention()(*X, attn_mask=[[True] * 3] * 3), "of bool or .*, got .*True"),
    "activation": (
        lambda: block(activation="elu"),
        "TransformerEncoderLayer: activation must be 'relu' or 'gelu' or 'gelu_tanh' or a function,"
        " got 'elu'",
    ),
    "odd dim": (lambda: nn.RotaryEmbedding(3), "RotaryEmbedding: dim must be even, 2 or more, go"),
    "no dim": (lambda: nn.RotaryEmbedding(0), "dim must be even, 2 or more, got 0"),
    "rotary width": (
        lambda: nn.RotaryEmbedding(4)(real(2, 3, 6)),
        r"RotaryEmbedding: needs x \(..., places, 4\), got \(2, 3, 6\) float32 cpu",
    ),
    "rotary axes": (lambda: nn.RotaryEmbedding(4)(real(4)), r"needs x .* got \(4,\) float32 cpu"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    call, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        call()


def test_what_pytorch_takes_and_is_not_there_is_a_type_error():
    for options in ({"kdim": 4}, {"vdim": 4}, {"add_bias_kv": True}, {"add_zero_attn": True}):
        with pytest.raises(TypeError, match=next(iter(options))):
            nn.MultiheadAttention(8, 2, **options)
    with pytest.raises(TypeError, match="add_bias_kv"):  # PyTorch's fifth
        nn.MultiheadAttention(8, 2, 0.0, True, True)
    assert nn.MultiheadAttention(8, 2, 0.0, True, False, False, 8, None, True).batch_first


@pytest.mark.parametrize("positions", ["learnt", "rotary"])
@pytest.mark.parametrize("causal", [True, False])
def test_a_transformer_in_float64_is_float64_throughout(causal, positions):
    random.manual_seed(0)
    net = models.Transformer(7, 5, 8, 2, 2, causal=causal, positions=positions, dropout=0.1)
    tokens = np.array([[1, 2, 3, 4, 0], [6, 5, 1, 0, 2]])
    near = net.eval()(tokens).data
    cache = []
    net.double().train()
    whole = net(tokens)
    assert whole.dtype == np.float64 and all(p.dtype == np.float64 for p in net.parameters())
    gradients = grad(ops.sum(whole * whole), net.parameters())
    assert all(g.dtype == np.float64 for g in gradients)
    assert all(a.dtype == np.float64 for a in net.state_dict().values())
    found = net.eval()(tokens, cache)
    assert {a.dtype for pair in cache for a in pair} == {np.dtype(float)}
    np.testing.assert_allclose(found.data, near, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.data, net(tokens).data)
    assert net.float()(tokens).dtype == np.float32


@pytest.mark.parametrize("positions", ["learnt", "rotary"])
def test_a_transformer_of_texts_of_one_token(positions):
    random.manual_seed(0)
    both = [models.Transformer(7, 5, 8, 2, 2, causal=c, positions=positions) for c in (True, False)]
    both[1].load_state_dict(both[0].state_dict())
    one, other = (net(np.array([[3], [1]])).data for net in both)
    assert one.shape == (2, 1, 7)
    np.testing.assert_allclose(one, other, rtol=1e-6)  # there is nothing else to see


def on_both(layer, call):
    """What a layer gives on the CPU, and on the stand-in for a GPU, and both gradients."""
    made = []
    for where in ("cpu", "gpu"):
        layer.to(where)
        y = call(lambda a, where=where: device.to(a, where))
        gradients = grad(ops.sum(y * y), layer.parameters())
        made.append([device.to_host(a) for a in (y.data, *gradients)])
    return made


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("need_weights", [True, False])
def test_masks_on_the_gpu_are_those_of_the_cpu(need_weights):
    layer, x, y = attention(), real(2, 3, 8), real(2, 5, 8)
    hidden, added = rng.random((2, 5)) < 0.5, real(3, 5)
    hidden[0] = True

    def call(to):
        key = to(y)
        return layer(to(x), key, key, to(hidden), need_weights, to(added))[0]

    for a, b in zip(*on_both(layer, call), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("how", [{}, {"temperature": 0}, {"top_k": 5, "top_p": 0.9}])
def test_a_text_written_on_the_gpu_is_that_of_the_cpu(how):
    texts = []
    for where in ("cpu", "gpu"):
        random.manual_seed(0)
        model = models.gpt(context=6, width=8, depth=1, heads=2, device=where)
        texts.append(model.sample(2, "abc", 12, source=random.Generator(1), **how))
        assert model.held_out([np.arange(14).reshape(2, 7)]) == pytest.approx(math.log(256), 0.01)
    assert texts[0] == texts[1]
