"""How near is a flow's density to the real one, and how many bits does it take for a digit?

    python bench/likelihood.py [--densities ring ...] [--steps 12000] [--points 5000] [--seeds 0]
    python bench/likelihood.py --run runs/mnist_diffusion [--data full] [--digits 100]
    python bench/likelihood.py --minutes 5
        all: [--out FILE.jsonl]

In the plane `models.point_flow` learns each density of `data.TOYS` of batches of 512 fresh points,
at a rate that falls by a cosine. Printed is KL(real || flow) in nats: the mean, over as many fresh
points as are asked for, of the difference of both log densities, with its standard error.

Of digits, printed are bits per dimension by solver and number of steps, until they stay, for --run,
a trained flow; or for one that learns the bundled digits here, for so many --minutes of processor
time of one core, each number at a random place between two levels (`data.Dequantise`), which the
examples leave out. --data must be digits that it did not learn from: "full", or the folder of its
files, which `data.load` reads, holds none of the bundled ones. --out notes each figure, and those
that are noted there are not made again.
"""

import argparse
import functools
import time
from pathlib import Path

from common import machine, note, noted

from tinygan import cli
from tinygan.data import DataError

REAL, JUDGED, SPREAD = 6, 9, 8  # random streams: to learn from, to judge by, and the scale
BATCH, RATE = 512, 2e-3
WARMUP = 100  # steps in which the rate of digits rises
WAY_STEPS = 50  # back to the noise, in the plane
WAYS = [(method, n) for method in ("euler", "midpoint", "heun", "rk4") for n in (20, 50, 100, 200)]


def in_the_plane(density, steps, points, seed):
    """KL of one training in nats, (its mean, its standard error, seconds of the processor)."""
    from tinygan import data, models, random
    from tinygan.optim import schedules

    toy, start = data.TOYS[density], time.process_time()
    random.manual_seed(seed)
    scale = float(toy.sample(100_000, random.Generator(seed, SPREAD)).std())
    flow, real = models.point_flow(scale=scale), random.Generator(seed, REAL)
    for step in range(steps):
        flow.optimizer.lr = RATE * schedules.cosine(step / steps)
        flow.step(toy.sample(BATCH, real))
        real.next_step()
        random.default.next_step()
    x = toy.sample(points, random.Generator(seed, JUDGED))
    nats = toy.log_density(x) - flow.log_prob(x, steps=WAY_STEPS)
    error = nats.std(ddof=1) / points**0.5
    return float(nats.mean()), float(error), time.process_time() - start


@functools.cache
def asked(run, minutes):
    """The flow of a run; or one that learns for so many minutes."""
    from tinygan import data, models, random
    from tinygan.train import load

    if run is not None:
        return load(run)
    random.manual_seed(0)
    digits, model = data.load(), models.flow(classes=10)
    arrays = digits.images, digits.labels
    learn(model, data.Batches(arrays, 64, 0, data.Dequantise()), 60 * minutes)
    return model


def learn(model, batches, seconds):
    """Train for so many seconds of the processor, in the second half of which the rate falls."""
    from tinygan import random
    from tinygan.optim import schedules

    rate, start, step = model.optimizer.lr, time.process_time(), 0
    while (share := (time.process_time() - start) / seconds) < 1:
        model.optimizer.lr = rate * schedules.second_half(share) * min(1, (step + 1) / WARMUP)
        model.step(batches.batch(*divmod(step, len(batches))))
        random.default.next_step()
        step += 1


@functools.cache
def unseen(source, n):
    """n digits (n, 1, 28, 28) in [-1, 1]."""
    from tinygan import data, random

    images = data.load(source).images
    return data.scale(images[random.permutation(len(images), 0, 0)[:n]])


def of_digits(run, minutes, source, digits, method, steps):
    """Bits per dimension of so many digits, (mean, standard error, seconds of the processor)."""
    from tinygan import models

    model, x = asked(run, minutes), unseen(source, digits)
    form, kind = x.shape[1:], type(model).__name__
    if not isinstance(model, models.Flow) or model.sample_shape != form:
        found = f"a {kind} of {model.sample_shape}"
        raise DataError(f"{run}: needs a flow of samples {form}, got {found}")
    start = time.process_time()
    bits = model.bits_per_dim(x, steps=steps, method=method)
    return *bits, time.process_time() - start


def main():
    parser = cli.Parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names = ["ring", "grid", "roll", "moons", "checkerboard"]
    parser.add_argument("--densities", nargs="+", choices=names, default=names)
    parser.add_argument("--steps", type=cli.number(int, 1), default=12_000)
    parser.add_argument("--points", type=cli.number(int, 2), default=5000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--run", help="digits: by this run, its folder or a checkpoint")
    learns = "digits: by a flow that learns for so long"
    which.add_argument("--minutes", type=cli.number(float, 0.01), help=learns)
    parser.add_argument("--data", default="full")
    parser.add_argument("--digits", type=cli.number(int, 2), default=100)
    parser.add_argument("--out", type=Path, help="a file of figures, which is added to")
    args = parser.parse_args()
    print(machine("numpy"))
    done = noted(args.out)
    if args.run is None and args.minutes is None:
        kept = args.steps, args.points
        runs = [
            (in_the_plane, (name, *kept, seed)) for name in args.densities for seed in args.seeds
        ]
        unit = "nats"
    else:
        kept = args.run, args.minutes, args.data, args.digits
        runs, unit = [(of_digits, (*kept, *way)) for way in WAYS], "bits per dimension"
    for f, key in runs:
        if key not in done:
            done[key] = f(*key)
            note(args.out, key, done[key])
        mean, error, seconds = done[key]
        words = " ".join(str(part) for part in key if part is not None)
        print(f"{words:44} {mean:8.4f} +- {error:.4f} {unit}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    cli.run(main)
