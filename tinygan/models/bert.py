"""Learning to read from text alone (Devlin 2019): some tokens are hidden, and a network that sees
all the others is to guess them. What it has understood for that, a few labels then put to use.

`BERT` is trained on text; `TextClassifier` takes its network and a few hundred texts with labels.
"""

import numpy as np

from .. import device, nn, ops, random
from ..nn.losses import cross_entropy
from .language import LanguageModel

MASKED, RANDOM = 0.8, 0.1  # of the tokens to guess: hidden, and replaced by any other


class BERT(LanguageModel):
    """A `Transformer` that sees a text both ways; see `LanguageModel`. Its vocabulary has one token
    more than the tokenizer, `mask`.

    share: of the tokens of a text that are to be guessed. Most of them are hidden behind the mask,
    some are another token and some stay, so that it is never sure of what it sees (Devlin 2019,
    section 3.1).
    """

    def __init__(self, network, tokenizer, share=0.15, **options):
        super().__init__(network, tokenizer, **options)
        if not 0 < share <= 1:
            raise ValueError(f"BERT: share must be above 0, at most 1, got {share!r:.50}")
        self.share, self.mask = share, len(tokenizer)

    def loss(self, batch):
        """-log p of the tokens that are to be guessed, in the mean: tokens (n, t)."""
        batch = batch[:, : self.context]
        seen, places = self.hidden(batch)
        features = self.network.features(seen)
        rows = ops.reshape(features, (batch.size, -1))[places]
        return cross_entropy(self.network.scores(rows), batch.reshape(-1)[places])

    def hidden(self, batch, source=None):
        """Tokens (n, t) with some hidden, as many in each row, and where these are, counted row by
        row, (n * count,).
        """
        draw = source or random.default
        n, t = batch.shape
        count = max(1, round(self.share * t))
        own = draw.uniform((n, t), device=self.device).argsort(1)[:, :count]
        places = (own + np.arange(n, like=own)[:, None] * t).reshape(-1)
        which = draw.uniform(places.shape, device=self.device)
        other = (draw.uniform(places.shape, device=self.device) * self.mask).astype(batch.dtype)
        seen = batch.reshape(-1).copy()
        chosen = np.where(which < MASKED + RANDOM, other, seen[places])
        seen[places] = np.where(which < MASKED, self.mask, chosen)
        return seen.reshape(n, t), places

    def guess(self, tokens):
        """The likeliest token at every place of rows (n, t), in which `mask` may stand: raw."""
        tokens = device.to(np.asarray(tokens), self.device)
        with self.resting() as network:
            return network(tokens).data[..., : self.mask].argmax(-1)


class Reader(nn.Module):
    """Tokens (n, t) -> scores (n, classes), of what a `Transformer` says of a text's places in the
    mean.

    prefix: so many places ahead of the text, which hold no tokens but learnt rows: a prompt in no
    language (Lester 2021).
    """

    def __init__(self, network, classes, prefix=0):
        width = network.tokens.embedding_dim
        self.network, self.head = network, nn.Linear(width, classes)
        self.context = network.context - prefix
        self.prefix = None
        if prefix:
            self.prefix = nn.Parameter(random.default.normal((prefix, width)) * 0.02)

    def forward(self, tokens):
        return self.head(ops.mean(self.network.features(tokens, prefix=self.prefix), 1))


class TextClassifier(LanguageModel):
    """Learns to which of some classes texts belong, of (tokens (n, t), labels (n,)), with a
    `Transformer` that may have learnt to read before.

    prefix: see `Reader`. frozen: the Transformer stays as it is; what learns is the prefix and a
    dense layer, a few thousand numbers.
    """

    def __init__(self, network, tokenizer, classes, prefix=0, frozen=False, **options):
        reader = Reader(network, classes, prefix)
        self.classes, own = classes, [*reader.head.parameters()]
        own += [reader.prefix] if prefix else []
        super().__init__(reader, tokenizer, params=own if frozen else None, **options)

    def loss(self, batch):
        """-log p of the labels, in the mean."""
        tokens, labels = batch
        return cross_entropy(self.network(tokens), labels)

    def answers(self, tokens):
        """The class of each text (n, t), (n,)."""
        with self.resting() as network:
            parts = [tokens[i : i + 250] for i in range(0, len(tokens), 250)]
            return np.concatenate([network(x).data.argmax(1) for x in parts])
