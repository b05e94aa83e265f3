"""Arrays that are pictures and labels, in an .npz, an .npy or an IDX file of any name.

The shapes and dtypes that headers promise must fit before more than those is read, and no pickle
is. What comes out is bytes and whole numbers. This file knows no data set and no folder.
"""

from typing import NamedTuple

import numpy as np

from .. import files
from .decode import flat
from .idx import MAX_BYTES, DataError, opened, read_header, read_idx
from .images import Pictures, class_names, shown
from .resize import MAX_SET, Wanted, shaped

IMAGES = ("images", "x", "x_train", "arr_0")  # what an .npz calls its pictures: the first found
LABELS = ("labels", "y", "y_train", "arr_1")
DEPTHS = (1, 3, 4)  # channels: grey, RGB, RGB and opacity
DIGITS = 10
SLACK = 1e-3  # of a range: what rounding may add to it
NEGATIVE = -0.9  # what goes from -1 to 1 has a value as low as this


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
    to 1, or from -1 to 1 if some are near -1, become such. An .npz calls them "images", "x",
    "x_train" or "arr_0", and their labels, whole numbers or strings, "labels", "y", "y_train" or
    "arr_1"; it may have "names" of the classes 0, 1, 2 ...
    """
    where = shown(path)
    with opened(path) as stream:
        magic = stream.read(6)
    if magic[:2] == b"PK":
        return _npz(path, want)
    if magic == b"\x93NUMPY":
        return _npy(path, want)
    if magic[:2] == b"\0\0":
        return read_pair(path, None, want)
    raise DataError(
        f"{where}: is no .npz, .npy or IDX file; of pictures pass the folder that holds them"
    )


def read_pair(images, labels, want: Wanted, digits=False) -> Pictures:
    """The pictures of one IDX file and the labels of another, or of none.

    digits: labels from 0 to 9 stay what they are, whether or not there is one of each.
    """
    promises = [Promise(shown(path), *read_header(path)) for path in (images, labels) if path]
    _check(*promises)
    where = promises[0].where
    values = _encoded(read_idx(labels), where, digits) if labels else (None, ())
    return shaped(Pictures(_bytes(read_idx(images), where, want), *values), want, where)


def _npy(path, want: Wanted) -> Pictures:
    where = shown(path)

    def check(header):
        _check(Promise(where, header.shape, header.dtype))

    images = files.read_npy(path, check, limit=MAX_SET, error=DataError)
    return shaped(Pictures(_bytes(images, where, want)), want, where)


def _npz(path, want: Wanted) -> Pictures:
    where = shown(path)
    with files.Npz(path, _no_npz) as npz:
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
            found = Pictures(found.images, *_encoded(npz.read(labels), where))
    return shaped(found, want, where)


def _no_npz(message) -> DataError:
    return DataError(
        f"{message}; save it anew with np.savez, or of a zip of pictures pass the folder, unpacked"
    )


def _check(images: Promise, labels: Promise | None = None):
    """DataError unless these can be pictures, and labels of as many."""
    shape, kind, remedy = images.shape, images.dtype.kind, ""
    first, last = (len(shape) == 4 and shape[axis] in DEPTHS for axis in (1, 3))
    if len(shape) not in (3, 4) or len(shape) == 4 and not (first or last):
        remedy = "(n, h, w), or (n, h, w, c) with c of 1, 3 or 4"
    elif first and last:
        remedy = "with channels that can be told from heights"
    elif len(shape) == 3 and shape[2] in DEPTHS[1:]:
        remedy = "(n, h, w); of one picture make images[None], of grey ones images[..., None]"
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
    names = () if plain else class_names(classes, where)
    return numbers.astype(np.int64), names


def _named(found: Pictures, labels, names, where: str) -> Pictures:
    """With labels that are numbers of classes which have names."""
    labels, names = labels.reshape(-1), class_names(names.reshape(-1), where)
    whole = labels.dtype.kind in "ui" and labels.min() >= 0 and labels.max() < len(names)
    if not whole:
        raise DataError(
            f"{where}: has {len(names)} names, and labels {labels.dtype} from {labels.min()} to "
            f"{labels.max()}; labels are the numbers of names, from 0"
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
        if NEGATIVE < least < -SLACK:
            raise DataError(
                f"{where}: floats go from 0 to 1 or from -1 to 1, and the least of these does not "
                f"say which, {found}; save images.clip(0, 1), or of -1 to 1 (images + 1) / 2"
            )
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
