"""The MNIST digits, and other sets in files of their format: the 10,000 test digits that ship here,
the 60,000 training digits, sets that are made alike and can be fetched.

All are checked: shapes, types, counts and labels; of those that ship here and those fetched the
checksums too. This file knows where digits come from and nothing about how they are used.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .fetch import Remote, cache_folder, fetch
from .idx import DataError, read_header, read_idx
from .images import Pictures

BUNDLED = Path(__file__).parent / "digits"
SHIPPED = {  # and of these files as they are
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def bundled() -> Pictures:
    """The 10,000 digits that ship with the package, MNIST's test set, (n, 28, 28)."""
    return _checked(*(_shipped(name, sha256) for name, sha256 in SHIPPED.items()))


class Files(NamedTuple):
    """A set in files as MNIST's, to be fetched into a folder of the cache."""

    folder: str
    mirrors: tuple[str, ...]
    parts: dict[str, tuple[Remote, Remote]]  # {"train" or "test": (images, labels)}
    names: tuple[str, ...] = ()  # of the classes; () are digits

    def read(self, part: str = "train") -> Pictures:
        """The pictures of a part, (n, 28, 28), fetched once."""
        where, remotes = cache_folder() / self.folder, self.parts[part]
        wanted = " and ".join(remote.name for remote in remotes)
        remedy = f"put {wanted} into {where}, or load another folder that holds them"
        paths = [fetch(remote, where, self.mirrors, remedy) for remote in remotes]
        return _checked(*paths, classes=len(self.names) or 10)._replace(names=self.names)


# SHA-256 of the inflated files: what is inside counts, not which gzip packed it
FULL = Files(
    folder="",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    parts={
        "train": (
            Remote(
                name="train-images-idx3-ubyte.gz",
                sha256="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                size=16 << 20,
                inflated=64 << 20,
            ),
            Remote(
                name="train-labels-idx1-ubyte.gz",
                sha256="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                size=1 << 20,
                inflated=1 << 20,
            ),
        )
    },
)


def full(part: str = "train") -> Pictures:
    """The 60,000 training digits, fetched once; of part "test" those that ship here."""
    return FULL.read() if part == "train" else bundled()


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


def _checked(images_path: Path, labels_path: Path, classes: int = 10) -> Pictures:
    """The pictures of two files. Their headers must fit before more than that is inflated."""
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
    if labels.max() >= classes:
        raise DataError(
            f"{labels_path}: holds the label {labels.max()}, but they go from 0 to {classes - 1}; "
            "use the labels of that set"
        )
    return Pictures(read_idx(images_path), labels)
