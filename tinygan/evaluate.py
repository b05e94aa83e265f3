"""python -m tinygan.evaluate SAMPLES: how good are these pictures? One table, and with --report one
page.

SAMPLES is the samples.npz that a training run with --samples N writes, and which says what the
model learnt from. Beside the model's figures stand those of pictures that are real, as good as it
gets, and of class means and noise, from as many images. This room knows the judge and no model.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import data, device, plot, random
from .cli import Parser, bar, number, read_samples, run
from .cli.real import check, in_words, origin, split, taken_from
from .data import DataError
from .metrics import Judge, distances, histogram, judge_of
from .metrics.judge import LEAST
from .train.callbacks import say

FEW = 2000  # images a side: of fewer the Frechet distance is seen to depend on how many there are

ROWS = {  # the judge's names, a reader's, and in brackets what is good
    "fid": "Frechet distance (low)",
    "kid": "kernel distance (low)",
    "kid_error": "  its standard error",
    "precision": "precision (high)",
    "recall": "recall (high)",
    "density": "density (1)",
    "coverage": "coverage (high)",
    "score": "classifier score (high)",
    "class_kl": "class histogram KL (low)",
    "missing": "missing classes (0)",
    "sliced": "sliced Wasserstein, pixels (low)",
    "distance": "distance to nearest training picture (1)",
    "copies": "suspiciously near to one (0.01)",
    "agreement": "judge sees the class asked for (1)",
}


def main():
    """Read, judge, print, draw."""
    args = arguments()
    where = device.resolve(args.device)
    made, learnt = read_samples(args.samples)
    own = args.features and function(args.features)
    data.scale.check(made.images)
    taken = taken_from(learnt, args, made)
    colour = "rgb" if made.images.ndim == 4 else "grey"
    form = {"side": made.images.shape[1], "colour": colour}
    real = split(args.data, **form, background=args.background, fit=args.fit)
    source = in_words(args)
    check(made, real.training, source)
    available = min(len(real.training.images), len(real.others.images))
    n = min(args.n, len(made.images), available)
    if n < LEAST:
        raise DataError(f"{source}: the judge needs {LEAST} pictures of each half, found {n}")
    title = f"{n} samples against {n} pictures of {source}"
    place = device.describe() if where == "gpu" else "the CPU"
    print(f"{title}; nearest neighbours among {len(real.training.images)}; on {place}")
    if n < len(made.images):
        why = f"there are {available} pictures of each half" if n == available else f"--n is {n}"
        print(f"of the {len(made.images)} samples the first {n} are judged: {why}")
    if n < FEW:
        print(f"{n} are few, and make a Frechet distance larger: compare those of equal numbers")
    against = f"real pictures: {origin(source, real)}{taken}"
    print(against, flush=True)
    judge = judged(real.training, n, where, own)
    about = f"judge: {judge.about}"
    print(about, flush=True)
    page = compare(judge, made, real, n)
    for first, *rest in page.table:
        print(f"{first:40}" + "".join(f"{cell:>13}" for cell in rest))
    if page.doubt:
        print(page.doubt)
    if args.report:
        title = "\n".join(filter(None, [title, against, about, page.doubt]))
        drawn = made.images[: min(n, 100)]
        names = real.training.names
        plot.report(args.report, title, page.table, drawn, page.pairs, page.classes, names)
        print(args.report)


class Page(NamedTuple):
    """What is found out about samples: rows of words, the head first; captioned pairs of samples
    and their nearest training pictures; the share of each class among samples and real pictures;
    why not to trust the figures, or "".
    """

    table: list
    pairs: dict
    classes: dict
    doubt: str


def compare(judge, made, real, n):
    """The `Page` on the first n of the samples beside real pictures, class means and noise."""
    sets = {"model": data.scale(made.images[:n])} | references(real, n)
    figures = {name: judge(x) for name, x in sets.items()}
    classes = {}
    if judge.classes is not None:
        classes = {"samples": histogram(judge.look(sets["model"])[1]), "real": judge.classes}
        if made.labels is not None:
            for name, labels in ("model", made.labels), ("real", real.others.labels):
                figures[name]["agreement"] = agreement(judge, sets[name], labels[:n])
    neighbour, distance = nearest(sets["model"], real.training.images)
    _, unseen = nearest(sets["real"], real.training.images)
    for name, d in ("model", distance), ("real", unseen):
        figures[name]["distance"], figures[name]["copies"] = distances.copies(d, unseen)
    pairs = neighbours(made.images[:n], real.training.images[neighbour], distance)
    return Page(tabulated(figures), pairs, classes, doubt(figures))


def doubt(figures):
    """What is to be thought of samples that are farther from the real pictures than what nobody
    would take for them; "" if they are not.
    """
    others = [name for name in figures if name not in ("model", "real")]
    nearer = [name for name in others if figures[name]["fid"] < figures["model"]["fid"]]
    if not nearer:
        return ""
    return (
        f"by Frechet distance the samples are worse than {' and '.join(nearer)}: little training, "
        "another set than the model learnt from, or a judge that is weak"
    )


def judged(training, n, where, own):
    """The judge by the first n of the training pictures, with a function of the user's own if there
    is one.
    """
    if own:
        return Judge(data.scale(training.images[:n]), where, own)
    return judge_of(training, where, n, say=say, progress=bar)


def function(named):
    """The function "module:function" of a module, in the current folder too; else DataError."""
    module, _, name = named.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name or "?", None)
    except Exception as error:  # whatever the user's own module does
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DataError(f"--features: {module!r} cannot be imported ({why})") from error
    if not callable(found):
        raise DataError(f"--features: {module} has no function {name!r}; give module:function")
    return found


def references(real, n):
    """What the samples are compared with, n images each: {column: (n, c, h, w)}."""
    images, labels, _ = real.training
    mean = lambda chosen: data.scale.apply(images[chosen]).mean(0)
    if labels is None:
        means = {"mean picture": mean(slice(None))[None].repeat(n, 0)}
    else:
        of = {c: mean(labels == c) for c in np.unique(labels)}
        means = {"class means": np.stack([of[c] for c in labels[:n]])}
    others = data.scale(real.others.images[:n])
    noise = 2 * random.Generator(0).uniform(others.shape) - 1
    return {"real": others} | means | {"noise": noise}


def agreement(judge, images, labels):
    """The share of images in which the judge sees the class of their label."""
    return float((judge.look(images)[1].argmax(1) == labels).mean())


def nearest(images, training):
    """The number of the nearest training picture, of uint8, of each image, and the distance."""
    training = data.scale(training)
    return distances.nearest(*(x.reshape(len(x), -1) for x in (images, training)))


def tabulated(figures):
    """The figures {column: {name: figure}} as rows of words, the head first."""
    known = {name for column in figures.values() for name in column}
    rows = [
        [words, *(_words(column.get(name, "")) for column in figures.values())]
        for name, words in ROWS.items()
        if name in known
    ]
    return [["", *figures], *rows]


def _words(figure):
    if isinstance(figure, float):
        return f"{figure:.2e}" if abs(figure) >= 1e6 else f"{figure:.3f}"
    return str(figure)


def neighbours(samples, theirs, distance):
    """Captioned pairs of samples and their nearest training pictures, for `plot.report`."""
    closest = np.argsort(distance)[:12]
    pairs = {
        "above: the samples nearest to a training picture, over it": closest,
        "below: the first samples, over the nearest training picture": slice(12),
    }
    return {words: [samples[chosen], theirs[chosen]] for words, chosen in pairs.items()}


def arguments():
    """The command line."""
    parser = Parser("Judge samples of pictures.")
    add = parser.add_argument
    holds = "an .npz with `images`, uint8 (n, side, side) or (n, side, side, 3), and, if classes "
    holds += "were asked for, `labels` (n,)"
    holds += "; or the folder of the run that wrote one"
    add("samples", type=Path, metavar="SAMPLES", help=holds)
    sets = (
        "what the model was trained on, as told to the training run. The real pictures beside the "
        "samples are held out if the set has a part for that; else they are a part of the set, a "
        "half of a small one, and a model may have been trained on them (default: as SAMPLES says)"
    )
    says = "(default: as SAMPLES says, else {})".format
    add("--data", metavar="SET", help=sets)
    add("--background", help=f"what lies behind pictures with holes {says('white')}")
    add("--fit", choices=["crop", "pad"], help=f"how pictures were made square {says('crop')}")
    own = "what sees the images, (k, c, h, w) in [-1, 1] -> (k, d) (default: a classifier of them)"
    add("--features", metavar="MODULE:FUNCTION", help=own)
    count = "samples to judge; fewer where there are not so many real pictures to hold against them"
    add("-n", "--n", type=number(int, LEAST), default=10_000, help=count)
    places = {"choices": ["auto", "cpu", "gpu"], "default": "auto"}
    add("--device", **places, help="where the classifier looks at them")
    page = "write one page with figures, samples, nearest neighbours and classes"
    add("--report", type=Path, metavar="PNG", help=page)
    args = parser.parse_args()
    args.samples /= "samples.npz" if args.samples.is_dir() else ""
    if args.report and not args.report.absolute().parent.is_dir():
        parser.error(f"--report: there is no folder {args.report.parent}; make it first")
    if args.report and args.report.suffix not in ("", ".png", ".jpg", ".pdf", ".svg"):
        parser.error(f"--report: {args.report} is no picture; choose .png, .jpg, .pdf or .svg")
    return args


if __name__ == "__main__":
    run(main)
