"""Which game makes the best digits? Every member of the adversarial family on the same networks, in
the same seconds of one core, one judge.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python bench/games.py [--data full] [--games ...]
        [--seconds 60] [--seeds 0 1 2] [--torch r3gan ...] [--jobs 1] [--out FILE.jsonl]

The networks are dcgan's of width 16, told which digit is which, in batches of 32; rates fall in the
second half. Printed are the steps made, FID (low) and coverage (high) of 10,000 samples of the
averaged generator against 10,000 training digits, and how many samples the judge reads as the digit
that was asked for: for each game the median of the seeds, and each seed's FID. --torch: games that
are played once more without labels, and by a PyTorch twin from the same weights (needs torch).
--out notes each run, and those that are noted there are not made again.
"""

import argparse
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from common import machine

GAMES = {
    "non-saturating": {},
    "minimax": {"loss": "minimax"},
    "smoothed": {"smoothing": 0.1},
    "least-squares": {"loss": "least-squares", "lr": 1e-3},
    "hinge": {"loss": "hinge"},
    "hinge-sn": {"loss": "hinge", "spectral": True},
    "wgan": {"loss": "wgan", "n_critic": 5, "lr": 5e-4},
    "wgan-gp": {"loss": "wgan-gp", "n_critic": 2},
    "r1": {"r1": 1.0},
    "r3gan": {"loss": "r3gan", "r1": 0.3, "r2": 0.3},
    "minibatch-std": {"minibatch_std": True},
}
JUDGED, BATCH = 10_000, 32
FIGURES = ("fid", "coverage", "agreement")


def run(source, game, side, seconds, seed):
    """The figures of one run; side: "tinygan", "no labels" or "torch", which has none either."""
    from tinygan import data, metrics, models, random

    digits = data.load(source)
    rows = random.permutation(len(digits.images), 0, 0)[:JUDGED]
    judge = metrics.Judge(data.scale(digits.images[rows]))
    random.manual_seed(seed)
    model = models.dcgan(classes=10 if side == "tinygan" else 0, **GAMES[game])
    arrays = (digits.images, digits.labels) if model.classes else digits.images
    batches = data.Batches(arrays, BATCH * model.n_critic, seed)
    points = model.noise(JUDGED, random.Generator(seed, 9))
    if side == "torch":
        import torch
        from peers.with_torch import with_torch

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        twin = with_torch(model)
        steps = train(twin, batches, seconds)
        average = {name: array.numpy() for name, array in twin.average.items()}
        model.average.load_state_dict(average, strict=False)  # to sample alike
    else:
        steps = train(model, batches, seconds)
    samples, labels = model.sample(JUDGED, points), np.arange(JUDGED) % 10
    found = judge(samples)
    found["agreement"] = float((judge.look(samples)[1].argmax(1) == labels).mean())
    return {name: found[name] for name in FIGURES} | {"steps": steps}


def train(model, batches, seconds):
    """Steps for so many seconds of the processor; how many they were."""
    from tinygan import random
    from tinygan.train import second_half

    model.step(batches.batch(0, 0))  # compiles
    groups = [group for optimizer in model.optimizers for group in optimizer.param_groups]
    rates = [(group, group["lr"]) for group in groups]
    step, start = 1, time.process_time()
    while (progress := (time.process_time() - start) / seconds) < 1:
        for group, rate in rates:
            group["lr"] = rate * second_half(progress)
        random.default.next_step()
        model.step(batches.batch(*divmod(step, len(batches))))
        step += 1
    return step


def noted(path):
    """The runs in a file: {(source, game, side, seconds, seed): figures}."""
    lines = path.read_text().splitlines() if path and path.exists() else []
    return {tuple(key): figures for key, figures in map(json.loads, lines)}


def show(game, side, results):
    """One line of the table: medians of the seeds, and each one's FID."""
    median = {name: statistics.median(r[name] for r in results) for name in ("steps", *FIGURES)}
    cells = f"{median['steps']:8.0f}{median['fid']:8.2f}{median['coverage']:10.3f}"
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
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, help="a file of runs, which is added to")
    args = parser.parse_args()
    print(machine("numpy", *(["torch"] if args.torch else [])))
    print(f"{args.seconds:g} s of one core each; {args.data} digits")
    titles = f"{'steps':>8}{'FID':>8}{'coverage':>10}{'agreement':>11}   FID of each seed"
    print(f"{'game':15}{'':10}{titles}")
    done = noted(args.out)
    rows = [(game, "tinygan") for game in args.games]
    rows += [(game, side) for game in args.torch for side in ("no labels", "torch")]
    with ProcessPoolExecutor(args.jobs) as pool:
        for game, side in rows:
            keys = [(args.data, game, side, args.seconds, seed) for seed in args.seeds]
            waiting = {key: pool.submit(run, *key) for key in keys if key not in done}
            for key, future in waiting.items():
                done[key] = future.result()
                if args.out:
                    with args.out.open("a") as file:
                        file.write(json.dumps([key, done[key]]) + "\n")
            show(game, side, [done[key] for key in keys])


if __name__ == "__main__":
    main()
