"""Captured steps on the stand-in, whose graphs do again what was recorded: the same weights as
eager steps, to the last bit.

The stand-in refuses what CUDA refuses under capture, memory that others could get, and streams that
do not wait.
"""

import copy
import functools
import gc
import importlib
import json
import sys
import shutil
import warnings
import weakref
from pathlib import Path
from typing import NamedTuple

import cupy_standin as standin
import numpy as np
import pytest
from gpu_cases import (
    MODELS,
    SAMPLERS,
    assert_same_model,
    eagerly,
    same_samples,
    sampler,
    state,
    trained,
)

from tinygan import (
    Tensor,
    checkpoint,
    data,
    device,
    grad,
    kernels,
    models,
    nn,
    no_grad,
    optim,
    random,
)
from tinygan.capture import MOST, capture
from tinygan.train import TrainingError, train

pytestmark = [
    pytest.mark.skipif(
        not shutil.which("g++"), reason="g++ is missing: it compiles the kernels for the host"
    ),
    pytest.mark.usefixtures("gpu"),
]


@pytest.fixture(autouse=True)
def launches(monkeypatch):
    """The graphs launched, in their order; and no warning goes unnoticed."""
    launched, plain = [], standin.Graph.launch

    def launch(graph):
        launched.append(weakref.ref(graph))
        plain(graph)

    monkeypatch.setattr(standin.Graph, "launch", launch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield launched
    assert standin.Stream.recording is None and len(standin.Stream.stack) == 1


EAGER = 2  # calls before the first replay


def gpu_array(*x):
    return device.to(np.array(x if len(x) > 1 else x[0], np.float32), "gpu")


@pytest.mark.parametrize("name", MODELS)
def test_captured_and_eager_steps_give_the_same_model(name, launches):
    steps = EAGER + 3
    eager, expected, _ = trained(name, "gpu", steps)
    assert not launches
    counters, count = [], lambda: counters.append((random.default.step, random.default.draw))
    captured, losses, _ = trained(name, "gpu", steps, capture, count)
    assert len(launches) == 3 and len({id(graph) for graph in launches}) == 1 and losses == expected
    assert counters[::2] == [(i + 1, 0) for i in range(steps)]  # before each step, and after it
    assert counters[1::2] == [(i + 2, 0) for i in range(steps)]
    assert_same_model(eager, captured)


@pytest.mark.parametrize("name, n, how", SAMPLERS)
def test_a_sampler_is_one_graph(name, n, how, launches):
    captured = same_samples(name, n, how)
    calls = {6: [4], 600: [8, 4]}[n]  # of each size
    assert len(launches) == sum(c - EAGER for c in calls)
    assert len({id(graph) for graph in launches}) == len(calls)
    points = captured.noise(n)[:250]
    points = models.labels.joined(points, models.labels.one_hot(None, captured.classes, points))
    before = standin.syncs
    captured.draw(points, **how)
    assert standin.syncs == before and len(launches) == sum(c - EAGER for c in calls) + 1


def test_a_sampler_heeds_what_is_changed_after_its_recording(launches):
    """Steps and solver, in more ways than one step is recorded; a copy has its own weights."""
    model = sampler("plane flow")
    noise = model.noise(3)
    ways = [{"steps": i} for i in range(1, MOST + 2)] + [{"method": "rk4"}]
    for way in ways:
        vars(model).update(way)
        expected = eagerly(model, 3, noise=noise)
        for _ in range(EAGER + 1):
            found = model.sample(3, noise, steps=None)  # None: the model's own
            assert np.array_equal(device.to_host(found), expected)
    assert len(launches) == len(ways)
    twin = copy.deepcopy(model)
    for p in twin.average.parameters():
        p.data *= 0.5
    assert np.array_equal(device.to_host(model.sample(3, noise)), expected)
    found = device.to_host(twin.sample(3, noise))
    assert np.array_equal(found, eagerly(twin, 3, noise=noise)) and (found != expected).any()


def test_what_changes_between_steps_changes_in_a_replay():
    """Each is read where it lies: learning rate, seed by `seek`, checkpoint's state and batch."""

    def run(wrap):
        random.manual_seed(3)
        model = models.dcgan(width=2, latent=2, device="gpu")
        x = gpu_array(*np.linspace(-1, 1, 2 * 784)).reshape(2, 1, 28, 28)
        step, losses = wrap(model.step), []
        for i in range(8):
            if i == 4:
                model.g_optimizer.lr, model.d_optimizer.lr = 0.1, 0.0
            if i == 5:
                random.default.seek(2)
            if i == 6:
                model.ema.load_state_dict({"updates": np.array([5000])})
                old = model.d_optimizer.state_dict()
                zeros = {k: 0 * device.to_host(v) for k, v in old.items()}
                model.d_optimizer.load_state_dict(zeros)
            losses.append({k: float(v) for k, v in step(x / (i + 1)).items()})
            random.default.next_step()
        return model, losses

    (eager, expected), (captured, losses) = run(lambda step: step), run(capture)
    assert losses == expected and state(captured)["ema.updates"] == 5002
    assert_same_model(eager, captured)


def test_results_are_the_graphs_own_and_inputs_are_copied(launches):
    @capture
    def double(x, scale=2):
        """Twice x."""
        return x * scale, {"same": x}

    assert double.__name__ == "double" and double.__doc__ == "Twice x."
    assert double(3)[0] == 6 and double(np.ones(2))[0][0] == 2  # nothing on the GPU
    inputs = [gpu_array(i) for i in range(EAGER + 2)]
    seen = [double(x) for x in inputs]
    assert [float(x) for x in inputs] == [0, 1, 2, 3]  # the caller's stay the caller's
    assert [float(x) for x, _ in seen] == [0, 2, 6, 6]  # the last but one was overwritten
    assert seen[-1] is seen[-2] and len(launches) == 2
    assert float(seen[-1][1]["same"]) == 3
    # another argument and another shape are another graph; a keyword is an argument
    for scale in (3, 3.0):
        assert [float(double(gpu_array(i, i), scale=scale)[0][1]) for i in range(4)] == [0, 3, 6, 9]
    assert len({graph() for graph in launches}) == 3
    host = np.arange(12.0).reshape(3, 4)
    view = device.to(host, "gpu").T
    assert all(np.array_equal(double(view)[0].get(), 2 * host.T) for _ in range(EAGER + 2))


def test_whatever_a_recording_keeps_of_a_call_makes_another_recording(launches):
    """dtypes, host arrays to their last digit and element, the types of numbers, signs of zero."""
    seen = []

    @capture
    def step(x, y=0):
        seen.append(y)
        return x * float(np.sum(y))

    long, other = np.zeros(2000), np.zeros(2000)
    other[1000] = 1
    precise = np.array(0.1234567890123), np.array(0.1234567890124)
    for y in (1, 1.0, True, 0.0, -0.0, np.float32(1), *precise, long, other):
        step_of_y = functools.partial(step, gpu_array(1), y)
        assert [float(step_of_y()) for _ in range(EAGER + 1)] == [np.float32(np.sum(y))] * 3
        assert len(seen) == EAGER + 1 and all(type(was) is type(y) for was in seen)
        seen.clear()
        if len(launches) == MOST:  # which is as many as there may be
            step = capture(step.__wrapped__)
    double = capture(lambda x: x + 1)
    for dtype in (np.float32, np.float64, np.float32):
        for _ in range(EAGER + 1):
            assert double(device.to(np.ones(2, dtype), "gpu")).dtype == dtype


def test_an_object_is_told_by_itself_and_not_by_what_it_prints():
    step, one = capture(lambda x, scale: x * scale.data), np.eye(1, 2000, 1000)[0]
    scales = [Tensor(device.to(one * i, "gpu")) for i in range(3)]
    for i in 0, 1, 2, 2, 1, 0, 0, 1, 2:
        assert float(step(gpu_array(2), scales[i])[1000]) == 2 * i


class Pair(NamedTuple):
    images: object
    labels: object


def test_arrays_are_found_in_tuples_lists_and_dictionaries(launches):
    @capture
    def step(first, second, *, third):
        return first.images - first.labels + second["a"][0] * third[0]

    def called(i):
        a = [gpu_array(i * n) for n in (10, 2, 3, 4)]
        result = float(step(Pair(a[0], a[1]), {"a": [a[2]]}, third=(a[3], "same")))
        assert [float(x) for x in a] == [10 * i, 2 * i, 3 * i, 4 * i]
        return result

    assert [called(i) for i in range(5)] == [8 * i + 12 * i * i for i in range(5)]
    assert len(launches) == 5 - EAGER


def test_each_precision_has_its_recording(launches, asked):
    step, x = capture(lambda x: kernels.of(x).gemm(x, x)), gpu_array([1, 2], [3, 4])
    for _ in range(2):
        for name in ("float32", "tf32"):
            with kernels.precision(name, "gpu"):
                for _ in range(EAGER + 1):
                    step(x)
    # as it is, beside, and under capture
    assert asked == [68] * 3 + [77] * 3 and len(launches) == 2 + 6
    graphs = [graph() for graph in launches]
    assert graphs[0] is graphs[2] and graphs[1] is graphs[-1] is not graphs[0]


def test_a_recording_without_gradients_is_another(launches):
    weight = Tensor(gpu_array(3))
    step = capture(lambda x: x * weight)
    with no_grad():
        for _ in range(EAGER + 1):
            step(gpu_array(2))
    for _ in range(EAGER + 1):
        assert float(grad(step(gpu_array(2)), weight)) == 2


def test_a_step_may_draw_and_count_by_itself():
    def run(wrap):
        random.manual_seed(1)

        def step(x):
            noise = random.default.normal((3,), device="gpu")
            noise += random.default.uniform((3,), device="gpu")
            random.default.next_step()
            return noise + x

        step, zero = wrap(step), gpu_array(0)
        out = []
        for i in range(6):
            if i % 2:  # a draw before the step: another graph, with other draws
                random.default.normal((2,), device="gpu")
            out.append(step(zero).get().tolist())
        return out, random.default.step, random.default.draw

    assert run(capture) == run(lambda step: step)


BAD = {
    "reads a value": (lambda x: x * float(x), "RuntimeError: the operation is not permitted"),
    "decides by a value": (lambda x: x if x > 0 else -x, "RuntimeError"),
    "sends a value": (lambda x: x * device.to(np.ones(1, np.float32), "gpu"), "RuntimeError"),
    "uses cuBLAS through CuPy": (lambda x: x.reshape(1, 1) @ x.reshape(1, 1) / x, "RuntimeError"),
    "masks": (lambda x: x[x > 0], "RuntimeError"),
    "synchronizes": (
        lambda x: (device.module(x).cuda.get_current_stream().synchronize(), x)[1] * 2,
        "RuntimeError",
    ),
}


@pytest.mark.parametrize("bad, reason", BAD.values(), ids=BAD)
def test_what_cannot_be_captured_runs_as_it_is_and_says_so_once(bad, reason, launches):
    weight, count = gpu_array(1), []

    @capture
    def step(x):
        nonlocal weight
        count.append(1)
        noise = random.default.uniform((1,), device="gpu")
        weight += 1
        random.default.next_step()
        return bad(x) + weight + noise

    random.manual_seed(0)
    with pytest.warns(UserWarning, match=f"without a CUDA graph.*{reason}") as warned:
        results = [float(step(gpu_array(4)).ravel()[0]) for _ in range(EAGER + 3)]
    assert len(warned) == 1 and warned[0].filename == __file__ and not launches
    assert float(weight) == 1 + len(results) and random.default.step == len(results)
    assert len(count) == len(results) + 1  # and once under capture
    noise, value = random.Generator(0), float(np.ravel(bad(gpu_array(4)).get())[0])
    for i, result in enumerate(results):
        assert result == np.float32(value) + np.float32(2 + i) + noise.uniform((1,))[0]
        noise.next_step()


def test_calls_that_never_repeat_are_not_captured_for_ever(launches):
    step = capture(lambda x: x + random.default.uniform((1,), device="gpu"))
    with pytest.warns(UserWarning, match=f"called in more than {MOST} ways") as warned:
        for _ in range(3 * MOST):
            step(gpu_array(1))  # and no `next_step`: each draw is another one
    assert len(warned) == 1 and not launches


def test_an_error_of_the_step_itself_is_passed_on_and_not_taken_for_a_refusal():
    calls = []

    @capture
    def step(x):
        calls.append(1)
        if len(calls) == 2:
            raise standin.OutOfMemoryError("Out of memory allocating 8 bytes")
        return x + 1

    x = gpu_array(1)
    assert float(step(x)) == 2
    with pytest.raises(MemoryError):
        step(x)
    assert [float(step(x)) for _ in range(3)] == [2, 2, 2]


@pytest.fixture
def pools(monkeypatch):
    """The blocks of each pool made, in their order: CuPy keeps them until told to free them."""
    monkeypatch.setattr(standin.MemoryPool, "everything", [])
    gc.disable()  # nothing here waits for it
    yield standin.MemoryPool.everything
    gc.enable()


def test_pool_graph_and_results_live_and_die_together(launches, pools):
    step, x = capture(lambda x: (x * 2 + 1) * 3), gpu_array(1)
    for _ in range(EAGER + 1):
        out = step(x)
    # what it wrote on the way is kept
    assert launches[0]() and len(pools) == 1 and len(pools[0]) > 4
    assert any(out.a is a for a in pools[0])
    del step
    assert launches[0]() is None and float(out) == 9
    # the result that somebody kept, which the next recording finds gone
    assert len(pools[0]) == 1 and out.a is pools[0][0]
    del out
    step = capture(lambda x: x + 1)
    for _ in range(EAGER):
        step(x)
    assert not pools[0] and pools[1]
    del step
    assert not pools[1]


def test_what_is_refused_or_fails_keeps_no_memory(pools):
    step, x = capture(lambda x: float(x * 2 + 1)), gpu_array(1)
    with pytest.warns(UserWarning):
        [step(x) for _ in range(EAGER + 1)]
    assert len(pools) == 1 and not pools[0]

    def fails(x):
        y = x + 1
        if len(pools) > 1:  # the recording's own
            raise standin.OutOfMemoryError("Out of memory allocating 8 bytes")
        return y

    step = capture(fails)
    step(x)
    with pytest.raises(MemoryError):
        step(x)
    step = capture(lambda x: x + 1)
    for _ in range(EAGER):
        step(x)
    assert len(pools) == 3 and not pools[1]


def test_a_run_gives_back_its_graphs_memory(tmp_path, pools):
    run(tmp_path, epochs=2)
    gc.collect()  # the import of matplotlib leaves frames that hold one another
    again, x = capture(lambda x: x + 1), gpu_array(1)
    for _ in range(EAGER):
        again(x)  # a recording finds the last losses gone
    assert len(pools) == 2 and not pools[0]


def test_the_moving_average_counts_on_the_device_as_it_did_on_the_host():
    weight = np.arange(4, dtype=np.float32) / 3
    for where in ("cpu", "gpu"):
        average, module = (nn.BatchNorm1d(4).to(where) for _ in range(2))
        ema, expected = optim.EMA(average, module, 0.5), np.ones(4, np.float32)
        module.weight.data[...] = device.to(weight, where)
        for t in range(1, 30):
            ema.update()
            expected += np.float32(1 - min(0.5, (1 + t) / (10 + t))) * (weight - expected)
        np.testing.assert_allclose(device.to_host(average.weight.data), expected, rtol=1e-6)
        assert device.of(ema.state_dict()["updates"]) == where


# The trainer


def run(out, where="gpu", epochs=3, binarised=False, classes=0, batches=None, **options):
    random.manual_seed(0)
    gan = models.dcgan(width=2, latent=3, classes=classes, device=where)
    images, labels, _ = data.load()
    images, transform = device.to(images[:40], where), data.binarised if binarised else data.scale
    arrays = (images, labels[:40]) if classes else images
    batches = batches or data.Batches(arrays, 8, 0, transform)
    train(gan, batches, epochs, out, **options)
    return gan, [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def timeless(log):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in log]


@pytest.mark.parametrize(
    "how", [{}, {"binarised": True}, {"classes": 10}, {"binarised": True, "classes": 10}], ids=str
)
def test_the_trainer_captures_batch_and_step_and_its_run_is_the_eager_run(
    tmp_path, launches, monkeypatch, how
):
    made, plain = [], data.Scale.apply

    def apply(self, images):
        made.append(1)
        return plain(self, images)

    monkeypatch.setattr(data.Scale, "apply", apply)
    eager, expected = run(tmp_path / "eager", graph=False, **how)
    assert not launches and len(made) == 15
    captured, log = run(tmp_path / "captured", **how)
    assert len(launches) == 15 - 1 - EAGER and timeless(log) == timeless(expected)
    # before the first step the networks were drawn: it has no like; a recording
    assert len(made) == 15 + 1 + EAGER + 1
    assert_same_model(eager, captured)
    _, on_cpu = run(tmp_path / "cpu", "cpu", **how)
    assert [list(record) for record in log] == [list(record) for record in on_cpu]
    assert [(r["step"], r["epoch"]) for r in log] == [(r["step"], r["epoch"]) for r in on_cpu]
    ours, theirs = ([record["d_loss"] for record in records[:5]] for records in (log, on_cpu))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)


def test_batches_that_come_from_elsewhere_are_replayed_too(tmp_path, launches):
    """`rows` may be the batch itself, and `at` what gives it back."""
    on_host = data.Batches(data.load().images[:40], 8)

    class Sent:
        rows = staticmethod(lambda epoch, i: device.to(on_host.batch(epoch, i), "gpu"))
        at = staticmethod(lambda batch: batch)
        __len__ = staticmethod(on_host.__len__)

    sent, _ = run(tmp_path / "sent", batches=Sent())
    assert len(launches) == 15 - 1 - EAGER
    assert_same_model(sent, run(tmp_path / "rows")[0])


def test_losses_are_read_every_few_steps(tmp_path, monkeypatch):
    reads = []
    monkeypatch.setattr(sys.modules["tinygan.train.loop"], "READ", {"gpu": 3})
    plain = device.to_host
    monkeypatch.setattr(device, "to_host", lambda a: (reads.append(a.shape), plain(a))[1])
    run(tmp_path, epochs=2)
    assert reads == [(6,), (4,), (64, 1, 28, 28)] * 2  # 3 and 2 steps of 2 losses, and a picture


def test_a_captured_run_resumes_to_the_bit(tmp_path):
    whole, log = run(tmp_path / "whole")
    run(tmp_path / "cut", epochs=1, schedule=lambda progress: 1.0)
    # the first epoch's rate is 1 in both
    cut, resumed = run(tmp_path / "cut", epochs=3, resume=True)
    steps = [record for record in resumed if "event" not in record]
    assert timeless(steps) == timeless(log)
    assert_same_model(whole, cut)


@pytest.mark.parametrize("name", ["mnist_gan", "mnist_vae"])
def test_an_example_resumes_in_its_own_precision_only(name, asked, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "examples")
    main = importlib.import_module(name).main
    digits = data.load().rows(slice(40))
    monkeypatch.setattr(data, "load", lambda *source, **form: digits)
    monkeypatch.setattr(data, "split", lambda *source, **form: (digits, digits))
    flags = "--model mlp --device gpu --epochs 1 --batch-size 10 --out".split() + [str(tmp_path)]
    monkeypatch.setattr("sys.argv", [name, *flags, "--precision", "tf32"])
    main()
    assert set(asked) == {77}
    monkeypatch.setattr("sys.argv", [name, *flags, "--resume", "--precision", "float32"])
    words = "another run: config.precision was tf32, is float32"
    with pytest.raises(checkpoint.CheckpointError, match=words):
        main()


def test_a_loss_that_is_not_finite_names_its_step_though_it_is_read_later(tmp_path):
    random.manual_seed(0)
    gan = models.dcgan(width=2, latent=3, device="gpu")
    batches = data.Batches(device.to(data.load().images[:40], "gpu"), 8)
    step, count = gan.step, gpu_array(0, 0)

    def poisoned(real):
        nonlocal count
        count += 1
        return {k: np.where(count[0] == 7, np.nan, v) for k, v in step(real).items()}

    words = "step 7: the loss is not finite .*the last good checkpoint"
    with pytest.raises(TrainingError, match=words):
        train(gan, batches, 3, tmp_path, step=poisoned)
    assert checkpoint.load(tmp_path / "checkpoint.npz", gan.parts())["step"] == 5


def test_the_stand_in_itself_refuses(monkeypatch):
    cuda, x = device.module("gpu").cuda, gpu_array(1, 2)
    stream, pool = cuda.Stream(non_blocking=True), cuda.MemoryPool()
    with pytest.raises(RuntimeError, match="race"), stream:
        stream.begin_capture()  # the stream has not waited for the copy of x
    stream.wait_event(cuda.get_current_stream().record())

    def captured(f):
        with stream:
            stream.begin_capture()
            try:
                return f()
            finally:
                stream.end_capture()

    with pytest.raises(RuntimeError, match="default pool"):
        captured(lambda: x + 1)
    with cuda.using_allocator(pool.malloc):
        assert np.isnan(captured(lambda: x + 1).a).all()  # nothing is computed
    with pytest.raises(RuntimeError, match="cannot capture"):
        cuda.get_current_stream().begin_capture()
    with pytest.raises(RuntimeError, match="race"):
        x += 1
    cuda.get_current_stream().wait_event(stream.record())
    x += 1
    assert x.a.tolist() == [2, 3]
