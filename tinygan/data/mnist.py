"""The MNIST digits: the 10,000 test digits that ship here, the 60,000 training digits, or a folder
of the user's own.

Whatever the source, `load` returns digits that have been checked: shapes, types, counts and label
range. The download is verified by checksum before it gets its final name, and never happens unless
"full" is asked for. This file knows where digits come from and nothing about how they are batched
or used.
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .idx import PIECE, DataError, opened, read_idx

BUNDLED = Path(__file__).parent / "digits"
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
# SHA-256 of the inflated files: what is inside counts, not which gzip packed it.
FULL = {
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
}
MAX_DOWNLOAD = 16 << 20  # bytes; the larger file is under 10 MiB packed
MAX_INFLATED = 64 << 20  # bytes; and 45 MiB inflated
TIMEOUT = 20  # seconds without an answer


class Digits(NamedTuple):
    """Images (N, 28, 28) uint8 and their labels (N,) uint8."""

    images: np.ndarray  # (n, 28, 28) uint8, 0 is paper and 255 is ink
    labels: np.ndarray  # (n,) uint8, 0 to 9


def load(source: str | os.PathLike = "bundled") -> Digits:
    """The digits of "bundled" (10,000), "full" (60,000, downloaded once) or a folder of IDX files;
    else DataError.
    """
    if source == "bundled":
        return _read(BUNDLED)
    if source == "full":
        return _checked(*(fetch(name, sha256, cache_folder()) for name, sha256 in FULL.items()))
    if not os.path.isdir(source):
        raise DataError(
            f'{source}: no such data; choose "bundled", "full" or an existing folder that holds IDX files'
        )
    return _read(Path(source))


def split(source: str | os.PathLike = "bundled") -> tuple[Digits, Digits]:
    """(Digits to learn from, digits held out) of a source that `load` knows.

    "full" is judged by the bundled digits, MNIST's test set; a folder by its t10k files, if it has
    train files too; of everything else each tenth digit is held out.
    """
    digits = load(source)
    if source == "full":
        return digits, load("bundled")
    if source != "bundled" and all(
        _find(Path(source), f"{part}-images", "idx3-ubyte") for part in ("train", "t10k")
    ):
        return digits, _read(Path(source), ["t10k"])
    held = np.arange(len(digits.images)) % 10 == 0
    return Digits(*(part[~held] for part in digits)), Digits(*(part[held] for part in digits))


def _read(folder: Path, parts=("train", "t10k")) -> Digits:
    for part in parts:
        if images := _find(folder, f"{part}-images", "idx3-ubyte"):
            if labels := _find(folder, f"{part}-labels", "idx1-ubyte"):
                return _checked(images, labels)
            raise DataError(
                f"{images}: its labels are missing; put {part}-labels-idx1-ubyte[.gz] beside it"
            )
    raise DataError(
        f"{folder}: holds no digits; put train- or t10k-images-idx3-ubyte[.gz] and its labels file there"
    )


def _find(folder: Path, stem: str, ending: str) -> Path | None:
    spellings = (
        folder / f"{stem}{joint}{ending}{packed}" for packed in ("", ".gz") for joint in "-."
    )
    return next((path for path in spellings if os.path.isfile(path)), None)


def _checked(images_path: Path, labels_path: Path) -> Digits:
    images, labels = read_idx(images_path), read_idx(labels_path)
    for path, array, wanted, shape in (
        (images_path, images, "images, (n, 28, 28) uint8", (28, 28)),
        (labels_path, labels, "labels, (n,) uint8", ()),
    ):
        if array.dtype != np.uint8 or array.shape[1:] != shape:
            found = f"{array.shape} {array.dtype}"
            raise DataError(
                f"{path}: should hold {wanted}, but holds {found}; is it another file under that name?"
            )
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: {len(labels)} labels for {len(images)} images; use the two files of one set"
        )
    if len(images) == 0:
        raise DataError(f"{images_path}: holds no images; use a file with at least one")
    if labels.max() > 9:
        raise DataError(
            f"{labels_path}: holds the label {labels.max()}, digits are 0 to 9; use the MNIST labels"
        )
    return Digits(images, labels)


def cache_folder() -> Path:
    """Where this platform keeps a user's caches (XDG base directories outside Windows and macOS)."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tinygan"


def fetch(name: str, sha256: str, folder: Path, mirrors=MIRRORS, opener=None) -> Path:
    """The path of a verified gzip file in folder, downloaded from the first mirror that has it
    unless already there.

    sha256 is of the inflated content. opener(url, timeout=...) gives a context with `read(n)` and
    `length`, as urlopen does. DataError when every mirror fails or the folder cannot be written.
    """
    from http.client import HTTPException
    from urllib.request import urlopen

    target = folder / name
    if _intact(target, sha256):
        return target
    failures = []
    for mirror in mirrors:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _download(opener or urlopen, mirror + name, sha256, target)
            return target
        except (OSError, HTTPException, DataError) as error:
            failures.append(f"{mirror} ({error or type(error).__name__})")
    raise DataError(
        f"{name}: no mirror could deliver it: {', '.join(failures)}; put {' and '.join(FULL)} into {folder}, "
        "or use --data DIR with a folder that holds them, or the bundled digits"
    )


def _download(opener, url: str, sha256: str, target: Path):
    from tqdm import tqdm

    descriptor, part = tempfile.mkstemp(prefix=target.name, suffix=".part", dir=target.parent)
    try:
        with (
            os.fdopen(descriptor, "wb") as file,
            opener(url, timeout=TIMEOUT) as reply,
            tqdm(
                desc=target.name, total=reply.length, unit="B", unit_scale=True, disable=None
            ) as bar,
        ):
            while piece := reply.read(PIECE >> 4):
                if file.tell() + len(piece) > MAX_DOWNLOAD:
                    raise DataError(f"sent more than {MAX_DOWNLOAD} bytes")
                bar.update(file.write(piece))
        if not _intact(part, sha256):
            raise DataError("sent a damaged file or another one, its SHA-256 differs")
        os.replace(part, target)  # the final name only ever holds verified bytes
    finally:
        Path(part).unlink(missing_ok=True)


def _intact(path: str | os.PathLike, sha256: str) -> bool:
    digest, size = hashlib.sha256(), 0
    try:
        with opened(path) as stream:
            while size <= MAX_INFLATED and (piece := stream.read(PIECE)):
                digest.update(piece)
                size += len(piece)
    except DataError:
        return False
    return digest.hexdigest() == sha256
