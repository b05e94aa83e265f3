"""What every command line here shares: the flags of a training run; one line and exit code 2 for a
user's mistake.

This room knows the errors of the others, and nothing of models.
"""

import argparse
import sys
from pathlib import Path

from .checkpoint import CheckpointError
from .data import DataError
from .device import DeviceError
from .train import TrainingError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and whose help shows the defaults."""

    def __init__(self, description):
        super().__init__(
            description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )

    def training(self, models, model, epochs, batch_size, out, conditional=False):
        """Add the flags of a training run, with these defaults; `batch_size` says in words what
        None means.
        """
        add = self.add_argument
        add("--model", choices=models, default=model, help="the networks")
        add(
            "--conditional",
            action=argparse.BooleanOptionalAction,
            default=conditional,
            help="teach it which digit is which",
        )
        add(
            "--device",
            choices=["auto", "cpu", "gpu"],
            default="auto",
            help="auto: the GPU if one is usable",
        )
        add(
            "--precision",
            choices=["float32", "tf32"],
            default="float32",
            help="of matrix products; tf32: faster, on a GPU only",
        )
        add(
            "--no-capture",
            action="store_true",
            help="on a GPU, launch a step's kernels one by one and not as a CUDA graph",
        )
        add(
            "--data",
            default="bundled",
            metavar="SET",
            help="bundled, full (60,000 digits, fetched once) or a folder",
        )
        add("--epochs", type=number(int, 1), default=epochs, help="passes over the digits")
        add("--batch-size", type=number(int, 2), help=f"images a step; None: {batch_size}")
        add("--lr", type=number(float, 0), help="Adam's learning rate; None: the model's own")
        add("--seed", type=number(int, 0, 2**32 - 1), default=0, help="of all randomness")
        add(
            "--out", type=Path, default=Path(out), metavar="DIR", help="where everything is written"
        )
        add("--resume", action="store_true", help="go on from the checkpoint in --out")
        add(
            "--evaluate",
            type=number(int, 0),
            default=0,
            metavar="N",
            help="FID and coverage every N epochs; best.npz is kept",
        )
        add(
            "--samples",
            type=number(int, 0),
            default=0,
            metavar="N",
            help="digits to write to OUT/samples.npz at the end",
        )

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def number(kind, least, most=sys.maxsize):
    """An argument type: a number of that kind, from `least` to `most`."""

    def parse(text):
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be from {least} to {most}, got {text}")
        return value

    parse.__name__ = kind.__name__
    return parse


def run(main):
    """Call `main` and exit: 2 with one line for a mistake in what was asked, 1 for a failed
    training, 130 for Ctrl-C.
    """
    try:
        sys.exit(main())
    except (CheckpointError, DataError, DeviceError, OSError) as e:
        message, code = e, 2
    except TrainingError as e:
        message, code = e, 1
    except MemoryError as e:  # CuPy's is one too
        message, code = (
            f"out of memory: {str(e).rstrip('.')}; lower --batch-size, --width, --samples or --n",
            2,
        )
    except KeyboardInterrupt as e:
        message, code = str(e) or "interrupted", 130
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(code)
