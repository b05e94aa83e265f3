"""Better samples of a trained GAN, chosen by its discriminator or by a judge, in one table.

    python examples/refine.py runs/mnist_gan
    python examples/refine.py runs/mnist_gan --method rejection --out better    # and as better.npz
    python -m tinygan.evaluate better.npz

A GAN that is trained has a discriminator D that nobody asks any more. It still tells some samples
from real pictures, and `tinygan.refine` lets it choose.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygan import cli, data, device, plot, random, refine, train
from tinygan.cli.real import origin, split
from tinygan.cli.training import asked
from tinygan.evaluate import agreement
from tinygan.metrics import judge_of
from tinygan.sample import places, taught


class Task(NamedTuple):
    """What a method has besides the GAN, and `told`: the samples' labels and a random source."""

    n: int  # samples
    known: Any  # what D's logits mean: log(p_data / p_G)
    sure: Any  # (samples, labels) -> how sure the judge is of each one's class
    args: Any  # of the command line


def rejection(gan, task, **told):
    """Each sample is kept with probability p_data / (M p_G), its odds raised (Azadi 2019)."""
    told |= {"calibration": task.known, "percentile": task.args.percentile}
    return refine.rejection(gan, task.n, **told)


def chains(gan, task, **told):
    """A Markov chain for each sample, of `steps` offers (Turner 2019)."""
    return refine.metropolis_hastings(gan, task.n, task.known, steps=task.args.steps, **told)


def climb(gan, task, **told):
    """Latent points move to where D thinks better of their samples (Wu 2019)."""
    return refine.latent_optimised(gan, task.n, **told)


def best(gan, task, score=None, **told):
    """Of k samples the one that D, or another score, likes best."""
    return refine.best_of(gan, task.n, task.args.k, score, **told)


def surest(gan, task, **told):
    """Of k samples the one of whose class the judge is surest."""
    return best(gan, task, task.sure, **told)


def agreed(gan, task, **told):
    """Of k samples the first whose class the judge sees: surer than of all others together."""
    return best(gan, task, lambda *some: task.sure(*some) > 0.5, **told)


METHODS = {f.__name__: f for f in (rejection, chains, climb, best, agreed, surest)}
BY_JUDGE = ("agreed", "surest")
CALIBRATION = 6  # the random stream of what D is calibrated with


def main():
    args = arguments()
    gan = train.load(args.run, device.resolve(args.device))
    files, learnt = args.out and places(args.out), taught(args.run)
    if "data" not in learnt:
        raise data.DataError(f"{args.run}: does not say what its model learnt from")
    form = learnt | {"side": gan.side, "colour": "rgb" if gan.channels == 3 else "grey"}
    real = split(form.pop("data"), **form)
    n = min(args.n, len(real.training.images), len(real.others.images))
    judge = judge_of(real.training, gan.device, n, say=cli.say, progress=cli.bar)
    print(f"real pictures: {origin(learnt['data'], real)}; judge: {judge.about}", flush=True)
    labelled = gan.classes and judge.classes is not None
    methods = args.method or [m for m in METHODS if labelled or m not in BY_JUDGE]
    if not labelled and {*BY_JUDGE} & {*methods}:
        raise data.DataError(f"--method {' and '.join(BY_JUDGE)} need a model of classes")
    labels = refine.draws.asked(gan, n, asked(gan, real.training, n))
    try:
        source = random.Generator(args.seed, CALIBRATION)
        known = calibration(gan, real.others, source) if {*methods} - {*BY_JUDGE} else None
        sure = lambda samples, told: judge.look(samples)[1][np.arange(len(told)), told]
        task = Task(n, known, sure, args)
        names = "Frechet  coverage precision    recall agreement   seconds     draws"
        print(f"\n{f'{n} samples':15}{names}", flush=True)
        row(judge, "real", real.others.images[:n], real.others.labels)
        for method in (None, *methods):
            told = {"labels": labels, "source": random.Generator(args.seed)}
            start = time.perf_counter()
            found = METHODS[method](gan, task, **told) if method else None
            points = found.points if found else gan.noise(n, told["source"])
            images = plot.to_uint8(device.to_host(gan.sample(n, points, labels)))
            cost = (time.perf_counter() - start) / n * 1000, found.draws / n if found else 1
            row(judge, method or "as they are", images, labels, cost)
    except (ValueError, refine.RejectionError) as error:
        raise data.DataError(f"{args.run}: {error}") from error
    if files:
        cli.save_samples(gan, n, files[0], labels, learnt, points)
        plot.grid(images[:400], files[1], gan.classes or 8)


def calibration(gan, pictures, source):
    """What D's logits are worth, found with real pictures that the judge does not compare with."""
    images, labels = data.scale(pictures.images), pictures.labels if gan.classes else None
    known = refine.calibrated(gan, device.to(images, gan.device), labels, source=source)
    print(f"D: log(p_data / p_G) = {known.slope:.2f} * logit {known.intercept:+.2f}", end=" ")
    print(f"(Z {known.z:.1f}, before {known.before:.1f}); {known.loss:.3f} of 0.693 nats unknown")
    return known


def row(judge, name, images, labels, cost=()):
    """A line of the table; cost: seconds for 1,000 samples, and samples drawn for each one."""
    x, seen = data.scale(images), ""
    found = judge(x)
    if labels is not None and judge.classes is not None:
        seen = f"{agreement(judge, x, labels[: len(x)]):.2%}"
    cells = [f"{found[figure]:10.3f}" for figure in ("fid", "coverage", "precision", "recall")]
    cells += [f"{seen:>10}", *(f"{c:10.2f}" for c in cost)]
    print(f"{name:12}" + "".join(cells), flush=True)


def arguments():
    """The command line."""
    parser = cli.Parser("Better samples of a trained GAN, before and after.")
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a run's folder, or one of its checkpoints")
    ways = f"one or more (default: all that fit); by the judge are {' and '.join(BY_JUDGE)}"
    add("--method", nargs="+", choices=[*METHODS], default=[], help=ways)
    add("-n", "--n", type=cli.number(int, 20), default=10_000, help="samples of each")
    add("--percentile", type=cli.number(float, 0, 100), default=95.0, help="of rejection")
    add("--steps", type=cli.number(int, 1), default=50, help="offers that a chain gets")
    add("--k", type=cli.number(int, 1), default=4, help="of how many the best is taken")
    add("--seed", type=cli.number(int, 0, 2**32 - 1), default=0, help="other samples for each")
    add("--device", choices=["auto", "cpu", "gpu"], default="auto", help="auto: a GPU that works")
    add("--out", type=Path, help="write those of one --method as OUT.npz and OUT.png")
    args = parser.parse_args()
    if args.out and len(args.method) != 1:
        parser.error("--out writes the samples of one --method: name it")
    return args


if __name__ == "__main__":
    cli.run(main)
