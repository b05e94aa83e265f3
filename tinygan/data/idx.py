"""Reading IDX, the format LeCun gave MNIST: two zero bytes, an element type, a rank, the sizes,
then the elements.

The format is defined at the foot of http://yann.lecun.com/exdb/mnist/; every number in it is
big-endian. A file is untrusted: it is read in pieces, never past what its header promises, and
whatever is wrong with it is a one-line DataError. This file knows nothing of digits, folders or
downloads.
"""

import gzip
import math
import os
import zlib
from contextlib import contextmanager

import numpy as np

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_RANK = 32  # what every NumPy can hold
MAX_BYTES = 1 << 30
PIECE = 1 << 20


class DataError(ValueError):
    """A data file, folder or download is unusable; the message is one line that says which, why,
    and what to do.
    """


@contextmanager
def opened(path: str | os.PathLike):
    """The bytes of a file as a stream, inflated if they begin as gzip does; failures on the way
    become DataErrors.
    """
    try:
        with open(path, "rb") as file:
            yield gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == b"\x1f\x8b" else file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); check the path"
        ) from error


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file, plain or gzip, in the machine's byte order; DataError for anything
    malformed.
    """

    def bad(what: str) -> DataError:
        return DataError(f"{path}: {what}; fetch it again or pass another file")

    with opened(path) as stream:
        magic = stream.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0":
            raise bad(
                f"not an IDX file, its magic is 0x{magic.hex()} and not 0x0000, element type, rank"
            )
        code, rank = magic[2:]
        if code not in TYPES:
            raise bad(
                f"unknown IDX element type 0x{code:02x}, known are {', '.join(f'0x{c:02x}' for c in TYPES)}"
            )
        if not 1 <= rank <= MAX_RANK:
            raise bad(f"its header declares {rank} dimensions, not 1 to {MAX_RANK}")
        sizes = stream.read(4 * rank)
        if len(sizes) < 4 * rank:
            raise bad(
                f"ends inside its header, which has {4 + 4 * rank} bytes for {rank} dimensions"
            )
        shape, dtype = tuple(np.frombuffer(sizes, ">u4").tolist()), np.dtype(TYPES[code])
        # a zero must not hide a huge neighbour
        if dtype.itemsize * math.prod(max(n, 1) for n in shape) > MAX_BYTES:
            raise bad(f"its header promises {shape} {dtype.name}, more than {MAX_BYTES} bytes")
        promised = dtype.itemsize * math.prod(shape)
        data = bytearray()  # grows with what is there: a promise alone costs no memory
        while len(data) < promised and (piece := stream.read(min(PIECE, promised - len(data)))):
            data += piece
        if len(data) < promised:
            raise bad(
                f"its header promises {shape} {dtype.name}, {promised} bytes, but only {len(data)} follow"
            )
        if stream.read(1):  # at the end of a gzip file this read is also what checks the CRC
            raise bad(
                f"bytes follow the {promised} that its header promises for {shape} {dtype.name}"
            )
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
