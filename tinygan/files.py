"""Files that survive what a run meets: durable writing, a lock on a folder, and the reading of .npz
files that anybody may have made or damaged. It knows nothing of what is in them.
"""

import contextlib
import math
import os
import re
import secrets
import struct
import time
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PART = re.compile(r"\..*\.[0-9a-f]{8}\.part(\.[^.]*)?")  # names of temporary files
_living = set()  # such names that this process is writing
CHUNK = 1 << 20  # bytes read from an archive at a time
DIRECTORY = 1 << 22  # bytes that the directory of an archive may have: some 50,000 arrays


class LockedError(OSError):
    """Somebody else writes into the folder; the message names it."""


@contextlib.contextmanager
def replacing(path):
    """`with replacing(path) as temporary:` write `temporary`, and it replaces what is at `path`.

    A crash or a loss of power at any moment leaves the old file or the new one, whole.

    temporary: a path beside `path`, with the same suffix, at which nothing is yet. After an
    exception, KeyboardInterrupt too, it is gone and the old file stays; an OSError names `path`. A
    symbolic link stays one, and what it points at is replaced. What is no regular file, such as
    /dev/null, is written to.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        yield target
        return
    name = f".{target.stem[:50]}.{secrets.token_hex(4)}.part{target.suffix}"
    temporary = target.with_name(name)
    _living.add(name)
    try:
        yield temporary
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as e:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(e, OSError) and e.errno and e.filename in (None, str(temporary)):
            e.filename = str(path)
            del e.filename2  # of a renaming
        raise
    finally:
        _living.discard(name)
    _sync_folder(target.parent)


def _sync_folder(folder):
    """Make the renaming of a file in it durable; the file is whole without, too."""
    with contextlib.suppress(OSError):  # a file system, or Windows, that has no such thing
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(folder, age=0):
    """Remove the temporary files that writers left in the folder when they were killed.

    Those that this process is writing stay. age: so do those written to in the last `age` seconds,
    for a folder into which other processes write and on which there is no lock.
    """
    for path in Path(folder).glob(".*.part*"):
        with contextlib.suppress(OSError):  # another one sweeps, or may not be removed
            stale = time.time() - path.stat().st_mtime >= age
            if stale and PART.fullmatch(path.name) and path.name not in _living:
                path.unlink()


@contextlib.contextmanager
def locked(folder):
    """Nobody else, in this process or another, is `locked(folder)` meanwhile: they get LockedError.

    The system drops the lock of a process that ends, however it ends. Where a system or a file
    system has no locks there is none.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"{folder}: another run is writing there; wait for its end, or take another folder"
            ) from None
        except OSError:  # a network's file system may refuse
            pass
        yield
    finally:
        os.close(descriptor)


class _Unread(ValueError):
    """An array of a kind that is never read."""


class Header(NamedTuple):
    """What the header of an array in an .npz promises."""

    shape: tuple
    dtype: np.dtype
    fortran_order: bool
    start: int  # of the data, after the header

    @property
    def nbytes(self):
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self):
        return f"{self.shape} {self.dtype}"


class Npz:
    """An .npz that may be damaged or made to do harm, open for reading: `with Npz(path) as npz:`.

    npz.headers: {name: Header}, known before any data is inflated; compare it with what is wanted,
    then npz.read(name). Arrays of numbers and of strings only, no pickles. Whatever is wrong
    is `error("path: why")`, one line; each byte of an array that is read is covered by the
    archive's checksum.
    """

    def __init__(self, path, error=ValueError):
        self.path, self.error, self.headers, self._infos = path, error, {}, {}
        if not Path(path).is_file():  # a pipe would be waited for
            is_else = "is no file" if Path(path).exists() else "there is no such file"
            raise error(f"{path}: {is_else}")
        with self._guarded():
            count = _entries(path)
            self._zip = zipfile.ZipFile(path)
        try:
            with self._guarded():
                if len(self._zip.infolist()) != count:
                    raise ValueError("its directory has lost entries")
                self._read_headers()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._zip.close()

    @contextlib.contextmanager
    def _guarded(self):
        """Damage may meet any line of the readers of zip files, of deflated data, of headers: all
        exceptions are caught, MemoryError and RecursionError included.
        """
        try:
            yield
        except Exception as e:
            why = " ".join(str(e).split())[:200] or type(e).__name__
            told = why if isinstance(e, _Unread) else f"not a whole .npz ({why})"
            raise self.error(f"{self.path}: {told}") from None

    def _read_headers(self):
        end = 0
        for info in sorted(self._zip.infolist(), key=lambda info: info.header_offset):
            name = info.filename.removesuffix(".npy")
            if name == info.filename or name in self.headers:
                raise ValueError(f"{info.filename!r} is no .npy, or is there twice")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{name!r} is compressed by method {info.compress_type}")
            if info.flag_bits & 1:
                raise ValueError(f"{name!r} is encrypted")
            if info.header_offset < end:
                raise ValueError(f"{name!r} overlaps another")
            end = info.header_offset + zipfile.sizeFileHeader + info.compress_size
            with self._zip.open(info) as file:
                header = _header(file)
            if header.start + header.nbytes != info.file_size:
                raise ValueError(f"{name!r} is {header} but has {info.file_size} bytes")
            self.headers[name], self._infos[name] = header, info
        if end > self._zip.start_dir:
            raise ValueError("its arrays overlap its directory")

    def read(self, name):
        """The array, with the dtype and shape of its header."""
        with self._guarded():
            if name not in self.headers:
                raise ValueError(f"has no array {name!r}, only {list(self.headers)}")
            header = self.headers[name]
            array = np.empty(math.prod(header.shape), header.dtype)
            data = array.view(np.uint8)  # the memory
            with self._zip.open(self._infos[name]) as file:
                file.read(header.start)
                for i in range(0, len(data), CHUNK):
                    if file.readinto(data[i : i + CHUNK]) < len(data[i : i + CHUNK]):
                        raise ValueError(f"{name!r} is shorter than its header says")
                # the checksum was compared with the last byte
            if header.fortran_order:
                return array.reshape(header.shape[::-1]).transpose()
            return array.reshape(header.shape)


def _entries(path):
    """How many entries a zip file says that it has, in the record of 22 bytes at its end. `zipfile`
    neither compares that, nor stops at a directory that fills the memory.
    """
    with open(path, "rb") as file:
        size = file.seek(-42, os.SEEK_END)
        locator, record = file.read(20), struct.unpack("<4s4H2LH", file.read())
    signature, count, directory = record[0], record[4], record[5]
    # small archives have no second record, of 64 bits, which could say otherwise
    second = locator.startswith(b"PK\6\7") and size < 1 << 31
    if signature != b"PK\5\6" or directory > DIRECTORY or second:
        raise ValueError("the end of a zip file is missing, or its directory too large")
    return count


def _header(file):
    """The Header of an .npy, which NumPy parses as a literal, never as code."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):  # the others, for fields of records, have headers of up to 4 GiB
        raise ValueError(f"{file.name!r} has version {version} of .npy, not (1, 0)")
    with warnings.catch_warnings(action="error"):
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.kind not in "biufcU" or dtype.itemsize == 0:
        kind = f"{file.name!r} holds {dtype}, neither numbers nor text"
        raise _Unread(f"{kind}; make it one by .astype(str), or .astype of numbers")
    if any(isinstance(n, bool) or n < 0 for n in shape):
        raise ValueError(f"{file.name!r} has the shape {shape}")
    return Header(shape, dtype, fortran_order, file.tell())


def read_npz(path, names=None, limit=1 << 30, error=ValueError):
    """{name: array} of an .npz, of all arrays or those named, if they have at most `limit` bytes
    together; else `error`, as from `Npz`, which knows all sizes before it inflates anything.
    """
    with Npz(path, error) as npz:
        names = list(npz.headers) if names is None else names
        total = sum(npz.headers[name].nbytes for name in names if name in npz.headers)
        if total > limit:
            raise error(f"{path}: holds {total} bytes of arrays, more than the {limit} allowed")
        return {name: npz.read(name) for name in names}


def read_npy(path, check, limit=1 << 32, error=ValueError):
    """The array in an .npy that may be damaged or made to do harm, under the rules of `Npz`; else
    `error("path: why")`. check(header): refuses what is not wanted, before anything is read.
    """
    if not Path(path).is_file():
        raise error(f"{path}: is no file")
    try:
        with open(path, "rb") as file:
            header = _header(file)
            size = os.fstat(file.fileno()).st_size - header.start
            if header.nbytes != size or size > limit:
                raise ValueError(f"{header} would have {header.nbytes} bytes, {size} follow")
            check(header)
            array = np.fromfile(file, header.dtype, math.prod(header.shape))
    except error:
        raise
    except Exception as e:
        why = " ".join(str(e).split())[:200] or type(e).__name__
        raise error(f"{path}: not a whole .npy ({why})") from None
    return array.reshape(header.shape, order="F" if header.fortran_order else "C")
