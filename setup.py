"""tinygan's metadata: `pip install .` for the CPU, `pip install ".[gpu]"` for an NVIDIA GPU with
CUDA 13.
"""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="tinygan",
    version="0.1.0",
    description="A GAN and VAE stack on a from-scratch NumPy autograd engine, small enough to read in an evening",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    # an editable install is a path then: leftovers of a plain one (compiled kernels) hide nothing
    package_dir={"": "."},
    packages=find_packages(include=["tinygan", "tinygan.*"]),
    package_data={"tinygan.data": ["digits/*"], "tinygan.metrics": ["judge.npz"]},
    zip_safe=False,
    entry_points={"pytest11": ["tinygan.testing.plugin = tinygan.testing.plugin"]},
    # NumPy and Numba do the work; the others draw pictures and the progress
    # bar, and are imported only for that
    install_requires=["numpy>=2.0", "numba>=0.61", "matplotlib", "pillow", "tqdm"],
    extras_require={
        "gpu": ["cupy-cuda13x[ctk]>=14"],
        "cuda12x": ["cupy-cuda12x[ctk]>=14"],
        "test": ["pytest", "hypothesis", "ruff"],
    },
)
