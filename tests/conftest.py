"""Hypothesis profiles: `dev` (the default), `ci` (the same examples each time), `intense`
(--hypothesis-profile intense).

And `gpu`: the GPU's raw functions on the stand-in for CuPy, which the process sees as CuPy for as
long.
"""

import importlib
import os
import signal
import sys

import cupy_standin as standin
import pytest

try:
    from hypothesis import settings
except ImportError:  # a GPU machine may do without: test_gpu.py draws nothing
    pass
else:
    from tinygan.testing import strategies

    strategies.register_profiles()
    settings.load_profile("ci" if os.environ.get("CI") else "dev")


# A shell that runs the tests in the background has Ctrl-C ignored, and so would every run in them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """What a test decodes or teaches is not kept among what the user's own runs did."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def gpu():
    """`tinygan.kernels.gpu`, imported on the stand-in."""
    room = "tinygan.kernels.gpu"

    def files():
        return [name for name in sys.modules if name == room or name.startswith(room + ".")]

    with pytest.MonkeyPatch.context() as patch:
        for name, module in standin.make().items():
            patch.setitem(sys.modules, name, module)
        for name in files():
            patch.delitem(sys.modules, name)
        yield importlib.import_module(room)
        for name in files():
            sys.modules.pop(name)


@pytest.fixture
def asked(gpu, monkeypatch):
    """What each product asked cuBLAS to round to: 68 is float32, 77 TF32 and 70 float64."""
    compute, plain = [], gpu.matmul._cublas

    def noted(name, *args):
        if "Gemm" in name:
            compute.append(args[-2])
        plain(name, *args)

    monkeypatch.setattr(gpu.matmul, "_cublas", noted)
    return compute
