"""python -m tinygan.sample RUN --labels 7 -n 64: samples of a trained model, as a picture and as
data.

RUN is the folder of a training run, or one of its checkpoints (RUN/best.npz). The model is built
anew from what the checkpoint says of it, and filled from there. In code: `train.load`.
"""

from pathlib import Path

import numpy as np

from . import device, plot, random
from .checkpoint import CheckpointError
from .cli import MOST_SAMPLES, Parser, number, run, save_samples
from .train import load


def main():
    """Load, sample, write."""
    args = arguments()
    model = load(args.run, device.resolve(args.device))
    folder = args.run if args.run.is_dir() else args.run.parent
    out = args.out or folder / "made"
    labels = args.labels
    if labels is not None:
        if not model.classes:
            raise CheckpointError(
                f"{args.run}: this model was taught no classes; leave out --labels"
            )
        if max(labels) >= model.classes:
            known = f"it knows 0 to {model.classes - 1}"
            raise CheckpointError(f"{args.run}: {max(labels)} is no class of this model, {known}")
        labels = np.resize(labels, args.n)  # over and over
    random.manual_seed(args.seed)
    images = save_samples(model, args.n, out.with_suffix(".npz"), labels)
    columns = model.classes if model.classes and labels is None else 8  # a class to a column
    plot.grid(images[:400], out.with_suffix(".png"), columns)
    print(out.with_suffix(".png"))


def arguments():
    """The command line."""
    parser = Parser("Make samples with a trained model.")
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a run's folder, or one of its checkpoints")
    classes = "the classes to make, in turn (default: all)"
    add("--labels", type=number(int, 0), nargs="+", metavar="K", help=classes)
    add("-n", "--n", type=number(int, 1, MOST_SAMPLES), default=64, help="how many")
    add("--seed", type=number(int, 0, 2**32 - 1), default=0, help="other samples for each")
    places = {"choices": ["auto", "cpu", "gpu"], "default": "auto"}
    add("--device", **places, help="auto: the GPU if one is usable")
    add("--out", type=Path, help="a path without suffix for the two files (default: RUN/made)")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
