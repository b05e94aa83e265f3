"""safetensors (https://huggingface.co/docs/safetensors), the format in which weights are shared, by
the package of that name.

It takes arrays as they lie in memory and compares what a file promises with what is there. What it
does not do is done here: arrays of another memory layout or byte order, which it would write
garbled (its issue 825), numbers that NumPy has not, a limit, and one line for what is wrong.
"""

import os
import stat
import warnings

import numpy as np

from .. import files
from ..data import DataError
from ..device import is_array, to_host
from ..extras import package
from .text import is_text, is_text_by_name

DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1"}
DTYPES |= {"U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "?"}
KNOWN = {np.dtype(dtype) for dtype in DTYPES.values()}
HEADER = 100_000_000  # bytes that names, shapes and metadata may have, as the package has it


def save_safetensors(path, weights, metadata=None):
    """Replace `path` by the arrays of a module, or of a state dict {name: array or Tensor}.

    Names, shapes and dtypes stay as they are, and so a PyTorch module of the same layers loads it.
    metadata: {str: str}, which `read_metadata` gives back. TypeError for what the format cannot
    hold, ValueError for names and metadata of more than 100 MB, which no reader takes.
    """
    safetensors = package("safetensors.numpy", "tinygan[io]")
    state = weights.state_dict() if hasattr(weights, "state_dict") else weights
    arrays = {name: _plain(name, a) for name, a in state.items()}
    if metadata is not None and not is_text_by_name(metadata):
        raise TypeError(f"save_safetensors: metadata must be text by name, got {metadata!r:.80}")
    content = safetensors.save(arrays, metadata)
    if (length := int.from_bytes(content[:8], "little")) > HEADER:
        words = f"names and metadata of {length} bytes: a file may have {HEADER}"
        raise ValueError(f"save_safetensors: {words}")
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)


def _plain(name, a):
    """The array that a Tensor or array is: on the host, in C order, in the machine's byte order."""
    a = a if is_array(a) else getattr(a, "data", None)
    if not is_text(name) or name == "__metadata__" or not is_array(a):
        raise TypeError(f"save_safetensors: {name!r:.80} is no name of an array of numbers")
    a = np.array(to_host(a), order="C")  # and not a view: that may lie anywhere in another
    a = a.astype(a.dtype.newbyteorder("="), copy=False)
    if a.dtype not in KNOWN:
        raise TypeError(f"save_safetensors: {name} holds {a.dtype}, which the format has not")
    return a


def load_safetensors(path, limit=1 << 32):
    """{name: array} of a .safetensors file of at most `limit` bytes; else DataError.

    bfloat16 and half precision, in which nothing here computes, become float32, exactly, and a
    warning says so.
    """
    safetensors, size = package("safetensors", "tinygan[io]"), _size(path)
    if size > limit:
        raise DataError(f"{path}: has {size} bytes, more than the {limit} allowed")
    with open(path, "rb") as file:
        if (length := int.from_bytes(file.read(8), "little")) > HEADER:
            words = f"a header of {length} bytes: it may have {HEADER}"
            raise DataError(f"{path}: not a whole .safetensors ({words})")
        file.seek(0)
        try:
            found = dict(safetensors.deserialize(file.read()))
            arrays = {name: _array(name, entry) for name, entry in found.items()}
        except Exception as e:  # damage may meet any line of a reader
            raise _bad(path, e) from None
    if narrow := [entry["dtype"] for entry in found.values() if entry["dtype"] in ("F16", "BF16")]:
        kinds = " and ".join(sorted({*narrow}))
        words = f"{path}: {len(narrow)} arrays of {kinds} are read as float32"
        warnings.warn(words, stacklevel=2)
    return arrays


def _array(name, entry):
    """What the package found under a name as NumPy's array, which may be written to."""
    dtype = entry["dtype"]
    if dtype == "BF16":  # the upper half of a float32
        a = (np.frombuffer(entry["data"], "<u2").astype(np.uint32) << 16).view(np.float32)
    elif dtype == "BOOL":  # any byte but 0 is true
        a = np.frombuffer(entry["data"], np.uint8) != 0
    elif dtype in DTYPES:
        a = np.frombuffer(entry["data"], np.dtype(DTYPES[dtype]).newbyteorder("<"))
        a = a.astype(np.float32 if dtype == "F16" else a.dtype.newbyteorder("="))
    else:
        raise ValueError(f"{name!r:.80} is of {dtype}, which NumPy has not")
    return a.reshape(entry["shape"])


def read_metadata(path):
    """The metadata {str: str} in the header of a .safetensors file."""
    safetensors, _ = package("safetensors", "tinygan[io]"), _size(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except Exception as e:
        raise _bad(path, e) from None


def _size(path):
    """The size of a file; DataError for none, and for a pipe, which would be waited for."""
    try:
        status = os.stat(path)
    except OSError as e:
        raise DataError(f"{path}: cannot be read: {e.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: is not a regular file; pass the path of one")
    return status.st_size


def _bad(path, error):
    why = " ".join(str(error).split())[:200] or type(error).__name__
    return DataError(f"{path}: not a whole .safetensors ({why})")
