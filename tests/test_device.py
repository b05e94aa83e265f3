"""Picking a device and moving arrays: each sentence that says why a GPU cannot be used, on a
stand-in for CuPy.
"""

import importlib.util
import sys
import warnings

import cupy_standin as standin
import numpy as np
import pytest

from tinygan import cli, device


@pytest.fixture
def cupy(monkeypatch):
    modules = standin.make()
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return modules["cupy"]


def _fail(error):
    def call(*args):
        raise error

    return call


def _absent(cupy, patch, tmp_path):
    patch.setattr(importlib.util, "find_spec", lambda name: None)


def _broken(cupy, patch, tmp_path):
    patch.delitem(sys.modules, "cupy")
    (tmp_path / "cupy.py").write_text(
        "import warnings; warnings.warn('old'); raise ImportError('libcuda is missing')"
    )
    patch.syspath_prepend(tmp_path)


def _no_driver(cupy, patch, tmp_path):
    cupy.cuda.runtime.driverGetVersion = lambda: 0


def _none_visible(cupy, patch, tmp_path):
    cupy.cuda.runtime.getDeviceCount = lambda: 0


def _none_usable(cupy, patch, tmp_path):
    error = cupy.cuda.runtime.CUDARuntimeError("cudaErrorNoDevice: none")
    cupy.cuda.runtime.getDeviceCount = _fail(error)


def _no_nvrtc(cupy, patch, tmp_path):
    cupy.zeros = _fail(RuntimeError("libnvrtc.so.13 not found"))


def _no_cublas(cupy, patch, tmp_path):
    patch.setattr(standin.ndarray, "__matmul__", _fail(ImportError("libcublas.so.13 not found")))


@pytest.mark.parametrize(
    "harm, words",
    [
        (_absent, ["not installed", '"tinygan[gpu]"', "cupy-cuda13x[ctk]", "tinygan[cuda12x]"]),
        (_broken, ["cannot be imported", "libcuda is missing", "uninstall"]),
        (_no_driver, ["no NVIDIA driver", "nvidia-smi"]),
        (_none_visible, ["no GPU", "0 devices", "CUDA_VISIBLE_DEVICES"]),
        (_none_usable, ["no GPU", "cudaErrorNoDevice", "CUDA_VISIBLE_DEVICES"]),
        (_no_nvrtc, ["first kernel", "libnvrtc.so.13 not found", "tinygan[gpu]"]),
        (_no_cublas, ["first kernel", "libcublas.so.13 not found", "tinygan[gpu]"]),
    ],
)
def test_a_gpu_that_cannot_be_used(cupy, monkeypatch, tmp_path, harm, words):
    harm(cupy, monkeypatch, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert device.resolve("auto") == "cpu"
    with pytest.raises(device.DeviceError) as e, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        device.resolve("gpu")
    assert all(word in str(e.value) for word in words) and "\n" not in str(e.value)


def test_a_gpu_that_can(cupy):
    found = {name: device.resolve(name) for name in ("auto", "gpu", "cpu")}
    assert found == {"auto": "gpu", "gpu": "gpu", "cpu": "cpu"}
    assert device.describe() == "NVIDIA Stand-in (driver 13.0, runtime 13.2, CuPy 14.2.0)"
    assert device.module("gpu") is device.module(cupy.zeros(1)) is cupy
    assert device.module("cpu") is device.module(np.ones(1)) is np


@pytest.mark.parametrize(
    "call", [device.resolve, device.module, lambda name: device.to(np.ones(1), name)]
)
def test_an_unknown_name(call):
    with pytest.raises(ValueError, match="device must be ('auto', )?'cpu' or 'gpu'.*'cuda'"):
        call("cuda")


def test_what_is_an_array(cupy):
    assert device.of(np.float32(1)) == "cpu" and device.of(cupy.zeros(1)) == "gpu"
    assert device.is_array(np.ones(1)) and device.is_array(cupy.zeros(1))
    assert not device.is_array([1.0])
    with pytest.raises(TypeError, match="NumPy or CuPy array, got list"):
        device.of([1.0])


@pytest.mark.parametrize(
    "x",
    [
        # channels-last behind (n, c, h, w)
        np.arange(120, dtype=np.float32).reshape(2, 4, 5, 3).transpose(0, 3, 1, 2),
        np.arange(6.0).reshape(2, 3).T,
        np.arange(24, dtype=np.int64).reshape(4, 6)[::2, 1:3],
        np.array(3.0),
        np.zeros((0, 3), np.float32),
    ],
)
def test_a_move_keeps_values_dtype_and_layout(cupy, x):
    there = device.to(x, "gpu")
    back = device.to_host(there)
    assert device.to(x, "cpu") is x and device.to(there, "gpu") is there
    assert device.to_device_of(x, there).a is not x
    order = device.memory_order(x)
    assert x.transpose(order).transpose(device.inverse(order)).strides == x.strides
    for y in (there.a, back):
        assert y.dtype == x.dtype and np.array_equal(y, x) and y.strides == x.copy("K").strides
        assert not np.may_share_memory(x, y)


FULL = "Out of memory allocating 512 bytes (allocated so far: 1 bytes)."


@pytest.mark.parametrize(
    "make",
    [
        lambda cupy: cupy.cuda.memory.OutOfMemoryError(FULL),
        lambda cupy: MemoryError("Unable to allocate 7 EiB"),
    ],
)
def test_out_of_memory_is_one_line_that_says_what_to_lower(cupy, make, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bin/train"])
    with pytest.raises(SystemExit) as e:
        cli.run(_fail(make(cupy)))
    (line,) = capsys.readouterr().err.splitlines()
    assert e.value.code == 2 and line.startswith("train: out of memory: ")
    assert "lower --batch-size" in line and ".;" not in line
