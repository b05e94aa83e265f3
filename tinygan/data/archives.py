"""Sets that come as one archive, of which a part is wanted: EMNIST's zip, CIFAR-10's tar.

An archive is fetched, checked and read once, in memory: no member of it is written anywhere under
the name that it has. Its pictures then lie in the cache as an .npz and the archive is removed. This
file knows the formats, and no address or checksum.
"""

import contextlib
import gzip
import math
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import files
from .fetch import Remote, cache_folder, fetch
from .idx import DataError, read_stream
from .images import Pictures

EMNIST = {"train": 112_800, "test": 18_800}  # characters in each part
CIFAR10 = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
BATCH = 10_000  # pictures in each of these
ROW = 1 + 3 * 32 * 32  # bytes of each: its label, then its planes of red, green and blue
SLACK = 64 << 20  # bytes that an archive may have beside its wanted members


class Archive(NamedTuple):
    """A set in an archive, to be fetched into a folder of the cache.

    unpack: gives {"train" or "test": Pictures} of the path of an archive that is what it should be.
    """

    folder: str
    mirrors: tuple[str, ...]
    remote: Remote
    unpack: Callable[[Path], dict[str, Pictures]]
    names: tuple[str, ...]  # of the classes

    def read(self, part: str = "train") -> Pictures:
        """The pictures of a part, fetched once."""
        folder = cache_folder() / self.folder
        cache = folder / "pictures.npz"
        with contextlib.suppress(DataError):  # it is not there yet, or damaged
            return self._cached(cache, part)
        remedy = f"put {self.remote.name} into {folder}"
        archive = fetch(self.remote, folder, self.mirrors, remedy)
        # unless another process has just filled the cache, and removed the archive
        with contextlib.suppress(FileNotFoundError):
            self._keep(self._unpacked(archive), cache)
            with contextlib.suppress(OSError):  # it is open elsewhere, on Windows
                archive.unlink()
        return self._cached(cache, part)

    def _cached(self, cache, part):
        arrays = files.read_npz(cache, [f"{part}_images", f"{part}_labels"], error=DataError)
        return self._checked(Pictures(*arrays.values()), cache)

    def _unpacked(self, archive):
        """The parts of an archive, checked."""
        try:
            parts = self.unpack(archive)
        except FileNotFoundError:
            raise
        # Damage may meet any line of the readers of archives and of deflated data
        except Exception as error:
            why = " ".join(str(error).partition(";")[0].split())[:200] or type(error).__name__
            raise DataError(f"{archive}: cannot be unpacked ({why}); remove it") from error
        return {part: self._checked(pictures, archive) for part, pictures in parts.items()}

    def _checked(self, pictures, path):
        """These pictures with their names; DataError unless they are some."""
        images, labels, _ = pictures
        form = f"{images.shape} {images.dtype} images and {labels.shape} {labels.dtype} labels"
        if images.dtype != np.uint8 or labels.dtype != np.uint8 or len(images) != len(labels):
            raise DataError(f"{path}: holds {form}, which are no pictures; remove it")
        if not len(labels) or labels.max() >= len(self.names):
            raise DataError(
                f"{path}: holds {form}, the labels not all from 0 to {len(self.names) - 1}; "
                "remove it"
            )
        return pictures._replace(names=self.names)

    def _keep(self, parts, cache):
        arrays = {}
        for part, pictures in parts.items():
            arrays |= {f"{part}_images": pictures.images, f"{part}_labels": pictures.labels}
        try:
            with files.replacing(cache) as temporary:
                np.savez(temporary, **arrays)
        except OSError as error:
            raise DataError(
                f"{cache}: cannot be written ({error.strerror or error}); it takes "
                f"{sum(array.nbytes for array in arrays.values()) >> 20} MiB"
            ) from error


def emnist(path: Path) -> dict[str, Pictures]:
    """The balanced characters in EMNIST's zip of gzipped IDX files, (n, 28, 28), upright."""
    parts = {}
    with zipfile.ZipFile(path) as archive:
        for part, n in EMNIST.items():
            stem = f"gzip/emnist-balanced-{part}"
            images = _member(archive, f"{stem}-images-idx3-ubyte.gz", (n, 28, 28))
            labels = _member(archive, f"{stem}-labels-idx1-ubyte.gz", (n,))
            # every character lies there column by column, as MATLAB keeps a matrix
            parts[part] = Pictures(np.ascontiguousarray(images.transpose(0, 2, 1)), labels)
    return parts


def _member(archive, name, shape):
    """The uint8 array of a shape in a gzipped IDX file; the checksums of gzip and zip cover it."""
    with archive.open(name) as packed, gzip.GzipFile(fileobj=packed) as stream:
        array = read_stream(stream, name, limit=math.prod(shape))
    if array.shape != shape or array.dtype != np.uint8:
        raise DataError(f"{name} holds {array.shape} {array.dtype}, not {shape} uint8")
    return array


def cifar10(path: Path) -> dict[str, Pictures]:
    """The pictures in the tar of CIFAR-10's binary version, (n, 32, 32, 3)."""
    wanted = {
        f"cifar-10-batches-bin/{name}.bin": name for part in CIFAR10.values() for name in part
    }
    batches = {}
    with gzip.open(path) as inflated:
        bounded = _Bounded(inflated, len(wanted) * BATCH * ROW + SLACK)
        with tarfile.open(fileobj=bounded, mode="r|") as archive:  # read once, from end to end
            for member in archive:
                if name := wanted.get(member.name):
                    batches[name] = _batch(archive, member)
    if missing := set(wanted.values()) - set(batches):
        raise DataError(f"{', '.join(sorted(missing))} are not there")
    return {
        part: _pictures(np.concatenate([batches[name] for name in names]))
        for part, names in CIFAR10.items()
    }


class _Bounded:
    """A stream that gives no more than so many bytes, however little it was packed into."""

    def __init__(self, stream, most):
        self._stream, self._most, self._left = stream, most, most

    def read(self, n):
        piece = self._stream.read(n)
        self._left -= len(piece)
        if self._left < 0:
            raise DataError(f"inflates to more than {self._most} bytes")
        return piece


def _batch(archive, member):
    """The rows of a member of the tar, (n, ROW) uint8."""
    if not member.isreg() or member.size != BATCH * ROW:
        raise DataError(f"{member.name} is no file of {BATCH * ROW} bytes")
    return np.frombuffer(archive.extractfile(member).read(), np.uint8).reshape(BATCH, ROW)


def _pictures(rows):
    planes = rows[:, 1:].reshape(-1, 3, 32, 32)  # (n, c, h, w)
    return Pictures(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), rows[:, 0].copy())
