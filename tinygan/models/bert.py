"""Learning to read from text alone (Devlin 2019): some tokens are hidden, and a network that sees
all the others is to guess them. What it has understood for that, a few labels then put to use.

`BERT` is trained on text; `TextClassifier` takes what it has learnt, and a few texts with labels.
"""

import copy
from numbers import Integral

import numpy as np

from .. import device, nn, ops, random
from ..autograd import describe
from ..nn.losses import cross_entropy
from ..nn.supervised import check_labels
from .language import LanguageModel
from .options import checked_options
from .transformer import STD

MASKED, RANDOM = 0.8, 0.1  # of the tokens to guess: hidden, and replaced by any other
HELD_OUT = 7  # the random stream of what is hidden in texts that it does not learn from
AT_ONCE = 256  # texts that are classified at a time


class BERT(LanguageModel):
    """A `Transformer` that sees a text both ways; see `LanguageModel`. Its vocabulary has one token
    more than the tokenizer, `mask`.

    share: of the tokens of a text that are to be guessed. Of those, 80 % are hidden behind the
    mask, 10 % become any other and 10 % stay, so that it is never sure of what it sees (Devlin
    2019, section 3.1).
    """

    def __init__(self, network, tokenizer, share=0.15, **options):
        super().__init__(network, tokenizer, **options)
        self.share = checked_options("BERT", share=share)["share"]
        self.mask = len(tokenizer)

    def loss(self, batch, source=None):
        """-log p of the tokens that are to be guessed, in the mean: tokens (n, t).

        source: a generator to hide them by, random.default unless given.
        """
        batch = self.check("step", batch)
        seen, places = self.hidden(batch, source)
        features = self.network.features(seen)  # (n, t, width)
        features = ops.reshape(features, (batch.size, -1))[places]  # scores of these alone
        return cross_entropy(self.network.scores(features), batch.reshape(-1)[places])

    def hidden(self, batch, source=None):
        """Tokens (n, t) with some hidden, as many in each row, and where these were, counted row by
        row, (n * count,).

        A row is cut into `count` stretches, at a random place, and a token of each is chosen: so
        none is chosen twice, all as often as one another, and no sorting would halt a GPU.
        """
        draw = source or random.default
        uniform = lambda *shape: draw.uniform(shape, device=self.device)
        n, t = batch.shape
        count = max(1, round(self.share * t))
        edges = np.arange(count + 1, like=batch) * t // count
        first, length = edges[:-1], edges[1:] - edges[:-1]
        chosen = first + (uniform(n, count) * length).astype(edges.dtype)
        chosen = (chosen + (uniform(n, 1) * t).astype(edges.dtype)) % t  # round the row's end
        places = (chosen + t * np.arange(n, like=edges)[:, None]).reshape(-1)

        seen = batch.reshape(-1).copy()
        which, other = uniform(places.size), uniform(places.size) * self.mask
        other = np.where(which < MASKED + RANDOM, other.astype(seen.dtype), seen[places])
        seen[places] = np.where(which < MASKED, self.mask, other)
        return seen.reshape(n, t), places

    def held_out(self, batches):
        """The mean loss of batches that it does not learn from, a number: the same tokens of them
        are hidden each time.
        """
        return super().held_out(batches, source=random.Generator(random.default.seed, HELD_OUT))

    def guess(self, tokens):
        """The likeliest token at every place of rows (n, t), in which `mask` may stand: raw."""
        tokens = self.check("guess", tokens)
        with self.resting() as network:
            return network(device.to(tokens, self.device)).data[..., : self.mask].argmax(-1)


class Reader(nn.Module):
    """Tokens (n, t) -> scores (n, classes), of what a `Transformer` says of a text's places in the
    mean.

    prefix: so many places ahead of the text, which hold no tokens but learnt rows: a prompt in no
    language (Lester 2021).
    """

    def __init__(self, network, classes, prefix=0):
        width = network.tokens.embedding_dim
        self.network, self.head = network, nn.Linear(width, classes)
        self.context = network.context - prefix  # what is left for a text
        rows = random.default.normal((prefix, width)) * STD
        self.prefix = nn.Parameter(rows) if prefix else None

    def forward(self, tokens):
        features = self.network.features(tokens, prefix=self.prefix)  # (n, t, width)
        return self.head(ops.mean(features, 1))


class TextClassifier(LanguageModel):
    """Learns to which of some classes texts belong, of (tokens (n, t), labels (n,)), from a copy of
    the network of `model`, a `BERT`, or a `GPT`, that may have learnt to read before.

    prefix: see `Reader`; the rest of the context is for the text. frozen: the network stays as it
    is; what learns is the prefix and a dense layer, some thousand numbers. options: of
    `LanguageModel`; the device is the model's own.
    """

    def __init__(self, model, classes, prefix=0, frozen=False, **options):
        for name, value, least in (("classes", classes, 2), ("prefix", prefix, 0)):
            if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
                words = f"must be at least {least} and whole, got {value!r:.50}"
                raise ValueError(f"TextClassifier: {name} {words}")
        if prefix >= model.context:
            words = f"prefix {prefix} leaves no place for text in a context of {model.context}"
            raise ValueError(f"TextClassifier: {words}; make it shorter")
        if not hasattr(model.network, "tokens"):
            raise TypeError("TextClassifier: model must be a BERT or a GPT, not a classifier")
        reader = Reader(copy.deepcopy(model.network), classes, prefix)
        self.classes = classes
        own = [p for name, p in reader.named_parameters() if not name.startswith("network.")]
        options |= {"device": model.device, "params": own if frozen else None}
        super().__init__(reader, model.tokenizer, **options)

    def loss(self, batch):
        """-log p of the labels, in the mean."""
        tokens, labels = batch
        tokens = self.check("step", tokens)
        if not device.is_array(labels) or labels.shape != tokens.shape[:1]:
            words = f"needs a label for each text, raw integers ({len(tokens)},)"
            raise ValueError(f"step: {words}, got {describe(labels)}")
        check_labels(labels, self.classes)
        return cross_entropy(self.network(tokens), labels)

    def answers(self, tokens):
        """The class of each text (n, t), raw integers (n,)."""
        tokens = self.check("answers", tokens)
        parts = (tokens[i : i + AT_ONCE] for i in range(0, len(tokens), AT_ONCE))
        with self.resting() as network:
            found = [network(device.to(x, self.device)).data.argmax(1) for x in parts]
        return np.concatenate(found)
