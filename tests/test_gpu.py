"""The GPU path on a GPU: the raw functions against the reference, a training step against the CPU, a captured graph."""

import numpy as np
import pytest
from gpu_cases import CASES, VECTORS, known_answer

from tinygan import device, kernels, random


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
    return tuple(map(to_host, x)) if isinstance(x, tuple) else device.to_host(x) if device.is_array(x) else x


@pytest.mark.parametrize("case", CASES, ids=str)
def test_raw_function_equals_reference(gpu, case):
    case.check(gpu, to_gpu, to_host)


@pytest.mark.parametrize("counter, key, words", VECTORS)
def test_philox_known_answers(gpu, counter, key, words):
    assert to_host(known_answer(gpu, to_gpu, counter, key)).tolist() == words


def test_a_convolutional_network_learns_as_on_the_cpu():
    from tinygan.models import dcgan

    def train(where):
        random.manual_seed(0)
        model = dcgan(width=8, latent=16, device=where)
        for optimizer in model.optimizers:
            optimizer.eps = 1e-3  # a bias before batch normalisation has gradient 0: do not blow up its rounding
        random.default.seek(1)
        real = device.to(np.random.default_rng(0).uniform(-1, 1, (32, 1, 28, 28)).astype(np.float32), where)
        for _ in range(3):
            model.step(real)
            random.default.next_step()
        return model.generator.state_dict() | model.discriminator.state_dict()

    cpu, on_gpu = train("cpu"), train("gpu")
    for name in cpu:
        np.testing.assert_allclose(to_host(on_gpu[name]), cpu[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_captured_graph_reads_lr_and_step_from_the_device(gpu):
    import cupy

    rng = np.random.default_rng(0)
    x, w, m, v = (rng.standard_normal((8, 8)).astype(np.float32) for _ in range(4))
    v, lr, step = abs(v), np.array([1e-2]), np.array([0])
    stream, here = cupy.cuda.Stream(non_blocking=True), [to_gpu(a) for a in (x, w, m, v, lr, step)]
    g, noise = cupy.empty_like(here[0]), cupy.empty_like(here[0])

    def run(kernel, x, w, m, v, lr, step, g, noise):
        step += 1
        kernel.normal(noise, (1, 2), 3, step)
        kernel.gemm(x, w, out=g)
        kernel.adam(w, g, m, v, lr, step, 0.5, 0.999, 1e-8)

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
        run(kernels.reference, x, w, m, v, np.array([rate]), step, host_g, host_noise)
    np.testing.assert_allclose(to_host(here[1]), w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(to_host(noise), host_noise, rtol=1e-4, atol=1e-5)
