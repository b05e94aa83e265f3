"""Where training data come from: digits and plays that ship with the package, sets that are
downloaded and checked, folders of pictures, files of arrays or of text; and batches of them.

`load` finds pictures (`SETS` are those with names) and `split` holds some out, `pictures` reads a
folder of them; `TOYS` are densities in the plane, which need no file. `Batches` feeds them, or any
other arrays, to a training loop by way of a transform (`scale`, `binarised`, `Dequantise`,
`Augmented`); `read_idx` reads any file in MNIST's format.

`text` reads a file of text, a tokenizer (`Characters`, `Bytes`, `BytePairs`) makes a row of whole
numbers of it, and `Windows` feeds that to a language model. This room works on raw arrays and knows
no Tensor, no layer and no model.
"""

from .batches import Batches
from .folder import pictures
from .idx import DataError, read_idx
from .images import Pictures
from .named import SETS
from .sets import load, split
from .stacked import stacked
from .text import Speech, speeches, text
from .tokens import BytePairs, Bytes, Characters, tokenizer
from .toys import TOYS, Toy
from .transforms import Augmented, Dequantise, Scale, binarise, binarised, scale
from .windows import Windows, held_out

__all__ = [
    "SETS", "TOYS", "Augmented", "Batches", "BytePairs", "Bytes", "Characters", "DataError",
    "Dequantise", "Pictures", "Scale", "Speech", "Toy", "Windows", "binarise", "binarised",
    "held_out", "load", "pictures", "read_idx", "scale", "speeches", "split", "stacked", "text",
    "tokenizer",
]  # fmt: skip
