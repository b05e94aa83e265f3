"""`ops.scaled_dot_product_attention` and `ops.attention_weights`: masks, edges, errors, dropout."""

import numpy as np
import pytest

from tinygan import Tensor, grad, ops, random

rng = np.random.default_rng(0)
attention = ops.scaled_dot_product_attention


def real(*shape):
    return rng.standard_normal(shape)


Q, K, V = real(2, 3, 4, 5), real(2, 3, 6, 5), real(2, 3, 6, 2)


def plain(query, key, value, seen, scale):
    """One query after another, over the keys that it sees."""
    out = np.zeros((*query.shape[:-1], value.shape[-1]))
    for place in np.ndindex(query.shape[:-1]):
        *batch, i = place
        keys = [j for j in range(key.shape[-2]) if seen[place][j]]
        e = np.array([np.exp(scale * query[place] @ key[(*batch, j)]) for j in keys])
        for share, j in zip(e / e.sum(), keys):
            out[place] += share * value[(*batch, j)]
    return out


@pytest.mark.parametrize("dtype, near", [("float32", 1e-6), ("float64", 1e-14)])
def test_attention_means_this_loop(dtype, near):
    mask = real(2, 1, 4, 6) > 0
    mask[0, 0, 1], mask[1, 0, 0, 1:] = False, False
    causal = np.tri(4, 6, dtype=bool)
    added = np.where(mask, 0, -np.inf).astype(dtype)
    arrays = [a.astype(dtype) for a in (Q, K, V)]
    for options, seen in (
        ({"attn_mask": mask}, mask),
        ({"attn_mask": added}, mask),
        ({"attn_mask": Tensor(added)}, mask),
        ({"attn_mask": mask, "is_causal": True}, mask & causal),
        ({"is_causal": True}, causal),
        ({"attn_mask": mask[:, :, :, :1] | False}, mask[:, :, :, :1]),
        ({}, np.array(True)),
    ):
        found = ops.raw(attention(*arrays, **options))
        assert found.dtype == dtype
        seen = np.broadcast_to(seen, (2, 3, 4, 6))
        np.testing.assert_allclose(found, plain(Q, K, V, seen, 5**-0.5), rtol=0, atol=near)
        weights = ops.raw(ops.attention_weights(*arrays[:2], **options))
        np.testing.assert_array_equal(weights[~seen], 0)
        rows = seen.any(axis=-1)
        np.testing.assert_allclose(weights.sum(axis=-1), rows, rtol=0, atol=near)


@pytest.mark.parametrize("mask", [np.zeros((4, 6), bool), np.full((4, 6), -np.inf)])
def test_rows_that_see_nothing_are_zeros_and_so_are_their_gradients(mask):
    xs = [Tensor(a) for a in (Q, K, V)]
    out = attention(*xs, mask)
    assert not out.data.any()
    first = grad(ops.sum(out * out + out), xs, create_graph=True)
    second = grad(ops.sum(sum(ops.sum(g * g + g) for g in first)), xs, allow_unused=True)
    for g in (*(g.data for g in first), *(g for g in second if g is not None)):
        assert not g.any()


def test_a_bias_learns():
    bias = Tensor(real(4, 6))
    weights = ops.attention_weights(Q, K, bias)
    g = real(*weights.shape)
    p = weights.data
    expected = (p * (g - (g * p).sum(-1, keepdims=True))).sum((0, 1))
    np.testing.assert_allclose(grad(weights, bias, g), expected, rtol=1e-12)


def test_a_scale_that_is_a_tensor_learns():
    scale = Tensor(np.array(0.3))
    assert (attention(Q, K, V, scale=scale).data == attention(Q, K, V, scale=0.3)).all()
    slope = grad(attention(Q, K, V, scale=scale), scale, np.ones((2, 3, 4, 2)))
    near = [attention(Q, K, V, scale=0.3 + d).sum() for d in (1e-6, -1e-6)]
    np.testing.assert_allclose(slope, (near[0] - near[1]) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_lengths_of_1_and_0(causal):
    one = attention(Q[..., :1, :], K[..., :1, :], V[..., :1, :], is_causal=causal)
    np.testing.assert_array_equal(one, V[..., :1, :])
    assert attention(Q[..., :0, :], K, V, is_causal=causal).shape == (2, 3, 0, 2)
    assert attention(Q[:0], K[:0], V[:0], is_causal=causal).shape == (0, 3, 4, 2)
    nothing = attention(Q, K[..., :0, :], V[..., :0, :], is_causal=causal)
    np.testing.assert_array_equal(nothing, np.zeros((2, 3, 4, 2)))
    same = attention(Q[..., :0], K[..., :0], V)
    np.testing.assert_allclose(same, np.broadcast_to(V.mean(-2, keepdims=True), same.shape))


def test_what_comes_later_has_no_influence():
    k, v = K.copy(), V.copy()
    k[..., 3:, :], v[..., 3:, :] = 1e9, -7
    for i in range(3):
        ours, theirs = (attention(Q, *kv, is_causal=True)[..., i, :] for kv in ((k, v), (K, V)))
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ((Q[0, 0, 0], K, V), ValueError, r"attention: needs query \(..., q, d\).*got \(5,\)"),
        ((Q, K[..., :2], V), ValueError, r"needs query .* key .*got .*\(2, 3, 6, 2\) float64"),
        ((Q, K, V[..., :2, :]), ValueError, r"scaled_dot_product_attention: needs .* value"),
        ((Q, K, V, [[True] * 6] * 4), TypeError, r"attention: attn_mask must be bool or .*True"),
        ((Q, K, V, np.ones((4, 6), int)), TypeError, "must be bool or float64, got .* int64"),
        ((Q, K, V, np.ones((4, 6), "f")), TypeError, "must be bool or float64, got .* float32"),
        (
            (Q, K, V, np.ones((6, 4), bool)),
            ValueError,
            r"attention: attn_mask \(6, 4\) bool cpu does not broadcast .* \(2, 3, 4, 6\)",
        ),
        ((Q, K, V, np.ones((5, 1, 1, 1, 6), bool)), ValueError, "does not broadcast"),
        ((Q, K, V, None, 1.5), ValueError, "attention: dropout_p must be from 0 to 1, got 1.5"),
    ],
)
def test_errors_name_what_clashed(arguments, error, words):
    with pytest.raises(error, match=words):
        attention(*arguments)
    with pytest.raises(TypeError, match="attention_weights: attn_mask must be bool or float64"):
        ops.attention_weights(Q, K, 3)


def test_dropout_drops_weights_and_draws_as_the_layer_does():
    random.manual_seed(3)
    dropped = attention(Q, K, V, dropout_p=0.5)
    random.manual_seed(3)
    weights = ops.attention_weights(Q, K)
    kept = ops.reshape(ops.dropout(ops.reshape(weights, (-1, 6)), 0.5), weights.shape)
    np.testing.assert_array_equal(dropped, kept @ V)
    assert 0.2 < (kept == 0).mean() < 0.8
    np.testing.assert_allclose(kept[kept != 0], 2 * weights[kept != 0])
    assert not attention(Q, K, V, dropout_p=1.0).any()
    assert ops.dropout(Q, 0.5, training=False) is Q and ops.dropout(Q, 0.0) is Q
    with pytest.raises(ValueError, match="dropout: p must be from 0 to 1, got -1"):
        ops.dropout(Q, -1)
