"""Better samples of a trained GAN, chosen by its discriminator or by a judge, in one table.

    python examples/refine.py runs/mnist_gan
    python examples/refine.py runs/mnist_gan --method rejection --out better    # and as better.npz
    python -m tinygan.evaluate better.npz

A GAN that is trained has a discriminator D that nobody asks any more. It still tells some samples
from real pictures, and `tinygan.refine` lets it choose. All of a digits run takes some minutes on a
CPU, most of them for the chains; with -n 1000 a tenth of that, and figures that say less.
"""

import time
from pathlib import Path

import numpy as np

from tinygan import cli, data, device, plot, random, refine, train
from tinygan.cli.real import origin
from tinygan.cli.training import asked
from tinygan.evaluate import agreement
from tinygan.metrics import judge_of
from tinygan.sample import places, taught


def rejection(gan, args, **told):
    """Each sample is kept with probability p_data / (M p_G), its odds raised (Azadi 2019)."""
    told |= {"calibration": args.known, "percentile": args.percentile}
    return refine.rejection(gan, args.n, burn_in=min(10_000, 20 * args.n), **told)


def chains(gan, args, **told):
    """A Markov chain for each sample, of `steps` offers (Turner 2019)."""
    return refine.metropolis_hastings(gan, args.n, args.known, steps=args.steps, **told)


def climb(gan, args, **told):
    """Latent points move to where D thinks better of their samples (Wu 2019)."""
    return refine.latent_optimised(gan, args.n, **told)


def best(gan, args, score=None, **told):
    """Of k samples the one that D, or another score, likes best."""
    return refine.best_of(gan, args.n, args.k, score, **told)


def surest(gan, args, **told):
    """Of k samples the one of whose class the judge is surest."""
    return best(gan, args, args.sure, **told)


def agreed(gan, args, **told):
    """Of k samples the first whose class the judge sees: surer than of all others together."""
    return best(gan, args, lambda *some: args.sure(*some) > 0.5, **told)


METHODS = {f.__name__: f for f in (rejection, chains, climb, best, agreed, surest)}
BY_JUDGE = ("agreed", "surest")  # by `args.sure`, how sure it is of each sample's class
CALIBRATION = 6  # the random stream of what D is calibrated with


def main():
    args = arguments()
    gan = train.load(args.run, device.resolve(args.device))
    try:
        compare(gan, args)
    except (ValueError, refine.RejectionError) as error:
        raise data.DataError(f"{args.run}: {error}") from error


def compare(gan, args):
    """Print the table, and write the samples that are asked for."""
    files, learnt = args.out and places(args.out), taught(args.run)
    real = cli.halves(gan, learnt)
    n = args.n = min(args.n, len(real.training.images), len(real.others.images))
    if not args.method or {*args.method} - {*BY_JUDGE}:
        refine.Critic(gan)  # what has no D is refused before a judge learns
    judge = judge_of(real.training, gan.device, n, say=cli.say, progress=cli.bar)
    print(f"real pictures: {origin(learnt['data'], real)}; judge: {judge.about}")
    labelled = gan.classes and judge.classes is not None
    methods = args.method or [m for m in METHODS if labelled or m not in BY_JUDGE]
    if not labelled and {*BY_JUDGE} & {*methods}:
        raise ValueError(f"--method {' and '.join(BY_JUDGE)} need a model of classes")
    labels = refine.draws.asked(gan, n, asked(gan, real.training, n))
    args.known = calibration(gan, real.others, args.seed) if {*methods} - {*BY_JUDGE} else None
    args.sure = lambda samples, told: judge.look(samples)[1][np.arange(len(told)), told]
    names = "Frechet  coverage precision    recall agreement   s/1,000   draws/1"
    print(f"\n{f'{n:,} samples':15}{names}", flush=True)
    row(judge, "real", real.others.images[:n], real.others.labels)
    for method in (None, *methods):
        told = {"labels": labels, "source": random.Generator(args.seed)}
        start = time.perf_counter()
        found = METHODS[method](gan, args, **told) if method else None
        points = found.points if found else gan.noise(n, told["source"])
        images = plot.to_uint8(device.to_host(gan.sample(n, points, labels)))
        cost = (time.perf_counter() - start) / n * 1000, found.draws / n if found else 1
        row(judge, method or "as they are", images, labels, cost)
    few = "; of fewer than 2,000 samples it comes out too large" if n < 2000 else ""
    print(f"Of the Frechet distance low is good{few}; of the next four figures high.")
    if files:
        cli.save_samples(gan, n, files[0], labels, learnt, points)
        plot.grid(images[:400], files[1], gan.classes or 8)


def calibration(gan, pictures, seed):
    """What D's logits are worth, found with real pictures that the judge does not compare with."""
    images, labels = data.scale(pictures.images), pictures.labels if gan.classes else None
    source = random.Generator(seed, CALIBRATION)
    known = refine.calibrated(gan, device.to(images, gan.device), labels, source=source)
    print(
        f"D: log(p_data / p_G) = {known.slope:.2f} * logit {known.intercept:+.2f}; on pictures not"
    )
    print(f"fitted its cross-entropy is {known.loss:.3f} nats; 0.693 would be that it cannot tell;")
    print(f"Z {known.z:.1f}, before {known.before:.1f}: beyond 3 its probabilities are wrong")
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
    add("--method", nargs="+", choices=[*METHODS], help=ways)
    add("-n", "--n", type=cli.number(int, 20), default=10_000, help="samples of each")
    share = {"type": cli.number(float, 0, 100), "default": 95.0}
    add("--percentile", **share, help="of rejection: the higher, the fewer and better are kept")
    add("--steps", type=cli.number(int, 1), default=50, help="offers that a chain gets")
    add("--k", type=cli.number(int, 1), default=4, help="of how many the best is taken")
    add("--seed", type=cli.number(int, 0, 2**32 - 1), default=0, help="other samples for each")
    add("--device", choices=["auto", "cpu", "gpu"], default="auto", help="auto: a GPU that works")
    add("--out", type=Path, help="write those of one --method as OUT.npz and OUT.png")
    args = parser.parse_args()
    if args.out and len(args.method or ()) != 1:
        parser.error("--out writes the samples of one --method: name it")
    return args


if __name__ == "__main__":
    cli.run(main)
