"""What a command needs that looks at a trained model: pictures that were held out, and a folder of
its own.
"""

import json

import numpy as np

from .. import data, device, files, plot
from ..data import DataError
from ..models.labels import listed
from ..train.callbacks import say
from .real import USUAL, split
from .training import spread

MARK = "made.json"  # says that the files beside it were made by such a command


def held_out(model, n, source, said):
    """Pictures to learn from, and n others, evenly spread: (n, c, h, w) on the model's device, and
    their labels (n,), or None where the model's classes are others than theirs, which it says.

    source: as for `data.split`; None: that of `said`, what the model's checkpoint says, else the
    usual. A model that was not told to leave some out has seen these others, too. DataError where
    nothing says the set and it cannot be the usual one, the digits.
    """
    if source is None and "data" not in said and model.sample_shape != (1, 28, 28):
        raise DataError("the run does not say what its model learnt from: give --data SET")
    said = USUAL | (said if source is None else {"data": source})
    form = {"side": model.side, "colour": "grey" if model.channels == 1 else "rgb"}
    form |= {"fit": said["fit"], "background": said["background"]}
    known, others = data.split(said["data"], **form)
    chosen = spread(others, min(n, len(others.images)))
    others = others.rows(chosen)
    same = (known.classes, known.names) == (model.classes, model.names)
    if model.classes and not same:
        say(f"{said['data']}: its classes are not the model's, which is told no labels of these")
    images = device.to(data.scale(others.images), model.device)
    return known, images, others.labels if same else None


def halves(model, said):
    """The `Real` pictures of the set that a model learnt from, by what its checkpoint said, and
    of the model's form. DataError where nothing says the set, and where its classes are no
    longer the model's: a class's folder may have gone, and labels would mean others.
    """
    if "data" not in said:
        raise DataError("the run does not say what its model learnt from")
    form = said | {"side": model.side, "colour": "grey" if model.channels == 1 else "rgb"}
    real = split(form.pop("data"), **form)
    classes = max(real.training.classes, real.others.classes)
    if model.classes and (classes, real.training.names) != (model.classes, model.names):
        ours, theirs = (listed(some, 4) for some in (model.names, real.training.names))
        now = f"has {classes} classes now ({theirs or 'no names'})"
        words = f"{now}, and the model knows {model.classes} ({ours or 'no names'})"
        raise DataError(f"{said['data']}: {words}")
    return real


def own_folder(out, made):
    """Make the folder `out`, in which a command replaces only what it made before: DataError if it
    holds other files than those named `made`, or these without the mark that they are ours.
    """
    out.mkdir(parents=True, exist_ok=True)
    found = {path.name for path in out.iterdir()}
    ours = {*made, MARK} if _marked(out / MARK, made) else set()
    if other := found - ours:
        raise DataError(f"{out / min(other)}: was not made here; --out names another folder")
    with files.replacing(out / MARK) as part:
        part.write_text(json.dumps({"made": sorted(made)}) + "\n")


def _marked(mark, made):
    """Whether the file is a mark that names files of `made`, and nobody's own of that name."""
    try:
        match json.loads(mark.read_text()):
            case {"made": [_, *_] as names, **others} if not others:
                return all(name in made for name in names)
    except (OSError, ValueError, RecursionError):  # none, or no JSON
        pass
    return False


def draw_rows(path, title, blocks, gap=4):
    """Write blocks of rows of images, each of them (n, h, w) or (n, h, w, 3) uint8, as one picture
    under its title, with white between the blocks, enlarged to about 900 pixels.
    """
    sheets = []
    for rows in blocks:
        block = plot.sheet(np.concatenate(rows), len(rows[0]))
        sheets += [block, np.full_like(block[:gap], 255)]
    picture = np.concatenate(sheets[:-1])
    zoom = max(1, round(900 / picture.shape[1]))
    plot.grid(picture[None], path, columns=1, zoom=zoom, names=[title])
