"""A folder of pictures as a set: which files they are, what their folders say, decoded in threads,
kept in a cache.

It is the convention of torchvision's ImageFolder: folders are classes. This file knows where
pictures lie, and `decode` how one is read.
"""

import os
import stat
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from . import cache, decode
from .idx import DataError
from .images import Pictures, class_names, shown
from .resize import Wanted, check_memory, in_grey, luma, wanted

SIDE = 32  # of a set whose pictures differ in size
LARGEST_OWN = 128  # side that a set of squares keeps
VERSION = 2  # of how pictures are decoded and told apart: with another one the cache is made anew
GREY = 3  # levels by which the channels of what is grey may differ, as a JPEG rounds
THREADS = min(8, os.cpu_count() or 1)
IN_FLIGHT = 64 * THREADS  # pictures that wait for a thread
NAMED = 3  # of what is left out, so many are named


class File(NamedTuple):
    """A file that has the name of a picture."""

    parts: tuple[str, ...]  # of its path below the folder
    size: int  # bytes
    mtime: int  # nanoseconds; a copy may keep it, and so ...
    ctime: int  # ... the system's own, which nobody sets, and ...
    inode: int  # ... the file's number, since another one may be moved to its place


class Found(NamedTuple):
    """What a folder holds."""

    files: list[File]  # sorted, the same on every machine
    folders: list[str]  # those directly in it, sorted: classes if they hold a picture
    bad: list[tuple[str, str]]  # what can be no picture or cannot be looked into, and why
    others: list[str]  # names of files that are no pictures


def pictures(path, side=SIDE, colour=None, background="white", fit="crop") -> Pictures:
    """The pictures of a folder, each a square: PNG, JPEG, WebP, BMP and GIF, of
    animations the first frame.

    Each folder in it is a class, called by its name and numbered in sorted order; what lies deeper
    belongs to it. Where there is only one, or each holds one picture, or all pictures lie in the
    folder itself, there are no labels; some in it and some in folders are refused. Hidden files and
    what is no picture are left out, and so are folders in it into which a training run wrote: it
    never learns from what it drew.

    side: 1 to 1024 pixels; None: the pictures' own, if all are squares of one of at most 128, else
    32. What is larger or smaller is resized (`resize.square`), what is no square cropped to its
    middle, or with fit="pad" filled up. background: seen through transparent pixels and around
    padded ones, a colour as CSS calls it or (r, g, b). colour: "grey" or "rgb"; None: grey if all
    pixels of all pictures are.

    What cannot be read is left out, and one warning names it. What was decoded is kept in the
    user's cache until a file is changed, added or removed. DataError if nothing is left, or if the
    set would have more than 4 GiB.
    """
    want = wanted(side, colour, background, fit)
    found = _scan(path)
    place, fingerprint = cache.place(path, want), _fingerprint(found, want)
    kept = cache.read(place, fingerprint)
    if kept is None:
        *kept, lasting = _decode(path, found, want)
        if lasting:
            cache.write(place, fingerprint, *kept)
    result, note = kept
    if note:
        warnings.warn(note, stacklevel=2)
    return result


def _fingerprint(found: Found, want: Wanted) -> str:
    """Of all that decides what comes out."""
    import PIL

    files = ["\0".join(["/".join(file.parts), *map(str, file[1:])]) for file in found.files]
    about = f"{VERSION} {PIL.__version__} {want} {found.folders} {found.bad}"
    return cache.digest([about, *files])


def _scan(path) -> Found:
    """What a folder holds; DataError if it is none, holds no picture, or pictures both in it and in
    folders in it.
    """
    where = shown(path)
    if not os.path.isdir(path):
        if os.path.exists(path):
            raise DataError(f"{where}: is a file; pass the folder that holds it")
        raise DataError(f"{where}: no such folder; check the path")
    found = Found([], [], [], [])
    _walk(path, found)
    found.files.sort()
    found.bad.sort()
    direct = sum(len(file.parts) == 1 for file in found.files)
    if not found.files:
        known = " ".join(sorted(suffix[1:] for suffix in decode.SUFFIXES))
        instead = f"{len(found.others)} other files" if found.others else "nothing else"
        reasons = f", and {_listed(found.bad)}" if found.bad else ""
        raise DataError(
            f"{where}: holds no pictures ({known}), {instead}{reasons}; pass a folder of pictures "
            "or of IDX files, an .npz or .npy by its own path"
        )
    if 0 < direct < len(found.files):
        raise DataError(
            f"{where}: holds {direct} pictures beside folders with {len(found.files) - direct}, "
            "and folders are classes; move those pictures into one, or pass another folder"
        )
    return found


def _walk(path, found: Found):
    """Add what lies in a folder and below, each folder once a class: links may go in circles."""
    pending = [((), set())]  # parts of a folder's path, and which folders its class has had
    while pending:
        parts, seen = pending.pop()
        here = os.path.join(path, *parts)
        try:
            status = os.stat(here)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(here) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if not parts:
                raise DataError(f"{shown(path)}: {_reason(error)}; check the path") from error
            found.bad.append(("/".join(parts), _reason(error)))
            continue
        for entry in entries:
            inner = (*parts, entry.name)
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if os.path.isdir(entry.path):
                if _is_run(entry.path):
                    continue
                pending.append((inner, seen if parts else set(seen)))
                if not parts:
                    found.folders.append(entry.name)
            else:
                _add(entry, inner, found)


def _is_run(path) -> bool:
    """Whether a training run writes there, as `train` does: its samples are no set of pictures."""
    exists = [
        os.path.exists(os.path.join(path, name)) for name in ("checkpoint.npz", "config.json")
    ]
    return any(exists) and os.path.isdir(os.path.join(path, "samples"))


def _add(entry, parts, found: Found):
    """Add what is no folder, as one of the pictures or as something else."""
    name, suffix = "/".join(parts), os.path.splitext(entry.name)[1].lower()
    if suffix in decode.UNREAD:
        found.bad.append((name, f"{suffix[1:]} is not read; save it as PNG or JPEG"))
        return
    if suffix not in decode.SUFFIXES:
        found.others.append(name)
        return
    try:
        status = os.stat(entry.path)
    except OSError as error:  # a link to nowhere
        found.bad.append((name, _reason(error)))
        return
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
        found.bad.append((name, "is not a regular file"))
    elif status.st_size > decode.MAX_FILE:
        found.bad.append((name, f"{status.st_size} bytes, more than {decode.MAX_FILE}"))
    else:
        times = status.st_mtime_ns, status.st_ctime_ns
        found.files.append(File(parts, status.st_size, *times, status.st_ino))


def _decode(path, found: Found, want: Wanted) -> tuple[Pictures, str, bool]:
    """The pictures, what is to be said of them, and whether both would be the same again."""
    paths = [os.path.join(path, *file.parts) for file in found.files]
    with warnings.catch_warnings(action="ignore"):  # Pillow's, of all threads: told once, below
        if want.side is None:
            want = want._replace(side=_own_side(paths))
        channels = () if want.colour == "grey" else (3,)
        check_memory(shown(path), len(paths), want.side, want.side, *channels)
        images, coloured, failed = _all(paths, want)
    kept = [i for i in range(len(paths)) if i not in failed]
    bad = found.bad + [("/".join(found.files[i].parts), failed[i][0]) for i in sorted(failed)]
    if not kept:
        raise DataError(
            f"{shown(path)}: none of its {len(paths)} pictures can be read, {_listed(bad)}; "
            "save them anew, as PNG or JPEG"
        )
    for place, i in enumerate(kept):  # in place: there may be no memory for a second set
        images[place] = images[i]
    images = images[: len(kept)]
    if want.colour is None and not coloured.any():
        images = in_grey(images)
    folders = [found.files[i].parts[0] for i in kept if len(found.files[i].parts) > 1]
    had = set(folders)
    empty = [shown(name) for name in found.folders if name not in had]
    lines = [f"left out {len(bad)}: {_listed(bad)}"] if bad else []
    lines += [f"folders without a picture are no classes: {_few(empty)}"] if empty else []
    note = f"{shown(path)}: {'; '.join(lines)}" if lines else ""
    lasting = all(lasting for _, lasting in failed.values())
    return Pictures(images, *_classes(folders, shown(path))), note, lasting


def _classes(folders: list[str], where: str):
    """(labels, names) of the folders in which the pictures lie; (None, ()) if they tell nothing."""
    names = sorted(set(folders))
    if len(names) < 2 or len(names) == len(folders):
        return None, ()
    number = {name: k for k, name in enumerate(names)}
    labels = np.array([number[name] for name in folders], np.int64)
    return labels, class_names(names, where)


def _own_side(paths) -> int:
    """The side that all pictures have, if there is one and it is not too large."""
    sizes = set()
    for path in paths:
        try:
            sizes.add(decode.size(path))
        except Exception:  # will be told when it is decoded
            continue
        if len(sizes) > 1:
            return SIDE
    w, h = sizes.pop() if sizes else (0, SIDE)
    return w if w == h <= LARGEST_OWN else SIDE


def _all(paths, want: Wanted):
    """All pictures, (n, side, side[, 3]); (n,) whether they have colours; {number: why it could not
    be read, and whether it never will}.
    """
    from tqdm import tqdm

    n, channels = len(paths), () if want.colour == "grey" else (3,)
    images = np.empty((n, want.side, want.side, *channels), np.uint8)
    coloured, failed = np.zeros(n, bool), {}

    def one(i):
        try:
            pixels = decode.read(paths[i], want)
        except Exception as error:  # damage may meet any line of a decoder
            passing = isinstance(error, MemoryError) or getattr(error, "errno", None)
            failed[i] = _reason(error), not passing
            return
        coloured[i] = np.ptp(pixels, axis=2).max() > GREY
        images[i] = luma(pixels) if want.colour == "grey" else pixels

    with (
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(total=n, desc="pictures", unit="", disable=None) as bar,
    ):
        for start in range(0, n, IN_FLIGHT):
            for _ in pool.map(one, range(start, min(start + IN_FLIGHT, n))):
                bar.update()
    return images, coloured, failed


def _reason(error) -> str:
    """Why, on a short line."""
    words = getattr(error, "strerror", None) or str(error)
    return shown(" ".join(words.split()))[:100] or type(error).__name__


def _listed(bad) -> str:
    return _few([f"{shown(name)} ({why})" for name, why in bad])


def _few(names) -> str:
    """The first few, and how many there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
