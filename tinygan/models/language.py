"""What models of text have in common: tokens, a Transformer, and how it learns.

This room knows layers, losses and optimizers, and of text that a tokenizer makes tokens of it; it
knows nothing of files or progress bars.
"""

import contextlib

import numpy as np

from .. import device, optim
from ..arrays import adopted
from ..autograd import describe, grad
from ..recording import no_grad
from .options import change, checked_options


class LanguageModel:
    """A `Transformer` and the tokenizer whose text it reads, such as `data.BytePairs`.

    Learns by AdamW, whose decay is of matrices alone, with the gradient clipped to `max_norm`
    (Pascanu 2013), 0 for as it is. params: those of the network that learn, unless all.
    """

    __setattr__ = change  # which checks

    def __init__(
        self, network, tokenizer, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, max_norm=1.0,
        device="cpu", params=None,
    ):  # fmt: skip
        self.network, self.tokenizer, self.device = network.to(device), tokenizer, device
        self.context = network.context
        self.max_norm = checked_options(type(self).__name__, max_norm=max_norm)["max_norm"]
        params = network.parameters() if params is None else params
        matrices, vectors = ([p for p in params if (p.ndim > 1) is many] for many in (True, False))
        groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = optim.AdamW(groups, lr, betas, weight_decay=weight_decay)

    def __repr__(self):
        made = {**(getattr(self, "recipe", None) or {})}
        words = [f"{k}={v!r:.60}" for k, v in made.items() if k not in ("family", "model")]
        return f"{made.get('model', type(self).__name__)}({', '.join(words)})"

    def step(self, batch):
        """One update on a batch of tokens, raw integers (n, t): the loss, raw."""
        return self.learn(self.loss(batch))

    def loss(self, batch):
        """What the network is to lower, a Tensor: nats a token."""
        raise NotImplementedError

    def learn(self, loss):
        """One update of the weights, to lower a loss, a Tensor: {"loss"}, raw."""
        gradients = grad(loss, self.optimizer.params)
        if self.max_norm:
            optim.clip_grad_norm_(gradients, self.max_norm)
        self.optimizer.step(gradients)
        return {"loss": loss.data}

    def held_out(self, batches, **how):
        """The mean loss of batches that it does not learn from, a number. how: of `loss`."""
        with self.resting():
            found = [self.loss(device.to(x, self.device), **how).data for x in batches]
        return float(sum(map(float, found)) / len(found))

    def check(self, name, tokens, least=1):
        """Tokens as raw integers (n, t) of 32 bits or more, one row or more, t at least `least`;
        ValueError, which `name` heads, for others. What they are is not looked at: a GPU would
        wait.
        """
        tokens = adopted(tokens)
        fits = device.is_array(tokens) and tokens.dtype.kind in "iu" and tokens.ndim == 2
        if not fits or not len(tokens) or tokens.shape[1] < least:
            words = f"{name}: needs tokens, raw integers (n, t), t at least {least}"
            raise ValueError(f"{words}, got {describe(tokens)}")
        # narrow integers may not hold what is put among them
        return tokens.astype(np.int32) if tokens.dtype.itemsize < 4 else tokens

    @contextlib.contextmanager
    def resting(self):
        """Within, nothing is recorded, and nothing dropped out."""
        training = self.network.training
        try:
            with no_grad():
                yield self.network.eval()
        finally:
            self.network.train(training)

    def parts(self):
        """Everything that training changes, by name: what a checkpoint holds."""
        return {"network": self.network, "optimizer": self.optimizer}

    @property
    def optimizers(self):
        """For a trainer that schedules the learning rate."""
        return [self.optimizer]
