"""Saving and resuming: every array that training changes, and a few words of meta data, in one .npz
file without pickle.

`parts` is a dict of things with `state_dict` and `load_state_dict`: networks, optimizers. This room
knows files and no model.
"""

import json
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from .device import to_host


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or belongs to another model; the message names the file. Nothing
    was changed.
    """


def save(path, parts, meta):
    """Write `path` atomically: a crash at any moment leaves the old file or the new one, whole."""
    path = Path(path)
    arrays = {
        f"{part}/{k}": to_host(a)
        for part, thing in parts.items()
        for k, a in thing.state_dict().items()
    }
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=path.stem, suffix=".part", delete=False
    ) as f:
        try:
            np.savez(f, meta=np.array(json.dumps(meta)), **arrays)
            f.flush()
            os.fsync(f.fileno())
            os.replace(f.name, path)
        except BaseException:
            os.unlink(f.name)
            raise


def load(path, parts):
    """Fill `parts` from `path` and return the meta data. On any mismatch nothing is changed
    (CheckpointError).
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        meta = json.loads(str(arrays.pop("meta")))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: there is no checkpoint to resume; run without --resume first"
        ) from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as e:
        raise CheckpointError(
            f"{path}: not a whole tinygan checkpoint ({e}); delete it and train again"
        ) from None
    own = {
        f"{part}/{k}": a.shape
        for part, thing in parts.items()
        for k, a in thing.state_dict().items()
    }
    for k in [k for k, a in arrays.items() if k.endswith("/step") and a.shape == (1,) and k in own]:
        # parameters once counted their steps together
        arrays[k] = np.broadcast_to(arrays[k], own[k])
    if own != {k: a.shape for k, a in arrays.items()}:
        differ = sorted(
            k for k in own | arrays if k not in own or k not in arrays or own[k] != arrays[k].shape
        )
        raise CheckpointError(
            f"{path}: belongs to another model ({len(differ)} arrays differ, the first is {differ[0]})"
        )
    for part, thing in parts.items():
        thing.load_state_dict(
            {k.removeprefix(f"{part}/"): a for k, a in arrays.items() if k.startswith(f"{part}/")}
        )
    return meta
