"""Launching the kernels of `cuda` and `cuda_rows` on CuPy arrays."""

import functools

import cupy
import numpy as np

THREADS = 256  # in a block


@functools.cache
def compiled(source, name, char):
    """The kernel of that name for arrays of doubles, if char is "d", or of floats."""
    real = "double" if char == "d" else "float"
    return cupy.RawModule(code=f"typedef {real} real;\n{source}").get_function(name)


def launch(kernel, blocks, threads, *args):
    """So many blocks of (across, down) threads of a compiled kernel; args: arrays, NumPy scalars,
    and a struct as an array of one element.
    """
    refuse_host_arrays(kernel.name, args)
    kernel((blocks,), threads, args)


def refuse_host_arrays(name, args):
    """CuPy passes a host array of one element by value, which is right for a struct; as an address
    it would kill the process.
    """
    for a in args:
        if isinstance(a, np.ndarray) and a.dtype.kind != "V":
            raise TypeError(f"{name}: needs arrays on the GPU, got {a.shape} {a.dtype} on the host")


def launch_rows(kernel, rows, width, *args):
    """A thread for each of rows x width places: a row, and in it a column, side by side."""
    if rows and width:
        across = min(THREADS, 1 << (width - 1).bit_length())
        down = THREADS // across
        launch(kernel, -(-rows // down), (across, down), *args)
