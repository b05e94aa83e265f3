"""The training loop: steps, the records of what they lost, and a stop that loses nothing.

`loop` makes the steps and yields records; it writes nothing, and a `for` over it is a training of
your own. `train` is that `for`: it tells callbacks of the records, keeps the run in a folder if it
is given one, and stops after a whole step when it is asked to (Ctrl-C, a scheduler's SIGTERM, a
closed terminal). Neither knows an algorithm; see the room's docstring for what a model is.
"""

import contextlib
import math
import signal
import threading
import time

import numpy as np

from .. import device, ops, parallel, random
from ..capture import capture
from ..optim.schedules import second_half
from ..parallel import ParallelError
from .callbacks import Bar, Callback, Checkpoint, Lines, Log, Schedule, say
from .pictures import Preview, Summary
from .run import Interrupted, Run, TrainingError

ALONE = parallel.World()
READ = {"cpu": 1, "gpu": 50}  # the losses are read after so many steps: reading waits for a GPU


def loop(
    model, batches, epochs, *, step=None, start=0, prepare=(), halt=lambda: False, graph=True,
    world=ALONE,
):  # fmt: skip
    """Train for `epochs` passes over `batches`; yields a list of records whenever the losses have
    been read.

    A record is {"step", "epoch", each of the step's losses, "seconds" since the loop began}, and
    the model stands where the last one of a list is. step: `model.step` unless given. start: how
    many steps of them are done already. prepare: functions of the progress in [0, 1) that are
    called ahead of each step. halt: asked after each step; once it is true the loop ends, with all
    losses read. On a GPU a step is captured and replayed if `graph` (see `capture`), its batch
    included. world: the processes that train it together (see `parallel`); a batch is all of
    theirs, a loss the mean of theirs. A loss that is not finite raises TrainingError.
    """
    if not (hasattr(batches, "rows") and hasattr(batches, "at")):
        raise TypeError(f"batches must be a data.Batches, got {type(batches).__name__}")
    step, clock = step or model.step, time.perf_counter()
    step_on = lambda rows: step(batches.at(rows))
    step_on = capture(step_on) if graph else step_on
    steps, unread, source = len(batches), [], random.default
    if source.step != start:  # each step draws what belongs to its number
        source.seek(start)
    seed = source.seed
    for done in range(start, epochs * steps):
        epoch, i = divmod(done, steps)
        for call in prepare:
            call(done / (epochs * steps))
        with world.step():
            unread.append(_copied(step_on(world.rows(batches.rows(epoch, i), model))))
        source.next_step()
        read_every = READ[device.of(next(iter(unread[0].values()), np.empty(0)))]
        if len(unread) >= read_every or i + 1 == steps or world.any(halt()):
            yield _read(unread, done + 1, steps, time.perf_counter() - clock, world)
            unread.clear()
            # whatever was drawn or seeded meanwhile, by a preview say, is nothing to the next step
            source.draw = 0
            if (source.seed, source.step) != (seed, done + 1):
                source.manual_seed(seed).seek(done + 1)
            if world.any(halt()):
                return


def _copied(losses):
    """What a step gave, copied where it lies: a replayed step overwrites its results."""
    if not isinstance(losses, dict):
        raise TypeError(f"step must return {{name: loss}}, got {type(losses).__name__}")
    copies = {name: np.copy(ops.raw(value)) for name, value in losses.items()}
    for name, a in copies.items():
        if a.shape or a.dtype.kind not in "biuf":
            words = f"{name} of {a.shape} {a.dtype}"
            raise TypeError(f"step must return numbers, got {words}; its mean, say")
        if name in ("step", "epoch", "seconds", "event"):
            raise ValueError(f"step must not name a loss {name!r}: a record has that already")
    return copies


def _read(unread, done, steps, seconds, world):
    """The records of the latest steps, `done` by now, from their losses on the device."""
    values = [value for losses in unread for value in losses.values()]
    # one transfer
    numbers = iter(device.to_host(world.mean(np.stack(values))).tolist() if values else [])
    records = []
    for i, losses in enumerate(unread, done - len(unread)):
        losses = {name: next(numbers) for name in losses}
        if not all(map(math.isfinite, losses.values())):
            words = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            raise TrainingError(
                f"step {i + 1}: the loss is not finite ({words}); try a lower learning rate"
            )
        place = {"step": i + 1, "epoch": i // steps + 1}
        records.append({**place, **losses, "seconds": round(seconds, 3)})
    return records


def train(
    model,
    batches,
    epochs,
    out=None,
    *,
    step=None,
    schedule=second_half,
    callbacks=(),
    resume=False,
    overwrite=False,
    config=None,
    notes=None,
    graph=True,
    world=None,
):
    """Train for `epochs` passes over `batches`, with a progress bar; returns the records of all
    steps.

    out: a folder for the run, which gets config.json, log.jsonl, checkpoint.npz, samples/ (a grid
    of samples, or what the model's own `preview` draws, each epoch), samples.gif and losses.png;
    None: nothing is written. A folder that holds a run is refused (RunExistsError), unless `resume`
    goes on with it or `overwrite` begins anew. A resumed run ends with the very weights of one that
    was never interrupted. It must share with it the data, the batches, the seed, what the model is
    made of, and `config`, a dict (else CheckpointError), but may have other epochs, learning
    rates, and ways to make samples (a model's `how`). notes: a dict that config.json holds beside.

    step: `model.step` unless given. schedule: the factor of the learning rates by progress in [0,
    1). callbacks: see `Callback`; they come first, but one of a kind that every run has
    (Checkpoint, Preview) takes its place. On Ctrl-C, SIGTERM or SIGHUP the step is finished and
    saved, then Interrupted raised. TrainingError if a loss or a weight is not finite, or another
    run trains in this process.

    world: the processes that train together, those that mpirun started unless given, each of which
    calls this with the same arguments (see `parallel`). The first alone has a folder and callbacks,
    but for the schedule: what another callback does to the model the others do not hear of.
    """
    world = world or parallel.world(getattr(model, "device", "cpu"))
    run = Run(model, batches, epochs, None if world.rank else out, config, notes)
    told, begun = _callbacks(callbacks, Schedule(schedule), bool(run.out), world), []
    ask = lambda: _ask(told, run)
    opened = contextlib.nullcontext() if world.rank else run.opened(resume, overwrite, ask)
    # the signals first: a Ctrl-C while a folder is opened or closed waits
    with signals() as caught, _alone(), _heard(world), opened, world.joined(run, lambda: caught):
        if run.start == run.total:
            say(f"{run.out}: all {epochs} epochs are done already; ask for more of them to go on")
        halt = lambda: bool(caught) or any(callback.stop for callback in told)
        options = {"step": step, "start": run.start, "halt": halt, "graph": graph, "world": world}
        options["prepare"] = [callback.before for callback in told]
        try:
            for callback in told:
                callback.run = run
                callback.begin()
                begun.append(callback)
            for records in loop(model, batches, epochs, **options) if not world.any(halt()) else ():
                run.step = records[-1]["step"]
                run.records += records
                if run.step % run.steps == 0:
                    world.alike(run)
                _tell(told, run, records)
            if world.any(bool(caught)):
                raise Interrupted(run, (caught or [signal.SIGTERM])[0])
        except BaseException as error:
            if isinstance(error, (TrainingError, ParallelError)) and not world.rank:
                error.args = (f"{error}; {run.last()}",)
            _end(begun, error)
            raise
        _end(begun, None)
        if caught:  # while the end was told
            raise Interrupted(run, caught[0])
    return [record for record in run.records if "event" not in record]


def _ask(callbacks, run):
    """Whether any of them speaks against the run, of which they all know then."""
    for callback in callbacks:
        callback.run = run
    for callback in callbacks:
        callback.check(callbacks)


def _tell(callbacks, run, records):
    """They hear of records, and of the epoch that ended with the last of them."""
    for callback in callbacks:
        callback.records(records)
        if run.step % run.steps == 0:
            callback.epoch(records[-1])


def _end(callbacks, error):
    """Tell them all that the run is over; what goes wrong in one is the error to those after it."""
    for i, callback in enumerate(callbacks):
        try:
            callback.end(error)
        except BaseException as worse:
            _end(callbacks[i + 1 :], worse)
            raise


def _callbacks(given, schedule, folder, world):
    """The caller's callbacks and then those of every run; one of the caller's takes the place of
    one of its kind. Of the first process: others have a schedule.
    """
    if not isinstance(given, list | tuple) or not all(isinstance(c, Callback) for c in given):
        raise TypeError(f"callbacks must be a list of Callbacks, got {given!r}")
    own = [schedule, Bar(), Lines()]
    own += [Log(), Checkpoint(), Preview(), Summary()] if folder else []
    for i, callback in enumerate(own):
        own[i] = next((c for c in given if isinstance(c, type(callback))), callback)
    found = [*(callback for callback in given if callback not in own), *own]
    return [c for c in found if world.rank == 0 or isinstance(c, Schedule)]


@contextlib.contextmanager
def _heard(world):
    """The other processes hear of what goes wrong in this one."""
    try:
        yield
    except Interrupted:  # in all of them
        raise
    except BaseException as error:
        world.failed(error)
        raise


_running = threading.Lock()


@contextlib.contextmanager
def _alone():
    """One run at a time in a process: two would take numbers from one random generator in turn."""
    if not _running.acquire(blocking=False):
        raise TrainingError(
            "another run trains in this process, and the two would draw from one random generator: "
            "give each a process of its own"
        )
    try:
        yield
    finally:
        _running.release()


@contextlib.contextmanager
def signals():
    """A list that the first signal to stop fills with its number; a second one does what it always
    did. Where one is ignored (nohup), or this is not the main thread, nothing changes.
    """
    caught, handlers = [], {}

    def restore():
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def stop(number, frame):
        caught.append(number)
        restore()

    try:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number and signal.getsignal(number) not in (signal.SIG_IGN, None):
                with contextlib.suppress(ValueError):  # not the main thread
                    handlers[number] = signal.signal(number, stop)
        yield caught
    finally:
        restore()
