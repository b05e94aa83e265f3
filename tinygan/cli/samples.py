"""Samples as a file: images, and where there are classes their labels and names, and what the model
learnt from. The file that is read may be anybody's.
"""

from pathlib import Path

import numpy as np

from .. import data, device, files, plot
from ..data import DataError, Pictures
from ..metrics.judge import LEAST
from ..train.callbacks import say

PIECE = 1000  # samples that are floats at a time; a multiple of what `sample` draws at a time
MAX_BYTES = 1 << 30  # of samples: 1.4 million digits
SAID = ("data", "fit", "background")  # flags about pictures; side and colour are seen in samples
LONGEST = 1 << 14  # bytes of what one of these was


def noted(args, passing):
    """The flags of a training run but for those `passing`, as its checkpoints note them: a folder
    or a file of pictures by its whole path, since it may be asked for from another folder.
    """
    arguments = {name: value for name, value in vars(args).items() if name not in passing}
    if "data" in arguments and args.data not in data.SETS:
        arguments["data"] = str(Path(args.data).absolute())
    return arguments


def learnt(arguments):
    """What such flags say of the pictures that were learnt from, {flag: text}."""
    said = arguments if isinstance(arguments, dict) else {}
    return {name: said[name] for name in SAID if isinstance(said.get(name), str)}


def save_samples(model, n, path, labels=None, learnt=None, noise=None, how=None):
    """Write n samples as an .npz: images, uint8 (n, h, w) or (n, h, w, 3), and, if the model knows
    classes, the labels they were made for, (n,), and the `names` of the classes, if they have any;
    returns the images. learnt: what it was taught, {"data": ...} as `learnt` gives it. noise: their
    latent points, if they are chosen already. how: what else `model.sample` is to be told.
    """
    if model.classes and labels is None:
        labels = np.arange(n) % model.classes
    noise = model.noise(n) if noise is None else noise  # all at once: those of one call
    pieces = []
    for i in range(0, n, PIECE):
        points = noise[i : i + PIECE]
        told = None if labels is None else labels[i : i + PIECE]
        made = model.sample(len(points), points, told, **(how or {}))
        pieces.append(plot.to_uint8(device.to_host(made)))
    images = np.concatenate(pieces)
    arrays = {"images": images} if labels is None else {"images": images, "labels": labels}
    arrays |= {"names": np.array(model.names)} if model.names else {}
    arrays |= {name: np.array(text) for name, text in (learnt or {}).items()}
    with files.replacing(path) as temporary:
        np.savez_compressed(temporary, **arrays)
    say(f"{n} samples: {path}")
    return images


def read_samples(path):
    """The samples in an .npz file, as Pictures, and what it says that the model learnt from,
    {"data": ...}, of those flags that it knows; else DataError, before anything is inflated that is
    not wanted.
    """
    if not path.exists():
        raise DataError(
            f"{path}: there is no such file; a training run with --samples N writes one"
        )
    with files.Npz(path, DataError) as npz:
        n = _checked(path, npz.headers)
        labels, names = (npz.headers.get(name) for name in ("labels", "names"))
        if labels and (labels.shape != (n,) or labels.dtype.kind not in "iu"):
            raise DataError(f"{path}: `labels` must be ({n},) whole numbers, got {labels}")
        if names and (len(names.shape) != 1 or names.dtype.kind != "U" or names.nbytes > 1 << 20):
            raise DataError(f"{path}: `names` must be words, (classes,), got {names}")
        words = tuple(_text(path, npz, "names")) if names else ()
        made = Pictures(npz.read("images"), npz.read("labels") if labels else None, words)
        return made, {name: _text(path, npz, name) for name in SAID if _is_line(npz.headers, name)}


def _checked(path, headers):
    """How many samples there are; DataError unless they are samples, and enough of them."""
    header = headers.get("images")
    if header is None:
        found = ", ".join(headers) or "nothing"
        raise DataError(
            f"{path}: has no `images`, but {found}; a training run with --samples N writes some"
        )
    n, *form = header.shape or (0,)
    square = len(form) > 1 and form[0] == form[1] > 0 and form[2:] in ([], [3])
    if not square or header.dtype != np.uint8:
        raise DataError(
            f"{path}: `images` must be uint8, (n, side, side) grey or (n, side, side, 3) in "
            f"colour, with n of {LEAST} or more, got {header}"
        )
    if n < LEAST:
        raise DataError(
            f"{path}: the judge needs {LEAST} samples, found {n}; --samples 10000 of the training "
            "run makes more, or -n 10000 of tinygan.sample"
        )
    if header.nbytes > MAX_BYTES:
        raise DataError(
            f"{path}: `images` has {header.nbytes} bytes, more than the {MAX_BYTES} allowed; "
            "10,000 samples are enough"
        )
    return n


def _is_line(headers, name):
    """Whether there is a text of that name; anything else of that name is somebody else's."""
    header = headers.get(name)
    text = header and header.shape == () and header.dtype.kind == "U"
    return bool(text and header.nbytes <= LONGEST)


def _text(path, npz, name):
    """An array of text as Python's; DataError for what is no character."""
    try:
        return npz.read(name).tolist()
    except (SystemError, ValueError) as error:
        raise DataError(f"{path}: `{name}` is no text ({error})") from error
