"""What happens beside the steps, one small class a purpose. A callback is told of a run and knows
no model but through it.

A run calls `check` and then `begin` once; `before(progress)` ahead of each step; `records` with
those of the steps made since the last call; `epoch` where an epoch ended with the last of them;
`end` once, whatever happened. Each of these reaches one callback after the other, records and epoch
together, so what one adds to a record (`Evaluate`) is written by a later one (`Log`). To write your
own, derive from `Callback` and define what you need; the run is `self.run`.
"""

import contextlib
import importlib.util
import json
import math
import os
import sys
import time

from .. import files
from .run import BEST, LOG, Interrupted


class Callback:
    """Does nothing at every occasion. `run` is the run; set `stop` to the reason to end it here."""

    run = stop = None

    def check(self, callbacks):
        """Raise what speaks against a run with these callbacks, itself among them: nothing of the
        run's folder, or of what was in it, has been changed yet.
        """

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
    held-out loss, a `metrics.Judge`. best: the name of one; best.npz is the checkpoint of its
    least.
    """

    def __init__(self, figures, *, every=1, best=None):
        self.figures, self.every, self.best = figures, whole("Evaluate: every", every), best

    def begin(self):
        if self.best and not self.run.out:
            raise ValueError("Evaluate: best is kept in the run's folder: give train one")

    def epoch(self, record):
        if record["epoch"] % self.every and record["epoch"] != self.run.epochs:
            return
        new = {name: float(value) for name, value in self.figures().items()}
        if taken := new.keys() & record.keys():
            raise ValueError(f"Evaluate: the record has {', '.join(taken)} already")
        if self.best and new[self.best] < self.run.best.get(self.best, math.inf):
            self.run.best[self.best] = new[self.best]
            self.run.save(BEST)
        record |= new


class EarlyStop(Callback):
    """Ends the run once the figure `name` has not fallen for `patience` epochs that had it."""

    def __init__(self, name="held_out_loss", *, patience=5):
        self.name, self.patience = name, positive("EarlyStop: patience", patience)

    def begin(self):
        self.epoch(None)  # a run that was stopped does not go on

    def epoch(self, record):
        ends = [r for r in self.run.records if r["step"] % self.run.steps == 0 and self.name in r]
        values = [r[self.name] for r in ends if finite(r[self.name])]
        since = len(values) - 1 - values.index(min(values)) if values else 0
        if since >= self.patience:
            self.stop = f"{self.name} has not fallen below {min(values):.4g} for {since} epochs"

    def end(self, error):
        if error is None and not any(self.name in r for r in self.run.records):
            raise ValueError(f"EarlyStop: no record has {self.name!r}: let an Evaluate give it")
        if self.stop:
            say(f"stopped: {self.stop}")


class Bar(Callback):
    """A progress bar, on a terminal or in a notebook; elsewhere nothing, see `Lines`."""

    def begin(self):
        run = self.run
        options = {"unit": "step", "dynamic_ncols": True, "disable": not live()}
        # what a notebook's cell writes to stderr is shown in red, and all of it is kept
        options |= {"file": sys.stdout, "mininterval": 1} if notebook() else {"file": sys.stderr}
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
        if not live():
            left = seconds / (run.step - run.start) * (run.total - run.step)
            words = f"{in_words(record)}  {seconds:.0f} s, {left:.0f} s left"
            say(f"epoch {epoch}/{run.epochs}  {words}")
        elif figures := {k: v for k, v in record.items() if k not in run.records[0]}:
            with contextlib.suppress(OSError):
                tqdm().write(f"epoch {epoch}: {in_words(figures)}")


def live():
    """Whether somebody watches: a terminal, or a notebook."""
    return sys.stderr is not None and (sys.stderr.isatty() or notebook())


def notebook():
    """Whether this is the kernel of a notebook."""
    return "ipykernel" in sys.modules


def say(words):
    """Print, if somebody listens: a pipe or a terminal that was closed costs no run, and what its
    encoding lacks is escaped.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    with contextlib.suppress(OSError, ValueError):
        print(words.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def tqdm():
    """The progress bar's class, loaded when there is one to be shown: a widget, or text, also in a
    notebook without ipywidgets, of which `tqdm.auto` would warn.
    """
    widgets = notebook() and importlib.util.find_spec("ipywidgets")
    return importlib.import_module("tqdm.notebook" if widgets else "tqdm").tqdm


class Log(Callback):
    """Each record as a line of JSON in log.jsonl, those of a resumed run after what it had; a
    figure that is no finite number is null.
    """

    def begin(self):
        self.path = self.run.out / LOG
        with files.replacing(self.path) as temporary, open(temporary, "w") as file:
            file.writelines(map(as_line, self.run.records))
        self.file = open(self.path, "a", buffering=1)

    def records(self, records):
        try:
            self.file.writelines(map(as_line, records))
        except OSError as error:  # a full disk: say which
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def epoch(self, record):
        os.fsync(self.file.fileno())  # the checkpoint that follows is never ahead of the log

    def end(self, error):
        with contextlib.suppress(OSError):
            os.fsync(self.file.fileno())
            self.file.close()


def as_line(record):
    """A record as JSON, which has no NaN."""
    lost = {k: None for k, v in record.items() if isinstance(v, float) and not finite(v)}
    return json.dumps(record | lost) + "\n"


def finite(value):
    """Whether it is a number, and a finite one."""
    return isinstance(value, int | float) and math.isfinite(value)


class Checkpoint(Callback):
    """checkpoint.npz after each epoch, after each number of steps or minutes if given, and where a
    signal stopped the run.
    """

    def __init__(self, *, steps=None, minutes=None):
        self.steps = positive("Checkpoint: steps", math.inf if steps is None else steps)
        self.minutes = positive("Checkpoint: minutes", math.inf if minutes is None else minutes)

    def begin(self):
        # what a run that goes on has changed is saved soon, if all its steps are done, too
        self.saved = -math.inf if self.run.changed else self.run.start
        self.clock = time.monotonic()

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


class AtEnd(Callback):
    """Calls do() at the end of a run that went well, while its folder is still held."""

    def __init__(self, do):
        self.do = do

    def end(self, error):
        if error is None:
            self.do()


def positive(name, value):
    """The value, if it is a number above 0."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise ValueError(f"{name} must be a number above 0, got {value!r}")
    return value


def whole(name, value):
    """The value, if it is a whole number above 0."""
    if positive(name, value) % 1:
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    return value


def in_words(record):
    """The losses and figures of a record, on one line."""
    place = ("step", "epoch", "seconds")
    return " ".join(f"{name} {value:.3f}" for name, value in record.items() if name not in place)
