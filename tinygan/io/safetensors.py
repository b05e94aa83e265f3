"""safetensors (https://huggingface.co/docs/safetensors), the format in which weights are shared: 8
bytes, the length of the header; the header, JSON, which says of each array its type, its shape and
where its bytes begin and end; the bytes, little-endian, in C order, without gaps.

A file is untrusted: its header has a limit and is compared with the file's size before any array is
read, so that a file costs no more memory than it has bytes (twice that for bfloat16 and half).
"""

import json
import math
import os
import stat
import warnings
from typing import NamedTuple

import numpy as np

from .. import files
from ..data import DataError
from ..device import is_array, to_host

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2"}
DTYPES |= {"I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
# stored otherwise than NumPy has it: bfloat16 is the upper half of a float32
STORED = DTYPES | {"BF16": "<u2", "BOOL": "u1"}
HEADER = 1 << 22  # bytes that the header may have: some 40,000 arrays
METADATA = "__metadata__"


class Entry(NamedTuple):
    """What the header says of an array."""

    dtype: str
    shape: tuple
    start: int  # of its bytes, after the header
    end: int


def save_safetensors(path, weights, metadata=None):
    """Replace `path` by the arrays of a module, or of a state dict {name: array or Tensor}.

    Names, shapes and dtypes stay as they are, and so a PyTorch module of the same layers loads it.
    metadata: {str: str}, which `read_metadata` gives back. TypeError for what the format cannot
    hold.
    """
    state = weights.state_dict() if hasattr(weights, "state_dict") else weights
    arrays = {name: _little_endian(name, a) for name, a in state.items()}
    # the widest first: each array begins at a multiple of its item's size
    arrays = dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))
    header, end = {}, 0
    if metadata:
        if not all(isinstance(word, str) for pair in metadata.items() for word in pair):
            raise TypeError(
                f"save_safetensors: metadata must be text by name, got {metadata!r:.80}"
            )
        header[METADATA] = dict(metadata)
    for name, a in arrays.items():
        start, end = end, end + a.nbytes
        header[name] = {"dtype": NAMES[a.dtype], "shape": a.shape, "data_offsets": [start, end]}
    words = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    words += b" " * (-len(words) % 8)
    if len(words) > HEADER:
        raise ValueError(f"save_safetensors: the names of {len(arrays)} arrays are too long")
    with files.replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(len(words).to_bytes(8, "little") + words)
        for a in arrays.values():
            file.write(a.tobytes())  # in C order, whatever the layout in memory is


def _little_endian(name, a):
    """The array that a Tensor or array is, in the host's memory."""
    a = a if is_array(a) else getattr(a, "data", None)
    if not isinstance(name, str) or name == METADATA or not is_array(a):
        raise TypeError(f"save_safetensors: {name!r:.80} is no name of an array of numbers")
    a = np.asarray(to_host(a))
    a = a.astype(a.dtype.newbyteorder("<"), copy=False)
    if a.dtype not in NAMES:
        raise TypeError(f"save_safetensors: {name} holds {a.dtype}, which the format has not")
    return a


def load_safetensors(path, limit=1 << 32):
    """{name: array} of a .safetensors file whose arrays have at most `limit` bytes together; else
    DataError.

    bfloat16 and half precision, in which nothing here computes, become float32, exactly, and a
    warning says so.
    """
    with _opened(path) as file:
        entries, _ = _header(path, file)
        total = sum(e.end - e.start for e in entries.values())
        if total > limit:
            raise DataError(f"{path}: holds {total} bytes of arrays, more than the {limit} allowed")
        arrays = {name: _read(path, file, entry) for name, entry in entries.items()}
    if narrow := [name for name, e in entries.items() if e.dtype in ("F16", "BF16")]:
        kinds = " and ".join(sorted({entries[name].dtype for name in narrow}))
        words = f"{path}: {len(narrow)} arrays of {kinds} are read as float32"
        warnings.warn(words, stacklevel=2)
    return arrays


def read_metadata(path):
    """The metadata {str: str} in the header of a .safetensors file."""
    with _opened(path) as file:
        return _header(path, file)[1]


def _opened(path):
    """The file, open for reading; DataError for a pipe, which would be waited for, or none."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except OSError as e:
        raise DataError(f"{path}: cannot be read: {e.strerror}") from None
    if not regular:
        raise DataError(f"{path}: is not a regular file; pass the path of one")
    return open(path, "rb")


def _header(path, file):
    """{name: Entry} in the order of their bytes, and the metadata."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    try:
        if size < 8 or length > min(HEADER, size - 8):
            raise ValueError(f"its header would have {length} bytes")
        given = json.loads(file.read(length), object_pairs_hook=_unique)
        if not isinstance(given, dict):
            raise ValueError("its header is no dict")
        metadata = given.pop(METADATA, {})
        if not all(isinstance(word, str) for word in metadata.values()):
            raise ValueError("its metadata is no text")
        entries = {name: _entry(name, words) for name, words in given.items()}
        entries = dict(sorted(entries.items(), key=lambda item: item[1][2:]))
        end = 0
        for name, entry in entries.items():
            if entry.start != end:
                raise ValueError(f"{name!r:.80} does not begin where the array before it ends")
            end = entry.end
        if end != size - 8 - length:
            raise ValueError(f"its arrays have {end} bytes, and the file {size - 8 - length}")
    except Exception as e:  # damage may meet any line, the parser of JSON its limit of recursion
        why = " ".join(str(e).split())[:200] or type(e).__name__
        raise DataError(f"{path}: not a whole .safetensors ({why})") from None
    return entries, metadata


def _unique(pairs):
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name is there twice")
    return dict(pairs)


def _entry(name, words):
    """The Entry that the header's words are, if they are of one mind; else ValueError."""
    if not isinstance(words, dict) or {*words} != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"of {name!r:.80} it says not its dtype, shape and data_offsets alone")
    dtype, shape = words["dtype"], words["shape"]
    start, end = words["data_offsets"]
    if dtype not in STORED:
        raise ValueError(f"{name!r:.80} is of {dtype!r:.20}, which NumPy has not")
    if not all(type(n) is int and 0 <= n < 1 << 62 for n in [*shape, start, end]):
        raise ValueError(f"{name!r:.80} has sizes that are no whole numbers")
    if len(shape) > 64 or math.prod(shape) * np.dtype(STORED[dtype]).itemsize != end - start:
        raise ValueError(f"{name!r:.80} of shape {shape!r:.80} has {end - start} bytes")
    return Entry(dtype, tuple(shape), start, end)


def _read(path, file, entry):
    """The array, in NumPy's own byte order; the file stands where its bytes begin."""
    raw = file.read(entry.end - entry.start)
    if len(raw) != entry.end - entry.start:
        raise DataError(f"{path}: became shorter while it was read")
    a = np.frombuffer(raw, STORED[entry.dtype])
    if entry.dtype == "BF16":
        a = (a.astype(np.uint32) << 16).view(np.float32)
    dtype = np.float32 if entry.dtype == "F16" else np.dtype(DTYPES.get(entry.dtype, "f4"))
    # a copy: what comes of bytes is read-only
    return a.astype(np.dtype(dtype).newbyteorder("=")).reshape(entry.shape)
