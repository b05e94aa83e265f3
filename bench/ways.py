"""Four ways to make digits, in the same seconds, under one judge: GAN, VAE, DDPM, flow.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python bench/ways.py [--data full] [--ways ...]
        [--minutes 2 5 15] [--seeds 0 1 2] [--train bundled] [--jobs 1] [--out FILE.jsonl]
        [--plot FILE.png]

Each learns from the 10,000 digits that ship with the package (--train) for so many minutes of
processor time of one core, with the networks, batches and rates of the examples; rates fall in the
second half of the time. 10,000 samples are compared with as many digits of --data. Printed are
medians over seeds: steps made, FID and KID (low), precision, recall and coverage (high), the share
of samples read as the digit that was asked for, and seconds for 1,000 samples. Flows and diffusions
are sampled in other numbers of steps, too, 2,000 samples each, the first seed's: FID by calls of
the network. --out notes each run, and
those that are noted there are not made again. --plot: FID by minutes, and by calls.
"""

import argparse
import functools
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from common import machine, note, noted

JUDGED, FEWER = 10_000, 2_000
FIGURES = ("fid", "kid", "precision", "recall", "coverage", "agreement", "seconds")
DIFFUSED = {"family": "DIFFUSIONS", "batch": 64, "warmup": 100}
WAYS = {
    "GAN": {"family": "MODELS", "model": "dcgan", "batch": 32, "told": False},
    "GAN, told": {"family": "MODELS", "model": "dcgan", "batch": 32},
    "VAE": {"family": "VAES", "model": "conv", "batch": 128, "told": False},
    "DDPM": {**DIFFUSED, "model": "ddpm"},
    "flow": {**DIFFUSED, "model": "flow"},
}
# how flows and diffusions make samples beside their usual way, and how many calls of the network
# that takes, of which guidance makes two of each
SAMPLERS = {
    "flow": {
        **{f"euler {n}": ({"steps": n, "method": "euler"}, n) for n in (2, 4, 8, 16, 32)},
        **{f"heun {n}": ({"steps": n, "method": "heun"}, 2 * n - 1) for n in (2, 4, 8)},
        **{f"midpoint {n}": ({"steps": n, "method": "midpoint"}, 2 * n) for n in (2, 4, 8)},
    },
    "DDPM": {
        **{f"ddim {n}": ({"steps": n, "eta": 0.0}, n) for n in (4, 8, 16, 32, 64)},
        **{f"ddpm {n}": ({"steps": n, "eta": 1.0}, n) for n in (16, 64)},
    },
}


@functools.cache
def judged(source):
    """A judge by some of a set's digits."""
    from tinygan import data, metrics, random

    digits = data.load(source)
    rows = random.permutation(len(digits.images), 0, 0)[:JUDGED]
    return metrics.Judge(data.scale(digits.images[rows]))


def made(way, seed, source):
    """The model of a way, and its batches."""
    from tinygan import data, models, random

    digits, options = data.load(source), WAYS[way]
    random.manual_seed(seed)
    told = options.get("told", True)
    build = getattr(models, options["family"])[options["model"]]
    model = build(classes=10) if told else build()
    arrays = (digits.images, digits.labels) if told else digits.images
    return model, data.Batches(arrays, options["batch"], seed)


def train(way, model, batches, seconds):
    """Train for so many seconds of the processor; how many steps that were."""
    from tinygan.optim import schedules
    from tinygan.train import loop

    start, warmup, steps = time.process_time(), WAYS[way].get("warmup", 0), 0
    groups = [group for optimizer in model.optimizers for group in optimizer.param_groups]
    rates = [group["lr"] for group in groups]
    spent = lambda: (time.process_time() - start) / seconds

    def prepare(progress):
        factor = schedules.second_half(min(1.0, spent()))
        for group, rate in zip(groups, rates):
            group["lr"] = rate * factor * min(1.0, (steps + 1) / (warmup + 1))

    for records in loop(model, batches, 10**6, prepare=[prepare], halt=lambda: spent() >= 1):
        steps += len(records)
    return steps


def sampled(model, judge, n=JUDGED, **how):
    """The figures of samples that are made so."""
    from tinygan import random

    start = time.process_time()
    random.manual_seed(9)
    samples = model.sample(n, model.noise(n, random.Generator(0, 9)), **how)
    seconds = (time.process_time() - start) * 1000 / n
    # pixels of 256 levels, as pictures have them
    samples = np.round((np.clip(samples, -1, 1) + 1) * 127.5).astype(np.float32) / 127.5 - 1
    found = judge(samples)
    digits = judge.look(samples)[1].argmax(1)
    found["agreement"] = float((digits == np.arange(n) % 10).mean()) if model.classes else 0.0
    return {name: float(found[name]) for name in FIGURES if name in found} | {"seconds": seconds}


def run(way, minutes, seed, source, training):
    """What one training gives: steps, figures, and those of other samplers."""
    model, batches = made(way, seed, training)
    model.step(batches.batch(0, 0))  # kernels are compiled before the clock starts
    model, batches = made(way, seed, training)
    steps = train(way, model, batches, 60 * minutes)
    judge = judged(source)
    found = {"steps": steps, **sampled(model, judge)}
    others = SAMPLERS.get(way, {}) if seed == 0 else {}
    return found | {
        "samplers": {name: sampled(model, judge, FEWER, **how) for name, (how, _) in others.items()}
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="full")
    parser.add_argument("--train", default="bundled", help="the digits to learn from")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--minutes", type=float, nargs="+", default=[2, 5, 15])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, help="a file of runs, which is added to")
    parser.add_argument("--plot", type=Path, help="draw them there")
    args = parser.parse_args()
    print(machine("numpy"))
    done = noted(args.out)
    rows = [(way, minutes) for minutes in args.minutes for way in args.ways]
    titles = [f"{name:>10}" for name in ("steps", *FIGURES)]
    print(f"{'way':12}{'minutes':>8}{''.join(titles)}")
    with ProcessPoolExecutor(args.jobs) as pool:
        keys = [(w, m, seed, args.data, args.train) for w, m in rows for seed in args.seeds]
        waiting = {key: pool.submit(run, *key) for key in keys if key not in done}
        for key, future in waiting.items():
            done[key] = future.result()
            note(args.out, key, done[key])
    for way, minutes in rows:
        of = [done[way, minutes, seed, args.data, args.train] for seed in args.seeds]
        cells = [statistics.median(found[name] for found in of) for name in ("steps", *FIGURES)]
        print(f"{way:12}{minutes:8g}{cells[0]:10.0f}{''.join(f'{c:10.3f}' for c in cells[1:])}")
    for way, minutes in rows:
        found = done[way, minutes, args.seeds[0], args.data, args.train]["samplers"]
        for name, figures in found.items():
            calls = SAMPLERS[way][name][1]
            cells = (
                f"{calls:6} calls FID {figures['fid']:8.3f}, {figures['seconds']:.2f} s for 1,000"
            )
            print(f"{way:6}{minutes:4g} minutes, {name:12}{cells}")
    if args.plot:
        plot(args, done)


def plot(args, done):
    """FID by minutes of training, and by calls of the network for a sample."""
    from matplotlib.figure import Figure

    figure = Figure((9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    known = lambda way, m: [done[way, m, s, args.data, args.train] for s in args.seeds]
    for way in args.ways:
        fids = [[found["fid"] for found in known(way, m)] for m in args.minutes]
        middle = [statistics.median(f) for f in fids]
        (line,) = left.plot(args.minutes, middle, marker="o", label=way)
        left.fill_between(args.minutes, *zip(*((min(f), max(f)) for f in fids)), alpha=0.2)
        found = known(way, args.minutes[-1])[0]["samplers"]
        for i, kind in enumerate(dict.fromkeys(name.split()[0] for name in found)):
            of = {n: f["fid"] for n, f in found.items() if n.split()[0] == kind}
            calls = [SAMPLERS[way][name][1] for name in of]
            style = {"color": line.get_color(), "marker": "osx"[i], "ls": ("-", "--", ":")[i]}
            right.plot(calls, list(of.values()), label=f"{way}, {kind}", **style)
    left.set(xlabel="minutes of one core", ylabel="FID (the judge's)", xscale="log", yscale="log")
    right.set(xlabel="calls of the network for a sample", xscale="log")
    for axes in (left, right):
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3, which="both")
    figure.savefig(args.plot, dpi=120)


if __name__ == "__main__":
    main()
