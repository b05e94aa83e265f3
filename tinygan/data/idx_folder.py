"""A folder of IDX files as a set of pictures: MNIST's four names, or two files of any name.

This file knows what files are called, and `arrays` what may be in them.
"""

import os
from pathlib import Path

import numpy as np

from . import arrays
from .decode import SUFFIXES
from .idx import DataError, read_header
from .images import Pictures, shown
from .resize import Wanted

PARTS = ("train", "t10k")  # MNIST's files to learn from, and to be judged by


def folder(path, want: Wanted, parts=PARTS) -> Pictures | None:
    """Those of the IDX files that lie in a folder; None where there are none.

    Under MNIST's names those of the first of the parts that is there, and labels up to 9 are
    digits; under any other, one file of images and at most one of labels.
    """
    for part in parts:
        if images := _find(path, f"{part}-images", "idx3-ubyte"):
            if labels := _find(path, f"{part}-labels", "idx1-ubyte"):
                return arrays.read_pair(images, labels, want, digits=True)
            raise DataError(
                f"{images}: its labels are missing; put {part}-labels-idx1-ubyte[.gz] beside it"
            )
    ranks = _ranks(path)
    images, labels = ([p for p, rank in ranks if (rank > 1) == more] for more in (True, False))
    if not images:
        return None
    if len(images) > 1 or len(labels) > 1:
        names = ", ".join(shown(os.path.basename(found)) for found, _ in ranks[:6])
        raise DataError(
            f"{shown(path)}: holds {len(images)} IDX files of images and {len(labels)} of labels, "
            f"{names}; leave one of each there, or pass a file by its own path"
        )
    return arrays.read_pair(images[0], labels[0] if labels else None, want)


def held_out(path, want: Wanted, learn: Pictures) -> Pictures | None:
    """Those of a folder that judge what learns from its others, if it has both by MNIST's names."""
    if not all(_find(path, f"{part}-images", "idx3-ubyte") for part in PARTS):
        return None
    held = folder(path, want, PARTS[1:])
    if held.images.shape[1:] != learn.images.shape[1:]:
        raise DataError(
            f"{shown(path)}: pictures are {learn.images.shape[1:]} in {PARTS[0]} and "
            f"{held.images.shape[1:]} in {PARTS[1]}; choose a side and a colour for both"
        )
    return _numbered_alike(held, learn, path)


def _numbered_alike(held: Pictures, learn: Pictures, path) -> Pictures:
    """Those held out, their classes numbered as the ones that are learnt."""
    if held.names == learn.names and held.classes <= learn.classes:
        return held
    known, theirs = (p.names or tuple(map(str, range(p.classes))) for p in (learn, held))
    if unknown := sorted(set(theirs) - set(known)):
        raise DataError(
            f"{shown(path)}: {PARTS[1]} holds the label {unknown[0]} that {PARTS[0]} does not; "
            "use the files of one set"
        )
    number = np.array([known.index(name) for name in theirs], np.int64)
    return held._replace(labels=number[held.labels], names=learn.names)


def _find(path, stem: str, ending: str) -> Path | None:
    spellings = (
        Path(path) / f"{stem}{joint}{ending}{packed}" for packed in ("", ".gz") for joint in "-."
    )
    return next((path for path in spellings if os.path.isfile(path)), None)


def _ranks(path) -> list[tuple[str, int]]:
    """The IDX files that lie in a folder, in order, and their ranks."""
    found = []
    try:
        names = sorted(os.listdir(path))
    except OSError:  # who looks for pictures next will say so
        names = []
    for name in names:
        if name.startswith(".") or os.path.splitext(name)[1].lower() in SUFFIXES:
            continue
        whole = os.path.join(path, name)
        try:
            found.append((whole, len(read_header(whole)[0])))
        except DataError:  # something else, or a folder
            continue
    return found
