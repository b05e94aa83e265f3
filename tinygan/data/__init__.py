"""Where training data come from: digits that ship with the package, sets that are downloaded and
checked, folders of pictures, files of arrays; and batches of them.

`load` finds pictures (`SETS` are those with names) and `split` holds some out, `pictures` reads a
folder of them; `TOYS` are densities in the plane, which need no file. `Batches` feeds them, or any
other arrays, to a training loop by way of a transform (`scale`, `binarised`, `Dequantise`,
`Augmented`); `read_idx` reads any file in MNIST's format. This room works on raw arrays and knows
no Tensor, no layer and no model.
"""

from .batches import Batches
from .folder import pictures
from .idx import DataError, read_idx
from .images import Pictures
from .named import SETS
from .sets import load, split
from .stacked import stacked
from .tokens import BytePairs, Bytes, Characters, tokenizer
from .toys import TOYS, Toy
from .transforms import Augmented, Dequantise, Scale, binarise, binarised, scale
from .windows import Windows, held_out

__all__ = [
    "SETS", "TOYS", "Augmented", "Batches", "BytePairs", "Bytes", "Characters", "DataError",
    "Dequantise", "Pictures", "Scale", "Toy", "Windows", "binarise", "binarised", "held_out",
    "load", "pictures", "read_idx", "scale", "split", "stacked", "tokenizer",
]  # fmt: skip
