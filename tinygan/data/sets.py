"""The one door to pictures, whatever they are called and wherever they lie: `load` and `split`.

What is not asked for by its name is never fetched. This file knows who reads what, and reads
nothing itself.
"""

import os

import numpy as np

from . import arrays, idx_folder
from .folder import pictures
from .idx import DataError
from .images import Pictures, shown
from .named import SETS
from .resize import shaped, wanted


def load(
    source: str | os.PathLike = "bundled", side=None, colour=None, background="white", fit="crop"
) -> Pictures:
    """The pictures of a set of `SETS`, such as "bundled" (10,000 digits) or "full" (60,000, fetched
    once), of a folder of pictures or of IDX files, or of an .npz, .npy or IDX file; else DataError.

    side, colour, background, fit: as `data.pictures` has them; None: the set's own. Images are
    uint8 in C order. Labels go from 0; those that did not, such as 1 to 7, are the `names`.
    """
    want = wanted(side, colour, background, fit)
    if named := _named(source):
        return shaped(named.read("train"), want, source)
    if not os.path.exists(source):
        known = f"{', '.join(map(repr, SETS))} or an existing folder or file that holds pictures"
        raise DataError(f"{shown(source)}: no such data; choose {known}")
    if not os.path.isdir(source):
        return arrays.read(source, want)
    found = idx_folder.folder(source, want)
    return pictures(source, side, colour, background, fit) if found is None else found


def split(
    source: str | os.PathLike = "bundled", side=None, colour=None, background="white", fit="crop"
) -> tuple[Pictures, Pictures]:
    """(Pictures to learn from, pictures held out) of what `load` knows.

    A set with an official test set is judged by that, as "full" by the bundled digits; a folder by
    its t10k files, if it has train files too; of everything else a tenth of each class is held out,
    as `each_tenth` says.
    """
    want, named = wanted(side, colour, background, fit), _named(source)
    whole = load(source, side, colour, background, fit)
    if named and named.official:
        return whole, shaped(named.read("test"), want, source)
    if not named and os.path.isdir(source) and (held := idx_folder.held_out(source, want, whole)):
        return whole, held
    held = each_tenth(whole)
    if held.all():
        raise DataError(f"{shown(source)}: holds one picture; to hold one out takes two")
    return whole.rows(~held), whole.rows(held)


def _named(source):
    """The set of that name, or None."""
    return SETS.get(source) if isinstance(source, str) else None


def each_tenth(whole: Pictures):
    """(n,) of bool: which of them are held out, a tenth of all and about a tenth of each class.

    Those are each tenth in the order of the pictures, and where of some class less than 5 % or more
    than 20 % were held out so, as where labels repeat in turn or classes are small, each tenth of
    them sorted by class. No class is held out whole, unless each has one picture.
    """
    tenth = np.arange(len(whole.images)) % 10 == 0
    if whole.labels is None:
        return tenth
    held, sizes = tenth.copy(), np.bincount(whole.labels)
    share = np.bincount(whole.labels, held) / np.maximum(sizes, 1)
    if not ((0.05 <= share) & (share <= 0.2))[sizes > 0].all():
        held[np.argsort(whole.labels, kind="stable")] = tenth
    left = np.bincount(whole.labels[~held], minlength=len(sizes))
    spared = held & (left[whole.labels] > 0)
    return spared if spared.any() else tenth
