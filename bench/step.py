"""Milliseconds per training step next to PyTorch eager: the same networks, batch and optimizer, alternating in one process.

    python bench/step.py [--models dcgan dcgan5x5 mlp] [--batch-size 128] [--width 32] [--rounds 7]

Prints the median of both, and the median over rounds of their ratio: above 1, tinygan is faster. Needs torch.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from torch import nn

from tinygan import models, random


def twin(module):
    """The PyTorch network that a tinygan network describes, with its weights."""
    layers = []
    for m in module:
        name, arguments = type(m).__name__, ()
        options = {}
        if name == "Linear":
            arguments, options = m.weight.shape[::-1], {"bias": m.bias is not None}
        elif name in ("Conv2d", "ConvTranspose2d"):
            into, out = m.weight.shape[1], m.weight.shape[0]
            arguments = (into, out) if name == "Conv2d" else (out, into)
            arguments += (m.weight.shape[2:],)
            options = dict(m.options, bias=m.bias is not None)
        elif name.startswith("BatchNorm"):
            arguments = m.weight.shape
        elif name == "LeakyReLU":
            arguments = (m.negative_slope,)
        elif name == "Dropout":
            arguments = (m.p,)
        elif name == "Unflatten":
            arguments = (m.dim, m.unflattened_size)
        layers.append(getattr(nn, name)(*arguments, **options))
    net = nn.Sequential(*layers)
    net.load_state_dict({k: torch.tensor(np.ascontiguousarray(v)) for k, v in module.state_dict().items()})
    return net


class TorchGAN:
    """GAN.step, as a PyTorch user writes it."""

    def __init__(self, gan):
        self.generator, self.discriminator = twin(gan.generator), twin(gan.discriminator)
        self.average = {k: v.clone() for k, v in self.generator.state_dict().items() if v.is_floating_point()}
        lr, betas = gan.g_optimizer.lr, gan.g_optimizer.betas
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), lr, betas)
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr, betas)
        self.latent, self.updates = gan.latent, 0

    def step(self, real):
        loss = nn.functional.binary_cross_entropy_with_logits
        real, n = torch.from_numpy(real), len(real)
        one, zero = torch.ones(n, 1), torch.zeros(n, 1)
        fake = self.generator(torch.randn(n, self.latent))
        self.d_optimizer.zero_grad()
        d_loss = loss(self.discriminator(fake.detach()), zero) + loss(self.discriminator(real), one)
        d_loss.backward()
        self.d_optimizer.step()
        self.g_optimizer.zero_grad()
        g_loss = loss(self.discriminator(fake), one)
        g_loss.backward()
        self.g_optimizer.step()
        self.updates += 1
        weight = 1 - min(0.999, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            for name, value in self.generator.state_dict().items():
                if name in self.average:
                    self.average[name].lerp_(value, weight)
        return {"d_loss": d_loss.item(), "g_loss": g_loss.item()}


def race(runs, rounds, seconds=1.0):
    """{name: f} -> {name: [milliseconds per call, one a round]}, A B A B, so that a slow moment hits both."""
    counts, times = {}, {name: [] for name in runs}
    for name, f in runs.items():
        f(), f()
        start = time.perf_counter()
        f()
        counts[name] = max(1, round(seconds / (time.perf_counter() - start)))
    for _ in range(rounds):
        for name, f in runs.items():
            f()
            start = time.perf_counter()
            for _ in range(counts[name]):
                f()
            times[name].append((time.perf_counter() - start) * 1e3 / counts[name])
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=models.MODELS, default=list(models.MODELS))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--width", type=int, default=32, help="of dcgan")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, numpy {np.__version__}, 2 threads, float32,", end=" ")
    print(f"batch {args.batch_size}, dcgan at width {args.width}")
    print(f"{'model':10} {'tinygan ms':>11} {'torch ms':>9} {'speed':>7}")
    for name in args.models:
        random.manual_seed(0)
        ours = models.MODELS[name](**({"width": args.width} if name == "dcgan" else {}))
        theirs = TorchGAN(ours)
        real = np.random.default_rng(0).uniform(-1, 1, (args.batch_size, 1, 28, 28)).astype(np.float32)

        def step():
            losses = ours.step(real)
            random.default.next_step()
            return {k: float(v) for k, v in losses.items()}

        times = race({"ours": step, "torch": lambda: theirs.step(real)}, args.rounds)
        ratio = statistics.median(t / o for o, t in zip(times["ours"], times["torch"]))
        milliseconds = [statistics.median(times[who]) for who in ("ours", "torch")]
        print(f"{name:10} {milliseconds[0]:11.1f} {milliseconds[1]:9.1f} {ratio:6.2f}x", flush=True)


if __name__ == "__main__":
    main()
