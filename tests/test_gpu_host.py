"""The GPU path without a GPU: `kernels/gpu.py` runs on the stand-in for CuPy, its CUDA sources compiled by g++.

What is checked here is everything but the device: index arithmetic, bounds, the arguments of launches and of cuBLAS,
and that nothing waits for the device. `test_gpu.py` runs the same cases where there is one.
"""

import functools
import inspect
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import cupy_standin as standin
import numpy as np
import pytest
from gpu_cases import CASES, MODELS, VECTORS, assert_same_model, known_answer, trained
from grads import ALL
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinygan import Tensor, cli, device, grad, kernels, models, nn, ops
from tinygan.kernels import reference
from tinygan.testing import GradientError, check_grads

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="g++ is missing: it compiles the kernels for the host")


def to_gpu(x):
    """A NumPy array as the stand-in's, its layout kept."""
    return standin.ndarray(x.copy("K"))


def to_host(x):
    return tuple(map(to_host, x)) if isinstance(x, tuple) else getattr(x, "a", x)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_raw_function_equals_reference_and_never_waits(gpu, case):
    before = standin.syncs
    case.check(gpu, to_gpu, to_host)
    assert standin.syncs == before


def test_same_names_and_arguments(gpu):
    for name, f in inspect.getmembers(reference, callable):
        if name[0] != "_" and name not in ("philox", "convolutions", "fill_uniform", "fill_normal"):
            ours = getattr(gpu, name)
            if getattr(ours, "__module__", None) == gpu.__name__:  # the others are CuPy's
                assert inspect.signature(ours) == inspect.signature(f), name
    assert gpu.affine.nin == 3


@pytest.mark.parametrize("counter, key, words", VECTORS)
def test_philox_known_answers(gpu, counter, key, words):
    assert known_answer(gpu, to_gpu, counter, key).a.tolist() == words
    assert [int(w) for w in reference.philox(counter, key)] == words


pairs = functools.partial(st.tuples, *[st.integers(1, 3)] * 2)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2), st.integers(1, 4), pairs(), pairs(), st.tuples(*[st.integers(0, 3)] * 2), pairs(), st.data())
def test_patches_of_any_geometry(gpu, n, c, kernel, stride, padding, dilation, data):
    size = data.draw(pairs())
    least = [(o - 1) * s + d * (k - 1) + 1 - 2 * p for o, s, d, k, p in zip(size, stride, dilation, kernel, padding)]
    h, w = (max(1, m) + data.draw(st.integers(0, 2)) for m in least)
    geometry = size, kernel, stride, padding, dilation
    x = np.random.default_rng(0).standard_normal((n, c, h, w)).astype(np.float32).transpose(0, 2, 3, 1)
    cols = reference.im2col(x, *geometry)
    assert np.array_equal(to_host(gpu.im2col(to_gpu(x), *geometry)), cols)
    back = gpu.col2im(to_gpu(cols), x.shape, *geometry)
    assert np.array_equal(to_host(back), reference.col2im(cols, x.shape, *geometry))  # the same order of additions


batches = st.sampled_from([(), (1,), (3,), (2, 3), (2, 1), (0,)])
views = st.sampled_from(["rows", "columns", "apart", "skewed", "crossed"])


def _view(shape, how):
    """Whole numbers of that shape, lying in memory in some way, and all of the memory they lie in."""
    *batch, m, n = shape
    a = np.random.default_rng(0).integers(-4, 5, (*batch, m, 2 * n + 3)).astype(np.float32)
    if how == "apart":
        return a[..., 2 : n + 2], a
    if how == "skewed":
        return a[..., 1 : 2 * n + 1 : 2], a
    if how == "repeated":
        return np.broadcast_to(a[..., :1, :n], shape), a
    axes = {"rows": (0, 1, 2, 3), "columns": (0, 1, 3, 2), "crossed": (1, 0, 2, 3)}[how]
    whole = np.ascontiguousarray(a[..., :n].reshape((1,) * (2 - len(batch)) + shape).transpose(axes))
    return whole.transpose(axes).reshape(shape), whole


@settings(max_examples=80, deadline=None)
@example((2, 3, 2), (2, 3), (2, 3), ("rows", "columns", "crossed"))
@given(st.tuples(*[st.integers(0, 4)] * 3), batches, batches, st.tuples(*[views | st.just("repeated")] * 2, views))
def test_gemm_of_any_view(gpu, sizes, batch_a, batch_b, how):
    try:
        batch = np.broadcast_shapes(batch_a, batch_b)
    except ValueError:
        batch = batch_b = batch_a
    m, k, n = sizes
    shapes = (*batch_a, m, k), (*batch_b, k, n), (*batch, m, n)
    (a, _), (b, _), (out, whole) = map(_view, shapes, how)
    a, b, out, expected, before = standin.ndarray(a), standin.ndarray(b), standin.ndarray(out), a @ b, whole.copy()
    assert np.array_equal(to_host(gpu.gemm(a, b)), expected)
    assert gpu.gemm(a, b, out=out) is out and np.array_equal(out.a, expected)
    out.a[...] = 0
    changed = whole != before
    out.a[...] = 1
    assert not changed[whole != 1].any()  # nothing was written beside `out`


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((3,), (3, 2)), ((2, 3, 4), (3, 4, 2))])
def test_gemm_names_what_clashes(gpu, shapes):
    with pytest.raises(ValueError, match="gemm: cannot multiply|broadcast"):
        gpu.gemm(*(standin.ndarray(np.ones(s)) for s in shapes))
    with pytest.raises(ValueError, match="gemm: out is"):
        gpu.gemm(*(standin.ndarray(np.ones((2, 2))),) * 2, out=standin.ndarray(np.ones((2, 3))))


def test_tf32_is_asked_for_and_only_on_a_gpu(gpu, monkeypatch):
    seen, plain, a = [], gpu._cublas, standin.ndarray(np.ones((2, 2), np.float32))
    monkeypatch.setattr(gpu, "_cublas", lambda name, *args: (seen.append((name, args[-2:])), plain(name, *args))[1])
    with pytest.raises(device.DeviceError, match="tf32 is for a GPU"):
        kernels.precision("tf32", "cpu")
    kernels.precision("float32", "cpu")
    gpu.gemm(a, a)
    for precision in ("tf32", "float32"):
        kernels.precision(precision, "gpu")
        gpu.gemm(a, a), gpu.gemm(a.astype("float64"), a.astype("float64"))
    assert [args[0] for name, args in seen if name == "GemmEx"] == [68, 77, 70, 68, 70]


@pytest.mark.parametrize("lack", ["workspace", "handle"])
def test_no_memory_for_cublas_is_out_of_memory(gpu, lack, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "_handle", functools.cache(gpu._handle.__wrapped__))
    a = standin.ndarray(np.ones((2, 2), np.float32))
    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="2"):
        if lack == "workspace":
            patch.setattr(standin.Memory, "free", gpu.WORKSPACE - 1)
        else:
            patch.setattr(gpu, "_library", lambda: types.SimpleNamespace(cublasCreate_v2=lambda handle: 3))
        cli.run(lambda: gpu.gemm(a, a))
    (line,) = capsys.readouterr().err.splitlines()
    assert ": out of memory: " in line and "lower --batch-size" in line
    assert gpu.gemm(a, a).a.tolist() == [[2, 2], [2, 2]]  # once there is some again


def test_mixed_devices_are_refused(gpu):
    x, step = np.ones((2, 3), np.float32), np.zeros(1, np.int64)
    for call in (
        lambda: gpu.affine(to_gpu(x), x[0], x[0]),
        lambda: gpu.normal(to_gpu(x), (0, 0), 0, step),
        lambda: gpu.uniform(to_gpu(x), (0, 0), 0, to_gpu(step.astype(np.int32))),
        lambda: np.add(to_gpu(x), x),
        lambda: np.asarray(to_gpu(x)),
    ):
        with pytest.raises(TypeError):
            call()
    for here, there in ("cpu", "gpu"), ("gpu", "cpu"):
        words = rf"_linear: .* on two devices, \(2, 3\) float32 {here}, \(4, 3\) float32 {there}, .*: move one"
        with pytest.raises(TypeError, match=words):
            nn.Linear(3, 4).to(there)(device.to(x, here))


@pytest.mark.parametrize("f, inputs", ALL.values(), ids=ALL)
def test_every_operation_to_second_order_gives_the_references_values(gpu, f, inputs):
    """In float64, on arrays that refuse a mix of devices."""
    def derivatives(to):
        xs = [Tensor(to(x)) if x.dtype.kind == "f" else to(x) for x in inputs]
        out, seed = f(*xs), np.random.default_rng(0)
        cotangent = lambda shape: to(np.asarray(seed.standard_normal(shape)))
        wanted = [x for x in xs if isinstance(x, Tensor)]
        first = grad(out, wanted, cotangent(out.shape), create_graph=True)
        second = grad(first, wanted, [cotangent(x.shape) for x in first], allow_unused=True)
        return [to_host(ops.raw(x)) for x in (out, *first, *second)]

    for ours, theirs in zip(derivatives(to_gpu), derivatives(lambda x: x), strict=True):
        np.testing.assert_allclose(*((0, 0) if ours is None and theirs is None else (ours, theirs)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_a_training_step_never_waits_and_gives_the_cpus_weights(gpu, name):
    def waits():
        before, standin.syncs = standin.syncs, 0
        return before

    cpu, expected, _ = trained(name, "cpu", 3)
    on_gpu, losses, waited = trained(name, "gpu", 3, watch=waits)
    assert waited[1:] == [0, 0]  # the first step sends the random generator's counter
    assert [sorted(x) for x in losses] == [sorted(x) for x in expected]
    if "vae conv" in name:
        grey, labels = np.full((3, 1, 28, 28), 0.5, np.float32), np.arange(3)
        x, y = (m.iwae((device.to(grey, m.device), labels), k=5, rows=10) for m in (cpu, on_gpu))
        np.testing.assert_allclose(y.a, x, rtol=1e-4)
    assert on_gpu.sample(2, labels=[1, 0]).shape == (2, 1, 28, 28)
    assert_same_model(cpu, on_gpu, rtol=1e-4, atol=1e-5)


def test_every_model_and_every_kernel_has_its_case(gpu):
    assert {f"gan {name}" for name in models.MODELS} | {f"vae {name}" for name in models.VAES} <= set(MODELS)
    sources = set(re.findall(r"__global__ void (?!name)(\w+)|^COLUMN_SUMS\((\w+)", gpu.IMAGES + gpu.RANDOM, re.M))
    kernels = {a or b for a, b in sources}
    for dtype in ("float32", "float64"):  # to the last bit, on whole numbers; sine and logarithm differ from library to library
        exact = {case.name for case in CASES if case.dtype in (dtype, "") and not case.rtol}
        assert kernels - {"normal"} - exact == ({"bits"} if dtype == "float64" else set())


def test_the_judge_sees_the_same_on_the_gpu(gpu):
    from tinygan import data
    from tinygan.metrics import Judge

    images = (data.load().images[:40].astype(np.float32) / 127.5 - 1)[:, None]
    cpu, on_gpu = (Judge(device.to(images[:20], where), where) for where in ("cpu", "gpu"))
    for ours, theirs in zip(cpu.look(images), on_gpu.look(images)):
        np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-4)
    assert on_gpu(device.to(images[20:], "gpu")) == pytest.approx(cpu(images[20:]), rel=1e-3, abs=1e-4)


def test_kernels_under_sanitizers():
    asan = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    if not os.path.isabs(asan):
        pytest.skip("g++ has no libasan")
    here = Path(__file__).parent
    script = f"""
import os, sys, pytest
del os.environ["LD_PRELOAD"]  # the compiler does without
sys.path[:0] = [{str(here)!r}, {str(here.parent)!r}]
import cupy_standin
cupy_standin.FLAGS += ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", "not nvcc and (float or geometry or view or second)", {__file__!r}]))
"""
    env = os.environ | {"LD_PRELOAD": asan, "ASAN_OPTIONS": "detect_leaks=0", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]


@pytest.mark.skipif(not shutil.which("nvcc"), reason="nvcc, the CUDA compiler, is missing")
@pytest.mark.parametrize("real", ["float", "double"])
def test_nvcc_compiles_the_kernels(gpu, tmp_path, real):
    code = f"typedef {real} real;\n" + gpu.IMAGES + gpu.RANDOM
    for k in vars(gpu).values():
        if isinstance(k, standin.ElementwiseKernel):
            letters = ("T", real[0]), ("R", "d"), ("S", "l"), ("W", "d")
            source = standin.elementwise_source(tuple(k.params), k.nin, k.operation, letters)
            code += f"namespace {k.name}_ {{\n" + source.replace('extern "C"', "__global__") + "}\n"
    (tmp_path / "kernels.cu").write_text(code)
    run = subprocess.run(["nvcc", "-arch=sm_90", "-cubin", "kernels.cu"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_gradients_are_checked_in_the_gpus_own_arrays(gpu):
    random = np.random.default_rng(0)
    x, w = (standin.ndarray(random.standard_normal(s).astype(np.float32)) for s in ((2, 2, 5, 4), (3, 2, 2, 2)))
    seen = []

    def f(x, w):
        seen.append(type(x.data))
        return ops.conv2d(x, w, stride=2, padding=1)

    check_grads(f, x, w)
    assert set(seen) == {standin.ndarray}
    with pytest.raises(GradientError):
        check_grads(lambda x: x * ops.raw(x), x, order=1)
