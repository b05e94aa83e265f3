"""A language model (Radford 2018): of all that came before, which token comes next?

Text is one long row of tokens, and each of them is a lesson: a network that sees what stands before
it says how likely every token of the vocabulary is, and is taught to find the one that came likely.
To write, let it say, draw one, and ask again.
"""

import numpy as np

from .. import device, ops, random
from ..data import DataError
from ..nn.losses import cross_entropy
from .language import LanguageModel
from .options import checked_options

PREVIEW = 2  # the random stream of what every preview of a run is drawn by
SHOWN = 500  # tokens of a preview


class GPT(LanguageModel):
    """A causal `Transformer` that continues texts; see `LanguageModel`."""

    how = "temperature", "top_k", "top_p"  # a text is continued

    def loss(self, batch):
        """-log p of each token given those before it, in the mean: tokens (n, t + 1)."""
        batch = self.check("step", batch, least=2)
        scores = self.network(batch[:, :-1])  # (n, t, vocabulary)
        wanted = batch[:, 1:]
        return cross_entropy(ops.reshape(scores, (wanted.size, -1)), wanted.reshape(-1))

    def sample(self, n=1, prompt=None, length=200, stop=None, source=None, **how):
        """n texts that begin with the prompt, each with `length` tokens more, or cut where `stop`,
        a text, comes first. prompt: None for a line's end, or, if that is no token, the first one.

        source: a generator to draw by, random.default unless given. how: options of `stream`.
        """
        checked_options("sample", n=n, length=length)
        prompt = self.begin() if prompt is None else prompt
        start = self.tokenizer.encode(prompt)
        if not start.size:
            raise DataError("sample: the prompt is empty: it may begin with a line's end")
        made = [np.tile(start, (n, 1))]
        for chosen in self.stream(made[0], length, source, **how):
            made.append(device.to_host(chosen)[:, None])
            tails = np.concatenate(made[1:], 1) if stop else ()
            if stop and all(stop in self.tokenizer.decode(row) for row in tails):
                break
        texts = [self.tokenizer.decode(row) for row in np.concatenate(made, 1)]
        return [_until(stop, text, len(prompt)) for text in texts] if stop else texts

    def stream(self, tokens, length, source=None, *, cached=True, **how):
        """The tokens that continue rows of tokens (n, t), t at least 1, one after the other: raw
        integers (n,), `length` times.

        When the context is full, the first half of it is forgotten. cached: keep keys and values of
        what was read; else all of it is read again for each token, which gives the same, later.
        how: temperature, by which scores are divided, 0 for always the likeliest; top_k: the number
        of tokens that may be drawn (Fan 2018), beside others as likely as the last; top_p: those of
        that much probability together, the likeliest first (Holtzman 2020). None: all.
        """
        if other := [option for option in how if option not in self.how]:
            known = ", ".join(self.how)
            raise TypeError(f"stream: there is no option {other[0]} here: there are {known}")
        how = checked_options("stream", **{k: v for k, v in how.items() if v is not None})
        draw = source or random.default
        read = device.to(np.asarray(tokens), self.device)
        read = self.check("stream", read)
        cache = []
        read = read[:, -self.context :]
        for _ in range(length):
            if read.shape[1] > self.context:
                read, cache = read[:, -max(1, self.context // 2) :], []
            with self.resting() as network:
                last = network.features(read[:, -1:] if cache else read, cache if cached else None)
                scores = network.scores(last[:, -1]).data
            u = draw.uniform((len(read),), np.float64, self.device)
            chosen = drawn(scores, u, **how)
            yield chosen
            read = np.concatenate([read, chosen[:, None].astype(read.dtype)], 1)

    def begin(self):
        """What a text begins with unless told otherwise."""
        try:
            self.tokenizer.encode("\n")
        except DataError:  # characters of a text without lines
            return self.tokenizer.decode([0])
        return "\n"

    def preview(self, path):
        """Write `path`.txt: a text that is drawn by the same numbers each time."""
        path = path.with_name(f"{path.name}.txt")
        source = random.Generator(random.default.seed, PREVIEW)
        path.write_text(self.sample(1, length=SHOWN, source=source)[0] + "\n", encoding="utf-8")
        return path


def drawn(scores, u, temperature=1.0, top_k=None, top_p=None):
    """A token for each row of scores (n, vocabulary), by a number u (n,) in [0, 1): raw (n,)."""
    if isinstance(scores, np.ndarray) and np.isnan(scores).any():  # on a GPU a look would wait
        raise ValueError("the network's scores are not numbers: its weights are broken")
    if not temperature:
        return scores.argmax(1)
    scores = scores.astype(np.float64)
    with np.errstate(over="ignore"):  # -inf is as good
        scores = (scores - scores.max(1, keepdims=True)) / temperature
    if top_k is not None and top_k < scores.shape[1]:
        least = np.partition(scores, -top_k, 1)[:, -top_k, None]
        scores = np.where(scores < least, -np.inf, scores)
    p = ops.softmax(scores)
    if top_p is not None:
        order = np.argsort(-p, 1)
        ordered = np.take_along_axis(p, order, 1)
        ahead = np.cumsum(ordered, 1) - ordered  # what is likelier, all together
        least = np.where(ahead < top_p, ordered, np.inf).min(1, keepdims=True)
        p = np.where(p < least, 0, p)
    below = np.cumsum(p, 1)
    # a u that rounding brought to the very end is the last token's that may be
    u = np.minimum(u[:, None] * below[:, -1:], np.nextafter(below[:, -1:], 0))
    return (below <= u).sum(1)


def _until(stop, text, first):
    """The text up to where `stop` comes first, behind so many characters of prompt."""
    at = text.find(stop, first)
    return text if at < 0 else text[:at]
