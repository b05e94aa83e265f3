"""The MNIST digits: the 10,000 test digits that ship here, the 60,000 training digits, or a folder
of the user's own.

Whatever the source, `load` returns digits that have been checked: shapes, types, counts and label
range; of those that ship here and those downloaded the checksums too. Nothing is downloaded unless
"full" is asked for. This file knows where digits come from and nothing about how they are batched
or used.
"""

import hashlib
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import files
from .idx import PIECE, DataError, opened, read_header, read_idx

BUNDLED = Path(__file__).parent / "digits"
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
# SHA-256 of the inflated files: what is inside counts, not which gzip packed it
FULL = {
    f"train-{part}-ubyte.gz": sha256
    for part, sha256 in (
        ("images-idx3", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        ("labels-idx1", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    )
}
SHIPPED = {  # and of these files as they are
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
MAX_DOWNLOAD = 16 << 20  # bytes; the larger file is under 10 MiB packed
MAX_INFLATED = 64 << 20  # bytes; and 45 MiB inflated
TIMEOUT = 20  # seconds without an answer
PATIENCE = 600  # seconds for a file from one mirror, however it trickles


class Digits(NamedTuple):
    """Images (N, 28, 28) uint8 and their labels (N,) uint8."""

    images: np.ndarray  # (n, 28, 28) uint8, 0 is paper and 255 is ink
    labels: np.ndarray  # (n,) uint8, 0 to 9


def load(source: str | os.PathLike = "bundled") -> Digits:
    """The digits of "bundled" (10,000), "full" (60,000, downloaded once) or a folder of IDX files;
    else DataError.
    """
    if source == "bundled":
        return _checked(*(_shipped(name, sha256) for name, sha256 in SHIPPED.items()))
    if source == "full":
        return _checked(*(fetch(name, sha256, cache_folder()) for name, sha256 in FULL.items()))
    if not os.path.isdir(source):
        known = '"bundled", "full" or an existing folder that holds IDX files'
        raise DataError(f"{source}: no such data; choose {known}")
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


def _shipped(name: str, sha256: str) -> Path:
    path = BUNDLED / name
    try:
        whole = hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; install tinygan again") from error
    if not whole:
        raise DataError(
            f"{path}: is not the file that came with tinygan, its SHA-256 differs; "
            "install tinygan again"
        )
    return path


def _read(folder: Path, parts=("train", "t10k")) -> Digits:
    for part in parts:
        if images := _find(folder, f"{part}-images", "idx3-ubyte"):
            if labels := _find(folder, f"{part}-labels", "idx1-ubyte"):
                return _checked(images, labels)
            raise DataError(
                f"{images}: its labels are missing; put {part}-labels-idx1-ubyte[.gz] beside it"
            )
    wanted = "train- or t10k-images-idx3-ubyte[.gz] and its labels file"
    raise DataError(f"{folder}: holds no digits; put {wanted} there")


def _find(folder: Path, stem: str, ending: str) -> Path | None:
    spellings = (
        folder / f"{stem}{joint}{ending}{packed}" for packed in ("", ".gz") for joint in "-."
    )
    return next((path for path in spellings if os.path.isfile(path)), None)


def _checked(images_path: Path, labels_path: Path) -> Digits:
    """The digits of two files. Their headers must fit before more than that is inflated."""
    counts = []
    for path, wanted, tail in (
        (images_path, "images, (n, 28, 28) uint8", (28, 28)),
        (labels_path, "labels, (n,) uint8", ()),
    ):
        shape, dtype = read_header(path)
        if dtype != np.uint8 or shape[1:] != tail:
            raise DataError(
                f"{path}: should hold {wanted}, but holds {shape} {dtype}; "
                "is it another file under that name?"
            )
        counts.append(shape[0])
    n, labelled = counts
    if n != labelled:
        raise DataError(
            f"{labels_path}: {labelled} labels for {n} images; use the two files of one set"
        )
    if n == 0:
        raise DataError(f"{images_path}: holds no images; use a file with at least one")
    labels = read_idx(labels_path)
    if labels.max() > 9:
        raise DataError(
            f"{labels_path}: holds the label {labels.max()}, digits are 0 to 9; "
            "use the MNIST labels"
        )
    return Digits(read_idx(images_path), labels)


def cache_folder() -> Path:
    """Where this platform keeps a user's caches (XDG base directories outside Windows and macOS);
    DataError where a user has no home.
    """
    try:
        if sys.platform == "win32":
            base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise DataError(
            "the digits are fetched into a cache in your home folder, but you have none; set HOME, "
            "or load a folder that holds them"
        ) from error
    return Path(base) / "tinygan"


def fetch(name: str, sha256: str, folder: Path, mirrors=MIRRORS, opener=None) -> Path:
    """The path of a verified gzip file in folder, downloaded from the first mirror that has it
    unless already there.

    sha256 is of the inflated content. opener(url, timeout=...) gives a context with `read1(n)` and
    `length`, as urlopen does. DataError when every mirror fails or the folder cannot be written.
    """
    from urllib.request import urlopen

    target, failures = folder / name, []
    files.sweep(folder, age=PATIENCE)  # no living download is older
    if _intact(target, sha256):
        return target
    remedy = f"put {' and '.join(FULL)} into {folder}, or load another folder that holds them"
    for mirror in mirrors:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with files.replacing(target) as part:  # the final name only ever holds verified bytes
                with open(part, "wb") as file:
                    file.writelines(_pieces(opener or urlopen, mirror + name))
                if not _intact(part, sha256):
                    raise DataError("sent a damaged file or another one, its SHA-256 differs")
            return target
        except DataError as error:
            failures.append(f"{mirror} ({error})")
        except OSError as error:
            raise DataError(
                f"{target}: cannot be written ({error.strerror or error}); {remedy}"
            ) from error
    raise DataError(f"{target}: no mirror could deliver it: {', '.join(failures)}; {remedy}")


def _pieces(opener, url: str):
    """The bytes that a mirror sends, as they come; DataError with what went wrong there."""
    from http.client import HTTPException

    from tqdm import tqdm

    start, sent = time.monotonic(), 0
    try:
        with (
            opener(url, timeout=TIMEOUT) as reply,
            tqdm(
                desc=url.rpartition("/")[2],
                total=reply.length,
                unit="B",
                unit_scale=True,
                disable=None,
            ) as bar,
        ):
            while piece := reply.read1(PIECE >> 4):  # what is there, so that time is looked at
                sent += len(piece)
                bar.update(len(piece))
                if sent > MAX_DOWNLOAD:
                    raise DataError(f"sent more than {MAX_DOWNLOAD} bytes")
                if time.monotonic() - start > PATIENCE:
                    raise DataError(f"sent {sent} bytes in {PATIENCE} seconds and was not done")
                yield piece
    except (OSError, HTTPException) as error:
        raise DataError(" ".join(str(error).split()) or type(error).__name__) from error


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
