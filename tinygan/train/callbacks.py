"""What happens beside the steps, one small class a purpose. A callback is told of a run and knows
no model but through it.

A run calls `begin()` once; `before(progress)` ahead of each step; `records` with those of the steps
made since the last call; `epoch` where an epoch ended with the last of them; `end` once, whatever
happened. Each of these reaches one callback after the other, records and epoch together, so what
one adds to a record (`Evaluate`) is written by a later one (`Log`). To write your own, derive from
`Callback` and define what you need; the run is `self.run`.
"""

import contextlib
import importlib
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from .. import device, files, ops, plot
from .run import PART, Interrupted


class Callback:
    """Does nothing at every occasion. `run` is the run; set `stop` to the reason to end it here."""

    run = stop = None

    def begin(self):
        """The run begins, or goes on: `self.run`, a `run.Run`."""

    def before(self, progress):
        """A step is about to be made; progress: 0 at the first, below 1 at the last."""

    def records(self, records):
        """These steps were made, and the model stands where the last one left it."""

    def epoch(self, record):
        """An epoch ended with this record; what is added to it is what later callbacks see."""

    def end(self, error):
        """The run is over; error: None, Interrupted if it was asked to stop, or what went wrong."""


class Schedule(Callback):
    """The learning rates, each times factor(progress); at the end they are what they were."""

    def __init__(self, factor):
        self.factor = factor

    def before(self, progress):
        for group, rate in self.run.rates:
            group["lr"] = rate * self.factor(progress)

    def end(self, error):
        for group, rate in self.run.rates:
            group["lr"] = rate


class Evaluate(Callback):
    """figures() -> {name: number}, asked after `every` epochs and at the end, into the log: a
    held-out loss, a `metrics.Judge`. best: the name of a figure; best.npz is the checkpoint of its
    least.
    """

    def __init__(self, figures, *, every=1, best=None):
        self.figures, self.every, self.best = figures, every, best

    def epoch(self, record):
        if record["epoch"] % self.every and record["epoch"] != self.run.epochs:
            return
        new = self.figures()
        if self.best:
            before = [r[self.best] for r in self.run.records if self.best in r]
            if new[self.best] < min(before, default=math.inf):
                self.run.save("best.npz")
        record |= new


class EarlyStop(Callback):
    """Ends the run once the figure `name` has not fallen for `patience` epochs that had one."""

    def __init__(self, name="held_out_loss", *, patience=5):
        self.name, self.patience = name, patience

    def epoch(self, record):
        values = [r[self.name] for r in self.run.records if self.name in r]
        if not values:
            raise ValueError(
                f"EarlyStop: no record has {self.name!r}, the last has {', '.join(record)}: "
                "put an Evaluate that gives it before this callback"
            )
        since = len(values) - 1 - values.index(min(values))
        if since >= self.patience:
            self.stop = f"{self.name} has not fallen below {min(values):.4g} for {since} epochs"

    def end(self, error):
        if self.stop:
            print(f"stopped: {self.stop}")


class Bar(Callback):
    """A progress bar, on a terminal or in a notebook; elsewhere nothing, see `Lines`."""

    def begin(self):
        run = self.run
        options = {"unit": "step", "dynamic_ncols": True, "disable": not live()}
        # compiling is what the first step does, for seconds, once on a machine
        self.bar = tqdm()(desc="compiling kernels", total=run.total, initial=run.start, **options)

    def records(self, records):
        words = f"epoch {records[-1]['epoch']}/{self.run.epochs}"
        with contextlib.suppress(OSError):  # the terminal was closed
            self.bar.set_description_str(words, refresh=False)
            self.bar.set_postfix_str(in_words(records[-1]), refresh=False)
            self.bar.update(len(records))

    def end(self, error):
        with contextlib.suppress(OSError):
            self.bar.close()


class Lines(Callback):
    """A line for each epoch, where no bar is seen; where one is, a line above it for the figures
    that only the end of an epoch has.
    """

    def begin(self):
        self.clock = time.perf_counter()

    def epoch(self, record):
        run, epoch, seconds = self.run, record["epoch"], time.perf_counter() - self.clock
        with contextlib.suppress(OSError):
            if not live():
                left = seconds / (run.step - run.start) * (run.total - run.step)
                words = f"{in_words(record)}  {seconds:.0f} s, {left:.0f} s left"
                print(f"epoch {epoch}/{run.epochs}  {words}", flush=True)
            elif figures := {k: v for k, v in record.items() if k not in run.records[0]}:
                tqdm().write(f"epoch {epoch}: {in_words(figures)}")


def live():
    """Whether somebody watches: a terminal, or a notebook."""
    return "ipykernel" in sys.modules or sys.stderr.isatty()


def tqdm():
    """The progress bar's class, loaded when there is one to be shown."""
    return importlib.import_module("tqdm.auto" if "ipykernel" in sys.modules else "tqdm").tqdm


class Log(Callback):
    """Each record as a line of JSON in log.jsonl, those of a resumed run after what it had."""

    def begin(self):
        run = self.run
        self.path = run.out / "log.jsonl"
        with files.replacing(self.path) as temporary, open(temporary, "w") as file:
            file.writelines(json.dumps(r) + "\n" for r in run.records)
        self.file = open(self.path, "a", buffering=1)

    def records(self, records):
        try:
            self.file.writelines(json.dumps(r) + "\n" for r in records)
        except OSError as error:  # a full disk: say which
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def epoch(self, record):
        os.fsync(self.file.fileno())  # the checkpoint that follows is never ahead of the log

    def end(self, error):
        with contextlib.suppress(OSError):
            os.fsync(self.file.fileno())
            self.file.close()


class Checkpoint(Callback):
    """checkpoint.npz after each epoch, after each number of steps or minutes if given, and where a
    signal stopped the run.
    """

    def __init__(self, *, steps=None, minutes=None):
        self.steps, self.minutes = steps or math.inf, minutes or math.inf

    def begin(self):
        self.saved, self.clock = self.run.start, time.monotonic()

    def records(self, records):
        late = time.monotonic() - self.clock >= 60 * self.minutes
        if late or self.run.step - self.saved >= self.steps:
            self.save()

    def epoch(self, record):
        self.save()

    def end(self, error):
        if error is None or isinstance(error, Interrupted):
            self.save()

    def save(self):
        if self.run.step != self.saved:
            self.run.save("checkpoint.npz")
            self.saved, self.clock = self.run.step, time.monotonic()


class Preview(Callback):
    """What the model draws of itself each `every` epochs, in samples/."""

    def __init__(self, *, every=1):
        self.every = every

    def begin(self):
        run = self.run
        epoch, inside = divmod(run.start, run.steps)
        if epoch and not inside and not list(run.pictures.glob(f"epoch-{epoch:03}.*")):
            self.draw(epoch)  # the run was cut between the checkpoint and its picture

    def epoch(self, record):
        if record["epoch"] % self.every == 0 or record["epoch"] == self.run.epochs:
            self.draw(record["epoch"])

    def draw(self, epoch):
        pictures = self.run.pictures
        with tempfile.TemporaryDirectory(suffix=PART, dir=pictures) as folder:
            drawn = preview(self.run.model, Path(folder) / f"epoch-{epoch:03}")
            if drawn is not None:
                with files.replacing(pictures / drawn.name) as temporary:
                    os.replace(drawn, temporary)


class Summary(Callback):
    """At the end of a run: its pictures as samples.gif, the losses as losses.png."""

    def end(self, error):
        if error is None:
            drawn, out = self.run.drawn(), self.run.out
            if frames := [path for path in drawn if path.suffix == ".png"]:
                plot.animate(frames, out / "samples.gif")
            plot.curves(self.run.records, out / "losses.png")
            if drawn:
                print(drawn[-1])


def preview(model, path):
    """What the model draws of itself, as `path` and a suffix: the file that was written, None if
    the model can show nothing. Without a `preview` of its own it is a grid of samples, if those are
    images.
    """
    if hasattr(model, "preview"):
        return Path(model.preview(path))
    if not hasattr(model, "sample"):
        return None
    images = np.asarray(device.to_host(ops.raw(model.sample(64))))
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        return None
    plot.grid(plot.to_uint8(images), path.with_suffix(".png"))
    return path.with_suffix(".png")


def in_words(record):
    """The losses and figures of a record, on one line."""
    place = ("step", "epoch", "seconds")
    return " ".join(f"{name} {value:.3f}" for name, value in record.items() if name not in place)
