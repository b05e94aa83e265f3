"""The MNIST digits, and folders of files in their format: the 10,000 test digits that ship here,
the 60,000 training digits, the user's own.

All are checked: shapes, types, counts and labels; of those that ship here and those fetched the
checksums too. This file knows where digits come from and nothing about how they are used.
"""

import hashlib
import os
from pathlib import Path

import numpy as np

from .fetch import cache_folder, fetch
from .idx import DataError, read_header, read_idx
from .images import Pictures

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


def bundled() -> Pictures:
    """The 10,000 digits that ship with the package, (n, 28, 28)."""
    return _checked(*(_shipped(name, sha256) for name, sha256 in SHIPPED.items()))


def full() -> Pictures:
    """The 60,000 training digits, fetched once."""
    where = cache_folder()
    remedy = f"put {' and '.join(FULL)} into {where}, or load another folder that holds them"
    paths = [fetch(name, sha256, where, MIRRORS, remedy) for name, sha256 in FULL.items()]
    return _checked(*paths)


def folder(path, parts=("train", "t10k")) -> Pictures:
    """Those of a folder that holds MNIST's files, of the first of the parts that is there."""
    for part in parts:
        if images := _find(path, f"{part}-images", "idx3-ubyte"):
            if labels := _find(path, f"{part}-labels", "idx1-ubyte"):
                return _checked(images, labels)
            raise DataError(
                f"{images}: its labels are missing; put {part}-labels-idx1-ubyte[.gz] beside it"
            )
    wanted = "train- or t10k-images-idx3-ubyte[.gz] and its labels file"
    raise DataError(f"{path}: holds no digits; put {wanted} there")


def has_both(path) -> bool:
    """Whether a folder holds pictures to learn from and others to be judged by."""
    return all(_find(path, f"{part}-images", "idx3-ubyte") for part in ("train", "t10k"))


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


def _find(path, stem: str, ending: str) -> Path | None:
    spellings = (
        Path(path) / f"{stem}{joint}{ending}{packed}" for packed in ("", ".gz") for joint in "-."
    )
    return next((path for path in spellings if os.path.isfile(path)), None)


def _checked(images_path: Path, labels_path: Path) -> Pictures:
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
    return Pictures(read_idx(images_path), labels)
