"""A run and its folder: what it is made of, where it stands, and how it goes on from a checkpoint.

The checkpoint alone decides where a run stands; log and pictures follow it, and what is missing of
them is done again. config.json is for people: the same settings, the versions and the processor.
"""

import contextlib
import json
import operator
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .. import __version__, checkpoint, files, models, random
from ..checkpoint import CheckpointError

PICTURES, LATEST, CONFIG = "samples", "checkpoint.npz", "config.json"
PART = ".drawing"  # the end of the name of a folder in which a picture is being drawn


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step, why, and where the last checkpoint
    is.
    """


class Interrupted(KeyboardInterrupt):
    """A signal asked training to stop, and it did after a whole step; `signal` is its number."""

    def __init__(self, run, number):
        saved = f"{run.out / LATEST} holds it: resume to go on" if run.out else "nothing is saved"
        super().__init__(f"stopped after step {run.step} of {run.total}; {saved}")
        self.signal = number


class RunExistsError(FileExistsError):
    """A folder holds a run already, and neither to resume nor to overwrite it was asked for."""


class Run:
    """A training run: model, epochs, steps in an epoch and in total, the step it started from and
    where it is now, the records of all its steps, and its folder `out` or None.

    rates: (parameter group, its learning rate) of all optimizers, as they were before a checkpoint
    was loaded. settings: what a run must share with the one it resumes.
    """

    def __init__(self, model, batches, epochs, out, config=None, notes=None):
        try:
            epochs = 0 if isinstance(epochs, bool) else operator.index(epochs)  # NumPy's too
        except TypeError:
            epochs = 0
        if epochs < 1:
            raise ValueError("train: epochs must be a whole number of at least 1")
        self.model, self.epochs, self.steps = model, epochs, len(batches)
        self.total = epochs * self.steps
        self.step = self.start = 0
        self.records = []
        self.out, self.notes = out and Path(out), notes or {}
        optimizers = getattr(model, "optimizers", ())
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        self.rates = [(group, group["lr"]) for group in groups]
        self.lr = [rate for _, rate in self.rates]
        self.parts = model.parts() if hasattr(model, "parts") else {}
        self.recipe = getattr(model, "recipe", None)
        self.settings = {"seed": random.default.seed}
        if self.out:
            recipe = {k: v for k, v in (self.recipe or {}).items() if k != "lr"}
            data = batches.identity() if hasattr(batches, "identity") else {}
            self.settings = json.loads(json.dumps(self.settings | recipe | data | (config or {})))
            self.pictures, self.log = self.out / PICTURES, self.out / "log.jsonl"

    @contextlib.contextmanager
    def opened(self, resume, overwrite):
        """Hold the folder, which no other run may meanwhile; refuses a wrong resume or overwrite
        before anything is changed.
        """
        if not self.out:
            if resume or overwrite:
                raise ValueError("train: resume and overwrite are of a folder: give out")
            yield self
            return
        check_folder(self.out, resume, overwrite)
        self.pictures.mkdir(parents=True, exist_ok=True)
        with files.locked(self.out):
            # again: a run may have ended here meanwhile
            meta = check_folder(self.out, resume, overwrite)
            self.sweep()
            if resume:
                self.resume(meta)
            else:
                self.clear()
            self.describe(meta)
            yield self

    def resume(self, meta):
        """Go to where the latest checkpoint stands; CheckpointError, and no change, if it is not of
        this run.
        """
        path = self.out / LATEST
        was, now = meta.get("config", {}), self.settings
        if meta.get("version", 1) == 1:  # they named their settings otherwise
            was = {k: was[k] for k in ("seed",) if k in was}
            now = {k: now[k] for k in was}
        if differ := [k for k in was | now if was.get(k) != now.get(k)]:
            words = "; ".join(f"{k} was {was.get(k)}, is {now.get(k)}" for k in differ)
            raise CheckpointError(f"{path}: was made by another run: {words}")
        if meta["step"] > self.total:
            raise CheckpointError(
                f"{path}: is at step {meta['step']} already, and {self.epochs} epochs have "
                f"{self.total}; train for more epochs"
            )
        checkpoint.load(path, self.parts)
        self.start = self.step = meta["step"]
        self.records = self.history()
        changed = {k: meta.get(k) for k in ("epochs", "lr") if k in meta}
        new = {"epochs": self.epochs, "lr": self.lr}
        if changed := {k: new[k] for k, v in changed.items() if v != new[k]}:
            self.records.append({"step": self.start, "event": "resumed", **changed})

    def history(self):
        """The records of the log up to the checkpoint, which it may be ahead of; no torn lines."""
        records = []
        with contextlib.suppress(FileNotFoundError):
            for line in self.log.read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                    record = json.loads(line)
                    if record["step"] <= self.start:
                        records.append(record)
        return records

    def sweep(self):
        """Remove what a run that was killed left half-written."""
        for folder in (self.out, self.pictures):
            files.sweep(folder)
        for folder in self.pictures.glob(f"*{PART}"):
            shutil.rmtree(folder, ignore_errors=True)

    def clear(self):
        """Remove what another run left here."""
        names = [LATEST, "best.npz", CONFIG, "log.jsonl"]
        names += ["samples.npz", "samples.gif", "losses.png"]
        for path in [*(self.out / name for name in names), *self.drawn()]:
            path.unlink(missing_ok=True)

    def describe(self, meta):
        """Write config.json; meta: that of the checkpoint to go on from, or None."""
        path, resumed = self.out / CONFIG, []
        if meta:
            before = _read(path).get("resumed")
            resumed += before if isinstance(before, list) else []
            resumed.append({name: meta.get(name) for name in ("step", "epochs", "lr")})
        contents = {"model": self.recipe, "epochs": self.epochs, "lr": self.lr}
        contents |= {"settings": self.settings, "versions": versions(), "resumed": resumed}
        with files.replacing(path) as temporary:
            temporary.write_text(json.dumps(contents | self.notes, indent=2) + "\n")

    def save(self, name=LATEST):
        """Save a checkpoint into the folder; TrainingError if a number in it is not finite."""
        meta = {"step": self.step, "epoch": self.step // self.steps, "epochs": self.epochs}
        meta |= {"seed": random.default.seed, "lr": self.lr}
        meta |= {"model": self.recipe, "config": self.settings}
        try:
            checkpoint.save(self.out / name, self.parts, meta)
        except CheckpointError as error:  # the training went wrong, not the file
            raise TrainingError(f"step {self.step}: {error}") from None

    def drawn(self):
        """What the model drew of itself, epoch by epoch."""
        numbered = lambda path: path.stem.removeprefix("epoch-")
        found = [p for p in self.pictures.glob("epoch-*.*") if numbered(p).isdigit()]
        return sorted(found, key=lambda path: int(numbered(path)))

    def last(self):
        """Where the last good checkpoint of this run is, in words."""
        if not self.out or not (self.out / LATEST).exists():
            return "there is no checkpoint"
        return f"the last good checkpoint is {self.out / LATEST}"


def check_folder(out, resume, overwrite):
    """The meta data of the checkpoint to resume, or None; an error if the folder is not for such a
    run.
    """
    made = [name for name in (LATEST, "best.npz", "samples.npz") if (out / name).exists()]
    config = out / CONFIG
    if config.exists() and not made and "versions" not in _read(config):
        raise RunExistsError(f"{config}: belongs to no run of ours; take another folder")
    if resume:
        return checkpoint.read_meta(out / LATEST)
    if made and not overwrite:
        raise RunExistsError(
            f"{out}: holds a run already ({made[0]}): resume=True goes on with it, "
            "overwrite=True begins anew, another out leaves it alone"
        )
    return None


def _read(config):
    """What config.json says; a torn one says nothing, since the checkpoint decides."""
    try:
        found = json.loads(config.read_text(errors="replace"))
    except (OSError, ValueError, RecursionError):
        return {"versions": None}
    return found if isinstance(found, dict) else {}


def load(run, device="cpu"):
    """The model of a trained run, rebuilt from its checkpoint: a run's folder, or one of its .npz
    files.

    CheckpointError if there is none, or if its model was not built by `tinygan.models`: make that
    one yourself and fill it by `checkpoint.load(path, model.parts())`.
    """
    path = Path(run)
    path = path / LATEST if path.is_dir() else path
    recipe = checkpoint.read_meta(path).get("model")
    if not recipe:
        raise CheckpointError(
            f"{path}: does not say how its model is made, only those of tinygan.models do: make "
            "the model, then checkpoint.load(path, model.parts())"
        )
    try:
        model = models.build(recipe, device)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its model cannot be made: {error}") from None
    checkpoint.load(path, model.parts())
    return model


def versions():
    """What a run was made with, by name; a package that is missing is left out."""
    found = {"tinygan": __version__, "python": platform.python_version()}
    found |= {"platform": platform.platform(), "processor": processor()}
    for name in ("numpy", "numba", "cupy-cuda12x", "cupy-cuda13x"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def processor():
    """The processor's name, as the system gives it."""
    with contextlib.suppress(OSError, StopIteration):
        with open("/proc/cpuinfo") as file:
            line = next(line for line in file if line.startswith("model name"))
        return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
