"""The one door to pictures, whatever they are called and wherever they lie: `load` and `split`.

What is not asked for by its name is never fetched. This file knows who reads what, and reads
nothing itself.
"""

import os

import numpy as np

from . import mnist
from .idx import DataError
from .images import Pictures
from .named import SETS


def load(source: str | os.PathLike = "bundled") -> Pictures:
    """The pictures of a set of `SETS`, such as "bundled" (10,000 digits) or "full" (60,000, fetched
    once), or of a folder of IDX files; else DataError.
    """
    if isinstance(source, str) and source in SETS:
        return SETS[source].read("train")
    if not os.path.isdir(source):
        known = f"{', '.join(map(repr, SETS))} or an existing folder that holds IDX files"
        raise DataError(f"{source}: no such data; choose {known}")
    return mnist.folder(source)


def split(source: str | os.PathLike = "bundled") -> tuple[Pictures, Pictures]:
    """(Pictures to learn from, pictures held out) of a source that `load` knows.

    A set with an official test set is judged by that, as "full" by the bundled digits; a folder by
    its t10k files, if it has train files too; of everything else each tenth picture is held out.
    """
    whole = load(source)
    named = SETS.get(source) if isinstance(source, str) else None
    if named and named.official:
        return whole, named.read("test")
    if not named and mnist.has_both(source):
        return whole, mnist.folder(source, ["t10k"])
    held = np.arange(len(whole.images)) % 10 == 0
    return whole.rows(~held), whole.rows(held)
