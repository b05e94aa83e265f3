"""Milliseconds of each layer of the models next to PyTorch eager, forward and forward + backward,
and of Adam's update.

    python bench/layers.py [--tasks dcgan5x5 conv-vae ...] [--rounds 7] [--match Conv]

A layer gets the input that its network gives it for a batch; backward is to the input and the
parameters. Ratios are medians over rounds of PyTorch's time over tinygan's: above 1, tinygan is
faster.
"""

import argparse
import statistics

import numpy as np
import torch
from common import machine, race, speed
from peers.with_torch import twin
from tasks import GAMES, TASKS, images, model

from tinygan import Tensor, grad, models, nn, no_grad, ops, optim, random


def inputs(net, x):
    """(layer, the raw input it gets from the ones before) of a network."""
    with no_grad():
        for layer in net:
            yield layer, x
            x = layer(x)
            x = x.data if isinstance(x, Tensor) else x


def networks(ours, n):
    """(network, input) pairs of a model."""
    if isinstance(ours, models.VAE):
        return [(ours.encoder, images(n)), (ours.decoder, ours.noise(n))]
    return [(ours.generator, ours.noise(n)), (ours.discriminator, images(n))]


def title(layer, x):
    shape = "x".join(map(str, x.shape[1:]))
    weight = getattr(layer, "weight", None)
    if isinstance(layer, nn.Linear):
        return f"Linear {shape} -> {len(weight)}"
    if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        return f"{type(layer).__name__} {shape}"
    out = weight.shape[0 if isinstance(layer, nn.Conv2d) else 1]
    kernel = f"{weight.shape[2]}x{weight.shape[3]} stride {layer.options['stride']}"
    return f"{type(layer).__name__} {shape} -> {out}, {kernel}"


def of_layer(layer, x):
    """{name: run} of both sides, forward and with backward."""
    theirs, parameters = twin(nn.Sequential(layer))[0], layer.parameters()
    g = np.empty_like(ops.raw(layer(x)))  # lies in memory as what comes out
    g[...] = np.random.default_rng(0).standard_normal(g.shape)
    t, g_t = torch.tensor(x).contiguous(), torch.tensor(g).contiguous()
    ours_x, theirs_x = Tensor(x), t.clone().requires_grad_()
    wanted = list(theirs.parameters())

    def forward():
        with no_grad():
            layer(x)
        random.default.next_step()

    def forward_theirs():
        with torch.no_grad():
            theirs(t)

    def both():
        grad(layer(ours_x), [ours_x, *parameters], g)
        random.default.next_step()

    def both_theirs():
        torch.autograd.grad(theirs(theirs_x), [theirs_x, *wanted], g_t)

    return {"tinygan": forward, "torch": forward_theirs}, {"tinygan": both, "torch": both_theirs}


def of_adam(net):
    """{name: run} of an update of all of a network's parameters."""
    theirs, ours = twin(net), optim.Adam(net.parameters())
    rng = np.random.default_rng(0)
    grads = [rng.standard_normal(p.shape).astype(np.float32) for p in net.parameters()]
    for p, g in zip(theirs.parameters(), grads):
        p.grad = torch.tensor(g)
    return {
        "tinygan": lambda: ours.step(grads),
        "torch": torch.optim.Adam(theirs.parameters()).step,
    }


def cells(times):
    ours, theirs = (statistics.median(times[name]) for name in ("tinygan", "torch"))
    return f"{ours:10.3f}{theirs:10.3f}{speed(times, 'tinygan', 'torch'):8.2f}x"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tasks", nargs="+", choices=TASKS, default=[task for task in TASKS if task not in GAMES]
    )
    parser.add_argument("--match", default="", metavar="TEXT", help="only lines that contain it")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each side in a round")
    args = parser.parse_args()
    print(machine("numpy", "torch") + f"; float32, batch {args.batch_size}, {args.rounds} rounds")
    forward, backward = f"{'forward: tinygan':>18}", f"{'with backward: tinygan':>26}"
    rest = f"{'torch':>10}{'speed':>9}"
    print(f"{'':52}{forward}{rest}{backward}{rest}")
    seen = set()
    for task in args.tasks:
        for net, x in networks(model(task), args.batch_size):
            lines = [(title(layer, x), layer, x) for layer, x in inputs(net, x)]
            lines.append((f"Adam, {sum(p.size for p in net.parameters()):,} parameters", net, None))
            for words, thing, x in lines:
                shapeless = isinstance(thing, (nn.Flatten, nn.Unflatten))
                if words in seen or args.match not in words or shapeless:
                    continue
                seen.add(words)
                runs = of_layer(thing, x) if x is not None else [of_adam(net)]
                row = [cells(race(run, args.rounds, args.seconds)) for run in runs]
                print(
                    f"{words:60}{row[0]}" + "".join(f"{cell:>45}" for cell in row[1:]), flush=True
                )


if __name__ == "__main__":
    main()
