"""Saving and resuming: every array that training changes, and a few words of meta data, in one .npz
file without pickle.

`parts` is a dict of things with `state_dict` and `load_state_dict`: networks, optimizers. This room
knows files and no model. What it saves it can load again; what it loads may come from anybody.
"""

import json
from pathlib import Path

import numpy as np

from . import files
from .device import is_array, to_host
from .optim import EMA, Optimizer

VERSION = 2  # of the files that `save` writes; those that do not say are 1, of before it was said
META_BYTES = 1 << 24  # the meta data may take
MOST = 65_000  # arrays in a file: beyond 65,535 entries, zip files are written in another way
ENTRY = 80  # bytes that the directory of a file has for an array beside its name, at most
# meta data: its least and its first too large value
COUNTS = {"version": (1, 2**31), "step": (0, 2**63), "epoch": (0, 2**63), "seed": (0, 2**32)}
# what optimizers and averages take roots of, or count
NOT_NEGATIVE = {"exp_avg_sq", "max_exp_avg_sq", "square_avg", "acc_delta", "sum", "exp_inf"}
NOT_NEGATIVE |= {"step", "lr", "updates"}


class CheckpointError(ValueError):
    """A checkpoint cannot be read or made, or belongs to another model; the message names the file.
    Nothing was changed.
    """


def save(path, parts, meta):
    """Replace `path` by the state of `parts` and by `meta`, which holds at least "step" and goes
    through JSON.

    A crash at any moment leaves the old file or the new one, whole. CheckpointError, and the old
    file stays, for what `load` would refuse: an array with NaN or infinity in it (a buffer, such as
    a mask, may hold infinity), two arrays of one name, more of them than an archive holds.
    """
    arrays = {name: to_host(a) for name, a in _state(path, parts).items()}
    words = in_words(path, meta)
    _check_values(f"{path}: not saved", parts, arrays)
    with files.replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, meta=np.array(words), **arrays)


def in_words(path, meta):
    """The meta data of `save` as it stands in the file; CheckpointError for what `load` would
    refuse.
    """
    words = json.dumps(meta | {"version": VERSION})
    if 4 * len(words) > META_BYTES:
        most = f"{META_BYTES // 4} are the most: make the model of less, such as fewer tokens"
        raise CheckpointError(f"{path}: meta data of {len(words)} letters, {most}")
    _parsed(path, words)
    return words


def load(path, parts):
    """Fill `parts` from `path` and return the meta data.

    Names, shapes and dtypes are compared before any array is read, and their values before any
    part is changed: CheckpointError.
    """
    own = _state(path, parts)
    with _open(path) as npz:
        meta = _meta(npz)
        _check_headers(path, npz.headers, own)
        # what is broadcast: a step that all parameters share, see _fits
        arrays = {name: np.broadcast_to(npz.read(name), a.shape) for name, a in own.items()}
    _check_values(f"{path}: not loaded", parts, arrays)
    for part, thing in parts.items():
        thing.load_state_dict({k: arrays[f"{part}/{k}"] for k in thing.state_dict()})
    return meta


def read_meta(path):
    """The meta data alone: {"version": ..., "step": ..., and what else was given to `save`}."""
    with _open(path) as npz:
        return _meta(npz)


def _open(path):
    if not Path(path).exists():
        raise CheckpointError(f"{path}: there is no checkpoint")
    return files.Npz(path, CheckpointError)


def _state(path, parts):
    """{"part/name": array} of all parts, if a file can hold that; else TypeError for what is no
    array of numbers, CheckpointError for names.
    """
    arrays = {}
    for part, thing in parts.items():
        for key, a in thing.state_dict().items():
            name = f"{part}/{key}"
            if not is_array(a) or a.dtype.kind not in "biufc":
                found = a.dtype if is_array(a) else type(a).__name__
                raise TypeError(f"{path}: {name} must be an array of numbers, got {found}")
            if name in arrays:
                raise CheckpointError(f"{path}: two arrays are called {name}; rename a part")
            if not name.isprintable():
                raise CheckpointError(f"{path}: {name!r:.80} is no name that can be printed")
            arrays[name] = a
    size = sum(ENTRY + len(name.encode()) for name in arrays)
    if len(arrays) > MOST or size > files.DIRECTORY:
        most = f"{MOST} arrays, and {files.DIRECTORY} bytes of names"
        raise CheckpointError(
            f"{path}: {len(arrays)} arrays are too many for a file: at most {most}"
        )
    return arrays


def _meta(npz):
    header = npz.headers.get("meta")
    if header is None or header.shape or header.dtype.kind != "U" or header.nbytes > META_BYTES:
        found = "missing" if header is None else header
        raise CheckpointError(f"{npz.path}: no tinygan checkpoint, its meta data is {found}")
    return _parsed(npz.path, npz.read("meta"))


def _parsed(path, words):
    """The meta data that JSON spells, if it is what a trainer may rely on."""

    def refuse(constant):
        raise ValueError(f"{constant} is no number")

    try:
        meta = json.loads(str(words), parse_constant=refuse)
    except (ValueError, RecursionError) as e:
        raise CheckpointError(f"{path}: its meta data is not JSON ({e})") from None
    if not isinstance(meta, dict) or not isinstance(meta.get("config", {}), dict):
        raise CheckpointError(f"{path}: its meta data is damaged: it, or its config, is no dict")
    meta.setdefault("version", 1)
    for name, (least, end) in COUNTS.items():
        value = meta.get(name, None if name == "step" else least)
        if type(value) is not int or not least <= value < end:
            wrong = f"{name} is {value!r:.50}, not a whole number from {least} to {end - 1}"
            raise CheckpointError(f"{path}: its meta data is damaged: {wrong}")
    if meta["version"] > VERSION:
        versions = f"its version is {meta['version']}, and {VERSION} is the last known here"
        raise CheckpointError(f"{path}: made by a newer tinygan ({versions}): update tinygan")
    return meta


def _check_headers(path, headers, own):
    """Refuse a file whose arrays are not, by name, shape and dtype, those of the parts."""
    wrong, names = [], sorted(own.keys() | headers.keys() - {"meta"})
    for name in names:
        if name not in headers:
            wrong.append(f"{name} is not in the file")
        elif name not in own:
            wrong.append(f"{name!r:.80} is not in the model")
        elif not _fits(name, headers[name], own[name]):
            theirs = f"{own[name].shape} {own[name].dtype}"
            wrong.append(f"{name} is {headers[name]} in the file and {theirs} in the model")
    if wrong:
        differ = f"{len(wrong)} of {len(names)} arrays differ: {_listed(wrong)}"
        raise CheckpointError(f"{path}: belongs to another model; {differ}")


def _fits(name, header, own):
    shared = name.endswith("/step") and header.shape == (1,) and own.ndim == 1
    if shared:  # by all parameters, which it was once
        return header.dtype == own.dtype
    return (header.shape, header.dtype) == (own.shape, own.dtype)


def _check_values(refusal, parts, arrays):
    """Refuse NaN and infinity, and negative numbers where only damage puts them."""
    wrong = []
    for part, thing in parts.items():
        constants = _constants(thing)
        for key in thing.state_dict():
            name, first, last = f"{part}/{key}", key.partition(".")[0], key.rpartition(".")[2]
            a = arrays[name]
            if key in constants and np.isnan(a).any():
                wrong.append(f"{name} holds NaN")
            elif key not in constants and not np.isfinite(a).all():
                wrong.append(f"{name} holds NaN or infinity")
            roots = isinstance(thing, (Optimizer, EMA)) and first in NOT_NEGATIVE
            if (roots or last == "running_var") and (a < 0).any():
                wrong.append(f"{name} holds negative numbers, which it never can")
    if wrong:
        raise CheckpointError(f"{refusal}, since {_listed(wrong)}")


def _constants(thing):
    """The names of a module's buffers that training leaves alone: all but running statistics."""
    if not hasattr(thing, "named_parameters"):
        return set()
    trained = {id(parameter.data) for _, parameter in thing.named_parameters()}
    buffers = {key for key, a in thing.state_dict().items() if id(a) not in trained}
    return {key for key in buffers if not key.rpartition(".")[2].startswith("running_")}


def _listed(wrong):
    """The first few, and how many there are besides."""
    more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    return "; ".join(wrong[:5]) + more
