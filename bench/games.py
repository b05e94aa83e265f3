"""Which game makes the best digits? Every member of the adversarial family on the same networks, in
the same time, one judge.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python bench/games.py [--data full] [--games ...]
        [--steps 2500] [--seeds 0 1 2] [--torch r3gan ...] [--jobs 1] [--out FILE.jsonl]

The networks are dcgan's of width 16, told which digit is which, in batches of 32; rates fall in the
second half. --steps are those of the first game. Each other one gets as many as take as long, by
what a step of each costs the processor where the two take turns: a slow moment hits both. Printed
are the steps made, FID (low) and coverage (high) of 10,000 samples of the averaged generator
against 10,000 training digits, and how many samples the judge reads as the digit that was asked
for: for each game the median of the seeds, and each seed's FID. --torch: games that are played once
more without labels, and by a PyTorch twin from the same weights, for as many steps (needs torch).
--out notes each run, and those that are noted there are not made again.
"""

import argparse
import functools
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from common import machine, note, noted

GAMES = {
    "non-saturating": {},
    "minimax": {"loss": "minimax"},
    "smoothed": {"smoothing": 0.1},
    "least-squares": {"loss": "least-squares", "lr": 1e-3},
    "hinge": {"loss": "hinge"},
    "hinge-sn": {"loss": "hinge", "spectral": True},
    "wgan": {"loss": "wgan", "clip": 0.1, "lr": 1e-3},
    "wgan-gp": {"loss": "wgan-gp", "n_critic": 2},
    "r1": {"r1": 1.0},
    "r3gan": {"loss": "r3gan", "r1": 0.3, "r2": 0.3},
    "minibatch-std": {"minibatch_std": True},
}
JUDGED, BATCH = 10_000, 32
FIGURES = ("fid", "coverage", "agreement")


def game_of(game, classes=10):
    """The model that plays a game."""
    from tinygan import models

    return models.dcgan(classes=classes, **GAMES[game])


def cost(game, rounds=15, calls=10):
    """How many times the first game's time a step of this one takes: the median over rounds in
    which both take turns.
    """
    from tinygan import random

    if game == next(iter(GAMES)):
        return 1.0
    images = np.random.default_rng(0).uniform(-1, 1, (BATCH, 1, 28, 28)).astype(np.float32)

    def time_of(model):
        batch = [images.repeat(model.n_critic, 0), np.arange(BATCH * model.n_critic) % 10]
        start = time.process_time()
        for _ in range(calls):
            model.step(tuple(batch))
            random.default.next_step()
        return time.process_time() - start

    first, other = game_of(next(iter(GAMES))), game_of(game)
    turns = [(time_of(first), time_of(other)) for _ in range(rounds + 1)]  # the first compiles
    return statistics.median(b / a for a, b in turns[1:])


@functools.cache
def judged(source):
    """A set of digits, and a judge by some of them."""
    from tinygan import data, metrics, random

    digits = data.load(source)
    rows = random.permutation(len(digits.images), 0, 0)[:JUDGED]
    return digits, metrics.Judge(data.scale(digits.images[rows]))


def run(source, game, side, steps, seed):
    """The figures of one run; side: "tinygan", "no labels" or "torch", which has none either."""
    from tinygan import data, random

    digits, judge = judged(source)
    random.manual_seed(seed)
    model = game_of(game, 10 if side == "tinygan" else 0)
    arrays = (digits.images, digits.labels) if model.classes else digits.images
    batches = data.Batches(arrays, BATCH * model.n_critic, seed)
    points = model.noise(JUDGED, random.Generator(seed, 9))
    if side == "torch":
        import torch
        from peers.with_torch import with_torch

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        twin = with_torch(model)
        train(twin, batches, steps)
        average = {name: array.numpy() for name, array in twin.average.items()}
        model.average.load_state_dict(average, strict=False)  # to sample alike
    else:
        train(model, batches, steps)
    samples, labels = model.sample(JUDGED, points), np.arange(JUDGED) % 10
    found = judge(samples)
    found["agreement"] = float((judge.look(samples)[1].argmax(1) == labels).mean())
    return {name: found[name] for name in FIGURES}


def train(model, batches, steps):
    """So many steps, with rates that fall in the second half."""
    from tinygan import random
    from tinygan.train import second_half

    groups = [group for optimizer in model.optimizers for group in optimizer.param_groups]
    rates = [(group, group["lr"]) for group in groups]
    for step in range(steps):
        for group, rate in rates:
            group["lr"] = rate * second_half(step / steps)
        model.step(batches.batch(*divmod(step, len(batches))))
        random.default.next_step()


def show(game, side, steps, results):
    """One line of the table: medians of the seeds, and each one's FID."""
    median = {name: statistics.median(r[name] for r in results) for name in FIGURES}
    cells = f"{steps:8}{median['fid']:8.2f}{median['coverage']:10.3f}"
    cells += f"{median['agreement']:11.4f}" if side == "tinygan" else " " * 11
    each = " ".join(f"{r['fid']:.2f}" for r in results)
    print(f"{game:15}{side:10}{cells}   {each}", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="full")
    parser.add_argument("--games", nargs="+", choices=GAMES, default=list(GAMES))
    parser.add_argument("--torch", nargs="*", choices=GAMES, default=[])
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, help="a file of runs, which is added to")
    args = parser.parse_args()
    print(machine("numpy", *(["torch"] if args.torch else [])))
    print(f"as long as {args.steps} steps of the first; digits of {args.data}")
    titles = f"{'steps':>8}{'FID':>8}{'coverage':>10}{'agreement':>11}   FID of each seed"
    print(f"{'game':15}{'':10}{titles}")
    done = noted(args.out)
    rows = [(game, "tinygan") for game in args.games]
    rows += [(game, side) for game in args.torch for side in ("no labels", "torch")]
    with ProcessPoolExecutor(args.jobs) as pool:
        for game, side in rows:
            if (game, args.steps) not in done:
                done[game, args.steps] = round(args.steps / cost(game))
                note(args.out, (game, args.steps), done[game, args.steps])
            steps = done[game, args.steps]
            keys = [(args.data, game, side, steps, seed) for seed in args.seeds]
            waiting = {key: pool.submit(run, *key) for key in keys if key not in done}
            for key, future in waiting.items():
                done[key] = future.result()
                note(args.out, key, done[key])
            show(game, side, steps, [done[key] for key in keys])


if __name__ == "__main__":
    main()
