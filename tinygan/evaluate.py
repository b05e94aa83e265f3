"""python -m tinygan.evaluate SAMPLES: how good are these digits? One table, and with --report one
page.

SAMPLES is the samples.npz that `examples/mnist_gan.py --samples N` writes. Beside the model's
figures stand those of digits that are real, as good as it gets, and of class means and noise, from
as many images. This room knows the judge and no model.
"""

import zipfile
from pathlib import Path

import numpy as np

from . import data, device, plot, random
from .cli import Parser, number, run
from .data import DataError
from .metrics import Judge, distances, histogram

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
}


def main():
    """Read, judge, print, draw."""
    args = arguments()
    where, samples = device.resolve(args.device), read(args.samples)
    training, labels, held_out = split(args.data)
    n = min(args.n, len(samples), len(training), len(held_out))
    if n < 20:
        raise DataError(f"{args.data}: the judge needs 20 digits of each half, found {n}")
    samples, held_out = samples[:n], held_out[:n]
    means = {c: training[labels == c].mean(0) for c in np.unique(labels)}
    noise = 2 * random.Generator(0).uniform(samples.shape) - 1
    sets = {
        "model": samples,
        "real digits": held_out,
        "class means": np.stack([means[c] for c in labels[:n]]),
        "noise": noise,
    }
    title = f"{n} samples against {n} digits of {args.data}"
    place = device.describe() if where == "gpu" else "the CPU"
    print(f"{title}; nearest neighbours among {len(training)}; on {place}", flush=True)

    judge = Judge(training[:n], where)
    figures = {name: judge(images) for name, images in sets.items()}
    neighbour, distance = distances.nearest(*(a.reshape(len(a), -1) for a in (samples, training)))
    _, unseen = distances.nearest(*(a.reshape(len(a), -1) for a in (held_out, training)))
    for name, d in ("model", distance), ("real digits", unseen):
        figures[name]["distance"], figures[name]["copies"] = distances.copies(d, unseen)
    table = [
        ["", *sets],
        *(
            [words, *(_words(figures[name].get(key, "")) for name in sets)]
            for key, words in ROWS.items()
        ),
    ]
    for first, *rest in table:
        print(f"{first:40}" + "".join(f"{cell:>13}" for cell in rest))
    if args.report:
        closest = np.argsort(distance)[:12]
        pairs = {
            "above: the samples nearest to a training digit, over it": (
                samples[closest],
                training[neighbour[closest]],
            ),
            "below: the first samples, over the nearest training digit": (
                samples[:12],
                training[neighbour[:12]],
            ),
        }
        pairs = {words: [plot.to_uint8(images) for images in pair] for words, pair in pairs.items()}
        classes = {"samples": histogram(judge.look(samples)[1]), "real digits": judge.classes}
        plot.report(args.report, title, table, plot.to_uint8(samples[:100]), pairs, classes)
        print(args.report)


def _words(figure):
    return f"{figure:.3f}" if isinstance(figure, float) else str(figure)


def read(path):
    """The `images` (n, 28, 28) uint8 of an .npz file, as (n, 1, 28, 28) in [-1, 1]; else DataError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            images = file["images"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as e:
        raise DataError(
            f"{path}: not an .npz with `images` ({e}); examples/mnist_gan.py --samples N writes one"
        ) from None
    if images.shape[1:] != (28, 28) or images.dtype != np.uint8 or len(images) < 20:
        raise DataError(
            f"{path}: `images` must be (n, 28, 28) uint8 with n of 20 or more, got {images.shape} {images.dtype}"
        )
    return data.scale(images)


def split(source):
    """Training digits, their labels, and held-out digits, shuffled; of the bundled set, which is
    small, one half each.
    """
    training, held_out = (data.load(source),) * 2 if source == "bundled" else data.split(source)
    order, other = (random.permutation(len(digits.images), 0, 0) for digits in (training, held_out))
    if source == "bundled":
        order, other = np.array_split(order, 2)
    return (
        data.scale(training.images[order]),
        training.labels[order],
        data.scale(held_out.images[other]),
    )


def arguments():
    """The command line."""
    parser = Parser("Judge samples of digits.")
    add = parser.add_argument
    add("samples", type=Path, metavar="SAMPLES", help="an .npz with `images` (n, 28, 28) uint8")
    add(
        "--data",
        default="bundled",
        metavar="SET",
        help="what the model was trained on: bundled, full or a folder",
    )
    add(
        "--n",
        type=number(int, 20),
        default=10_000,
        help="samples to judge; fewer where there are not so many digits",
    )
    add(
        "--device",
        choices=["auto", "cpu", "gpu"],
        default="auto",
        help="where the classifier looks at them",
    )
    add(
        "--report",
        type=Path,
        metavar="PNG",
        help="write one page with figures, samples, nearest neighbours and classes",
    )
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
