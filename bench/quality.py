"""Are tinygan's digits as good as PyTorch's? The same networks, first weights, batches, optimizer
and number of steps, one judge.

    python bench/quality.py [--data full] [--models dcgan dcgan5x5 mlp] [--seeds 0 1 2] [--scale 1]

Prints FID (low is good) and coverage (high) of 10,000 samples of the averaged generator against
10,000 training digits, for each seed, and medians; the noise that each side draws is its own.
--scale multiplies the numbers of steps. Needs torch.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from peers.with_torch import TorchGAN

from tinygan import data, models, random
from tinygan.metrics import Judge
from tinygan.train import second_half

RECIPES = {"dcgan": (32, 3000), "dcgan5x5": (128, 250), "mlp": (128, 2000)}  # batch size, steps


def run(step, optimizers, batches, steps):
    """Train; the seconds it took. optimizers: (set the learning rate, its first value) pairs."""
    start = time.perf_counter()
    for i in range(steps):
        for set_rate, rate in optimizers:
            set_rate(rate * second_half(i / steps))
        step(batches.batch(*divmod(i, len(batches))))
        random.default.next_step()
    return time.perf_counter() - start


def train_both(name, seed, digits, scale):
    """(samples, seconds) of tinygan and of PyTorch."""
    batch_size, steps = RECIPES[name]
    steps, batches = round(steps * scale), data.Batches(digits, batch_size, seed)
    random.manual_seed(seed)
    torch.manual_seed(seed)
    ours = models.MODELS[name]()
    theirs, points = TorchGAN(ours), ours.noise(10_000, random.Generator(seed, 9))
    setters = [(lambda lr, o=o: setattr(o, "lr", lr), o.lr) for o in ours.optimizers]
    seconds = run(ours.step, setters, batches, steps)
    results = [(ours.sample(len(points), points), seconds)]
    groups = [o.param_groups[0] for o in (theirs.g_optimizer, theirs.d_optimizer)]
    setters = [(lambda lr, g=g: g.update(lr=lr), g["lr"]) for g in groups]
    seconds = run(theirs.step, setters, batches, steps)
    # to sample alike
    ours.average.load_state_dict({k: v.numpy() for k, v in theirs.average.items()}, strict=False)
    return [*results, (ours.sample(len(points), points), seconds)]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="full")
    parser.add_argument("--models", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scale", type=float, default=1.0)
    args = parser.parse_args()
    digits = data.load(args.data).images
    judge = Judge(data.scale(digits[random.permutation(len(digits), 0, 0)[:10_000]]))
    print(f"torch {torch.__version__}, numpy {np.__version__}, {len(digits)} digits")
    print(
        f"{'model':9} {'seed':>6} {'FID':>8} {'torch':>8} {'coverage':>9} {'torch':>6} {'seconds':>8} {'torch':>6}",
        flush=True,
    )
    for name in args.models:
        rows = []
        for seed in args.seeds:
            (ours, time_ours), (theirs, time_theirs) = train_both(name, seed, digits, args.scale)
            a, b = judge(ours), judge(theirs)
            rows.append((a["fid"], b["fid"], a["coverage"], b["coverage"], time_ours, time_theirs))
            show(name, seed, rows[-1])
        show(name, "median", [statistics.median(column) for column in zip(*rows)])


def show(name, seed, row):
    """One line of the table."""
    print(
        f"{name:9} {seed:>6} {row[0]:8.2f} {row[1]:8.2f} {row[2]:9.3f} {row[3]:6.3f} {row[4]:8.0f} {row[5]:6.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
