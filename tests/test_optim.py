"""Optimizer steps against values computed by hand, and their state."""

import numpy as np
import pytest

from tinygan import nn, optim

P, G = np.array([1.0, -2.0]), np.array([0.5, -4.0])


def run(kind, steps=1, **options):
    p = nn.Parameter(P.copy())
    o = kind([p], **options)
    for i in range(steps):
        o.step([G * (i + 1)])
    return p.data


def test_sgd():
    np.testing.assert_allclose(run(optim.SGD, lr=0.1), P - 0.1 * G)
    np.testing.assert_allclose(run(optim.SGD, 2, lr=0.1, momentum=0.9), P - 0.1 * G - 0.1 * (0.9 * G + 2 * G))
    look_ahead = P - 0.1 * (G + 0.9 * G) - 0.1 * (2 * G + 0.9 * (0.9 * G + 2 * G))
    np.testing.assert_allclose(run(optim.SGD, 2, lr=0.1, momentum=0.9, nesterov=True), look_ahead)
    np.testing.assert_allclose(run(optim.SGD, lr=0.1, weight_decay=0.01), P - 0.1 * (G + 0.01 * P))


def test_rmsprop():
    v = 0.01 * G * G
    first = P - 0.1 * G / (np.sqrt(v) + 1e-8)
    np.testing.assert_allclose(run(optim.RMSprop, lr=0.1), first)
    v = 0.99 * v + 0.01 * 4 * G * G
    np.testing.assert_allclose(run(optim.RMSprop, 2, lr=0.1), first - 0.1 * 2 * G / (np.sqrt(v) + 1e-8))


def test_adam():
    np.testing.assert_allclose(run(optim.Adam, lr=0.1), P - 0.1 * G / (np.abs(G) + 1e-8), rtol=1e-12)
    b1, b2, p, m, v = 0.5, 0.9, P.copy(), 0, 0
    for t in (1, 2, 3):
        m, v = b1 * m + (1 - b1) * G * t, b2 * v + (1 - b2) * (G * t) ** 2
        p = p - 0.01 * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
    np.testing.assert_allclose(run(optim.Adam, 3, lr=0.01, betas=(b1, b2)), p, rtol=1e-12)


def test_adam_updates_in_place_whatever_the_layouts():
    rng = np.random.default_rng(0)
    a, g = rng.normal(size=(2, 5, 6, 3, 3)).astype(np.float32)
    p, q = nn.Parameter(a.copy()), nn.Parameter(np.ascontiguousarray(a.transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1))
    memory = q.data
    optim.Adam([p]).step([g]), optim.Adam([q]).step([g])
    assert q.data is memory
    np.testing.assert_array_equal(p.data, q.data)


@pytest.mark.parametrize("kind", [optim.SGD, optim.RMSprop, optim.Adam])
def test_state_resumes_exactly_and_a_mismatch_changes_nothing(kind):
    rng = np.random.default_rng(0)
    a, b = nn.Parameter(P.copy()), nn.Parameter(P.copy())
    first, second = kind([a], 0.1), kind([b], 0.7)
    grads = rng.normal(size=(6, 2))
    for g in grads[:3]:
        first.step([g])
    second.load_state_dict({k: v.copy() for k, v in first.state_dict().items()})
    b.data[...] = a.data
    for g in grads[3:]:
        first.step([g]), second.step([g])
    np.testing.assert_array_equal(a.data, b.data)
    with pytest.raises(ValueError, match="unchanged"):
        second.load_state_dict({"lr": np.ones(1)})
    assert second.lr == 0.1


def test_step_reads_what_backward_left_and_skips_what_it_did_not():
    p, q = nn.Parameter(P.copy()), nn.Parameter(P.copy())
    o = optim.SGD([p, q], lr=0.1)
    (p * np.array([2.0, 2.0])).sum().backward()
    o.step()
    np.testing.assert_allclose(p.data, P - 0.2)
    np.testing.assert_array_equal(q.data, P)
    o.zero_grad()
    assert p.grad is None


def test_float32_stays_float32_and_lr_can_change():
    p = nn.Parameter(P.astype(np.float32))
    for o in (optim.SGD([p], 0.1, momentum=0.9), optim.RMSprop([p]), optim.Adam([p])):
        o.lr = 0.5
        o.step([G.astype(np.float32)])
        assert p.dtype == np.float32 and o.lr == 0.5 and all(s.dtype == np.float32 for k in o._slots for s in o._slots[k])


def test_ema():
    a, b = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    b.weight.data[...] = 3.0
    ema = optim.EMA(a, b, 0.9)
    np.testing.assert_array_equal(a.weight.data, [3, 3])
    b.weight.data[...], b.running_mean[...] = 5.0, 1.0
    ema.update()
    keep = 2 / 11  # young
    np.testing.assert_allclose(a.weight.data, [5 - 2 * keep] * 2, rtol=1e-6)
    ema.load_state_dict({"updates": np.array([1000])})
    ema.update()
    np.testing.assert_allclose(a.running_mean, [1 - 0.9 * keep] * 2, rtol=1e-6)
    assert ema.state_dict()["updates"] == 1001


def test_bad_use():
    p = nn.Parameter(P.copy())
    for call, words in [
        (lambda: optim.SGD([]), "no parameters"),
        (lambda: optim.Adam([p], lr=-1), "at least 0"),
        (lambda: optim.Adam([p]).step([G, G]), "2 gradients for 1 parameters"),
        (lambda: optim.Adam([p]).step([G[:1]]), r"has shape \(2,\), its gradient \(1,\)"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
