"""Models of text by name, for runs that are loaded again: a Transformer, its tokenizer, and what it
learns.
"""

from .. import data
from .bert import BERT
from .gpt import GPT
from .recipes import recipe
from .transformer import Transformer

BYTES = {"kind": "bytes"}


@recipe("text", "gpt")
def gpt(
    tokenizer=BYTES, context=64, width=128, depth=4, heads=4, dropout=0.0, positions="learnt",
    bias=True, **options,
):  # fmt: skip
    """A language model that continues texts.

    tokenizer: of `data`, or its `words()`; context to bias: see `Transformer`; options: of
    `LanguageModel`, such as lr, weight_decay, clip.
    """
    known = data.tokenizer(tokenizer)
    network = Transformer(len(known), context, width, depth, heads, dropout, True, positions, bias)
    return GPT(network, known, **options)


@recipe("text", "bert")
def bert(
    tokenizer=BYTES, context=64, width=128, depth=4, heads=4, dropout=0.0, positions="learnt",
    bias=True, **options,
):  # fmt: skip
    """A model that guesses hidden tokens: the same network, which sees text both ways, with one
    token more. options: of `LanguageModel` and `BERT`, such as share.
    """
    known = data.tokenizer(tokenizer)
    size = len(known) + 1
    network = Transformer(size, context, width, depth, heads, dropout, False, positions, bias)
    return BERT(network, known, **options)
