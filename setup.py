"""tinygan's metadata: `pip install .` for the CPU, `pip install ".[gpu]"` for an NVIDIA GPU with
CUDA 13.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def version():
    """The package's own `__version__`, read and not imported: NumPy may not be there yet."""
    source = (HERE / "tinygan" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)[1]


TEST = ["pytest", "pytest-xdist", "hypothesis", "ruff~=0.17.6", "mypy"]
IO = ["safetensors", "onnx", "onnxruntime"]  # weights and graphs for others
TRACK = ["tensorboardX"]
MPI = ["mpi4py", "openmpi", "threadpoolctl"]  # several processes; Open MPI comes with it
SEARCH = ["optuna>=4"]
FLOW = ["scipy"]  # the assignment of noise to samples, coupling="optimal"

setup(
    name="tinygan",
    version=version(),
    description="A GAN and VAE stack on a from-scratch NumPy autograd engine, "
    "small enough to read in an evening",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    # an editable install is a path then: leftovers of a plain one (compiled kernels) hide nothing
    package_dir={"": "."},
    packages=find_packages(include=["tinygan", "tinygan.*"]),
    package_data={
        "": ["py.typed", "*.pyi"],
        "tinygan.data": ["digits/*", "books/*"],
        "tinygan.metrics": ["judge.npz"],
    },
    zip_safe=False,
    entry_points={"pytest11": ["tinygan.testing.plugin = tinygan.testing.plugin"]},
    # NumPy and Numba do the work; the others draw pictures and the progress
    # bar, and are imported only for that
    install_requires=["numpy>=2.0", "numba>=0.61", "matplotlib", "pillow>=11", "tqdm"],
    extras_require={
        "gpu": ["cupy-cuda13x[ctk]>=14"],
        "cuda12x": ["cupy-cuda12x[ctk]>=14"],
        "io": IO,
        "track": TRACK,
        "search": SEARCH,
        "flow": FLOW,
        "mpi": MPI,
        "docs": ["sphinx", "myst-parser", "furo", "jupytext", "nbclient", "ipykernel"],
        "test": [*TEST, *IO, *TRACK, *SEARCH, *FLOW, *MPI],
    },
)
