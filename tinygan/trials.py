"""A trial of a search: settings as flags of a script, the process that runs it, and what its log
says meanwhile. This file knows flags and logs, and no model; Optuna is handed to it.
"""

import ctypes
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time

from .data import DataError
from .train.run import LOG

FORMS = "NAME=LOW:HIGH, NAME=LOW:HIGH:log, NAME=LOW:HIGH:STEP, NAME=A,B,... or, a switch, NAME"
OUTPUT = "output.txt"  # of the script, in the trial's folder
PATIENCE = 60.0  # seconds that a process has for its end when it is asked to stop
EXACT = 2**53  # up to here a float64, as which Optuna keeps a setting, holds each whole number
TIED = 1  # Linux's PR_SET_PDEATHSIG: the signal to a process whose parent ends


def space(optuna, text):
    """The name and the Optuna distribution that such as "lr=1e-5:1e-2:log" stands for; DataError
    for what stands for none.
    """
    name, equals, values = text.partition("=")
    kinds, wrong = optuna.distributions, DataError(f"--vary {text}: is none of {FORMS}")
    if not re.fullmatch(r"[A-Za-z][\w-]*", name) or equals and not values:
        raise wrong
    if name in ("out", "resume", "overwrite"):
        raise DataError(f"--vary {text}: each trial is a new run in a folder of its own")
    if not equals:
        return name, kinds.CategoricalDistribution((False, True))
    if "," in values or ":" not in values:
        choices = values.split(",")
        if len({*choices}) < max(2, len(choices)) or "" in choices:
            raise wrong
        return name, kinds.CategoricalDistribution(choices)
    low, high, *how = values.split(":")
    try:
        low, high = _number(low), _number(high)
        step = 1 if how in ([], ["log"]) else int(*how)
    except (TypeError, ValueError):
        raise wrong from None
    log, whole = how == ["log"], isinstance(low, int) and isinstance(high, int)
    if whole and step > 0:
        high -= (high - low) % step  # which Optuna would do, with a warning
    if not low < high or log and low <= 0 or how and not log and (step < 1 or not whole):
        rule = (
            "LOW is below HIGH, and for log above 0; a STEP is of whole numbers, from 1 to HIGH-LOW"
        )
        raise DataError(f"--vary {text}: {rule}")
    if whole:
        return name, kinds.IntDistribution(low, high, log=log, step=step)
    return name, kinds.FloatDistribution(low, high, log=log)


def _number(text):
    """A whole number, or a finite one, neither of them huge; ValueError for other words."""
    try:
        value, most = int(text), EXACT
    except ValueError:
        value, most = float(text), sys.float_info.max / 2  # so that a HIGH-LOW is finite too
    if not abs(value) <= most:
        raise ValueError(text)
    return value


def start(spaces, texts):
    """{name: value} of such as "lr=0.01"; DataError for what is outside the spaces."""
    chosen = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if name not in spaces:
            raise DataError(f"--start {text}: {name} does not vary; give --vary {name}=...")
        kind = spaces[name]
        if hasattr(kind, "choices"):
            value = value if equals else True
            inside = value in kind.choices
        else:
            try:
                value = _number(value)
            except ValueError:
                value = math.nan
            inside = kind.low <= value <= kind.high
            if isinstance(kind.low, int):  # a whole number, on one of the steps
                inside = inside and not (value - kind.low) % kind.step
        if not inside:
            raise DataError(f"--start {text}: is not among what --vary {name} allows")
        chosen[name] = value
    return chosen


def words(params):
    """Settings as flags, each of one word: a value may begin with a minus."""
    flags = []
    for name, value in params.items():
        if isinstance(value, bool):
            flags += [f"--{name}"] if value else []
        else:
            flags.append(f"--{name}={short(value)}")
    return flags


def short(value):
    """A setting as it is typed: a float has six digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class Trial:
    """A trial of Optuna's and the process that runs it. It reports `name`, of the records in the
    log of its run: the figure of an epoch is the mean of what its records say, after the last of
    them that says no finite number; NaN if none is after it. values: {epoch: what they say}.
    """

    def __init__(self, trial, name, folder, command, cores):
        self.trial, self.name, self.folder = trial, name, folder
        self.values, self.told = {}, set()
        self.epoch = self.read = 0  # the epoch and the byte that the log has come to
        shutil.rmtree(folder, ignore_errors=True)  # of a trial that was killed
        folder.mkdir()
        options = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
        # a Ctrl-C is for the search, which stops its trials
        options |= {"start_new_session": True, "preexec_fn": _tied(cores)}
        self.clock = time.monotonic()
        with open(folder / OUTPUT, "wb") as file:
            flags = [*words(trial.params), f"--out={folder}"]
            self.process = subprocess.Popen([*command, *flags], stdout=file, **options)

    def follow(self, ended):
        """Report the figures of the epochs that are over; whether there were any."""
        if ended:  # the whole log anew: the script may have begun it anew
            self.values, self.epoch, self.read = {}, 0, 0
        for record in self.records():
            self.epoch = int(record.get("epoch", self.epoch))
            if self.name in record:
                values = self.values.setdefault(self.epoch, [])
                value = record[self.name]
                values.append(value) if _within(value, -math.inf) else values.clear()
        new = [e for e in self.values if e not in self.told and (ended or e < self.epoch)]
        new = [epoch for epoch in new if math.isfinite(self.figure(epoch))]
        for epoch in new:
            self.trial.report(self.figure(epoch), epoch)
        self.told.update(new)
        return bool(new)

    def records(self):
        """The records that the log has got since the last call, in whole lines; what is no record,
        or of no epoch, is left out.
        """
        try:
            with open(self.folder / LOG, "rb") as file:
                file.seek(self.read)
                text = file.read()
        except FileNotFoundError:  # not yet
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self.read += len(whole)
        records = map(_parsed, whole.splitlines())
        return [
            r for r in records if isinstance(r, dict) and _within(r.get("epoch", 0.0), 0, EXACT)
        ]

    def figure(self, epoch=None):
        """The figure of that epoch, or of the last one; NaN if it has none."""
        values = self.values.get(max(self.values, default=0) if epoch is None else epoch)
        return sum(values) / len(values) if values else math.nan

    def stop(self):
        """End the process as a scheduler would: a run finishes its step and saves."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def complaint(self):
        """What a process that failed said last, or what its log lacks; "" if all went well."""
        if not self.process.returncode:
            if not self.values:
                words = (
                    f"no record has {self.name} (--figure; fid needs --evaluate 1 behind the --)"
                )
                return f"{LOG}: {words}"
            lost = f"{LOG}: {self.name} is no finite number in the last epoch"
            return "" if math.isfinite(self.figure()) else lost
        said = (self.folder / OUTPUT).read_text(errors="replace").split("\n")
        said = [line.strip() for line in said if line.strip()]
        return said[-1] if said else f"ended with code {self.process.returncode}"


def _parsed(line):
    """A line of JSON, its numbers as floats; None for other words."""
    try:
        return json.loads(line, parse_int=float)
    except (ValueError, RecursionError):
        return None


def _within(value, low, high=math.inf):
    """Whether it is a number that was parsed, from low to high, and finite."""
    return isinstance(value, float) and math.isfinite(value) and low <= value <= high


def share(slot, jobs):
    """Those of the cores of this process that the trial in a slot has, of so many at a time."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    first, last = slot * len(cores) // jobs, (slot + 1) * len(cores) // jobs
    return cores[first:last] or [cores[first]]


def _tied(cores):
    """What a trial's process does first, on Linux: keep to its cores, and end with the search, even
    one that is killed and can stop nothing.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)  # loaded here: a new process of a fork should do little

    def do():
        os.sched_setaffinity(0, cores)
        libc.prctl(TIED, signal.SIGKILL)

    return do
