"""Where training data come from: IDX files, the MNIST digits that ship with the package, sets that
are downloaded and checked, batches.

`load` finds pictures (`SETS` are those with names) and `split` holds some out, `Batches` feeds
them, or any other arrays, to a training loop by way of a transform (`scale`, `binarised`),
`read_idx` reads any file in MNIST's format. This room works on raw arrays and knows no Tensor, no
layer and no model.
"""

from .batches import Batches
from .idx import DataError, read_idx
from .images import Pictures
from .named import SETS
from .sets import load, split
from .transforms import Scale, binarise, binarised, scale

__all__ = [
    "SETS", "Batches", "DataError", "Pictures", "Scale", "binarise", "binarised", "load",
    "read_idx", "scale", "split",
]  # fmt: skip
