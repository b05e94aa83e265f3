"""Callbacks that show a run in another program: TensorBoard, Weights & Biases, a spreadsheet.

What they write is made from the run's records and pictures. A run that goes on writes all of it
anew, as `Log` does, so that no step is there twice and none is missing, whenever it was killed.
This room knows neither models nor algorithms; packages are loaded when a tracker is made.
"""

import csv
import json
import os
import shutil
import tempfile
import uuid
import warnings
import zlib
from pathlib import Path

import numpy as np

from .. import files
from ..extras import package
from .callbacks import Callback, finite, whole
from .run import CONFIG, CURVES, SYNCED, TABLE


class Tracker(Callback):
    """Base of those below. They define `open()`, `put(step, record)`, which is called each `every`
    steps and where an epoch ends, and what they need of `picture` and `close`. Once one of these
    has failed none is called any more: a run does not end for what shows it.
    """

    where = None  # what it writes in the run's folder, if no other tracker of a run may

    def place(self):
        return self.where and self.run.out / self.where

    def check(self, callbacks):
        _refuse_shared(self.place(), callbacks)

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


def _refuse_shared(place, callbacks):
    """ValueError if more than one tracker among them writes there."""
    there = [other for other in callbacks if isinstance(other, Tracker) and other.place() == place]
    if place and len(there) > 1:
        raise ValueError(f"{type(there[1]).__name__}: another tracker of this run writes {place}")


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
        self.folder, self.every = folder, whole("TensorBoard: every", every)
        self.module = package("tensorboardX", "tinygan[track]")

    def place(self):
        return _own_folder(self.folder, self.run.out)

    def check(self, callbacks):
        super().check(callbacks)
        _refuse_unwritable(self.place())

    def open(self):
        for path in self.place().glob(Path(CURVES).name):  # of an earlier part of this run
            path.unlink()
        self.writer = self.module.SummaryWriter(str(self.place()), **EVENTS)
        self.writer.add_text("config", f"```\n{(self.run.out / CONFIG).read_text()}\n```", 0)
        self.close = self.writer.close

    def put(self, step, record):
        # by the names themselves: add_scalar makes one of "a b" and "a,b"
        found = [{"tag": k, "simple_value": v} for k, v in record.items() if k not in PLACE]
        self.writer.file_writer.add_summary(self.module.summary.Summary(value=found), step)

    def picture(self, step, path):
        self.writer.add_image("samples", pixels(path), step, dataformats="HWC")


# a program that shows the run already is told to forget what it has read
EVENTS = {"purge_step": 0, "flush_secs": 10, "filename_suffix": Path(CURVES).suffix}


def _own_folder(folder, out):
    """The folder in it that is one run's alone, called as the run's is, and by where that is; one
    in the run's, if none is given.
    """
    if not folder:
        return out / "tensorboard"
    out = out.resolve()
    return Path(folder, f"{out.name}-{zlib.crc32(os.fsencode(out)):08x}")


def _refuse_unwritable(folder):
    """OSError if no files can be made in it; it is there then."""
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


class WandB(Tracker):
    """A run of Weights & Biases, in out/wandb. mode: "offline" never meets the network, and `wandb
    sync` is for later; "online" does. options: of `wandb.init`, such as project and name.
    """

    where = "wandb"

    def __init__(self, *, mode="offline", every=10, **options):
        self.options, self.every = {"mode": mode} | options, whole("WandB: every", every)
        if mode == "offline":  # nor are its own crashes reported
            os.environ["WANDB_ERROR_REPORTING"] = "false"
        self.module = package("wandb", "wandb")

    def open(self):
        out = self.run.out
        quiet = {"console": "off", "silent": True, "x_disable_stats": True, "disable_git": True}
        options = {"project": "tinygan", "id": _renewed(out), "dir": str(out), "settings": quiet}
        options["resume"] = None if self.options["mode"] == "offline" else "allow"
        options["config"] = json.loads((out / CONFIG).read_text())
        self.writer = self.module.init(**options | self.options)
        self.close = self.writer.finish

    def put(self, step, record):
        if step >= self.writer.step:  # what a run online has seen is there
            self.writer.log(record, step=step)

    def picture(self, step, path):
        self.put(step, {"samples": self.module.Image(pixels(path))})


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

    where = TABLE

    def __init__(self, *, every=1):
        self.every = whole("CSV: every", every)

    def open(self):
        self.columns, self.file = {}, None

    def put(self, step, record):
        if record.keys() - self.columns.keys():
            rows = _read(self.place()) if self.columns else []
            self.close()
            self.columns |= dict.fromkeys(record)
            with files.replacing(self.place()) as temporary:
                _write(temporary, self.columns, rows)
            self.file = open(self.place(), "a", newline="", buffering=1)
        csv.DictWriter(self.file, self.columns).writerow(record)

    def close(self):
        if self.file:
            self.file.close()


def _read(path):
    with open(path, newline="") as file:
        return [*csv.DictReader(file)]


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
