"""python -m tinygan.sample RUN --labels 7 -n 64: samples of a trained model, as a picture and as
data. Where the classes have names, they are asked for by those: --labels cat dog.

RUN is the folder of a training run, or one of its checkpoints (RUN/best.npz). The model is built
anew from what the checkpoint says of it, and filled from there. Flows and diffusions may be told
--steps, --guidance, and --method or --eta; models of text write one, behind a --prompt. In code:
`train.load`. Only what this command made before is replaced.
"""

from pathlib import Path

import numpy as np

from . import device, files, plot, random
from .checkpoint import CheckpointError, read_meta
from .cli import MOST_SAMPLES, SAMPLING, WRITING, Parser, check_given, learnt, number, options, run
from .cli import save_samples, say
from .data import DataError
from .models.labels import numbered
from .models.latent import COLUMNS
from .train import load
from .train.run import LATEST


def main():
    """Load, sample, write."""
    args = arguments()
    folder = args.run if args.run.is_dir() else args.run.parent
    data, picture = places(folder / "made" if args.out is None else args.out)
    model = load(args.run, device.resolve(args.device))
    args.n = args.n or (1 if hasattr(model, "stream") else 64)
    if hasattr(model, "stream"):
        return write(args, model)
    if not hasattr(model, "sample"):
        raise DataError(f"{args.run}: a {type(model).__name__} makes no samples")
    if len(model.sample_shape) != 3:
        raise DataError(
            f"{args.run}: its samples are no pictures, but of shape {model.sample_shape}; in code "
            "train.load(RUN).sample(n) makes them"
        )
    labels = None if args.labels is None else asked(args, model)
    told = {"labels": labels, "learnt": taught(args.run), "how": chosen(args, model)}
    random.manual_seed(args.seed)
    images = save_samples(model, args.n, data, **told)
    columns, names = headed(model, labels if labels is None else labels[: len(args.labels)])
    plot.grid(images[:400], picture, columns, names=names)
    print(picture)


def write(args, model):
    """Print texts; of several, a line of dashes between them."""
    how = chosen(args, model, text=True)
    if args.out:
        raise DataError(f"{args.out}: a text is printed, and not kept: leave out --out")
    random.manual_seed(args.seed)
    texts = model.sample(args.n, **how)
    say(f"\n{'-' * 80}\n".join(texts))


def chosen(args, model, text=False):
    """How samples are to be made, as `model.sample` takes it; DataError for what it does not."""
    how = options(args, *SAMPLING, "prompt", "length", *WRITING)
    known = (*model.how, *(("prompt", "length") if text else ()))
    for name in how:
        if name not in known:
            flag = name.replace("_", "-")
            raise DataError(f"{args.run}: this model knows no {name}; leave out --{flag}")
    if text and args.labels:
        raise DataError(f"{args.run}: this model was taught no classes; leave out --labels")
    if not text:
        check_given(args.run, model, how)
    return how


def asked(args, model):
    """The class of each of n samples, (n,): those that --labels names, over and over;
    CheckpointError for what the model does not know.
    """
    if not model.classes:
        raise CheckpointError(f"{args.run}: this model was taught no classes; leave out --labels")
    known = model.names or tuple(map(str, range(model.classes)))
    try:
        return np.resize(numbered(args.labels, known), args.n)
    except ValueError as error:
        raise CheckpointError(f"{args.run}: {error}") from None


def taught(run):
    """What the checkpoint notes of the pictures that its model learnt from."""
    notes = read_meta(run / LATEST if run.is_dir() else run).get("notes")
    return learnt(notes.get("arguments") if isinstance(notes, dict) else None)


def headed(model, labels):
    """How many columns the picture has, and the names above them or None: where classes have names,
    those of the `labels` that were asked for, in turn, or of all; of too many none.
    """
    if not model.names:
        return min(model.classes, COLUMNS) if model.classes and labels is None else 8, None
    shown = [*range(model.classes)] if labels is None else [*labels]
    if len(shown) > COLUMNS:
        return COLUMNS, None
    shown *= max(1, 8 // len(shown))  # a few classes over and over: no narrow tower
    return len(shown), [model.names[k] for k in shown]


def places(out):
    """The .npz and the .png that are called `out`; DataError if something else is there."""
    name = out.name.removesuffix(".npz").removesuffix(".png")
    if name in ("", ".."):
        raise DataError(f"--out: {out} is no name for two files; --out {out / 'made'} is one")
    data, picture = (out.with_name(name + suffix) for suffix in (".npz", ".png"))
    if data.exists():
        with files.Npz(data, DataError) as npz:
            if "images" not in npz.headers:
                raise DataError(
                    f"{data}: holds no samples, and is not replaced; take another --out"
                )
    elif picture.exists():
        raise DataError(f"{picture}: was not made here, {data} is missing; take another --out")
    return data, picture


def arguments():
    """The command line."""
    parser = Parser("Make samples with a trained model.")
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a run's folder, or one of its checkpoints")
    classes = "the classes to make, in turn, by name or, without names, number (default: all)"
    add("--labels", nargs="+", metavar="CLASS", help=classes)
    add("-n", "--n", type=number(int, 1, MOST_SAMPLES), help="how many (default: 64, of texts 1)")
    add("--seed", type=number(int, 0, 2**32 - 1), default=0, help="other samples for each")
    parser.sampling()
    parser.writing(200)
    places = {"choices": ["auto", "cpu", "gpu"], "default": "auto"}
    add("--device", **places, help="auto: the GPU if one is usable")
    add("--out", type=Path, help="a path without suffix for the two files (default: RUN/made)")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
