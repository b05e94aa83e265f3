"""Do the peers make tinygan's training step? The same noise, no dropout, and then the same losses,
or nothing is timed.
"""

from tasks import Ours, images

import numpy as np

from tinygan import models, random
from tinygan.nn.module import Parameter


def layers(model):
    """Every module of a model's networks."""
    nets = [part for part in model.parts().values() if hasattr(part, "modules")]
    return [m for net in nets for m in net.modules()]


def sharpened(model):
    """The model without dropout and with doubled weights, or D's scores would hardly depend on
    what it sees.
    """
    for m in layers(model):
        m.p = 0.0
        for p in vars(m).values():
            if isinstance(p, Parameter):
                p.data *= 2
    return model


def drawn(model, n, dtype=np.float32):
    """What the `draw` of a peer is to give for the model's next step."""
    if isinstance(model, models.GPT):
        return ()
    if not isinstance(model, models.Flow | models.DDPM):
        return model.noise(n), random.default.uniform((n,))
    told = random.default.bernoulli(1 - model.drop, (n, 1), dtype)
    if isinstance(model, models.DDPM):
        return told, random.default.uniform((n,)), model.noise(n)
    noise = model.noise(n)
    normal = model.times == "logit-normal"
    return told, (random.default.normal if normal else random.default.uniform)((n,), dtype), noise


def agree(make, found, batch=images, n=8, steps=2, tolerance=1e-3):
    """Run two steps of every peer; SystemExit unless all report the same losses.

    The first loss tells of networks and objectives, those after an update of gradients and
    optimizers. Returns the names of the peers that can make the step.
    """
    random.manual_seed(0)
    model, real = sharpened(make()), batch(n)
    sides = {name: make_peer(model) for name, make_peer in found.items()}
    sides = {name: peer for name, peer in sides.items() if peer}
    for step in range(steps):
        random.default.seek(step)
        parts = drawn(model, n)
        random.default.seek(step)  # tinygan draws them again
        expected = Ours(model).step(real)
        for name, peer in sides.items():
            peer.draw = lambda n, parts=parts: parts
            compare(f"step {step + 1}: {name}", peer.step(real), expected, tolerance)
    return list(sides)


def compare(who, losses, expected, tolerance):
    """SystemExit unless the losses are those of tinygan."""
    for name, value in losses.items():
        if not abs(value - expected[name]) <= tolerance * max(1, abs(value)):
            raise SystemExit(f"{who} has {name} {value}, tinygan {expected[name]}")
