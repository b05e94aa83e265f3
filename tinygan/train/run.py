"""A run and its folder: what it is made of, where it stands, and how it goes on from a checkpoint.

The checkpoint alone decides where a run stands; log and pictures follow it, and what is missing of
them is done again. config.json is for people: the same settings, the versions and the processor.
"""

import contextlib
import json
import operator
import platform
import re
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .. import __version__, checkpoint, files, models, random
from ..checkpoint import CheckpointError
from .settings import RATES, differing, flat, jsonable, resampled

LATEST, BEST, CONFIG = "checkpoint.npz", "best.npz", "config.json"
LOG, TABLE = "log.jsonl", "log.csv"
# what a run makes, in the order in which it is removed
MADE = (BEST, "samples.npz", "samples.gif", "losses.png", TABLE, LOG, CONFIG, LATEST)
CURVES, SYNCED = "tensorboard/*.tinygan", "wandb/*run-*-tinygan*"  # files; folders of trackers
PICTURES = "samples"
DRAWING = {"prefix": ".drawing-", "suffix": ".part"}  # a folder in which a picture is being drawn


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step, why, and the last checkpoint."""


class Interrupted(KeyboardInterrupt):
    """A signal asked training to stop, and it did after a whole step; `signal` is its number."""

    def __init__(self, run, number):
        saved = f"{run.out / LATEST} holds it: resume to go on" if run.out else "nothing is saved"
        super().__init__(f"stopped after step {run.step} of {run.total}; {saved}")
        self.signal = number


class RunExistsError(FileExistsError):
    """A folder holds a run already, and neither to resume nor to overwrite it was asked for; or it
    holds something else.
    """


class Run:
    """A training run: model, epochs, steps in an epoch and in total, the step it started from and
    where it is now, the records of all its steps, and its folder `out` or None.

    rates: (parameter group, its learning rate) of all optimizers, as they were before a checkpoint
    was loaded. settings: what a run must share with the one it resumes, but for how samples are
    made; changed: what it has otherwise than that one. best: the least of each figure for which
    best.npz was saved.
    """

    def __init__(self, model, batches, epochs, out, config=None, notes=None):
        self.model, self.epochs = model, _whole(epochs)
        if not (hasattr(batches, "rows") and hasattr(batches, "at")):
            raise TypeError(f"batches must be a data.Batches, got {type(batches).__name__}")
        self.steps = len(batches)
        self.total = self.epochs * self.steps
        self.step = self.start = 0
        self.records, self.best, self.changed = [], {}, {}
        optimizers = getattr(model, "optimizers", ())
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        self.rates = [(group, group["lr"]) for group in groups]
        self.lr = [rate for _, rate in self.rates]
        self.parts = model.parts() if hasattr(model, "parts") else {}
        self.recipe = getattr(model, "recipe", None)
        self.out = None if out is None else Path(out)
        self.batches, self.config = batches, config or {}
        if self.out:
            self.pictures, self.notes = self.out / PICTURES, jsonable("notes", notes or {})
            self.settings = self.shared()

    def shared(self):
        """What it must share with the run that it resumes."""
        data = self.batches.identity() if hasattr(self.batches, "identity") else {}
        made = {k: v for k, v in (self.recipe or {}).items() if k not in RATES}
        settings = {"model": made, "batches": data, "config": self.config}
        return jsonable("config", {"seed": random.default.seed} | settings)

    def facts(self):
        """{name: value}, what processes that train it together must share."""
        arrays = {
            f"{part}.{name}": f"{a.shape} {a.dtype}"
            for part, thing in self.parts.items()
            for name, a in thing.state_dict().items()
        }
        also = {"lr": self.lr, "epochs": self.epochs, "steps": self.steps}
        return flat(self.shared()) | also | arrays

    @contextlib.contextmanager
    def opened(self, resume, overwrite, ask):
        """Hold the folder, which no other run may meanwhile; refuses a wrong resume or overwrite,
        and what `ask()` refuses, before anything is changed.
        """
        if resume and overwrite or (resume or overwrite) and not self.out:
            raise ValueError("train: resume or overwrite, one of them, is of a folder: give out")
        if not self.out:
            yield
            return
        check_folder(self.out, resume, overwrite)
        self.pictures.mkdir(parents=True, exist_ok=True)
        with files.locked(self.out):
            meta = check_folder(self.out, resume, overwrite)  # a run may have ended here meanwhile
            ask()
            checkpoint.in_words(self.out / LATEST, self.meta())  # or all would be lost at its end
            for folder in (self.out, self.pictures):
                files.sweep(folder)  # what a run that was killed left half-written
            for folder in self.pictures.glob("*".join(DRAWING.values())):
                shutil.rmtree(folder, ignore_errors=True)
            if resume:
                self.resume(meta)
            else:
                for path in [*self.drawn(), *self.out.glob(CURVES), *map(self.out.joinpath, MADE)]:
                    path.unlink(missing_ok=True)
                for path in self.out.glob(SYNCED):
                    shutil.rmtree(path)
            self.describe(meta)
            yield

    def resume(self, meta):
        """Go to where the latest checkpoint stands; CheckpointError, and no change, if it is not of
        this run.
        """
        path = self.out / LATEST
        was, now = meta.get("config", {}), self.settings
        if meta["version"] == 1:  # they named their settings otherwise
            now = {"seed": now["seed"]}
            was = now | {k: v for k, v in was.items() if k in now}
        if words := differing(was, now, self.model):
            raise CheckpointError(f"{path}: was made by another run: {words}")
        if not self.parts:
            raise CheckpointError(f"{path}: holds nothing of a model that has no parts()")
        if meta["step"] > self.total:
            raise CheckpointError(
                f"{path}: is at step {meta['step']} already, and {self.epochs} epochs have "
                f"{self.total}; train for more epochs"
            )
        checkpoint.load(path, self.parts)
        self.start = self.step = meta["step"]
        self.records, self.best = self.history(), dict(meta.get("best", {}))
        new = {"epochs": self.epochs, "lr": self.lr}
        self.changed = {k: v for k, v in new.items() if meta.get(k, v) != v}
        self.changed |= resampled(was, now, self.model)
        if self.changed:
            self.records.append({"step": self.start, "event": "resumed", **self.changed})

    def history(self):
        """The records of the log up to the checkpoint, which it may be ahead of; no torn lines."""
        records, path = [], self.out / LOG
        for line in path.read_text(errors="replace").splitlines() if path.is_file() else []:
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                record = json.loads(line)
                if record["step"] <= self.start:
                    records.append(record)
        return records

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
        try:
            checkpoint.save(self.out / name, self.parts, self.meta())
        except CheckpointError as error:  # the training went wrong, not the file
            raise TrainingError(f"step {self.step}: {error}") from None

    def meta(self):
        """What a checkpoint says beside its numbers."""
        meta = {"step": self.step, "epoch": self.step // self.steps, "epochs": self.epochs}
        meta |= {"seed": random.default.seed, "lr": self.lr, "best": self.best}
        return meta | {"model": self.recipe, "config": self.settings, "notes": self.notes}

    def drawn(self):
        """What the model drew of itself, epoch by epoch."""
        found = [(drawn_in(path), path) for path in self.pictures.glob("epoch-*.*")]
        return [path for epoch, path in sorted(found, key=lambda pair: pair[0]) if epoch]

    def last(self):
        """Where the last good checkpoint of this run is, in words."""
        if not self.out or not (self.out / LATEST).exists():
            return "there is no checkpoint"
        return f"the last good checkpoint is {self.out / LATEST}"


def check_folder(out, resume, overwrite):
    """The meta data of the checkpoint to resume, or None; an error if the folder is not for such a
    run. What no run of ours has made is never replaced.
    """
    found = [out / name for name in MADE if (out / name).exists()]
    drawn = [path for path in (out / PICTURES).glob("epoch-*.*") if drawn_in(path)]
    if other := [path for path in found if not path.is_file()]:
        raise RunExistsError(f"{other[0]}: is no file; take another folder")
    ours = (out / LATEST).exists() or "versions" in _read(out / CONFIG)
    if (found or drawn) and not ours:
        raise RunExistsError(
            f"{(found + drawn)[0]}: belongs to no run of ours; take another folder"
        )
    if resume:
        return checkpoint.read_meta(out / LATEST)
    # before the first checkpoint there is nothing to lose
    if not overwrite and (drawn or {path.name for path in found} - {CONFIG, LOG, TABLE}):
        raise RunExistsError(
            f"{out}: holds a run already: resume=True goes on with it, overwrite=True begins anew, "
            "another out leaves it alone"
        )
    return None


def drawn_in(path):
    """The epoch of which a file in samples/ is, 0 if of none."""
    match = re.fullmatch(r"epoch-([0-9]{3,18})\.[^.]+", path.name)
    return int(match[1]) if match else 0


def _whole(epochs):
    try:
        epochs = 0 if isinstance(epochs, bool) else operator.index(epochs)  # NumPy's too
    except TypeError:
        epochs = 0
    if epochs < 1:
        raise ValueError("train: epochs must be a whole number of at least 1")
    return epochs


def _read(config):
    """What config.json says; one that is torn says nothing."""
    try:
        found = json.loads(config.read_text(errors="replace")) if config.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def load(run, device="cpu"):
    """The model of a trained run, rebuilt from its checkpoint: a run's folder, or one of its .npz
    files.

    CheckpointError if there is none, or if its model was not built by `tinygan.models`: make that
    one yourself and fill it by `checkpoint.load(path, model.parts())`.
    """
    path = Path(run)
    path = path / LATEST if path.is_dir() else path
    meta = checkpoint.read_meta(path)
    recipe, rates = meta.get("model"), meta.get("lr")
    if not recipe:
        raise CheckpointError(
            f"{path}: does not say how its model is made, only those of tinygan.models do: make "
            "the model, then checkpoint.load(path, model.parts())"
        )
    try:
        # no larger than its file can be: what anybody wrote there costs no memory
        model = models.build(recipe, device, most=path.stat().st_size)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its model cannot be made: {error}") from None
    checkpoint.load(path, model.parts())
    groups = [group for optimizer in model.optimizers for group in optimizer.param_groups]
    for group, rate in zip(groups, rates if isinstance(rates, list) else []):
        group["lr"] = rate  # as training began, and not what a schedule made of it
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
