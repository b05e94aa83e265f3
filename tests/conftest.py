"""Hypothesis profiles: `dev` (the default), `ci` (the same examples each time), `intense`
(--hypothesis-profile intense).

And `gpu`: the GPU's raw functions on the stand-in for CuPy, which the process sees as CuPy for as
long.
"""

import importlib
import os
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


@pytest.fixture(scope="module")
def gpu():
    """`tinygan.kernels.gpu`, imported on the stand-in."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in standin.make().items():
            patch.setitem(sys.modules, name, module)
        patch.delitem(sys.modules, "tinygan.kernels.gpu", raising=False)
        yield importlib.import_module("tinygan.kernels.gpu")
        sys.modules.pop("tinygan.kernels.gpu")
