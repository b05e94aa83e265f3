"""python -m tinygan.evaluate SAMPLES: how good are these digits? One table, and with --report one
page.

SAMPLES is the samples.npz that a training run with --samples N writes. Beside the model's figures
stand those of digits that are real, as good as it gets, and of class means and noise, from as many
images. This room knows the judge and no model.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import data, device, files, plot, random
from .cli import Parser, number, run
from .data import DataError
from .metrics import Judge, distances, histogram
from .metrics.judge import LEAST

MAX_BYTES = 1 << 30  # of samples: 1.4 million digits

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
    "distance": "distance to nearest training digit (1)",
    "copies": "suspiciously near to one (0.01)",
    "agreement": "judge sees the class asked for (1)",
}


class Samples(NamedTuple):
    """What a model made: images (n, 28, 28) uint8, and the classes asked for (n,) or None."""

    images: np.ndarray
    labels: np.ndarray | None


class Real(NamedTuple):
    """Real digits, in [-1, 1]: those to learn from, with labels, and others; whether a model that
    trained on all of the set has seen those others too.
    """

    training: np.ndarray  # (n, 1, 28, 28)
    labels: np.ndarray  # (n,)
    others: np.ndarray  # (m, 1, 28, 28)
    others_labels: np.ndarray  # (m,)
    seen: bool


def main():
    """Read, judge, print, draw."""
    args = arguments()
    where, (images, asked) = device.resolve(args.device), read(args.samples)
    real = split(args.data)
    digits = min(len(real.training), len(real.others))
    n = min(args.n, len(images), digits)
    if n < LEAST:
        raise DataError(f"{args.data}: the judge needs {LEAST} digits of each half, found {n}")
    samples = data.scale(images[:n])
    title = f"{n} samples against {n} digits of {args.data}"
    place = device.describe() if where == "gpu" else "the CPU"
    print(f"{title}; nearest neighbours among {len(real.training)}; on {place}")
    if n < len(images):
        why = f"there are {digits} digits of each half" if n == digits else f"--n is {args.n}"
        print(f"of the {len(images)} samples the first {n} are judged: {why}")
    print(f"real digits: {_origin(args.data, real)}", flush=True)

    sets = {"model": samples} | references(real, n)
    judge = Judge(real.training[:n], where)
    figures = {name: judge(x) for name, x in sets.items()}
    if asked is not None:
        for name, labels in ("model", asked[:n]), ("real digits", real.others_labels[:n]):
            figures[name]["agreement"] = agreement(judge, sets[name], labels)
    neighbour, distance = nearest(samples, real.training)
    _, unseen = nearest(sets["real digits"], real.training)
    for name, d in ("model", distance), ("real digits", unseen):
        figures[name]["distance"], figures[name]["copies"] = distances.copies(d, unseen)
    table = tabulated(figures)
    for first, *rest in table:
        print(f"{first:40}" + "".join(f"{cell:>13}" for cell in rest))
    if args.report:
        pairs = neighbours(samples, real.training[neighbour], distance)
        classes = {"samples": histogram(judge.look(samples)[1]), "real digits": judge.classes}
        plot.report(args.report, title, table, images[: min(n, 100)], pairs, classes)
        print(args.report)


def _origin(source, real):
    """What the real digits are that stand beside the samples."""
    if not real.seen:
        return f"held out, no model that trained on {source} has seen them"
    part = "the other half" if source == "bundled" else "a tenth"
    return f"{part} of {source}, which a model that trained on all of it has seen too"


def references(real, n):
    """What the samples are compared with, n images each: {column: (n, 1, 28, 28)}."""
    means = {c: real.training[real.labels == c].mean(0) for c in np.unique(real.labels)}
    return {
        "real digits": real.others[:n],
        "class means": np.stack([means[c] for c in real.labels[:n]]),
        "noise": 2 * random.Generator(0).uniform((n, 1, 28, 28)) - 1,
    }


def agreement(judge, images, labels):
    """The share of images in which the judge sees the class of their label."""
    return float((judge.look(images)[1].argmax(1) == labels).mean())


def nearest(images, training):
    """The number of the nearest training digit of each image, and the distance."""
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
    return f"{figure:.3f}" if isinstance(figure, float) else str(figure)


def neighbours(samples, theirs, distance):
    """Captioned pairs of samples and their nearest training digits, for `plot.report`."""
    closest = np.argsort(distance)[:12]
    pairs = {
        "above: the samples nearest to a training digit, over it": closest,
        "below: the first samples, over the nearest training digit": slice(12),
    }
    return {
        words: [plot.to_uint8(samples[chosen]), plot.to_uint8(theirs[chosen])]
        for words, chosen in pairs.items()
    }


def read(path):
    """The `Samples` in an .npz file; else DataError, before anything is inflated that is not
    wanted.
    """
    if not path.exists():
        raise DataError(
            f"{path}: there is no such file; a training run with --samples N writes one"
        )
    with files.Npz(path, DataError) as npz:
        header = npz.headers.get("images")
        if header is None:
            found = ", ".join(npz.headers) or "nothing"
            raise DataError(
                f"{path}: has no `images`, but {found}; a training run with --samples N writes some"
            )
        if header.shape[1:] != (28, 28) or header.dtype != np.uint8 or header.shape[0] < LEAST:
            raise DataError(
                f"{path}: the judge knows grey digits only: `images` must be (n, 28, 28) uint8 "
                f"with n of {LEAST} or more, got {header}"
            )
        if header.nbytes > MAX_BYTES:
            raise DataError(
                f"{path}: `images` has {header.nbytes} bytes, more than the {MAX_BYTES} allowed; "
                "10,000 samples are enough"
            )
        labels = npz.headers.get("labels")
        if labels and (labels.shape != header.shape[:1] or labels.dtype.kind not in "iu"):
            raise DataError(
                f"{path}: `labels` must be ({header.shape[0]},) whole numbers, got {labels}"
            )
        return Samples(npz.read("images"), npz.read("labels") if labels else None)


def split(source):
    """The `Real` digits of a source, shuffled; of the bundled, which are few, one half each."""
    if source == "bundled":
        whole = data.load(source)
        parts = np.array_split(random.permutation(len(whole.images), 0, 0), 2)
        training, others = map(whole.rows, parts)
        seen = True
    else:
        training, others = (_shuffled(part) for part in data.split(source))
        seen = source != "full" and len(data.load(source).images) > len(training.images)
    return Real(
        data.scale(training.images), training.labels, data.scale(others.images), others.labels, seen
    )


def _shuffled(digits):
    order = random.permutation(len(digits.images), 0, 0)
    return digits.rows(order)


def arguments():
    """The command line."""
    parser = Parser("Judge samples of digits.")
    add = parser.add_argument
    holds = "an .npz with `images` (n, 28, 28) uint8 and, if classes were asked for, `labels` (n,)"
    add("samples", type=Path, metavar="SAMPLES", help=holds)
    sets = (
        "what the model was trained on: bundled, full or a folder. The real digits beside the "
        "samples are held out for full, and for a folder with t10k files; else they are a part of "
        "the set, of bundled one half, and a model may have been trained on them"
    )
    add("--data", default="bundled", metavar="SET", help=sets)
    count = "samples to judge; fewer where there are not so many digits: bundled has 5,000 a half"
    add("-n", "--n", type=number(int, LEAST), default=10_000, help=count)
    places = {"choices": ["auto", "cpu", "gpu"], "default": "auto"}
    add("--device", **places, help="where the classifier looks at them")
    page = "write one page with figures, samples, nearest neighbours and classes"
    add("--report", type=Path, metavar="PNG", help=page)
    args = parser.parse_args()
    if args.report and not args.report.absolute().parent.is_dir():
        parser.error(f"--report: there is no folder {args.report.parent}; make it first")
    if args.report and args.report.suffix not in ("", ".png", ".jpg", ".pdf", ".svg"):
        parser.error(f"--report: {args.report} is no picture; choose .png, .jpg, .pdf or .svg")
    return args


if __name__ == "__main__":
    run(main)
