"""Reading IDX, the format LeCun gave MNIST: two zero bytes, an element type, a rank, the sizes,
then the elements.

The format is defined at the foot of http://yann.lecun.com/exdb/mnist/; every number in it is
big-endian. A file is untrusted: its header is looked at before anything else is inflated, the rest
is read in pieces, never past what the header promises, and whatever is wrong is a one-line
DataError. This file knows nothing of digits, folders or downloads.
"""

import gzip
import math
import os
import stat
import zlib
from contextlib import contextmanager

import numpy as np

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_RANK = 32  # what every NumPy can hold
MAX_BYTES = 1 << 30  # of elements, unless the caller allows less or more
PIECE = 1 << 20


class DataError(ValueError):
    """A data file, folder or download is unusable; the message is one line that says which, why,
    and what to do.
    """


@contextmanager
def opened(path: str | os.PathLike):
    """The bytes of a file as a stream, inflated if they begin as gzip does; failures on the way
    become DataErrors. A pipe or a device, which may have no end or never begin, is one.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError(f"{path}: is not a regular file; pass the path of one")
        with open(path, "rb") as file:
            yield gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == b"\x1f\x8b" else file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); check the path"
        ) from error


def _bad(path, what: str) -> DataError:
    return DataError(f"{path}: {what}; fetch it again or pass another file")


def _read_header(stream, path):
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        found = f"its magic is 0x{magic.hex()} and not 0x0000, element type, rank"
        raise _bad(path, f"not an IDX file, {found}")
    code, rank = magic[2:]
    if code not in TYPES:
        known = ", ".join(f"0x{c:02x}" for c in TYPES)
        raise _bad(path, f"unknown IDX element type 0x{code:02x}, known are {known}")
    if not 1 <= rank <= MAX_RANK:
        raise _bad(path, f"its header declares {rank} dimensions, not 1 to {MAX_RANK}")
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        needed = f"which has {4 + 4 * rank} bytes for {rank} dimensions"
        raise _bad(path, f"ends inside its header, {needed}")
    return tuple(np.frombuffer(sizes, ">u4").tolist()), np.dtype(TYPES[code])


def read_header(path: str | os.PathLike) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and dtype that an IDX file, plain or gzip, promises; no element is read. DataError
    for a malformed header.
    """
    with opened(path) as stream:
        shape, dtype = _read_header(stream, path)
    return shape, dtype.newbyteorder("=")


def read_idx(path: str | os.PathLike, limit: int = MAX_BYTES) -> np.ndarray:
    """The array in an IDX file, plain or gzip, in the machine's byte order; DataError for anything
    malformed, and if the header promises more than `limit` bytes.
    """
    with opened(path) as stream:
        return read_stream(stream, path, limit)


def read_stream(stream, path: str | os.PathLike, limit: int) -> np.ndarray:
    """`read_idx` of the bytes of a file, inflated; path is what errors call it."""
    shape, dtype = _read_header(stream, path)
    promise = f"its header promises {shape} {dtype.name}"
    # a zero must not hide a huge neighbour
    if dtype.itemsize * math.prod(max(n, 1) for n in shape) > limit:
        raise _bad(path, f"{promise}, more than the {limit} bytes allowed")
    size = dtype.itemsize * math.prod(shape)
    data = bytearray()  # grows with what is there: a promise alone costs no memory
    while len(data) < size and (piece := stream.read(min(PIECE, size - len(data)))):
        data += piece
    if len(data) < size:
        raise _bad(path, f"{promise}, {size} bytes, but only {len(data)} follow")
    if stream.read(1):  # at the end of a gzip file this read is also what checks the CRC
        raise _bad(path, f"bytes follow the {size} that its header promises, {shape} {dtype.name}")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
