"""Are tinygan's digits as good as PyTorch's? The same networks, first weights, batches, optimizer
and number of steps, one judge.

    python bench/quality.py [--data full] [--models dcgan dcgan5x5 mlp] [--seeds 0 1 2] [--scale 1]

Prints FID (low is good) and coverage (high) of 10,000 samples of the averaged generator against
10,000 training digits, for each seed, and medians; the noise that each side draws is its own.
--scale multiplies the numbers of steps. Needs torch.
"""

import argparse
import statistics

import numpy as np
import torch
from common import Steps
from peers.with_torch import TorchGAN

from tinygan import data, models, random
from tinygan.metrics import Judge
from tinygan.train import loop, second_half

RECIPES = {"dcgan": (32, 3000), "dcgan5x5": (128, 250), "mlp": (128, 2000)}  # batch size, steps


def train(model, steps):
    """Train, with learning rates that fall in the second half; the seconds it took."""
    groups = [group for optimizer in model.optimizers for group in optimizer.param_groups]
    rates = [(group, group["lr"]) for group in groups]

    def schedule(progress):
        for group, rate in rates:
            group["lr"] = rate * second_half(progress)

    *_, last = loop(model, steps, epochs=1, prepare=[schedule])
    return last[-1]["seconds"]


def train_both(name, seed, digits, scale):
    """(samples, seconds) of tinygan and of PyTorch."""
    batch_size, count = RECIPES[name]
    steps = Steps(data.Batches(digits, batch_size, seed), round(count * scale))
    random.manual_seed(seed)
    torch.manual_seed(seed)
    ours = models.MODELS[name]()
    theirs, points = TorchGAN(ours), ours.noise(10_000, random.Generator(seed, 9))
    seconds = train(ours, steps)
    results = [(ours.sample(len(points), points), seconds)]
    seconds = train(theirs, steps)
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
    titles = f"{'FID':>8}{'torch':>9}{'coverage':>10}{'torch':>7}{'seconds':>9}{'torch':>7}"
    print(f"{'model':9} {'seed':>6} {titles}", flush=True)
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
    widths = "8.2f", "8.2f", "9.3f", "6.3f", "8.0f", "6.0f"
    cells = [f"{number:{width}}" for number, width in zip(row, widths)]
    print(" ".join([f"{name:9} {seed:>6}", *cells]), flush=True)


if __name__ == "__main__":
    main()
