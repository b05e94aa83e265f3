"""Callbacks that show a run in another program: TensorBoard, Weights & Biases, a spreadsheet.

What they write is made from the run's records and pictures. A run that goes on writes all of it
anew, as `Log` does, so that no step is there twice and none is missing, whenever it was killed.
This room knows neither models nor algorithms; packages are loaded when a tracker is made.
"""

import csv
import importlib
import json
import os
import shutil
import uuid
import warnings
import zlib
from pathlib import Path

import numpy as np

from .. import files
from .callbacks import Callback, finite, positive
from .run import CONFIG, CURVES, SYNCED, TABLE


class Tracker(Callback):
    """Base of those below. They define `open()`, `put(step, record)`, which is called each `every`
    steps and where an epoch ends, and what they need of `picture` and `close`. Once one of these
    has failed none is called any more: a run does not end for what shows it.
    """

    def begin(self):
        if not self.run.out:
            raise ValueError(f"{type(self).__name__}: writes into the run's folder: give train one")
        self.told, self.broken = 0, False
        self.open()
        self.records(())  # what a run that goes on has made

    def records(self, records):
        # not the latest: where an epoch ends, others add figures and a picture to it yet
        _tell(self, self.run.records[self.told : -1])

    def end(self, error):
        _tell(self, self.run.records[self.told :])
        _attempt(self, self.close)

    def picture(self, step, path):
        """The model drew itself, at the end of an epoch."""

    def close(self):
        """Nothing comes after this."""


def _tell(tracker, records):
    """Hand on what is to be written of these records; what is no finite number is left out."""
    tracker.told += len(records)
    run = tracker.run
    for record in records:
        step = record["step"]
        epoch, inside = divmod(step, run.steps)
        if "event" not in record and not (inside and step % tracker.every):
            _attempt(tracker, tracker.put, step, {k: v for k, v in record.items() if finite(v)})
            path = run.pictures / f"epoch-{epoch:03}.png"
            if not inside and path.is_file():
                _attempt(tracker, tracker.picture, step, path)


def _attempt(tracker, do, *args):
    """do(*args), unless something has failed before."""
    if tracker.broken:
        return
    try:
        do(*args)
    except Exception as error:
        tracker.broken = True
        words = f"{type(tracker).__name__}: {error}; the run goes on without it"
        warnings.warn(f"tinygan: {words}", stacklevel=2)


class TensorBoard(Tracker):
    """Event files for TensorBoard: losses and figures, the pictures of the epochs, and config.json
    as text. folder: one that many runs may share, since each has its own in it, "NAME-1a2b3c4d"
    after its `out`; out/tensorboard unless it is given.
    """

    def __init__(self, folder=None, *, every=10):
        self.folder, self.every = folder, positive("TensorBoard: every", every)
        self.library = package("tensorboardX", "tinygan[track]")

    def place(self):
        if not self.folder:
            return self.run.out / "tensorboard"
        out = self.run.out.resolve()  # runs of one name are apart by where they are
        return Path(self.folder, f"{out.name}-{zlib.crc32(os.fsencode(out)):08x}")

    def open(self):
        for path in self.place().glob(Path(CURVES).name):  # of an earlier part of this run
            path.unlink()
        # a program that shows the run already is told to forget what it has read
        options = {"purge_step": 0, "filename_suffix": Path(CURVES).suffix}
        self.writer = self.library.SummaryWriter(str(self.place()), flush_secs=10, **options)
        self.writer.add_text("config", f"```\n{(self.run.out / CONFIG).read_text()}\n```", 0)

    def put(self, step, record):
        for name in [name for name in record if name not in PLACE]:
            self.writer.add_scalar(name, record[name], step)

    def picture(self, step, path):
        self.writer.add_image("samples", pixels(path), step, dataformats="HWC")

    def close(self):
        self.writer.close()


class WandB(Tracker):
    """A run of Weights & Biases, in out/wandb. mode: "offline" never meets the network, and `wandb
    sync` is for later; "online" does. options: of `wandb.init`, such as project and name.
    """

    def __init__(self, *, mode="offline", every=10, **options):
        self.options, self.every = {"mode": mode} | options, positive("WandB: every", every)
        if mode == "offline":  # nor are its own crashes reported
            os.environ["WANDB_ERROR_REPORTING"] = "false"
        self.library = package("wandb", "wandb")

    def open(self):
        out = self.run.out
        quiet = {"console": "off", "silent": True, "x_disable_stats": True, "disable_git": True}
        options = {"project": "tinygan", "id": _renewed(out), "dir": str(out), "settings": quiet}
        options["resume"] = None if self.options["mode"] == "offline" else "allow"
        options["config"] = json.loads((out / CONFIG).read_text())
        self.writer = self.library.init(**options | self.options)

    def put(self, step, record):
        if step >= self.writer.step:  # what a run online has seen is there
            self.writer.log(record, step=step)

    def picture(self, step, path):
        self.put(step, {"samples": self.library.Image(pixels(path))})

    def close(self):
        self.writer.finish()


def _renewed(out):
    """The name for a run's folder in out/wandb: a new one, or that of an earlier part of the run,
    which is removed where it was written offline, since all of it is written again.
    """
    name = f"tinygan{uuid.uuid4().hex[:12]}"
    for old in sorted(out.glob(SYNCED)):
        name = old.name.rpartition("-")[2]
        if old.name.startswith("offline"):
            shutil.rmtree(old)
    return name


class CSV(Tracker):
    """A table, log.csv in the run's folder: a column for each loss and figure, a row for each
    `every` steps; an empty cell is a figure that is not there, or no finite number.
    """

    def __init__(self, *, every=1):
        self.every = positive("CSV: every", every)

    def open(self):
        self.path = self.run.out / TABLE
        self.columns, self.file = {}, None

    def put(self, step, record):
        if record.keys() - self.columns.keys():
            rows = [*csv.DictReader(self.path.open(newline=""))] if self.columns else []
            self.close()
            self.columns |= dict.fromkeys(record)
            with files.replacing(self.path) as temporary:
                _write(temporary, self.columns, rows)
            self.file = open(self.path, "a", newline="", buffering=1)
        csv.DictWriter(self.file, self.columns).writerow(record)

    def close(self):
        if self.file:
            self.file.close()


def _write(path, columns, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


TRACKERS = {"tensorboard": TensorBoard, "wandb": WandB, "csv": CSV}
PLACE = {"step", "epoch", "seconds"}  # of a record, where it stands


def pixels(path):
    """The picture in a file, (h, w, 3) uint8."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def package(name, install):
    """The package of that name; ModuleNotFoundError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ModuleNotFoundError(
            f'{name} cannot be imported ({error}): pip install "{install}"', name=name
        ) from error
