"""The training steps that are measured: their names, tinygan's model for each, a batch for it, and
a process that makes nothing but such steps.

On import it loads the standard library alone, as `common` does and for the same reason.
"""

import statistics
import sys
import time
import warnings

from common import peak

GAMES = {  # networks of another task in another game
    "wgan-gp": ("dcgan5x5", {"loss": "wgan-gp"}),
    "r3gan": ("dcgan", {"loss": "r3gan"}),
    "hinge-sn": ("dcgan", {"loss": "hinge", "spectral": True}),
}
TASKS = ("mlp-gan", "dcgan5x5", "mlp-vae", "conv-vae", "wgan-gp", "dcgan", "r3gan", "hinge-sn")
DIFFUSED = ("flow", "ddpm")  # which learn from labelled batches
TEXT = {"context": 64, "width": 128, "depth": 4, "heads": 4, "bias": False}  # nanoGPT's small one
LETTERS = "".join(map(chr, range(32, 97)))
TASKS += (*DIFFUSED, "gpt")


def model(task, **options):
    """The model of tinygan that makes this training step."""
    from tinygan import models

    if task == "gpt":
        words = {"kind": "characters", "characters": LETTERS}
        return models.gpt(**{"tokenizer": words} | TEXT | options)
    networks, game = GAMES.get(task, (task, {}))
    if task in DIFFUSED:
        return models.DIFFUSIONS[task](**{"classes": 10} | options)
    name, _, kind = networks.partition("-")
    return (models.VAES if kind == "vae" else models.MODELS)[name](**options, **game)


def sized(task, width):
    """The options of `model` for a task's width, if it has one."""
    return {"width": width} if GAMES.get(task, [task])[0] == "dcgan" else {}


def images(n, side=28):
    """A batch of noise, (n, 1, side, side) float32 in [-1, 1]."""
    import numpy as np

    return np.random.default_rng(0).uniform(-1, 1, (n, 1, side, side)).astype(np.float32)


def batch(task, n, side=28):
    """What the model of a task learns from in a step: such images, and labels where it asks."""
    import numpy as np

    if task == "gpt":
        tokens = np.random.default_rng(0).integers(0, len(LETTERS), (n, TEXT["context"] + 1))
        return tokens.astype(np.int32)
    x = images(n, side)
    return (x, np.arange(n) % 10) if task in DIFFUSED else x


class Ours:
    """tinygan, as its trainer runs it."""

    def __init__(self, model):
        from tinygan import random

        self.model, self.next_step = model, random.default.next_step

    def step(self, batch):
        losses = self.model.step(batch)
        self.next_step()
        return {name: float(loss) for name, loss in losses.items()}


def maker(who):
    """What makes a step of a model: `Ours` for "tinygan", else the peer of that name, in a process
    that runs nothing else.
    """
    if who == "tinygan":
        return Ours
    sys.modules["numba"] = None  # tinygan draws the first weights, and its compiler must not count
    warnings.simplefilter("ignore")
    from peers import PEERS

    return PEERS[who]()


def alone(who, task, batch_size, steps, seconds=0, **options):
    """A child that makes at least so many steps (20 or more), for at least so long, with "tinygan"
    or "torch".

    Peak memory in MB before the first step, after twenty and at the end; the median of milliseconds
    a step.
    """
    real, times = batch(task, batch_size, options.get("side", 28)), []
    peer, before = maker(who)(model(task, **options)), peak()
    while len(times) < steps or sum(times) < seconds:
        start = time.perf_counter()
        peer.step(real)
        times.append(time.perf_counter() - start)
        if len(times) == 20:
            early = peak()
    median = 1e3 * statistics.median(times[3:])
    return {"before": before, "early": early, "peak": peak(), "ms": median}
