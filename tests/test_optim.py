"""Optimizer steps against values computed by hand, their groups and state, what they refuse;
clipping, schedules, averages.
"""

import copy
import itertools
import pickle
import shutil

import numpy as np
import pytest

from tinygan import Tensor, checkpoint, device, models, nn, optim, random
from tinygan.capture import capture
from tinygan.optim import schedules

KINDS = [
    optim.SGD,
    optim.RMSprop,
    optim.Adam,
    optim.AdamW,
    optim.Adagrad,
    optim.Adadelta,
    optim.ASGD,
    optim.Adamax,
    optim.NAdam,
]
KINDS += [optim.RAdam]
VARIANTS = [(kind, {}) for kind in KINDS] + [
    (optim.SGD, {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    (optim.SGD, {"momentum": 0.9, "nesterov": True, "maximize": True}),
    (optim.RMSprop, {"momentum": 0.5, "centered": True}),
    (optim.Adam, {"amsgrad": True, "weight_decay": 0.1, "maximize": True}),
    (optim.NAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
]
every_variant = pytest.mark.parametrize(
    "kind, options", VARIANTS, ids=[f"{k.__name__}{o or ''}" for k, o in VARIANTS]
)
P, G = np.array([1.0, -2.0]), np.array([0.5, -4.0])


def run(kind, steps=1, **options):
    p = nn.Parameter(P.copy())
    o = kind([p], **options)
    for i in range(steps):
        o.step([G * (i + 1)])
    return p.data


def test_sgd():
    np.testing.assert_allclose(run(optim.SGD, lr=0.1), P - 0.1 * G)
    np.testing.assert_allclose(
        run(optim.SGD, 2, lr=0.1, momentum=0.9), P - 0.1 * G - 0.1 * (0.9 * G + 2 * G)
    )
    look_ahead = P - 0.1 * (G + 0.9 * G) - 0.1 * (2 * G + 0.9 * (0.9 * G + 2 * G))
    np.testing.assert_allclose(run(optim.SGD, 2, lr=0.1, momentum=0.9, nesterov=True), look_ahead)
    np.testing.assert_allclose(run(optim.SGD, lr=0.1, weight_decay=0.01), P - 0.1 * (G + 0.01 * P))


def test_rmsprop():
    v = 0.01 * G * G
    first = P - 0.1 * G / (np.sqrt(v) + 1e-8)
    np.testing.assert_allclose(run(optim.RMSprop, lr=0.1), first)
    v = 0.99 * v + 0.01 * 4 * G * G
    np.testing.assert_allclose(
        run(optim.RMSprop, 2, lr=0.1), first - 0.1 * 2 * G / (np.sqrt(v) + 1e-8)
    )


def test_adam():
    np.testing.assert_allclose(
        run(optim.Adam, lr=0.1), P - 0.1 * G / (np.abs(G) + 1e-8), rtol=1e-12
    )
    b1, b2, p, m, v = 0.5, 0.9, P.copy(), 0, 0
    for t in (1, 2, 3):
        m, v = b1 * m + (1 - b1) * G * t, b2 * v + (1 - b2) * (G * t) ** 2
        p = p - 0.01 * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
    np.testing.assert_allclose(run(optim.Adam, 3, lr=0.01, betas=(b1, b2)), p, rtol=1e-12)


def test_adam_updates_in_place_whatever_the_layouts():
    rng = np.random.default_rng(0)
    a, g = rng.normal(size=(2, 5, 6, 3, 3)).astype(np.float32)
    p = nn.Parameter(a.copy())
    q = nn.Parameter(np.ascontiguousarray(a.transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1))
    memory = q.data
    optim.Adam([p]).step([g]), optim.Adam([q]).step([g])
    assert q.data is memory
    np.testing.assert_array_equal(p.data, q.data)


@every_variant
def test_state_resumes_exactly_and_a_mismatch_changes_nothing(kind, options):
    rng = np.random.default_rng(0)
    a, b = nn.Parameter(P.copy()), nn.Parameter(P.copy())
    first, second = kind([a], 0.1, **options), kind([b], 0.7, **options)
    grads = rng.normal(size=(6, 2))
    for g in grads[:3]:
        first.step([g])
    second.load_state_dict({k: v.copy() for k, v in first.state_dict().items()})
    b.data[...] = a.data
    for g in grads[3:]:
        first.step([g]), second.step([g])
    np.testing.assert_array_equal(a.data, b.data)
    state = second.state_dict()
    before = {k: v.copy() for k, v in state.items()}
    with pytest.raises(ValueError, match=r"unchanged, since missing step \(1,\) int64 cpu"):
        second.load_state_dict({"lr": np.ones(1)})
    with pytest.raises(ValueError, match=r"since lr has shape \(2,\), not \(1,\)"):
        second.load_state_dict({**state, "lr": np.ones(2)})
    assert second.lr == 0.1 and all(
        np.array_equal(before[k], v) for k, v in second.state_dict().items()
    )


def test_step_reads_what_backward_left_and_skips_what_it_did_not():
    p, q = nn.Parameter(P.copy()), nn.Parameter(P.copy())
    o = optim.SGD([p, q], lr=0.1)
    (p * np.array([2.0, 2.0])).sum().backward()
    o.step()
    np.testing.assert_allclose(p.data, P - 0.2)
    np.testing.assert_array_equal(q.data, P)
    o.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0] and q.grad is None
    o.zero_grad()
    assert p.grad is None


def test_float32_stays_float32_and_lr_can_change():
    p = nn.Parameter(P.astype(np.float32))
    for o in (optim.SGD([p], 0.1, momentum=0.9), optim.RMSprop([p]), optim.Adam([p])):
        o.lr = 0.5
        o.step([G.astype(np.float32)])
        assert (
            p.dtype == np.float32
            and o.lr == 0.5
            and all(a.dtype == np.float32 for k, a in o.state.items() if "." in k)
        )


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


def test_each_parameter_counts_its_own_steps():
    early, late = nn.Parameter(P.copy()), nn.Parameter(P.copy())
    o = optim.Adam([early, late], lr=0.1)
    for _ in range(5):
        o.step([G, None])
    np.testing.assert_array_equal(late.data, P)
    o.step([G, G])
    # a first step: lr exactly, but for eps
    np.testing.assert_allclose(late.data, P - 0.1 * np.sign(G), rtol=1e-7)
    assert o.state_dict()["step"].tolist() == [6, 1]


@every_variant
def test_a_late_parameter_moves_as_one_that_is_alone(kind, options):
    ps = [nn.Parameter(P.copy()) for _ in range(5)]
    o, alone = kind(ps[:4], **options), kind(ps[4:], **options)
    for grads in ([G, None, G, None], [None] * 4, [G, None, G, G], [G, 2 * G, None, G]):
        o.step(grads)
    for g in (G, G):
        alone.step([g])
    np.testing.assert_array_equal(ps[3].data, ps[4].data)
    np.testing.assert_array_equal(ps[2].data, ps[4].data)
    assert o.state["step"].tolist() == [3, 1, 2, 2]


@every_variant
def test_parameters_without_axes(kind, options):
    ps = [nn.Parameter(np.array(1.0)), nn.Parameter(np.array([1.0])), nn.Parameter(np.float64(1.0))]
    o = kind(ps, **options)
    for g in (0.5, -2.0, 1.0):
        o.step([np.array(g), np.array([g]), np.float64(g)])
    assert ps[0].shape == ps[2].shape == () and ps[0].item() == ps[1].item() == ps[2].item() != 1


@every_variant
def test_groups_have_options_of_their_own(kind, options):
    ps = [nn.Parameter(P.copy()) for _ in range(6)]
    o = kind([{"params": ps[:2]}, {"params": ps[2], "lr": 0.3}], 0.1, **options)
    o.add_param_group({"params": [("late", ps[3])], "weight_decay": 0.5})
    apart = kind(ps[4:5], 0.3, **options), kind(ps[5:], 0.1, **(options | {"weight_decay": 0.5}))
    for i in range(3):
        g = G * (i - 1.5)
        o.step([g] * 4), [other.step([g]) for other in apart]
        assert len({o.param_groups[i]["lr"] for i in (0, 2)}) == 1
    np.testing.assert_array_equal(ps[2].data, ps[4].data)
    np.testing.assert_array_equal(ps[3].data, ps[5].data)
    assert o.params == ps[:4] and [len(g["params"]) for g in o.param_groups] == [2, 1, 1]
    assert o.state["lr"].tolist() == [0.1, 0.3, 0.1] and o.state["step"].tolist() == [3] * 4


def test_an_optimizer_of_ones_own():
    class SignDescent(optim.Optimizer):
        slots = {"seen": None}

        def __init__(self, params, lr=0.5):
            super().__init__(params, {"lr": lr})

        def update(self, p, g, seen, *, lr, t, options):
            seen += np.sign(g)
            p -= (lr / t).astype(p.dtype) * seen

    p = nn.Parameter(P.astype(np.float32))
    o = SignDescent([p])
    for g in (G, G, -G):
        o.step([g.astype(np.float32)])
    np.testing.assert_allclose(p.data, P - 0.5 * np.sign(G) * (1 + 2 / 2 + 1 / 3), rtol=1e-6)
    assert list(o.state_dict()) == ["lr", "step", "seen.0"] and p.dtype == np.float32


def test_learning_rates_of_groups():
    ps = [nn.Parameter(P.copy()) for _ in range(2)]
    o = optim.SGD(
        [{"params": ps[:1]}, {"params": ps[1:], "lr": np.float32(0.25)}], lr=Tensor(np.float64(0.5))
    )
    assert [g["lr"] for g in o.param_groups] == [0.5, 0.25] and type(
        o.param_groups[1]["lr"]
    ) is float
    with pytest.raises(ValueError, match="differs among groups"):
        o.lr  # noqa: B018
    o.param_groups[0]["lr"] = 1.0
    o.step([G, G])
    np.testing.assert_allclose([p.data for p in ps], [P - G, P - 0.25 * G])
    o.lr = 0.125
    assert o.lr == 0.125 and o.state["lr"].tolist() == [0.125, 0.125]
    group = o.param_groups[1]
    for name, value in (("lr", -1), ("lr", None), ("momentun", 0.9), ("lr", float("nan"))):
        with pytest.raises((ValueError, TypeError)):
            group[name] = value
    assert dict(group) == {"params": ps[1:], **o.defaults, "lr": 0.125}
    group["momentum"] = 0.5  # from nothing: its memory is made
    o.step([G, G]), o.step([G, G])
    assert "momentum_buffer.1" in o.state and "momentum_buffer.0" not in o.state


def test_copies_of_an_optimizer_are_whole():
    p = nn.Parameter(P.copy())
    o = optim.Adam([p], 0.1)
    o.step([G])
    for other in (copy.deepcopy(o), pickle.loads(pickle.dumps(o))):
        before = p.data.copy()
        other.param_groups[0]["lr"] = 0.2
        other.step([G])
        assert (
            other.state["lr"] == 0.2
            and other.state["step"] == 2
            and other.params[0] is other.param_groups[0]["params"][0]
        )
        assert o.lr == 0.1 and (p.data == before).all() and (other.params[0].data != before).all()


def test_checkpoints_from_before_parameters_had_their_own_steps(tmp_path):
    random.manual_seed(0)
    model, x = models.VAES["mlp"](latent=2), np.zeros((2, 1, 28, 28), np.float32)
    for _ in range(3):
        model.step(x)
    checkpoint.save(tmp_path / "new.npz", model.parts(), {"step": 3})
    arrays = dict(np.load(tmp_path / "new.npz"))
    assert arrays["optimizer/step"].tolist() == [3] * 8
    np.savez(tmp_path / "old.npz", **arrays | {"optimizer/step": np.array([3])})
    other = models.VAES["mlp"](latent=2)
    checkpoint.load(tmp_path / "old.npz", other.parts())
    assert all(
        np.array_equal(a, model.optimizer.state[k]) for k, a in other.optimizer.state.items()
    )


leaf = lambda *shape, dtype=np.float32: nn.Parameter(np.ones(shape or 2, dtype))
LAYER = nn.Linear(3, 2)
REFUSED = [
    (lambda: optim.SGD(LAYER.weight, 0.1), TypeError, r"must be a list, such as \[layer.weight\]"),
    (lambda: optim.Adam(LAYER), TypeError, r"net.parameters\(\), got Linear"),
    (lambda: optim.Adam({leaf()}), TypeError, "got set"),
    (
        lambda: optim.Adam([np.ones(2)]),
        TypeError,
        r"parameter 0 must be a Tensor, got \(2,\) float64",
    ),
    (lambda: optim.Adam([leaf(), "w"]), TypeError, "parameter 1 must be a Tensor, got 'w'"),
    (lambda: optim.Adam([("w", np.ones(2))]), TypeError, "w must be a Tensor"),
    (lambda: optim.Adam([{"lr": 0.1}]), TypeError, "is no dict with 'params'"),
    (lambda: optim.Adam([{"params": leaf()}, leaf()]), TypeError, "is no dict with 'params'"),
    (
        lambda: optim.Adam([leaf() * 2]),
        ValueError,
        "parameter 0 is a result of multiply, not a leaf",
    ),
    (lambda: optim.SGD([]), ValueError, "no parameters"),
    (lambda: optim.SGD([{"params": []}]), ValueError, "no parameters"),
    (lambda: optim.SGD([*LAYER.parameters(), LAYER.weight]), ValueError, "weight is there twice"),
    (
        lambda: optim.SGD([{"params": LAYER.weight}, {"params": LAYER.named_parameters()}]),
        ValueError,
        "weight is there twice",
    ),
    (
        lambda: optim.SGD([{"params": leaf(), "momentun": 0.9}]),
        ValueError,
        "no option 'momentun': it has lr, momentum",
    ),
    (
        lambda: optim.SGD([{"params": leaf(), "lr": -1}]),
        ValueError,
        "lr must be a finite number of at least 0",
    ),
    (
        lambda: optim.SGD([leaf()], momentum=-0.9),
        ValueError,
        "momentum must be a finite number of at least 0, got -0.9",
    ),
    (lambda: optim.SGD([leaf()], weight_decay=-1), ValueError, "weight_decay must be"),
    (lambda: optim.SGD([leaf()], nesterov=True), ValueError, "nesterov needs a momentum"),
    (
        lambda: optim.SGD([leaf()], momentum=0.9, dampening=0.1, nesterov=True),
        ValueError,
        "nesterov needs .* no dampening",
    ),
    (lambda: optim.SGD([leaf()], lr=float("nan")), ValueError, "lr must be"),
    (lambda: optim.RMSprop([leaf()], alpha=-0.1), ValueError, "alpha must be"),
    (lambda: optim.RMSprop([leaf()], eps=-1e-8), ValueError, "eps must be"),
    *(
        (
            lambda b=b, kind=kind: kind([leaf()], betas=b),
            ValueError,
            "betas must be two numbers from 0 to below 1",
        )
        for b, kind in itertools.product(
            [(1, 0.999), (0.9, 1.0), (-0.1, 0.9), (0.9,)], [optim.Adam, optim.AdamW, optim.NAdam]
        )
    ),
    (
        lambda: optim.EMA(nn.Linear(1, 1), nn.Linear(1, 1), 1.5),
        ValueError,
        "decay must be from 0 to 1",
    ),
    (lambda: optim.clip_grad_norm_([np.ones(2)], -1), ValueError, "limit must be at least 0"),
    (
        lambda: optim.clip_grad_value_([np.ones(2)], float("nan")),
        ValueError,
        "limit must be at least 0",
    ),
    (lambda: optim.clip_grad_norm_([leaf() * 2], 1), TypeError, "needs leaves, or raw arrays"),
    (
        lambda: optim.clip_grad_norm_([0.5], 1),
        TypeError,
        "needs leaves, or raw arrays of floats, got 0.5",
    ),
]


@pytest.mark.parametrize("call, error, words", REFUSED, ids=[words for *_, words in REFUSED])
def test_what_makes_no_sense_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


@every_variant
def test_a_gradient_that_does_not_fit_is_named_before_anything_has_moved(kind, options):
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    o = kind(net.named_parameters(), **options)
    good = [np.ones_like(p.data) for p in net.parameters()]
    o.step(good)
    before = {k: v.copy() for k, v in (o.state | net.state_dict()).items()}
    for bad, words in (
        (
            np.ones((2, 1), np.float32),
            r"1.weight is \(1, 2\) float32 cpu and its gradient \(2, 1\) float32 cpu",
        ),
        (
            np.ones((1, 2)),
            r"1.weight is \(1, 2\) float32 cpu and its gradient \(1, 2\) float64 cpu",
        ),
        (0.5, "gradient 0.5"),
    ):
        with pytest.raises(ValueError, match=words):
            o.step([*good[:2], bad, good[3]])
    with pytest.raises(ValueError, match="3 gradients for 4 parameters"):
        o.step(good[:3])
    with pytest.raises(ValueError, match="it has lr"):
        o.add_param_group({"params": [nn.Parameter(P)], "bets": 1})
    assert (
        all(np.array_equal(before[k], v) for k, v in (o.state | net.state_dict()).items())
        and len(o.param_groups) == 1
    )
    net.double()
    with pytest.raises(
        ValueError,
        match=r"0.weight is \(2, 3\) float64 cpu and its .* float32 when the optimizer was made",
    ):
        o.step()


def test_clipping_by_the_norm_of_all():
    grads = [np.array([3.0, 0.0]), None, np.array(4.0), np.zeros((0, 2))]
    assert optim.clip_grad_norm_(grads, 10) == 5 and grads[0][0] == 3
    assert optim.clip_grad_norm_(grads, 1) == 5
    np.testing.assert_allclose([grads[0][0], grads[2]], [0.6, 0.8], rtol=1e-6)
    assert optim.clip_grad_norm_([], 1) == optim.clip_grad_norm_([None], 1) == 0
    p, q = nn.Parameter(P.copy()), nn.Parameter(np.array(0.0))
    p.grad, q.grad = np.array([1.0, -7.0]), np.float64(3.0)  # as a sum of two is
    assert optim.clip_grad_norm_([p, q], 3.5, float("inf")) == 7
    np.testing.assert_allclose([*p.grad, q.grad], [0.5, -3.5, 1.5], rtol=1e-6)
    optim.clip_grad_value_([p, q], 1)
    np.testing.assert_allclose([*p.grad, q.grad], [0.5, -1, 1], rtol=1e-6)
    assert optim.clip_grad_norm_(p, 100, 1) == pytest.approx(1.5)
    large = np.array([1e30, 1e30], np.float32)
    assert optim.clip_grad_norm_(large, 1) == pytest.approx(2**0.5 * 1e30)
    np.testing.assert_allclose(large, 0.5**0.5, rtol=1e-6)
    bad = [np.array([1.0, np.nan])]
    with pytest.raises(RuntimeError, match="the norm is nan; nothing was changed"):
        optim.clip_grad_norm_(bad, 0.1, error_if_nonfinite=True)
    assert bad[0][0] == 1


def test_schedules():
    at = np.linspace(0, 1, 5)
    for schedule, values in (
        (schedules.constant, [1, 1, 1, 1, 1]),
        (schedules.linear, [1, 0.75, 0.5, 0.25, 0]),
        (schedules.cosine, [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0]),
        (schedules.exponential, [1, 10**-0.5, 0.1, 10**-1.5, 0.01]),
        (schedules.steps, [1, 1, 0.1, 0.01, 0.01]),
        (schedules.warmup(share=0.5), [0, 0.5, 1, 1, 1]),
        (schedules.warmup(schedules.linear, 0.5, 0.5), [0.5, 0.75, 1, 0.5, 0]),
        (
            lambda progress: schedules.cosine(progress, 0.5),
            [1, 0.75 + 0.5**2.5, 0.75, 0.75 - 0.5**2.5, 0.5],
        ),
    ):
        np.testing.assert_allclose([schedule(p) for p in at.tolist()], values, atol=1e-15)


# On the stand-in for CuPy


on_standin = pytest.mark.skipif(
    not shutil.which("g++"), reason="g++ is missing: it compiles the kernels for the host"
)


@on_standin
@pytest.mark.usefixtures("gpu")
def test_a_copy_keeps_the_layout_of_what_is_remembered():
    p = nn.Parameter(device.to(np.moveaxis(np.ones((2, 3, 4, 5)), 3, 1), "gpu"))
    o = optim.Adam([p])
    assert (
        copy.deepcopy(o).state["exp_avg.0"].strides
        == o.state["exp_avg.0"].strides
        == p.data.strides
    )


@on_standin
@pytest.mark.usefixtures("gpu")
@every_variant
def test_a_captured_step_counts_and_is_told_of_new_rates(kind, options):
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(s) for s in ((3, 2), (), (4,), (5,))]
    grads = rng.standard_normal((8, 14))

    def run(where, wrap):
        ps = [nn.Parameter(device.to(a.copy(), where)) for a in start]
        o = kind([{"params": ps[:2]}, {"params": ps[2:], "lr": 0.05}], 0.02, **options)

        def step(g):
            g = [g[:6].reshape(3, 2).copy(), g[6:7].reshape(()).copy(), None, g[7:12].copy()]
            optim.clip_grad_norm_(g, 1)
            o.step(g)

        step = wrap(step)
        for i, g in enumerate(grads):
            o.param_groups[1]["lr"] = 0.05 / (i + 1)
            step(device.to(g, where))
        return [device.to_host(p.data) for p in ps], {
            k: device.to_host(a) for k, a in o.state.items()
        }

    (cpu, expected), *others = run("cpu", lambda f: f), run("gpu", lambda f: f), run("gpu", capture)
    assert expected["step"].tolist() == [8, 8, 0, 8] and expected["lr"].tolist() == [0.02, 0.05 / 8]
    for found, state in others:
        for a, b in zip([*found, *state.values()], [*cpu, *expected.values()], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_an_average_follows_its_module_through_copies_and_casts_and_counts_ties_once():
    net = nn.Linear(2, 2)
    net.tied = net.weight
    average = copy.deepcopy(net)
    kept = net, average, optim.EMA(average, net, 0.5)
    for net, average, ema in kept, copy.deepcopy(kept), pickle.loads(pickle.dumps(kept)):
        for cast in nn.Module.float, nn.Module.double:
            cast(net), cast(average)
            net.weight.data += 1
            before, t = average.weight.data.copy(), int(ema.state_dict()["updates"][0]) + 1
            ema.update()
            weight = 1 - min(0.5, (1 + t) / (10 + t))
            np.testing.assert_allclose(
                average.weight.data, before + weight * (net.weight.data - before), rtol=1e-6
            )
            assert (average.weight.data != before).all()


def test_what_is_read_only_is_named_before_anything_has_moved():
    first, second = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(2), name="locked")
    sgd, adam = optim.SGD([first, second], 0.1), optim.Adam([first, second])
    second.data.flags.writeable = False
    for o in sgd, adam:
        with pytest.raises(ValueError, match="locked is read-only"):
            o.step([np.ones(2), np.ones(2)])
        assert first.data.tolist() == [1, 1] and o.state["step"].tolist() == [0, 0]
    o.step([np.ones(2), None])  # it is not to move
    assert first.data.tolist() != [1, 1]
    adam.state["exp_avg.1"].flags.writeable = False
    before = adam.state["exp_avg.0"].copy()
    with pytest.raises(ValueError, match="unchanged, since exp_avg.1 is read-only"):
        adam.load_state_dict({k: v + 1 for k, v in adam.state_dict().items()})
    assert adam.state["exp_avg.0"].tolist() == before.tolist()
    grads = [np.full(2, 3.0), np.broadcast_to(3.0, 2)]
    for clip in optim.clip_grad_norm_, optim.clip_grad_value_:
        with pytest.raises(ValueError, match="read-only"):
            clip(grads, 1.0)
        assert grads[0].tolist() == [3, 3]


@pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW, optim.Adamax, optim.NAdam, optim.RAdam])
def test_without_a_memory_of_gradients_a_large_one_leaves_nothing_behind(kind):
    (p,) = params = [nn.Parameter(np.ones(2, np.float32))]
    o = kind(params, 0.0, (0.0, 0.5))
    for g in 1e8, 1.0:  # in float32, 1e8 + (1 - 1e8) is 0
        o.step([np.full_like(p.data, g)])
    assert o.state["exp_avg.0"].tolist() == [1, 1]


def test_the_state_of_an_average_is_checked():
    ema = optim.EMA(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(ValueError, match="EMA is unchanged, since missing updates"):
        ema.load_state_dict({})


def test_what_cannot_be_scaled_or_loaded_changes_nothing():
    with pytest.raises(TypeError, match="raw arrays of floats"):
        optim.clip_grad_norm_(np.array([10, 20]), 1.0)
    with pytest.raises(ValueError, match="norm_type must be above 0"):
        optim.clip_grad_norm_([np.ones(3)], 1.0, 0)
    assert optim.clip_grad_norm_([np.array([3.0, -4.0])], 1.0, "inf") == 4
    with pytest.raises(ValueError, match="share must be"):
        optim.schedules.warmup(share=1.0)
    adam = optim.Adam([nn.Parameter(np.ones(3))], lr=0.1)
    state = {k: v.copy() for k, v in adam.state_dict().items()} | {
        "exp_avg_sq.0": np.array(list("abc"))
    }
    state["lr"] = np.array([0.7])
    with pytest.raises(ValueError, match="exp_avg_sq.0"):
        adam.load_state_dict(state)
    assert adam.lr == 0.1
