"""The GPU path on a GPU: raw functions against the reference, gradients, steps against the CPU's
and captured ones.
"""

import warnings

import numpy as np
import pytest
from gpu_cases import (
    CASES,
    MODELS,
    SAMPLERS,
    VECTORS,
    assert_same_model,
    check_cupys_ways,
    known_answer,
    same_samples,
    state,
    trained,
)
from grads import ALL

from tinygan import data, device, kernels, nn, ops, random
from tinygan.capture import capture
from tinygan.testing import check_grads
from tinygan.train import train


def _missing():
    try:
        device.resolve("gpu")
    except device.DeviceError as e:
        return str(e)


reason = _missing()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(reason is not None, reason=str(reason))]


@pytest.fixture(scope="module")
def gpu():
    return kernels.of(to_gpu(np.zeros(1)))


def to_gpu(x):
    return device.to(x.copy("K"), "gpu")


def to_host(x):
    if isinstance(x, tuple):
        return tuple(map(to_host, x))
    return device.to_host(x) if device.is_array(x) else x


@pytest.mark.parametrize("case", CASES, ids=str)
def test_raw_function_equals_reference(gpu, case):
    case.check(gpu, to_gpu, to_host)


@pytest.mark.parametrize("counter, key, words", VECTORS)
def test_philox_known_answers(gpu, counter, key, words):
    assert to_host(known_answer(gpu, to_gpu, counter, key)).tolist() == words


def test_cupy_has_the_ways_of_its_stand_in():
    check_cupys_ways(to_gpu(np.ones((2, 3), np.float32)), to_gpu)


def test_tf32_rounds_products_to_ten_bits_and_float32_does_not(gpu):
    a, b = (np.random.default_rng(0).standard_normal((256, 256)) for _ in range(2))
    for name, least, most in (("float32", 0, 1e-6), ("tf32", 1e-5, 2e-3)):
        with kernels.precision(name, "gpu"):
            c = to_host(gpu.gemm(to_gpu(a.astype(np.float32)), to_gpu(b.astype(np.float32))))
        assert least <= np.abs(c - a @ b).max() / np.abs(a @ b).max() < most


@pytest.mark.parametrize("f, inputs", ALL.values(), ids=ALL)
def test_gradients_to_second_order_in_float64(f, inputs):
    """Against numeric ones there, and against the CPU's."""
    on_gpu = [to_gpu(np.asarray(x)) for x in inputs]
    check_grads(f, *on_gpu)
    np.testing.assert_allclose(to_host(f(*on_gpu)), f(*inputs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_a_step_gives_the_cpus_weights(name):
    (cpu, expected, _), (on_gpu, losses, _) = (trained(name, where, 1) for where in ("cpu", "gpu"))
    assert_same_model(cpu, on_gpu, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(losses, expected):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("arithmetic", ["float32", "tf32"])
@pytest.mark.parametrize("name", MODELS)
def test_captured_and_eager_steps_give_the_same_model(name, arithmetic):
    with kernels.precision(arithmetic, "gpu"), warnings.catch_warnings():
        warnings.filterwarnings("error", "tinygan: this step")  # it was captured
        eager, expected, _ = trained(name, "gpu", 8)
        captured, losses, _ = trained(name, "gpu", 8, capture)
    assert losses == expected
    assert_same_model(eager, captured)


@pytest.mark.parametrize("name, n, how", SAMPLERS)
def test_a_sampler_as_a_graph_gives_the_same_samples(name, n, how):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "tinygan: this step")  # it was captured
        same_samples(name, n, how)


def test_memory_that_others_take_is_not_the_graphs():
    """After the recording, arrays of every size are made and filled: replays must not notice, nor
    they the replays.
    """
    import cupy

    def run(wrap, disturb):
        def disturbing(step):
            step, taken = wrap(step), []

            def each(batch):
                losses = {k: v.copy() for k, v in step(batch).items()}
                if disturb:
                    taken.extend(cupy.full(1 << n, np.nan, np.float32) for n in range(24))
                    assert all(bool(cupy.isnan(a).all()) for a in taken)
                    del taken[::2]
                return losses

            return each

        return trained("gan dcgan", "gpu", 8, disturbing)

    (eager, expected, _), (captured, losses, _) = run(lambda step: step, False), run(capture, True)
    assert losses == expected
    assert_same_model(eager, captured)


def test_what_cannot_be_captured_runs_as_it_is_and_says_so_once():
    step, x = capture(lambda x: x * float(x.sum())), to_gpu(np.arange(3.0))
    with pytest.warns(UserWarning, match="without a CUDA graph") as warned:
        assert all(to_host(step(x)).tolist() == [0, 3, 6] for _ in range(5))
    assert len(warned) == 1
    again = capture(lambda x: x + 1)  # the stream is as good as new
    assert all(to_host(again(x)).tolist() == [1, 2, 3] for _ in range(5))


def test_a_captured_run_of_the_trainer_resumes_to_the_bit(tmp_path):
    def run(out, **options):
        random.manual_seed(0)
        model = MODELS["vae conv"](device="gpu")
        images = device.to(data.load().images[:640], "gpu")
        batches = data.Batches(images, 64, 0, data.binarised)
        train(model, batches, out=tmp_path / out, **options)
        return model

    constant = {"schedule": lambda progress: 1.0}
    whole = run("whole", epochs=3, **constant)
    eager = run("eager", epochs=3, graph=False, **constant)
    run("cut", epochs=1, **constant)
    cut = run("cut", epochs=3, resume=True, **constant)
    for other in (eager, cut):
        assert_same_model(whole, other)


def test_noise_masks_and_batches_are_the_cpus():
    def drawn(where):
        random.manual_seed(5)
        batches = data.Batches(device.to(data.load().images[:300], where), 64, 5, data.binarised)
        yield from (batches.batch(epoch, i) for epoch in (0, 1) for i in (0, 3))
        for step in (0, 1, 1 << 40):
            random.default.seek(step)
            yield random.default.uniform((7, 5), device=where)
            yield random.default.bernoulli(0.3, (7, 5), device=where, scale=2.0)

    for ours, theirs in zip(*(list(drawn(where)) for where in ("gpu", "cpu")), strict=True):
        assert np.array_equal(to_host(ours), theirs)


def test_states_move_both_ways():
    cpu, on_gpu = trained("gan dcgan", "cpu", 2)[0], trained("gan dcgan", "gpu", 1)[0]
    for source, target in ((cpu, on_gpu), (trained("gan dcgan", "gpu", 3)[0], cpu)):
        for name, part in target.parts().items():
            new = source.parts()[name].state_dict()
            if "optimizer" in name or name == "ema":
                new = {k: to_host(v) for k, v in new.items()}
            part.load_state_dict(new)
        assert_same_model(source, target)
    moved = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    before = {k: v.copy("K") for k, v in moved.state_dict().items()}
    assert all(device.of(a) == "gpu" for a in moved.to("gpu").state_dict().values())
    for k, v in moved.to("cpu").state_dict().items():
        assert np.array_equal(v, before[k]) and v.strides == before[k].strides


def test_arrays_go_to_torch_and_come_back_without_a_copy():
    torch, cupy = pytest.importorskip("torch"), device.module("gpu")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch sees no GPU")
    ours = to_gpu(np.arange(6, dtype=np.float32).reshape(2, 3))
    theirs = torch.from_dlpack(ours)
    theirs *= 2
    torch.cuda.synchronize()
    assert theirs.data_ptr() == ours.data.ptr and to_host(ours).tolist() == [[0, 2, 4], [6, 8, 10]]
    back = cupy.from_dlpack(torch.ones(3, device="cuda"))
    x = nn.Parameter(back)
    assert device.of(back) == "gpu" and float((x * x).sum()) == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: ops.add(nn.Parameter(x), y),
        lambda x, y: x * y,
        lambda x, y: np.asarray(nn.Parameter(x)),
        lambda x, y: kernels.of(x).normal(x, (0, 0), 0, np.zeros(1, np.int64)),
        lambda x, y: MODELS["gan mlp"](device="gpu").step(y),
    ],
)
def test_mixed_devices_are_refused(call):
    x = np.ones((2, 784), np.float32)
    with pytest.raises(TypeError):
        call(to_gpu(x), x)


def test_an_operation_says_which_argument_is_where():
    words = r"_linear: .* two devices, \(2, 784\) float32 cpu, .* float32 gpu"
    with pytest.raises(TypeError, match=words):
        MODELS["gan mlp"](device="gpu").discriminator(np.ones((2, 784), np.float32))


def test_a_captured_graph_reads_lr_and_step_from_the_device(gpu):
    import cupy

    rng = np.random.default_rng(0)
    x, w, m, v = (rng.standard_normal((8, 8)).astype(np.float32) for _ in range(4))
    v, lr, step = abs(v), np.array(1e-2), np.array([0])
    stream, here = cupy.cuda.Stream(non_blocking=True), [to_gpu(a) for a in (x, w, m, v, lr, step)]
    g, noise = cupy.empty_like(here[0]), cupy.empty_like(here[0])

    def run(kernel, x, w, m, v, lr, step, g, noise):
        step += 1
        kernel.normal(noise, (1, 2), 3, step)
        kernel.gemm(x, w, out=g)
        kernel.adam([w], [g], [m], [v], lr, step, 0.5, 0.999, 1e-8)

    cupy.cuda.Device().synchronize()
    with stream:
        run(gpu, *here, g, noise)  # compiles, makes the stream's handle
        stream.begin_capture()
        run(gpu, *here, g, noise)
        graph = stream.end_capture()
        graph.launch()
        here[4][...] = 3e-2
        graph.launch()
    stream.synchronize()
    host_g, host_noise = np.empty_like(x), np.empty_like(x)
    for rate in (1e-2, 1e-2, 3e-2):
        run(kernels.reference, x, w, m, v, np.array(rate), step, host_g, host_noise)
    np.testing.assert_allclose(to_host(here[1]), w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(to_host(noise), host_noise, rtol=1e-4, atol=1e-5)


def test_out_of_memory_is_cupys_error_and_leaves_the_device_usable():
    import cupy

    with pytest.raises(cupy.cuda.memory.OutOfMemoryError) as e:
        cupy.empty(1 << 50, np.uint8)
    assert isinstance(e.value, MemoryError)
    assert float(to_gpu(np.ones(3)).sum()) == 3 and state(MODELS["vae mlp"](device="gpu"))
