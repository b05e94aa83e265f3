"""Where an array lives, `cpu` (NumPy) or `gpu` (CuPy): picking a device, moving arrays there, and
saying why a GPU cannot be used.

Code elsewhere calls plain NumPy functions, which CuPy arrays answer themselves, and takes its raw
functions from `kernels.of(array)`; so only this file and `kernels/gpu/` ever say "cupy", and both
import it only when it is used. It knows neither Tensor nor kernels.
"""

import functools
import importlib.util
import os
import sys
import warnings

import numpy as np

_EXTRA = 'pip install "tinygan[gpu]" (CUDA 13: cupy-cuda13x[ctk]) or "tinygan[cuda12x]" (CUDA 12)'


# Types that are surely no array of another library; CuPy's own joins them when it is loaded.
# Operations ask for them first, since that is quicker than asking what an argument can do.
KNOWN = {np.ndarray, bool, float, int, list, slice, str, tuple, type(None)}
KNOWN.update(np.sctypeDict.values())  # NumPy's scalars are numbers


# by which Open MPI and MPICH tell how many processes they started on this machine
PROCESSES = "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"


class DeviceError(RuntimeError):
    """The GPU that was asked for cannot be used; the message says why and what to do."""


def resolve(name):
    """'cpu' or 'gpu': 'auto' takes a GPU that works; without one 'gpu' raises DeviceError."""
    if name not in ("auto", "cpu", "gpu"):
        raise ValueError(f"device must be 'auto', 'cpu' or 'gpu', got {name!r}")
    if name == "cpu":
        return "cpu"
    try:
        with warnings.catch_warnings():
            if name == "auto":
                warnings.simplefilter("ignore")
            _check_gpu()
    except DeviceError:
        if name == "gpu":
            raise
        return "cpu"
    return "gpu"


def describe():
    """One line on the GPU in use: 'NVIDIA H100 (driver 13.0, runtime 13.0, CuPy 14.2.0)', say."""
    cupy = _cupy()
    runtime = cupy.cuda.runtime
    versions = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    driver, library = (f"{v // 1000}.{v % 1000 // 10}" for v in versions)
    name = runtime.getDeviceProperties(runtime.getDevice())["name"].decode()
    return f"{name} (driver {driver}, runtime {library}, CuPy {cupy.__version__})"


def of(array):
    """'cpu' for a NumPy array or scalar, 'gpu' for a CuPy array."""
    if isinstance(array, (np.ndarray, np.generic)):
        return "cpu"
    if not is_array(array):
        raise TypeError(f"expected a NumPy or CuPy array, got {type(array).__name__}")
    return "gpu"


def is_array(x):
    """Whether x is a NumPy or CuPy array."""
    if isinstance(x, np.ndarray):
        return True
    cupy = sys.modules.get("cupy")  # where nobody imported it there are no arrays of it
    return cupy is not None and isinstance(x, cupy.ndarray)


def module(where):
    """The array module, numpy or cupy, of a device name or of an array."""
    device = where if isinstance(where, str) else of(where)
    if device not in ("cpu", "gpu"):
        raise ValueError(
            f"device must be 'cpu' or 'gpu' here (resolve() makes one of 'auto'), got {device!r}"
        )
    return np if device == "cpu" else _cupy()


def to(array, device):
    """The array on that device, itself if it is there already.

    Its dtype and the order of its axes in memory are kept.
    """
    source, target = of(array), module(device)
    if source == device:
        return array
    order = memory_order(array)
    stored = array.transpose(order)  # both libraries copy this as it lies in memory
    moved = stored.get() if device == "cpu" else target.asarray(stored)
    return moved.transpose(inverse(order))


def to_device_of(array, like):
    """The array on the device where the array `like` lives."""
    return to(array, of(like))


def to_host(array):
    """The array as a NumPy array (the same memory if it is one)."""
    return to(array, "cpu")


def memory_order(array):
    """The axes of an array in the order in which they lie in memory, as `transpose` takes them:
    (0, 2, 3, 1) for an NCHW image that is stored channels-last.
    """
    if array.flags.c_contiguous:
        return range(array.ndim)
    return _by_stride(array.strides)


@functools.lru_cache(1024)
def _by_stride(strides):
    return tuple(sorted(range(len(strides)), key=lambda axis: -abs(strides[axis])))


@functools.lru_cache(1024)
def inverse(order):
    """The order of axes that undoes a transposition by `order`.

    x.transpose(order).transpose(inverse(order)) is x.
    """
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def cores():
    """How many cores this process may use, on systems that say so, else how many there are. Those
    of a machine are shared out among the processes that mpirun started there, unless it has bound
    each to fewer.
    """
    all_cores = os.cpu_count() or 1
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else all_cores
    here = max(int(os.environ.get(name, 1)) for name in PROCESSES)
    return max(1, min(free, all_cores // here))


def _cupy():
    if importlib.util.find_spec("cupy") is None:
        raise DeviceError(f"the GPU needs CuPy, which is not installed: {_EXTRA}")
    try:
        import cupy
    except Exception as e:
        # a wheel for another Python or CUDA, two wheels side by side, a broken library path
        raise DeviceError(
            f"CuPy cannot be imported ({e}): uninstall every cupy package, then {_EXTRA}"
        ) from e
    KNOWN.add(cupy.ndarray)
    return cupy


def _check_gpu():
    """DeviceError, where no GPU can be used: with what is missing, from CuPy to the libraries."""
    cupy = _cupy()
    runtime = cupy.cuda.runtime
    if runtime.driverGetVersion() == 0:
        raise DeviceError(
            "no NVIDIA driver was found: install one (nvidia-smi must list the GPU), "
            "or use the device 'cpu'"
        )
    try:
        count, reason = runtime.getDeviceCount(), "the driver counts 0 devices"
    except runtime.CUDARuntimeError as e:
        count, reason = 0, str(e)
    if count == 0:
        raise DeviceError(
            f"the driver shows no GPU ({reason}): check CUDA_VISIBLE_DEVICES and nvidia-smi"
        )
    try:
        a = cupy.zeros((2, 2), "float32") + 1  # compiles a kernel: needs NVRTC
        (a @ a).get()  # needs cuBLAS
    except Exception as e:
        raise DeviceError(
            f"the GPU failed at a first kernel and product ({e}): for a missing library, {_EXTRA}"
        ) from e
