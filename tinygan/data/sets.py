"""The one door to pictures, whatever they are called and wherever they lie: `load` and `split`.

What is not asked for by its name is never fetched. This file knows who reads what, and reads
nothing itself.
"""

import os

import numpy as np

from . import mnist
from .idx import DataError
from .images import Pictures


def load(source: str | os.PathLike = "bundled") -> Pictures:
    """The pictures of "bundled" (10,000 digits), "full" (60,000, fetched once) or a folder of IDX
    files; else DataError.
    """
    if source == "bundled":
        return mnist.bundled()
    if source == "full":
        return mnist.full()
    if not os.path.isdir(source):
        known = '"bundled", "full" or an existing folder that holds IDX files'
        raise DataError(f"{source}: no such data; choose {known}")
    return mnist.folder(source)


def split(source: str | os.PathLike = "bundled") -> tuple[Pictures, Pictures]:
    """(Pictures to learn from, pictures held out) of a source that `load` knows.

    "full" is judged by the bundled digits, MNIST's test set; a folder by its t10k files, if it has
    train files too; of everything else each tenth picture is held out.
    """
    whole = load(source)
    if source == "full":
        return whole, load("bundled")
    if source != "bundled" and mnist.has_both(source):
        return whole, mnist.folder(source, ["t10k"])
    held = np.arange(len(whole.images)) % 10 == 0
    return whole.rows(~held), whole.rows(held)
