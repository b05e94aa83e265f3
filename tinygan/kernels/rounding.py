"""What float32 matrix products round to: all of float32, or TF32, which only a GPU has."""

import contextlib
import contextvars

from ..device import DeviceError

PRECISIONS = ("float32", "tf32")
# each thread has its own, and starts with the default
matmul_precision = contextvars.ContextVar("matmul_precision", default="float32")


@contextlib.contextmanager
def precision(name, where):
    """Inside it, float32 matrix products round to 'float32', or on a GPU to 'tf32', faster, with 10
    bits of fraction.

    It holds for this thread, and ends as it began. where: 'cpu' or 'gpu', on which they are made.
    """
    if name not in PRECISIONS:
        raise ValueError(f"precision must be 'float32' or 'tf32', got {name!r}")
    if where != "gpu" and name != "float32":
        raise DeviceError(
            f"precision {name} is for a GPU, and this runs on the CPU: use precision float32"
        )
    before = matmul_precision.set(name)
    try:
        yield
    finally:
        matmul_precision.reset(before)
