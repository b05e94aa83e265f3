"""What every command line here shares: the flags of a training run and the run itself; one line and
exit code 2 for a user's mistake.

Only this room knows the flags; it adds them to what the others say.
"""

import argparse
import contextlib
import os
import sys
from pathlib import Path

import numpy as np

from . import data, device, files, plot, random
from .checkpoint import CheckpointError, read_meta
from .data import DataError
from .device import DeviceError
from .metrics import Judge
from .train import AtEnd, Evaluate, Interrupted, RunExistsError, TrainingError, second_half, train
from .train.callbacks import say
from .train.run import LATEST, check_folder

JUDGED = 5  # the random stream of the latent points of which the judge sees samples
MOST_SAMPLES = 1_000_000  # 784 MB of digits
PIECE = 1000  # samples that are floats at a time; a multiple of what `sample` draws at a time
# what concerns only this call, and not the run that it makes or goes on with
PASSING = ("out", "device", "resume", "overwrite")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and whose help shows the defaults."""

    def __init__(self, description):
        super().__init__(description=description, formatter_class=_Formatter)

    def training(self, models, *, model, epochs, batch_size, out, conditional=False):
        """Add the flags of a training run and their defaults; `batch_size` says its in words."""
        add = self.add_argument
        add("--model", choices=[*models], default=model, help="the networks")
        teach = {"action": argparse.BooleanOptionalAction, "default": conditional}
        add("--conditional", **teach, help="teach it which digit is which")
        places = {"choices": ["auto", "cpu", "gpu"], "default": "auto"}
        add("--device", **places, help="auto: the GPU if one is usable")
        rounding = {"choices": ["float32", "tf32"], "default": "float32"}
        add("--precision", **rounding, help="of matrix products; tf32: faster, on a GPU only")
        off = "on a GPU, launch a step's kernels one by one and not as a CUDA graph"
        add("--no-capture", action="store_true", help=off)
        sets = "bundled, full (60,000 digits, fetched once) or a folder of IDX files"
        add("--data", default="bundled", metavar="SET", help=sets)
        add("--epochs", type=number(int, 1), default=epochs, help="passes over the digits")
        add("--batch-size", type=number(int, 2), help=f"images a step (default: {batch_size})")
        add("--lr", type=number(float, 0), help="Adam's learning rate (default: the model's own)")
        add("--seed", type=number(int, 0, 2**32 - 1), default=0, help="of all randomness")
        self._run(Path(out))

    def _run(self, out):
        """The flags about a run's folder and what is made in it."""
        add = self.add_argument
        add("--out", type=Path, default=out, metavar="DIR", help="where everything is written")
        again = "go on from the checkpoint in --out, with the flags of that run but for those given"
        add("--resume", action="store_true", help=again)
        add("--overwrite", action="store_true", help="begin anew in an --out that holds a run")
        count = {"type": number(int, 0), "default": 0, "metavar": "N"}
        add("--evaluate", **count, help="FID and coverage every N epochs; best.npz is kept")
        count["type"] = number(int, 0, MOST_SAMPLES)
        add("--samples", **count, help="digits to write to OUT/samples.npz at the end")

    def parse_args(self, args=None, namespace=None):
        """With --resume, what is not said is as it was said to the run that goes on."""
        found = super().parse_args(args, namespace)
        if getattr(found, "resume", False):
            if not (found.out / LATEST).exists():
                self.error(f"{found.out} holds no checkpoint: leave out --resume to begin")
            with contextlib.suppress(
                ValueError, KeyError, TypeError
            ):  # not said, or by an older one
                said = read_meta(found.out / LATEST)["notes"]["arguments"]
                known = [a for a in self._actions if a.dest in said and a.dest not in PASSING]
                self.set_defaults(**{a.dest: _default(a, said[a.dest]) for a in known})
            found = super().parse_args(args, namespace)
        if hasattr(found, "resume"):  # a training run: before anything is loaded for it
            check_folder(found.out, found.resume, found.overwrite)
        return found

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults, but for None, which the help explains, and False, which goes without."""

    def _get_help_string(self, action):
        told = action.default is None or action.default is False
        return action.help if told else super()._get_help_string(action)


def _default(action, value):
    """A value from a file as a default: it must be what could have been typed; else ValueError."""
    if value is None:
        typed = action.default is None
    elif isinstance(value, bool) or isinstance(action.default, bool):  # --flag, or --no-flag
        typed = type(value) is type(action.default)
    elif action.choices:
        typed = value in action.choices
    else:
        typed = isinstance(value, str if action.type is None else str | int | float)
    if not typed:
        raise ValueError(f"{value} is no {action.dest}")
    return value if action.type is None or value is None else str(value)


def number(kind, least, most=None):
    """An argument type: a finite number of that kind, from `least` to `most` if there is one; a
    whole one has at most 31 bits, since what reckons with it may need a float.
    """
    limit = most or (2**31 - 1 if kind is int else sys.float_info.max)

    def parse(text):
        value = kind(text)
        if not least <= value <= limit:
            wanted = f"from {least} to {most}" if most else f"at least {least}"
            wanted = f"at most {limit}" if value > limit and not most else wanted
            raise argparse.ArgumentTypeError(f"must be {wanted}, got {text:.40}")
        return value

    parse.__name__ = kind.__name__
    return parse


def options(args, *names):
    """Those flags of `names` that were given a value, as keywords for what builds a model."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def run_training(
    args, model, batches, *, real, step, config=None, schedule=second_half, callbacks=()
):
    """Train a model as the flags of `Parser.training` ask, and write the samples they ask for.

    real: uint8 images (n, h, w) that --evaluate compares samples with; the rest: see `train`.
    """
    arguments = {k: v for k, v in vars(args).items() if k not in PASSING}
    if args.evaluate:
        judge = Judge(data.scale(real[:10_000]), model.device)
        points = model.noise(10_000, random.Generator(args.seed, JUDGED))

        def figures():
            found = judge(model.sample(len(points), points))
            return {name: found[name] for name in ("fid", "coverage")}

        callbacks = [Evaluate(figures, every=args.evaluate, best="fid"), *callbacks]
    if args.samples:
        save = lambda: save_samples(model, args.samples, args.out / "samples.npz")
        callbacks = [*callbacks, AtEnd(save)]
    train(
        model,
        batches,
        args.epochs,
        args.out,
        step=step,
        schedule=schedule,
        callbacks=callbacks,
        resume=args.resume,
        overwrite=args.overwrite,
        config={"precision": args.precision, **(config or {})},
        notes={"arguments": arguments},
        graph=not args.no_capture,
    )


def save_samples(model, n, path, labels=None):
    """Write n samples as an .npz: images, uint8 (n, h, w) or (n, h, w, 3), and, if the model knows
    classes, the labels they were made for, (n,), and the `names` of the classes, if they have any;
    returns the images.
    """
    if model.classes and labels is None:
        labels = np.arange(n) % model.classes
    noise = model.noise(n)  # all at once: the samples are those of one call
    pieces = []
    for i in range(0, n, PIECE):
        points = noise[i : i + PIECE]
        told = None if labels is None else labels[i : i + PIECE]
        made = model.sample(len(points), points, told)
        pieces.append(plot.to_uint8(device.to_host(made)))
    images = np.concatenate(pieces)
    arrays = {"images": images} if labels is None else {"images": images, "labels": labels}
    arrays |= {"names": np.array(model.names)} if model.names else {}
    with files.replacing(path) as temporary:
        np.savez_compressed(temporary, **arrays)
    say(f"{n} samples: {path}")
    return images


# what was wrong -> the flags that help
FLAGS = {
    RunExistsError: "--resume, --overwrite or another --out",
    files.LockedError: "another --out",
    TrainingError: "--lr",
    MemoryError: "a lower --batch-size, --width, --samples or --n",
}


def run(main):
    """Call `main` and exit: 2 with one line for a mistake in what was asked, 1 for a failed
    training, 128 and the signal's number where one stopped it: 130 for Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):  # a path may have letters that a terminal has not
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        result = main()
        _flush()
        sys.exit(result)
    except (CheckpointError, DataError, DeviceError, OSError) as e:
        error, code, message = e, 2, str(e)
    except TrainingError as e:
        error, code, message = e, 1, str(e)
    except MemoryError as e:  # CuPy's is one too
        error, code, message = e, 2, f"out of memory: {str(e).rstrip('.')}"
    except KeyboardInterrupt as e:
        error, code, message = e, 128 + getattr(e, "signal", 2), str(e) or "interrupted"
    flags = [f" ({words})" for kind, words in FLAGS.items() if isinstance(error, kind)]
    if isinstance(error, Interrupted) and "resume" in message:
        flags = [" (--resume)"]
    with contextlib.suppress(OSError, AttributeError):  # the terminal was closed, or never open
        sys.stderr.write(f"{Path(sys.argv[0]).name}: {message}{''.join(flags)}\n")
    sys.exit(code)


def _flush():
    """Let go of what was printed: a pipe that nobody reads any more fails no run that is done."""
    with contextlib.suppress(AttributeError, ValueError):  # no stdout, or a closed one
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
