"""The real pictures that samples are held against: of which set, as flags or the samples' own file
say it, and how it is cut in two.
"""

import itertools
import os
from typing import NamedTuple

import numpy as np

from .. import data, random
from ..data import DataError, Pictures
from ..data.images import shown

HALVED = 20_000  # pictures: of so few, a half is held out to judge by, and not a tenth
USUAL = {"data": "bundled", "fit": "crop", "background": "white"}  # where nothing says more


class Real(NamedTuple):
    """Real pictures: those to learn from and others; whether a model that trained on all of the set
    has seen those others too, and how the set was cut, in words.
    """

    training: Pictures
    others: Pictures
    seen: bool
    part: str


def taken_from(learnt, args, made):
    """Give --data, --fit and --background, where they were not said, what the samples were `learnt`
    from by their own file, else the usual; returns words on what was taken.

    DataError where nothing says the set and the samples cannot be of the usual one, the digits.
    """
    given = {name for name in USUAL if getattr(args, name) is not None}
    taken = {name: text for name, text in learnt.items() if name not in given}
    unknown = "data" not in given | taken.keys()
    if unknown and (made.images.shape[1:] != (28, 28) or made.names):
        raise DataError(f"{args.samples}: does not say what its model learnt from: give --data SET")
    for name, text in (USUAL | taken).items():
        if name not in given:
            setattr(args, name, text)
    if "data" in taken and args.data not in data.SETS and not os.path.exists(args.data):
        raise DataError(
            f"{args.samples}: its model learnt from {shown(args.data)}, which is not there; --data "
            "names the set"
        )
    if unknown:
        return "; nothing says that the model learnt from these: --data names others"
    told = [n for n in taken if n == "data" or taken[n] != USUAL[n]]
    said = [f"--{name} {shown(taken[name])}" for name in told]
    return f"; {args.samples.name} says so: {' '.join(said)}" if said else ""


def in_words(args):
    """The set, and how its pictures were made square where that is not the usual way."""
    others = [n for n in ("fit", "background") if getattr(args, n) != USUAL[n]]
    made = ", ".join(f"{name} {shown(getattr(args, name))}" for name in others)
    return shown(args.data) + (f" ({made})" if made else "")


def check(made, training, source):
    """DataError unless samples and real pictures are of one size, colour and classes."""
    ours, theirs = made.images.shape[1:], training.images.shape[1:]
    if made.names and training.names and made.names != training.names:
        pairs = itertools.zip_longest(made.names, training.names)
        ours, theirs = next((f"of {a!r}", f"of {b!r}") for a, b in pairs if a != b)
    elif ours == theirs and training.classes:
        least = 0 if made.labels is None else int(made.labels.max()) + 1
        if least > training.classes or len(made.names) not in (0, training.classes):
            ours = f"of {len(made.names) or least} classes"
            theirs = f"of {training.classes}"
    if ours != theirs:
        raise DataError(
            f"the samples are {ours}, but the pictures of {source} are {theirs}; "
            "--data names the set that the model learnt from"
        )


def split(source, **form):
    """The `Real` pictures of a source in that form (side, colour ...), shuffled; of a small set
    that has no part of its own for others, as the bundled digits, one half each.
    """
    whole = data.load(source, **form)
    parts = data.split(source, **form)
    seen = len(parts[0].images) < len(whole.images)
    if seen and len(whole.images) <= HALVED:
        halves = np.array_split(random.permutation(len(whole.images), 0, 0), 2)
        return Real(*map(whole.rows, halves), seen, "the other half")
    shuffled = (part.rows(random.permutation(len(part.images), 0, 0)) for part in parts)
    return Real(*shuffled, seen, "a tenth")


def origin(source, real):
    """What the real pictures are that stand beside the samples."""
    if not real.seen:
        return f"held out, no model that trained on {source} has seen them"
    return f"{real.part} of {source}, which a model that trained on all of it has seen too"
