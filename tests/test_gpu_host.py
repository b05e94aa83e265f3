"""The GPU path without a GPU: `kernels/gpu/` runs on the stand-in for CuPy, its CUDA sources
compiled by g++.

What is checked here is everything but the device: index arithmetic, bounds, the arguments of
launches and of cuBLAS, and that nothing waits for the device. `test_gpu.py` runs the same cases
where there is one.
"""

import copy
import functools
import inspect
import os
import re
import shutil
import subprocess
import sys
import threading
import types
import warnings
from pathlib import Path

import cupy_standin as standin
import numpy as np
import pytest
from gpu_cases import (
    CASES,
    MODELS,
    VECTORS,
    assert_same_model,
    check_cupys_ways,
    known_answer,
    trained,
)
from grads import ALL
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinygan import Tensor, cli, device, grad, kernels, models, nn, ops
from tinygan.kernels import reference
from tinygan.testing import GradientError, check_grads

pytestmark = pytest.mark.skipif(
    not shutil.which("g++"), reason="g++ is missing: it compiles the kernels for the host"
)


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
            if (getattr(ours, "__module__", None) or "").startswith(gpu.__name__):
                assert inspect.signature(ours) == inspect.signature(f), name
            elif ours is not f:  # NumPy's functions on CuPy's arrays, where it is
                # CuPy's own, and those that `reference` makes of a device's im2col and gemm
                assert name in ("affine", "contiguous", "empty") or "conv" in name
    assert gpu.affine.nin == 3


@pytest.mark.parametrize("counter, key, words", VECTORS)
def test_philox_known_answers(gpu, counter, key, words):
    assert known_answer(gpu, to_gpu, counter, key).a.tolist() == words
    assert [int(w) for w in reference.philox(counter, key)] == words


def test_the_stand_in_has_cupys_ways(gpu):
    x = to_gpu(np.ones((2, 3), np.float32))
    check_cupys_ways(x, to_gpu)
    kernel = gpu.launch.compiled(gpu.cuda.RANDOM, "uniform", "f")
    n, step = np.int64(6), np.zeros(1, np.int64)
    with pytest.raises(standin.CUDARuntimeError, match="IllegalAddress"):
        kernel((1,), (2, 1), (x, n, *map(np.uint32, (0, 0, 0, 0)), step))


pairs = functools.partial(st.tuples, *[st.integers(1, 3)] * 2)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2),
    st.integers(1, 4),
    pairs(),
    pairs(),
    st.tuples(*[st.integers(0, 3)] * 2),
    pairs(),
    st.data(),
)
def test_patches_of_any_geometry(gpu, n, c, kernel, stride, padding, dilation, data):
    size = data.draw(pairs())
    axes = zip(size, stride, dilation, kernel, padding)
    least = [(o - 1) * s + d * (k - 1) + 1 - 2 * p for o, s, d, k, p in axes]
    h, w = (max(1, m) + data.draw(st.integers(0, 2)) for m in least)
    geometry = size, kernel, stride, padding, dilation
    x = np.random.default_rng(0).standard_normal((n, c, h, w)).astype(np.float32)
    x = x.transpose(0, 2, 3, 1)
    cols = reference.im2col(x, *geometry)
    assert np.array_equal(to_host(gpu.im2col(to_gpu(x), *geometry)), cols)
    back, expected = to_gpu(np.ones(x.shape, x.dtype)), np.ones(x.shape, x.dtype)
    gpu.col2im(to_gpu(cols), back, *geometry)
    reference.col2im(cols, expected, *geometry)
    assert np.array_equal(to_host(back), expected)  # the same order of additions


batches = st.sampled_from([(), (1,), (3,), (2, 3), (2, 1), (0,)])
views = st.sampled_from(["rows", "columns", "apart", "skewed", "crossed"])


def _view(shape, how):
    """Whole numbers of that shape, lying in memory in some way, and all of that memory."""
    *batch, m, n = shape
    a = np.random.default_rng(0).integers(-4, 5, (*batch, m, 2 * n + 3)).astype(np.float32)
    if how == "apart":
        return a[..., 2 : n + 2], a
    if how == "skewed":
        return a[..., 1 : 2 * n + 1 : 2], a
    if how == "repeated":
        return np.broadcast_to(a[..., :1, :n], shape), a
    axes = {"rows": (0, 1, 2, 3), "columns": (0, 1, 3, 2), "crossed": (1, 0, 2, 3)}[how]
    full = a[..., :n].reshape((1,) * (2 - len(batch)) + shape)
    whole = np.ascontiguousarray(full.transpose(axes))
    return whole.transpose(axes).reshape(shape), whole


@settings(max_examples=80, deadline=None)
@example((2, 3, 2), (2, 3), (2, 3), ("rows", "columns", "crossed"))
@given(
    st.tuples(*[st.integers(0, 4)] * 3),
    batches,
    batches,
    st.tuples(*[views | st.just("repeated")] * 2, views),
)
def test_gemm_of_any_view(gpu, sizes, batch_a, batch_b, how):
    try:
        batch = np.broadcast_shapes(batch_a, batch_b)
    except ValueError:
        batch = batch_b = batch_a
    m, k, n = sizes
    shapes = (*batch_a, m, k), (*batch_b, k, n), (*batch, m, n)
    (a, _), (b, _), (out, whole) = map(_view, shapes, how)
    expected, before = a @ b, whole.copy()
    a, b, out = map(standin.ndarray, (a, b, out))
    assert np.array_equal(to_host(gpu.gemm(a, b)), expected)
    assert gpu.gemm(a, b, out=out) is out and np.array_equal(out.a, expected)
    out.a[...] = 0
    changed = whole != before
    out.a[...] = 1
    assert not changed[whole != 1].any()  # nothing was written beside `out`


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((3,), (3, 2)), ((2, 3, 4), (3, 4, 2))])
def test_gemm_names_what_clashes(gpu, shapes):
    with pytest.raises(ValueError, match="gemm: cannot multiply"):
        gpu.gemm(*(standin.ndarray(np.ones(s)) for s in shapes))
    with pytest.raises(ValueError, match="gemm: out is"):
        gpu.gemm(*(standin.ndarray(np.ones((2, 2))),) * 2, out=standin.ndarray(np.ones((2, 3))))


def test_tf32_is_asked_for_and_only_on_a_gpu(gpu, asked):
    a = standin.ndarray(np.ones((2, 2), np.float32))
    double, batch = a.astype("float64"), standin.ndarray(np.ones((3, 2, 2), np.float32))
    with pytest.raises(device.DeviceError, match="tf32 is for a GPU.* use precision float32"):
        with kernels.precision("tf32", "cpu"):
            pass
    with pytest.raises(ValueError, match="'float32' or 'tf32', got 'tf16'"):
        with kernels.precision("tf16", "gpu"):
            pass
    for name in ("tf32", "float32"):
        with kernels.precision(name, "gpu"):
            gpu.gemm(a, a), gpu.gemm(double, double), gpu.gemm(batch, batch)
    with kernels.precision("float32", "cpu"):
        gpu.gemm(a, a)
    assert asked == [77, 70, 77] + [68, 70, 68] + [68]


def test_a_precision_holds_in_its_block_and_its_thread_only(gpu, asked):
    a = standin.ndarray(np.ones((2, 2), np.float32))
    with kernels.precision("tf32", "gpu"):
        with kernels.precision("float32", "gpu"):
            gpu.gemm(a, a)
        gpu.gemm(a, a)
        with pytest.raises(KeyError), kernels.precision("float32", "gpu"):
            raise KeyError
        gpu.gemm(a, a)
        other = threading.Thread(target=gpu.gemm, args=(a, a))
        other.start()
        other.join()
    gpu.gemm(a, a)
    with pytest.raises(KeyError), kernels.precision("tf32", "gpu"):
        raise KeyError
    gpu.gemm(a, a)
    assert asked == [68, 77, 77, 68, 68, 68]


@pytest.mark.parametrize("lack", ["workspace", "handle"])
def test_no_memory_for_cublas_is_out_of_memory(gpu, lack, monkeypatch, capsys):
    matmul = gpu.matmul
    monkeypatch.setattr(matmul, "_handle", functools.cache(matmul._handle.__wrapped__))
    a = standin.ndarray(np.ones((2, 2), np.float32))
    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="2"):
        if lack == "workspace":
            patch.setattr(standin.Memory, "free", matmul.WORKSPACE - 1)
        else:
            library = types.SimpleNamespace(cublasCreate_v2=lambda handle: matmul.ALLOC_FAILED)
            patch.setattr(matmul, "_library", lambda: library)
        cli.run(lambda: gpu.gemm(a, a))
    (line,) = capsys.readouterr().err.splitlines()
    assert ": out of memory: " in line and "lower --batch-size" in line
    assert gpu.gemm(a, a).a.tolist() == [[2, 2], [2, 2]]  # once there is some again


def test_mixed_devices_are_refused(gpu):
    x, step = np.ones((2, 3), np.float32), np.zeros(1, np.int64)
    for call in (
        lambda: gpu.affine(to_gpu(x), x[0], x[0]),
        lambda: gpu.lerp([to_gpu(x)], [x], to_gpu(np.array(0.5))),
        lambda: gpu.lerp([to_gpu(x[:1, :1])], [x[:1, :1]], to_gpu(np.array(0.5))),
        lambda: gpu.lerp([to_gpu(x)], [to_gpu(x)], np.array(0.5)),
        lambda: gpu.normal(to_gpu(x), (0, 0), 0, step),
        lambda: gpu.uniform(to_gpu(x), (0, 0), 0, to_gpu(step.astype(np.int32))),
        lambda: np.add(to_gpu(x), x),
        lambda: gpu.bernoulli(to_gpu(x), 0.5, 2.0, (0, 0), 0, step),
        lambda: gpu.norm_sums(to_gpu(x), x, x[0], x[0]),
        lambda: np.asarray(to_gpu(x)),
    ):
        with pytest.raises(TypeError):
            call()
    for here, there in ("cpu", "gpu"), ("gpu", "cpu"):
        arrays = rf"\(2, 3\) float32 {here}, \(4, 3\) float32 {there}"
        words = rf"_linear: .* on two devices, {arrays}, .*: move one"
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
        if ours is not None or theirs is not None:
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_a_batch_norms_three_rules_share_one_pass(gpu, monkeypatch):
    calls, x = [], np.random.default_rng(0).standard_normal((4, 3, 2, 2)).astype(np.float32)
    for where in ("cpu", "gpu"):
        k = kernels.of(device.to(x, where))
        monkeypatch.setattr(
            k, "norm_sums", lambda *args, plain=k.norm_sums: (calls.append(args), plain(*args))[1]
        )
        monkeypatch.setattr(k, "column_sums", lambda x: calls.append(x))
        norm = nn.BatchNorm2d(3).to(where)
        t = Tensor(device.to(x, where))
        loss = ops.sum(norm(t) ** 2)
        for _ in range(2):
            grad(loss, [t, norm.weight, norm.bias])
        assert len(calls) == 2
        calls.clear()
        g, out = device.to(x.copy(), where), norm(t)
        one = grad(out, norm.weight, g)
        g *= 2  # the same array with other numbers: nothing was remembered
        np.testing.assert_allclose(to_host(grad(out, norm.weight, g)), 2 * to_host(one))
        calls.clear()


def test_a_gradient_of_no_axes_has_none(gpu):
    for index in (..., None, (..., None)):
        x = Tensor(to_gpu(np.array(3.0)))
        g = grad(ops.sum(x[index] * 2), x)
        assert g.shape == () and float(g) == 2


def test_a_copy_keeps_the_weights_layout_and_ties(gpu):
    net = nn.Sequential(nn.Conv2d(3, 4, 2), nn.ConvTranspose2d(4, 3, 2)).to("gpu")
    net.tied, net[0].weight.grad = net[0].weight, net[0].weight.data * 2
    twin = copy.deepcopy(net)
    for a, b in zip(net.parameters(), twin.parameters()):
        assert a is not b and a.name == b.name and type(b) is nn.Parameter
        assert np.array_equal(a.data.a, b.data.a) and a.data.strides == b.data.strides
        assert not np.shares_memory(a.data.a, b.data.a)
    assert twin.tied is twin[0].weight and twin.tied.grad is not net.tied.grad
    assert np.array_equal(twin.tied.grad.a, net.tied.grad.a)


def test_large_images_stay_channels_last(gpu):
    """Else each convolution after it would copy them."""
    stored = np.random.default_rng(0).standard_normal((2, 40, 40, 32)).astype(np.float32)
    image = np.moveaxis(stored, 3, 1)
    x, scale = Tensor(to_gpu(image)), to_gpu(image[0, :, :1, :1])
    for f in (
        ops.tanh,
        lambda x: x * scale,
        lambda x: 2 - x,
        lambda x: ops.maximum(x, to_gpu(image[:1])),
    ):
        out = f(x).data
        assert out.strides == image.strides
        expected = f(Tensor(to_gpu(np.ascontiguousarray(image)))).data.a
        np.testing.assert_allclose(out.a, expected, rtol=1e-6)
    out = nn.Dropout(0.3)(x)
    assert out.data.strides == grad(out, x, x.data).strides == image.strides


def launched(f):
    """The kernels and products of a second call of f, which compiles nothing."""
    f()
    before = standin.Stream.current().work
    f()
    return standin.Stream.current().work - before


def test_no_needless_launches(gpu):
    ones = lambda *shape: to_gpu(np.ones(shape, np.float32))
    x, w, y = ones(2, 6, 6, 3), ones(2, 2, 3, 4), ones(2, 5, 5, 4)
    geometry = (1, 1), (0, 0), (1, 1)
    assert launched(lambda: gpu.conv(x, w, (5, 5), *geometry)) == 2  # columns, product
    assert launched(lambda: gpu.conv_transpose(y, w, (6, 6), *geometry)) == 2
    assert launched(lambda: gpu.conv_filter(x, y, (2, 2), *geometry)) == 2
    few, many = ones(500, 32), ones(5000, 32)
    assert launched(lambda: gpu.column_sums(few)) == 1
    assert launched(lambda: gpu.column_sums(many)) == 2


LAUNCHES = {"gan dcgan": 280, "vae conv": 170}


@pytest.mark.parametrize("name", LAUNCHES)
def test_launches_of_a_step(gpu, name):
    counted = []
    trained(name, "gpu", 2, watch=lambda: counted.append(standin.Stream.current().work))
    assert counted[-1] - counted[-2] <= LAUNCHES[name]


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
    if hasattr(cpu, "sample_shape"):
        assert on_gpu.sample(2).shape == (2, *cpu.sample_shape)
    assert_same_model(cpu, on_gpu, rtol=1e-4, atol=1e-5)


def sources(gpu):
    """The CUDA sources."""
    found = {**vars(gpu.cuda), **vars(gpu.cuda_rows)}
    return [text for name, text in found.items() if name.isupper() and "void" in str(text)]


def test_every_model_and_every_kernel_has_its_case(gpu):
    assert {f"gan {name}" for name in models.MODELS} <= set(MODELS)
    assert {f"vae {name}" for name in models.VAES} <= set(MODELS)
    assert {f"diffusion {name}" for name in models.DIFFUSIONS} <= set(MODELS)
    assert {f"plane {name}" for name in models.PLANES} <= set(MODELS)
    assert {f"text {name}" for name in models.TEXTS} <= set(MODELS)
    text = "".join(sources(gpu))
    kernels = set(re.findall(r"__global__ void (?:__launch\w+\(\d+\) )?(?!name|__)(\w+)", text))
    kernels |= set(re.findall(r"^COLUMN_SUMS\((\w+)", text, re.M))
    # to the last bit, on whole numbers; sine, logarithm and powers differ from library to library,
    # and means of rows are no whole numbers
    rounded = {"normal", "adam", "softmax_rows", "softmax_rows_grad", "log_softmax_at"}
    rounded |= {"layer_norm", "layer_norm_grad"}
    assert rounded <= {case.name for case in CASES}
    for dtype in ("float32", "float64"):
        exact = {case.name for case in CASES if case.dtype in (dtype, "") and not case.rtol}
        left = kernels - rounded - {"layer_norm_sums"} - exact
        assert left == ({"bits"} if dtype == "float64" else set())


HIDES = """
import sys
from importlib.machinery import PathFinder

class Hides:
    def find_spec(self, name, path=None, target=None):
        if path is None and name in {}:
            spec = PathFinder.find_spec(name, [p for p in sys.path if "site-packages" not in p])
            if spec is None:
                raise ModuleNotFoundError("No module named " + name, name=name)
            return spec

sys.meta_path.insert(0, Hides())
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is missing")
def test_the_script_for_a_gpu_machine(tmp_path):
    """A little of each part, on the stand-in, where all is missing that may be."""
    here, fake = Path(__file__).parent, tmp_path / "fake"
    (fake / "cupy").mkdir(parents=True)
    install = "import sys, cupy_standin; sys.modules.update(cupy_standin.make())"
    (fake / "cupy" / "__init__.py").write_text(install)
    missing = ("numba", "hypothesis", "matplotlib", "tqdm", "torch", "xdist")
    (fake / "sitecustomize.py").write_text(HIDES.format(missing))
    env = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    env |= {"PYTHONPATH": f"{fake}:{here}"}
    script = [shutil.which("bash"), here.parent / "bench" / "device.sh", tmp_path / "out", "short"]
    run = subprocess.run(script, env=env, capture_output=True, text=True)
    files = {p.stem: p.read_text() for p in (tmp_path / "out").glob("*.txt")}
    assert run.returncode == 0, files
    parts = ("environment", "gan", "tests", "bench")
    assert re.findall(r"^(\w+): ok, \d+ s$", files["summary"], re.M) == list(parts)
    named = re.findall(r"^(\w+) is missing, which", files["environment"], re.M)
    assert set(named) == set(missing) - {"hypothesis"}
    assert "NVIDIA Stand-in" in files["environment"] and " passed" in files["tests"]
    assert re.search(r"^vae-mlp +1 +4 +\d+\.\d+ +\d+\.\d+", files["bench"], re.M)
    assert (tmp_path / "out" / "gan" / "samples" / "epoch-002.png").exists()

    (fake / "cupy" / "__init__.py").write_text("raise ImportError('libcudart.so.13 is missing')")
    run = subprocess.run(script, env=env, capture_output=True, text=True)
    files = {p.stem: p.read_text() for p in (tmp_path / "out").glob("*.txt")}
    assert run.returncode == 1 and "CuPy cannot be imported (libcudart.so.13" in files["gan"]
    failed = re.findall(r"^(\w+): status \d", files["summary"], re.M)
    assert failed == ["environment", "gan", "bench"]


def test_a_row_of_the_benchmark_that_is_not_captured_fails(gpu, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "bench")
    bench = types.ModuleType("bench_gpu")
    exec((Path(__file__).parent.parent / "bench" / "gpu.py").read_text(), vars(bench))
    plain = models.VAE.step
    monkeypatch.setattr(models.VAE, "step", lambda vae, x: float(x[0, 0, 0, 0]) and plain(vae, x))
    monkeypatch.setitem(sys.modules, "torch", None)
    flags = "--models vae-mlp --widths 1 --batch-sizes 4 --precisions float32 --rounds 1"
    flags += " --square 16"
    columns = "--columns eager captured torch --out".split()
    monkeypatch.setattr("sys.argv", ["gpu.py", *flags.split(), *columns, str(tmp_path / "out.txt")])
    with warnings.catch_warnings():
        assert bench.main() == 1
    rows = (tmp_path / "out.txt").read_text()
    assert rows == capsys.readouterr().out
    assert re.search(r"vae-mlp +1 +4 +\d+\.\d+ +- +- ", rows)
    assert "captured: UserWarning: tinygan: this step runs without" in rows
    blind = "torch: RuntimeError: this PyTorch sees no GPU"
    assert blind in rows or "torch: ModuleNotFound" in rows
    monkeypatch.setattr("sys.argv", ["gpu.py", *flags.split(), "--limit", "1e-9"])
    assert bench.main() == 1 and "left out: the time is up" in capsys.readouterr().out


def test_the_judge_sees_the_same_on_the_gpu(gpu):
    from tinygan import data
    from tinygan.metrics import Judge

    images = (data.load().images[:40].astype(np.float32) / 127.5 - 1)[:, None]
    cpu, on_gpu = (Judge(device.to(images[:20], where), where) for where in ("cpu", "gpu"))
    for ours, theirs in zip(cpu.look(images), on_gpu.look(images)):
        np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-4)
    rest = images[20:]
    assert on_gpu(device.to(rest, "gpu")) == pytest.approx(cpu(rest), rel=1e-3, abs=1e-4)


def test_kernels_under_sanitizers():
    where = ["g++", "-print-file-name=libasan.so"]
    asan = subprocess.run(where, capture_output=True, text=True).stdout.strip()
    if not os.path.isabs(asan):
        pytest.skip("g++ has no libasan")
    here = Path(__file__).parent
    chosen = "not nvcc and (float or geometry or view or second)"
    script = f"""
import os, sys, pytest
del os.environ["LD_PRELOAD"]  # the compiler does without
sys.path[:0] = [{str(here)!r}, {str(here.parent)!r}]
import cupy_standin
cupy_standin.FLAGS += ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", {chosen!r}, {__file__!r}]))
"""
    env = os.environ | {"LD_PRELOAD": asan, "ASAN_OPTIONS": "detect_leaks=0"}
    env |= {"OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]


@pytest.mark.skipif(not shutil.which("nvcc"), reason="nvcc, the CUDA compiler, is missing")
@pytest.mark.parametrize("real", ["float", "double"])
def test_nvcc_compiles_the_kernels(gpu, tmp_path, real):
    code = f"typedef {real} real;\n" + "\n#undef EACH\n".join(sources(gpu))
    for k in {**vars(gpu.arrays), **vars(gpu.norm), **vars(gpu.rows)}.values():
        if isinstance(k, standin.ElementwiseKernel):
            letters = ("T", real[0]), ("R", "d"), ("S", "l"), ("W", "d"), ("I", "l")
            source = standin.elementwise_source(tuple(k.params), k.nin, k.operation, letters)
            code += f"namespace {k.name}_ {{\n" + source.replace('extern "C"', "__global__") + "}\n"
    (tmp_path / "kernels.cu").write_text(code)
    command = ["nvcc", "-arch=sm_90", "-cubin", "kernels.cu"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_gradients_are_checked_in_the_gpus_own_arrays(gpu):
    random = np.random.default_rng(0)
    shapes = (2, 2, 5, 4), (3, 2, 2, 2)
    x, w = (standin.ndarray(random.standard_normal(s).astype(np.float32)) for s in shapes)
    seen = []

    def f(x, w):
        seen.append(type(x.data))
        return ops.conv2d(x, w, stride=2, padding=1)

    check_grads(f, x, w)
    assert set(seen) == {standin.ndarray}
    with pytest.raises(GradientError):
        check_grads(lambda x: x * ops.raw(x), x, order=1)
