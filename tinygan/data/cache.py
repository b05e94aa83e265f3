"""Sets of pictures as they were decoded, kept in the user's cache: one file a folder and a way of
wanting it, with the fingerprint of what it was made from.

The cache is bounded, and no run depends on it: where it cannot be read or written, or is damaged,
the pictures are decoded again.
"""

import contextlib
import hashlib
import os
from pathlib import Path

import numpy as np

from .. import files
from .fetch import cache_folder
from .idx import DataError
from .images import Pictures

MAX_CACHE = 1 << 33  # bytes of all its files; those used longest ago make room
STALE = 600  # seconds after which nobody is writing a temporary file any more


def place(path, want) -> Path | None:
    """Where the pictures of a folder, wanted like this, are kept; None where there is no cache."""
    try:
        name = digest([os.path.realpath(path), repr(want)])
        return cache_folder() / "pictures" / f"{name}.npz"
    except DataError:  # who has no home
        return None


def digest(words) -> str:
    """A hash of some strings."""
    found = hashlib.blake2b(digest_size=16)
    for word in words:
        found.update(word.encode("utf-8", "surrogateescape") + b"\0")
    return found.hexdigest()


def read(place: Path | None, fingerprint: str) -> tuple[Pictures, str] | None:
    """The pictures that are kept there and what was to be said of them; None unless they are whole
    and were made from what has this fingerprint.
    """
    if place is None:
        return None
    try:
        with files.Npz(place, DataError) as npz:
            if str(npz.read("fingerprint")) != fingerprint:
                return None
            images, labels, names, note = map(npz.read, ("images", "labels", "names", "note"))
        names, note = tuple(map(str, names.ravel())), str(note)
    except (DataError, OSError, SystemError, ValueError):  # the last two: of what is no character
        return None
    with contextlib.suppress(OSError):  # it may be read and not touched
        os.utime(place)  # used just now
    n, *shape = images.shape or (0,)
    square = len(shape) > 1 and shape[0] == shape[1] and shape[2:] in ([], [3])
    if not n or not square or images.dtype != np.uint8 or labels.dtype != np.int64:
        return None
    if not labels.size and not names:
        return Pictures(images), note
    if labels.shape != (n,) or labels.min() < 0 or labels.max() >= len(names):
        return None
    return Pictures(images, labels, names), note


def write(place: Path | None, fingerprint: str, found: Pictures, note: str):
    """Keep them, if that can be done."""
    if place is None or os.path.exists(place) and not place.is_file():  # a pipe would be waited for
        return
    labels = np.zeros(0, np.int64) if found.labels is None else found.labels
    names = np.array(found.names, str)
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        files.sweep(place.parent, age=STALE)
        _make_room(place, found.images.nbytes)
        with files.replacing(place) as part:
            np.savez(
                part,
                images=found.images,
                labels=labels,
                names=names,
                note=np.array(note),
                fingerprint=np.array(fingerprint),
            )


def _make_room(place: Path, size: int):
    """Remove what was used longest ago until so many bytes fit, beside what `place` replaces."""
    others = [path for path in place.parent.glob("*.npz") if path != place]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True):
        size += path.stat().st_size
        if size > MAX_CACHE:
            path.unlink()
