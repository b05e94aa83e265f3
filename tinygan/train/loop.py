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

from .. import device, ops, random
from ..capture import capture
from ..optim.schedules import second_half
from .callbacks import Bar, Checkpoint, Lines, Log, Preview, Schedule, Summary
from .run import LATEST, Interrupted, Run, TrainingError

READ = {"cpu": 1, "gpu": 50}  # the losses are read after so many steps: reading waits for a GPU


def loop(model, batches, epochs, *, step=None, start=0, before=(), halt=lambda: False, graph=True):
    """Train for `epochs` passes over `batches`; yields a list of records whenever the losses have
    been read.

    A record is {"step", "epoch", each of the step's losses, "seconds" since the loop began}, and
    the model stands where the last one of a list is. step: `model.step` unless given. start: how
    many steps of them are done already. before: functions of the progress in [0, 1) that are called
    ahead of each step. halt: asked after each step; once it is true the loop ends, with all losses
    read. On a GPU a step is captured and replayed if `graph` (see `capture`), its batch included. A
    loss that is not finite raises TrainingError.
    """
    step, clock = step or model.step, time.perf_counter()
    whole = lambda rows: step(batches.at(rows))
    whole = capture(whole) if graph else whole
    steps, unread = len(batches), []
    if start:
        random.default.seek(start)
    for done in range(start, epochs * steps):
        epoch, i = divmod(done, steps)
        for prepare in before:
            prepare(done / (epochs * steps))
        losses = whole(batches.rows(epoch, i))
        # copies: a replayed step overwrites its results
        unread.append({name: np.copy(ops.raw(value)) for name, value in losses.items()})
        random.default.next_step()
        often = READ[device.of(next(iter(unread[0].values()), np.empty(0)))]
        if len(unread) >= often or i + 1 == steps or halt():
            yield _read(unread, done + 1, steps, time.perf_counter() - clock)
            unread.clear()
            random.default.draw = (
                0  # whatever was drawn meanwhile, by a preview say, no step misses
            )
            if halt():
                return


def _read(unread, done, steps, seconds):
    """The records of the latest steps, `done` by now, from their losses on the device."""
    # one transfer for all of them
    rows = device.to_host(np.stack([v for losses in unread for v in losses.values()]))
    records = []
    for i, row in enumerate(rows.reshape(len(unread), -1).tolist(), done - len(unread)):
        losses = dict(zip(unread[0], row))
        if not all(map(math.isfinite, row)):
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
):
    """Train for `epochs` passes over `batches`, with a progress bar; returns the records of all
    steps.

    out: a folder for the run, which gets config.json, log.jsonl, checkpoint.npz, samples/ (a grid
    of samples, or what the model's own `preview` draws, each epoch), samples.gif and losses.png;
    None: nothing is written. A folder that holds a run is refused (RunExistsError), unless `resume`
    goes on with it or `overwrite` begins anew. A resumed run ends with the very weights of one that
    was never interrupted. It must share with it the data, the batches, the seed, what the model is
    made of, and `config`, a dict (else CheckpointError), but may have other epochs and learning
    rates. notes: a dict that config.json holds beside.

    step: `model.step` unless given. schedule: the factor of the learning rates by progress in [0,
    1). callbacks: see `Callback`; they come first, but one of a kind that every run has
    (Checkpoint, Preview) takes its place. On Ctrl-C, SIGTERM or SIGHUP the step is finished and
    saved, then Interrupted raised. TrainingError if a loss or a weight is not finite, or another
    run trains in this process.
    """
    run = Run(model, batches, epochs, out, config, notes)
    told = _callbacks(callbacks, Schedule(schedule), bool(run.out))
    with (
        _signals() as caught,  # first: a Ctrl-C while a folder is opened or closed waits
        _alone(),
        run.opened(resume, overwrite),
        contextlib.ExitStack() as stack,
    ):
        if run.start == run.total:
            print(f"{run.out}: all {epochs} epochs are done already; ask for more of them to go on")
        for callback in told:
            callback.begin(run)
            stack.push(lambda kind, error, trace, callback=callback: callback.end(error))
        before = [callback.before for callback in told]
        halt = lambda: caught or any(callback.stop for callback in told)
        options = {"step": step, "start": run.start, "halt": halt, "graph": graph}
        try:
            for records in loop(model, batches, epochs, before=before, **options):
                run.step = records[-1]["step"]
                run.records += records
                for callback in told:
                    callback.records(records)
                    if run.step % run.steps == 0:
                        callback.epoch(records[-1])
        except TrainingError as error:
            raise TrainingError(f"{error}; {run.last()}") from None
        if caught:
            saved = "nothing is saved"
            if run.out:
                saved = f"{run.out / LATEST} holds it: resume to go on"
            raise Interrupted(f"stopped after step {run.step} of {run.total}; {saved}", caught[0])
    return run.records


def _callbacks(given, schedule, folder):
    """The caller's callbacks and then those of every run; one of the caller's takes the place of
    one of its kind.
    """
    own = [schedule, Bar(), Lines()]
    own += [Log(), Checkpoint(), Preview(), Summary()] if folder else []
    for i, callback in enumerate(own):
        own[i] = next((c for c in given if isinstance(c, type(callback))), callback)
    return [*(callback for callback in given if callback not in own), *own]


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
def _signals():
    """A list that the first signal to stop fills with its number; a second one does what it always
    did. Where one is ignored (nohup), or this is not the main thread, nothing changes.
    """
    caught, before = [], {}

    def stop(number, frame):
        caught.append(number)
        for name, handler in before.items():
            signal.signal(name, handler)

    try:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number and signal.getsignal(number) not in (signal.SIG_IGN, None):
                with contextlib.suppress(ValueError):  # not the main thread
                    before[number] = signal.signal(number, stop)
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
