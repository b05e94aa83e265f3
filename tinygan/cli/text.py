"""A text as flags ask for it: read, cut into tokens, and parted into what a model learns from and
what is kept from it.
"""

from typing import NamedTuple

import numpy as np

from .. import data
from ..train.callbacks import say


class Text(NamedTuple):
    """tokenizer: what made the text tokens; known and unseen: tokens (n,) to learn from, and the
    last tenth, to judge by; length: characters a token, in the mean.
    """

    tokenizer: object
    known: np.ndarray
    unseen: np.ndarray
    length: float


def read_text(args):
    """The text of --data, in --tokens, as a `Text`."""
    text = text_of(args)
    # pairs are learnt from what the model learns from, or nearly: that is parted in tokens
    learnt = text[: int(len(text) * 0.9)] if args.tokens == "pairs" else text
    tokenizer = tokenizer_of(learnt, args)
    tokens = tokenizer.encode(text)
    kinds = f"{len(tokens):,} tokens of {len(tokenizer):,} kinds"
    say(f"{len(text):,} characters, {kinds}")
    return Text(tokenizer, *data.held_out(tokens), len(text) / len(tokens))


def text_of(args):
    """The text of --data."""
    return data.text(None if args.data == "bundled" else args.data)


def tokenizer_of(text, args):
    """What makes --tokens of a text, learnt from it where there is something to learn."""
    make = {
        "characters": lambda: data.Characters.of(text),
        "bytes": data.Bytes,
        "pairs": lambda: data.BytePairs.train(text, args.vocabulary),
    }
    return make[args.tokens]()
