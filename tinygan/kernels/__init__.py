"""The raw functions, under the same names in `reference` (NumPy), `cpu` (Numba), `gpu` (CuPy).

This room knows devices and no gradients; nothing else in the package knows Numba or CuPy.
"""

import functools
import importlib
import warnings

import numpy as np

from .. import device
from . import reference
from .rounding import matmul_precision, precision


def of(x):
    """The module of raw functions for arrays of x's type; Numba or CuPy is loaded at first need."""
    return _cpu() if device.of(x) == "cpu" else importlib.import_module(".gpu", __package__)


@functools.cache
def _cpu():
    try:
        return importlib.import_module(".cpu", __package__)
    except Exception as e:  # missing, or broken by a NumPy it does not know
        warnings.warn(
            f"tinygan: Numba cannot be used ({e}); plain NumPy does its work, several times slower",
            stacklevel=3,
        )
        return reference


LARGE = 1 << 16  # elements: below, a NumPy expression is as fast as it gets


def by_size(f):
    """f, a function of one or two arrays or numbers; large ones go through the device's
    `elementwise`, which shares them out among the cores.
    """

    @functools.wraps(f)
    def either(x, *y):
        if getattr(x, "size", 0) < LARGE and (not y or getattr(y[0], "size", 0) < LARGE):
            return f(x, *y)
        return of(x if hasattr(x, "size") else y[0]).elementwise(f, x, *y)

    return either
