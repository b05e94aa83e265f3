"""Four ways to make digits, in the same seconds, under one judge: GAN, VAE, DDPM, flow.

    python bench/ways.py --pace PACE.json [--data full] [--ways ...] [--minutes 2 5 15]
        [--seeds 0 1 2] [--train bundled] [--device cpu] [--jobs 1] [--out FILE.jsonl]
        [--plot FILE.png]

Each learns from the 10,000 digits that ship with the package (--train), with the networks, batches
and rates of the examples; rates fall in the second half. It makes as many steps as fit into the
minutes at the pace of --pace, {way: [milliseconds of a step, seconds for 1,000 samples]}, which is
measured on one core of this machine, and written, where there is no such file yet. So a busy
machine gives the same figures, and so does a GPU, sooner: --device says where the steps are made.

10,000 samples are compared with as many digits of --data. Printed are medians over seeds: steps
made, FID and KID (low), precision, recall and coverage (high), and the share of samples read as the
digit that was asked for. Flows and diffusions are sampled in other numbers of steps, too, 2,000
samples each, the first seed's: FID by calls of the network. --out notes each run, and those that
are noted there are not made again. --plot: FID by minutes, and by calls.
"""

import argparse
import functools
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from common import Steps, machine, note, noted

JUDGED, FEWER = 10_000, 2_000
FIGURES = ("fid", "kid", "precision", "recall", "coverage", "agreement")
DIFFUSED = {"family": "DIFFUSIONS", "batch": 64, "warmup": 100}
WAYS = {
    "GAN": {"family": "MODELS", "model": "dcgan", "batch": 32, "told": False},
    "GAN, told": {"family": "MODELS", "model": "dcgan", "batch": 32},
    "VAE": {"family": "VAES", "model": "conv", "batch": 128, "told": False},
    "DDPM": {**DIFFUSED, "model": "ddpm"},
    "flow": {**DIFFUSED, "model": "flow"},
}
# the flow's network and recipe in PyTorch, from the same weights, at the flow's pace: --ways alone
TWIN = "flow, PyTorch"
WAYS[TWIN] = WAYS["flow"]
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
def judged(source, where):
    """A judge by some of a set's digits."""
    from tinygan import data, metrics, random

    digits = data.load(source)
    rows = random.permutation(len(digits.images), 0, 0)[:JUDGED]
    return metrics.Judge(data.scale(digits.images[rows]), where)


def made(way, seed, source, where="cpu"):
    """The model of a way, and its batches."""
    from tinygan import data, device, models, random

    digits, options = data.load(source), WAYS[way]
    random.manual_seed(seed)
    told = options.get("told", True)
    build = getattr(models, options["family"])[options["model"]]
    model = build(classes=10, device=where) if told else build(device=where)
    images = device.to(digits.images, where)
    arrays = (images, digits.labels) if told else images
    return model, data.Batches(arrays, options["batch"], seed)


def pace(rounds=5, steps=20, samples=250):
    """{way: [milliseconds of a step, seconds for 1,000 samples]} of processor time, the ways in
    turn: medians.
    """
    ways = {way: made(way, 0, "bundled") for way in WAYS if way != TWIN}
    found = {way: ([], []) for way in ways}
    for i in range(rounds + 1):
        for way, (model, batches) in ways.items():
            start = time.process_time()
            for k in range(steps):
                model.step(batches.batch(0, k))
            middle = time.process_time()
            model.sample(samples)
            if i:  # the first compiles
                found[way][0].append((middle - start) * 1000 / steps)
                found[way][1].append((time.process_time() - middle) * 1000 / samples)
    return {way: [statistics.median(times) for times in both] for way, both in found.items()}


def train(way, model, batches, steps):
    """Train for so many steps."""
    from tinygan.optim import schedules
    from tinygan.train import loop

    groups = [group for optimizer in model.optimizers for group in optimizer.param_groups]
    rates = [group["lr"] for group in groups]
    warmup = WAYS[way].get("warmup", 0)
    schedule = schedules.second_half
    if warmup:
        schedule = schedules.warmup(schedule, min(0.5, warmup / steps), start=1 / warmup)

    def prepare(progress):
        for group, rate in zip(groups, rates):
            group["lr"] = rate * schedule(progress)

    step = in_pytorch(model, groups) if way == TWIN else model.step
    for _ in loop(model, Steps(batches, steps), 1, step=step, prepare=[prepare]):
        pass


def in_pytorch(model, groups):
    """A step of the model's twin, after which the model has the average of the twin's weights."""
    import torch
    from peers.with_diffusion import TorchDiffusion

    from tinygan import random

    torch.manual_seed(random.default.seed)
    twin, average = TorchDiffusion(model), model.average.state_dict()

    def step(batch):
        twin.optimizer.param_groups[0]["lr"] = groups[0]["lr"]
        losses = twin.step(batch)
        for name, a in twin.average.items():
            average[name][...] = a
        return {name: np.float32(loss) for name, loss in losses.items()}

    return step


def sampled(model, judge, n=JUDGED, **how):
    """The figures of samples that are made so."""
    from tinygan import device, random

    random.manual_seed(9)
    samples = device.to_host(model.sample(n, model.noise(n, random.Generator(0, 9)), **how))
    # pixels of 256 levels, as pictures have them
    samples = np.round((np.clip(samples, -1, 1) + 1) * 127.5).astype(np.float32) / 127.5 - 1
    found = judge(samples)
    digits = judge.look(samples)[1].argmax(1)
    found["agreement"] = float((digits == np.arange(n) % 10).mean()) if model.classes else 0.0
    return {name: float(found[name]) for name in FIGURES}


def run(way, steps, seed, source, training, where):
    """What one training gives: its figures, and those of other samplers."""
    model, batches = made(way, seed, training, where)
    train(way, model, batches, steps)
    judge = judged(source, where)
    others = SAMPLERS.get(way, {}) if seed == 0 else {}
    return sampled(model, judge) | {
        "samplers": {name: sampled(model, judge, FEWER, **how) for name, (how, _) in others.items()}
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="full")
    parser.add_argument("--train", default="bundled", help="the digits to learn from")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[w for w in WAYS if w != TWIN])
    parser.add_argument("--minutes", type=float, nargs="+", default=[2, 5, 15])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--pace", type=Path, required=True, help="a file; see above")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, help="a file of runs, which is added to")
    parser.add_argument("--plot", type=Path, help="draw them there")
    args = parser.parse_args()
    print(machine("numpy"))
    if not args.pace.exists():
        args.pace.write_text(json.dumps(pace(), indent=1) + "\n")
    speeds = json.loads(args.pace.read_text())
    speeds[TWIN] = speeds["flow"]
    for way in args.ways:
        print(f"{way:12}{speeds[way][0]:7.1f} ms a step, {speeds[way][1]:.2f} s for 1,000 samples")
    done = noted(args.out)
    rows = {(w, m): round(60_000 * m / speeds[w][0]) for m in args.minutes for w in args.ways}
    known = lambda way, minutes: [
        done[way, rows[way, minutes], seed, args.data, args.train] for seed in args.seeds
    ]
    with ProcessPoolExecutor(args.jobs, get_context("spawn")) as pool:
        keys = [(w, n, s, args.data, args.train) for (w, _), n in rows.items() for s in args.seeds]
        waiting = {pool.submit(run, *key, args.device): key for key in keys if key not in done}
        for future in as_completed(waiting):
            done[waiting[future]] = future.result()
            note(args.out, waiting[future], future.result())
    titles = [f"{name:>10}" for name in ("steps", *FIGURES)]
    print(f"{'way':12}{'minutes':>8}{''.join(titles)}")
    for (way, minutes), steps in rows.items():
        cells = [statistics.median(of[name] for of in known(way, minutes)) for name in FIGURES]
        print(f"{way:12}{minutes:8g}{steps:10}{''.join(f'{c:10.3f}' for c in cells)}")
    for way, minutes in rows:
        for name, figures in known(way, minutes)[0]["samplers"].items():
            calls = SAMPLERS[way][name][1]
            print(
                f"{way:6}{minutes:4g} minutes, {name:12}{calls:4} calls FID {figures['fid']:8.3f}"
            )
    if args.plot:
        plot(args, known)


def plot(args, known):
    """FID by minutes of training, and by calls of the network for a sample."""
    from matplotlib.figure import Figure

    figure = Figure((9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
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
