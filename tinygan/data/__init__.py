"""Where training images come from: IDX files, the MNIST digits that ship with the package, a
checked download, batches.

`load` finds digits and `split` holds some out, `Batches` feeds them to a training loop, `read_idx`
reads any other file in MNIST's format. This room works on raw arrays and knows no Tensor, no layer
and no model.
"""

from .batches import Batches, binarise, scale
from .idx import DataError, read_idx
from .mnist import Digits, load, split

__all__ = ["Batches", "DataError", "Digits", "binarise", "load", "read_idx", "scale", "split"]
