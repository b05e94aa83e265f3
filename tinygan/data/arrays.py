"""Arrays that are pictures and labels, in files of any name: .npz, .npy, IDX, and folders of IDX
files such as MNIST's.

The shapes and dtypes that headers promise must fit before more than those is read, and no pickle
is. What comes out is bytes and whole numbers. This file knows no data set, and no folder of
pictures.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import files
from .decode import SUFFIXES, flat
from .idx import MAX_BYTES, DataError, opened, read_header, read_idx
from .images import Pictures, shown
from .resize import MAX_SET, Wanted, shaped

IMAGES = ("images", "x", "x_train", "arr_0")  # what an .npz calls its pictures: the first found
LABELS = ("labels", "y", "y_train", "arr_1")
DEPTHS = (1, 3, 4)  # channels: grey, RGB, RGB and opacity
PARTS = ("train", "t10k")  # MNIST's files to learn from, and to be judged by
DIGITS = 10
SLACK = 1e-3  # of a range: what rounding may add to it


class Promise(NamedTuple):
    """What the header of an array promises."""

    where: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def __str__(self):
        return f"{self.shape} {self.dtype}"


def read(path, want: Wanted) -> Pictures:
    """The pictures of an .npz, an .npy or an IDX file, told apart by their first bytes.

    Pictures are (n, h, w), (n, h, w, c) or, where nothing else can be meant, (n, c, h, w), c of 1,
    3, or 4 with opacity, which are laid on the background. Numbers go from 0 to 255; floats from 0
    to 1, or from -1 to 1 if some are below 0, become such. An .npz calls them "images", "x",
    "x_train" or "arr_0", and their labels, whole numbers or strings, "labels", "y", "y_train" or
    "arr_1"; it may have "names" of the classes 0, 1, 2 ...
    """
    where = shown(path)
    with opened(path) as stream:
        magic = stream.read(6)
    if magic[:2] == b"PK":
        return _npz(path, want)
    if magic == b"\x93NUMPY":
        check = lambda header: _check(Promise(where, header.shape, header.dtype))
        images = files.read_npy(path, check, limit=MAX_SET, error=DataError)
        return shaped(Pictures(_bytes(images, where, want)), want, where)
    if magic[:2] == b"\0\0":
        return _idx(path, None, want)
    raise DataError(
        f"{where}: is no .npz, .npy or IDX file; of pictures pass the folder that holds them"
    )


def folder(path, want: Wanted, parts=PARTS) -> Pictures | None:
    """Those of the IDX files that lie in a folder; None where there are none.

    Under MNIST's names those of the first of the parts that is there, and labels up to 9 are
    digits; under any other, one file of images and at most one of labels.
    """
    for part in parts:
        if images := _find(path, f"{part}-images", "idx3-ubyte"):
            if labels := _find(path, f"{part}-labels", "idx1-ubyte"):
                return _idx(images, labels, want, digits=True)
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
    return _idx(images[0], labels[0] if labels else None, want)


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
    for name in sorted(os.listdir(path)):
        if name.startswith(".") or os.path.splitext(name)[1].lower() in SUFFIXES:
            continue
        whole = os.path.join(path, name)
        try:
            found.append((whole, len(read_header(whole)[0])))
        except DataError:  # something else, or a folder
            continue
    return found


def _idx(images, labels, want: Wanted, digits=False) -> Pictures:
    """The pictures of one file and the labels of another, or None."""
    promises = [Promise(shown(path), *read_header(path)) for path in (images, labels) if path]
    _check(*promises)
    where = promises[0].where
    values = _encoded(read_idx(labels), promises[1].where, digits) if labels else (None, ())
    found = Pictures(_bytes(read_idx(images), where, want), *values)
    return shaped(found, want, where)


def _npz(path, want: Wanted) -> Pictures:
    where = shown(path)
    with files.Npz(path, DataError) as npz:
        listed = {name.lower(): name for name in npz.headers}
        images, labels = (
            next((listed[name] for name in names if name in listed), None)
            for names in (IMAGES, LABELS)
        )
        if images is None:
            raise DataError(
                f"{where}: holds no pictures, only {shown(sorted(npz.headers)[:9])}; save them as "
                "np.savez(path, images=..., labels=...)"
            )
        chosen = [name for name in (images, labels, listed.get("names")) if name]
        size = sum(npz.headers[name].nbytes for name in chosen)
        if size > MAX_BYTES:
            raise DataError(
                f"{where}: holds {size} bytes of arrays, more than the {MAX_BYTES} allowed; save "
                "fewer pictures, as uint8, or one array as an .npy"
            )
        promises = [
            Promise(f"{where} ({shown(name)})", npz.headers[name].shape, npz.headers[name].dtype)
            for name in (images, labels)
            if name
        ]
        _check(*promises)
        found = Pictures(_bytes(npz.read(images), promises[0].where, want))
        if labels is not None and "names" in listed:
            found = _named(found, npz.read(labels), npz.read(listed["names"]), where)
        elif labels is not None:
            values = _encoded(npz.read(labels), promises[1].where)
            found = Pictures(found.images, *values)
    return shaped(found, want, where)


def _check(images: Promise, labels: Promise | None = None):
    """DataError unless these can be pictures, and labels of as many."""
    shape, kind, remedy = images.shape, images.dtype.kind, ""
    first, last = (len(shape) == 4 and shape[axis] in DEPTHS for axis in (1, 3))
    if len(shape) not in (3, 4) or len(shape) == 4 and not (first or last):
        remedy = "(n, h, w), or (n, h, w, c) with c of 1, 3 or 4"
    elif first and last:
        remedy = "with channels that can be told from heights"
    elif len(shape) == 3 and shape[2] in DEPTHS[1:]:
        remedy = "and not one picture: images[None]"
    elif kind not in "uif":
        remedy = "of numbers; of a mask images * np.uint8(255)"
    if remedy:
        raise DataError(f"{images.where}: should hold images, {remedy}, but holds {images}")
    if not shape[0]:
        raise DataError(f"{images.where}: holds no images; use a file with at least one")
    if 0 in shape:
        raise DataError(f"{images.where}: images of {shape} have no pixels; use another file")
    if labels is None:
        return
    if labels.shape[1:] not in ((), (1,)) or not labels.shape or labels.dtype.kind not in "uibU":
        raise DataError(
            f"{labels.where}: should hold labels, (n,) whole numbers or strings, but holds "
            f"{labels}; of floats labels.astype(int), of one-hot rows labels.argmax(1)"
        )
    if labels.shape[0] != shape[0]:
        raise DataError(
            f"{labels.where}: {labels.shape[0]} labels for {shape[0]} images; use the two of one "
            "set"
        )


def _encoded(labels, where: str, digits=False):
    """(labels as numbers of classes, what those are called): as they are where they are 0 to k-1
    with none missing, or digits.
    """
    labels = labels.reshape(-1)
    if digits and labels.min() >= 0 and labels.max() < DIGITS:
        return labels, ()
    if labels.dtype.kind == "b":
        labels = labels.astype(np.int64)
    classes, numbers = np.unique(labels, return_inverse=True)
    plain = labels.dtype.kind != "U" and classes[0] == 0 and classes[-1] == len(classes) - 1
    names = () if plain else tuple(shown(name) for name in classes)
    return numbers.astype(np.int64), names


def _named(found: Pictures, labels, names, where: str) -> Pictures:
    """With labels that are numbers of classes which have names."""
    labels, names = labels.reshape(-1), tuple(shown(name) for name in names.reshape(-1))
    whole = labels.dtype.kind in "ui" and labels.min() >= 0 and labels.max() < len(names)
    if not whole or len(set(names)) < len(names):
        raise DataError(
            f"{where}: has {len(names)} names, and labels {labels.dtype} from {labels.min()} to "
            f"{labels.max()}; labels are the numbers of names that differ, from 0"
        )
    return found._replace(labels=labels.astype(np.int64), names=names)


def _bytes(images, where: str, want: Wanted):
    """Images that were `_check`ed as (n, h, w) or (n, h, w, 3) uint8, in C order."""
    if images.ndim == 4 and images.shape[3] not in DEPTHS:
        images = images.transpose(0, 2, 3, 1)
    least, most = images.min(), images.max()
    found = f"{images.shape} {images.dtype} from {least} to {most}"
    if images.dtype.kind != "f":
        if least < 0 or most > 255 or most == 1:
            raise DataError(
                f"{where}: images go from 0 to 255, but these are {found}; scale them, 0 and 1 by "
                "images * 255"
            )
        images = images.astype(np.uint8, copy=False)
    else:
        low = -1 if least < -SLACK else 0
        if not (low - SLACK <= least and most <= 1 + SLACK):  # NaN is not
            raise DataError(
                f"{where}: floats go from 0 to 1 or from -1 to 1, but these are {found}; of 0 to "
                "255 make images.astype('uint8')"
            )
        whole = np.empty(images.shape, np.uint8)
        for i, image in enumerate(images):  # one at a time: floats are wider than bytes
            scaled = (np.clip(image, low, 1).astype(np.float64) - low) * (255 / (1 - low))
            whole[i] = np.rint(scaled)
        images = whole
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    elif images.ndim == 4 and images.shape[3] == 4:
        images = _laid(images, want)
    return np.ascontiguousarray(images)


def _laid(images, want: Wanted):
    """(n, h, w, 4) on the background, (n, h, w, 3)."""
    from PIL import Image

    laid = np.empty((*images.shape[:3], 3), np.uint8)
    for i, image in enumerate(images):
        laid[i] = flat(Image.fromarray(np.ascontiguousarray(image)), want.background)
    return laid
