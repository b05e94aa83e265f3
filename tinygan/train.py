"""The training loop: progress, log, pictures, checkpoints, Ctrl-C. It knows no algorithm: a model
has `step(batch)`, which returns losses, `sample(n, noise)`, `noise(n, source)`, `parts()`,
`optimizers` and `classes`, 0 or how many it samples in turn.
"""

import contextlib
import json
import math
import signal
import time
from pathlib import Path

import numpy as np

from . import checkpoint, device, ops, plot, random
from .capture import capture
from .checkpoint import CheckpointError

READ = {"cpu": 1, "gpu": 50}  # the losses are read after so many steps: reading waits for a GPU
# the random streams of the latent points that every picture shows, and that a judge sees
PICTURES, JUDGED = 2, 5


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step, why, and where the last good
    checkpoint is.
    """


def second_half(progress):
    """The learning rate's factor: 1 for the first half of a run, then linearly down to 0."""
    return min(1.0, 2 * (1 - progress))


def train(
    model,
    batches,
    epochs,
    out,
    step=None,
    schedule=second_half,
    resume=False,
    config=None,
    judge=None,
    every=1,
    graph=True,
):
    """Train for `epochs` passes over `batches`, writing into the folder `out`; returns the path of
    the last picture.

    batches: `data.Batches`, or what has its `len`, `rows` and `at`: a step is
    `step(batches.at(rows))`, and a GPU replays it for other `rows` if `graph`; see `capture`. step:
    model.step unless given. schedule: factor of the learning rates by progress in [0, 1). config:
    what a run must share with the one it resumes (seed included): a resumed run ends with the very
    weights of one never interrupted. On Ctrl-C the step is finished and saved, then
    KeyboardInterrupt says where. A loss that is not finite raises TrainingError. judge: a function
    of 10,000 samples to {"fid": ..., "coverage": ...} (a `metrics.Judge`), asked after each `every`
    epochs and at the end; best.npz is the checkpoint of the lowest FID.
    """
    out, step, config = Path(out), step or model.step, config or {}
    (out / "samples").mkdir(parents=True, exist_ok=True)
    path, log_path = out / "checkpoint.npz", out / "log.jsonl"
    total, done, records, unread = epochs * len(batches), 0, [], []
    rates = [
        (group, group["lr"]) for optimizer in model.optimizers for group in optimizer.param_groups
    ]
    if resume:
        meta = checkpoint.load(path, model.parts())
        # checkpoints from before there was another do not say
        was = {"precision": "float32"} | meta["config"]
        if differ := [
            f"{k} was {was.get(k)}, is {v}" for k, v in config.items() if was.get(k) != v
        ]:
            raise CheckpointError(f"{path}: was made by another run: {'; '.join(differ)}")
        done = meta["step"]
        lines = log_path.read_text().splitlines() if log_path.exists() else []
        # the log may be ahead of the checkpoint
        records = [json.loads(line) for line in lines[:done]]
    else:
        for old in (out / "samples").glob("epoch-*.png"):
            old.unlink()
    log_path.write_text("".join(json.dumps(r) + "\n" for r in records))
    columns = model.classes or 8  # a class to a column
    latent = model.noise(8 * columns, random.Generator(random.default.seed, PICTURES))
    random.default.seek(done) if done else None

    def read():
        rows = device.to_host(np.stack([v for losses in unread for v in losses.values()])).reshape(
            len(unread), -1
        )
        for i, row in enumerate(rows.tolist(), done - len(rows)):
            losses = dict(zip(unread[0], row))
            if not all(map(math.isfinite, row)):
                saved = (
                    f"the last good checkpoint is {path}"
                    if path.exists()
                    else "there is no checkpoint yet"
                )
                raise TrainingError(
                    f"step {i + 1}: the loss is not finite ({_words(losses)}); try a lower --lr; {saved}"
                )
            yield {
                "step": i + 1,
                "epoch": i // len(batches) + 1,
                **losses,
                "seconds": round(time.perf_counter() - start, 3),
            }
        unread.clear()

    def save(path):
        meta = {
            "step": done,
            "epoch": done // len(batches),
            "seed": random.default.seed,
            "config": config,
        }
        checkpoint.save(path, model.parts(), meta)

    def judged():
        points = model.noise(10_000, random.Generator(random.default.seed, JUDGED))
        figures = judge(model.sample(len(points), points))
        best = min((r["fid"] for r in records if "fid" in r), default=math.inf)
        if figures["fid"] < best:
            save(out / "best.npz")
        bar.write(
            f"epoch {epoch + 1}: FID {figures['fid']:.2f}, coverage {figures['coverage']:.3f}"
        )
        return {"fid": figures["fid"], "coverage": figures["coverage"]}

    def picture():
        name = out / "samples" / f"epoch-{done // len(batches):03}.png"
        plot.grid(plot.to_uint8(device.to_host(model.sample(len(latent), latent))), name, columns)

    whole, often = lambda rows: step(batches.at(rows)), READ[device.of(latent)]
    whole = capture(whole) if graph else whole
    start, first = time.perf_counter(), done
    with open(log_path, "a") as log, _interruptible() as interrupted, _bar(total, done) as bar:
        while done < total:
            epoch, i = divmod(done, len(batches))
            for group, rate in rates:
                group["lr"] = rate * schedule(done / total)
            losses = whole(batches.rows(epoch, i))
            # a replay overwrites its results
            unread.append({name: np.copy(ops.raw(value)) for name, value in losses.items()})
            random.default.next_step()
            done += 1
            if not (len(unread) == often or i + 1 == len(batches) or interrupted):
                continue
            new = list(read())
            words = _words({name: new[-1][name] for name in losses})
            if judge and i + 1 == len(batches) and ((epoch + 1) % every == 0 or done == total):
                new[-1] |= judged()
            records += new
            log.writelines(json.dumps(r) + "\n" for r in new)
            bar.set_description_str(f"epoch {epoch + 1}/{epochs}", refresh=False)
            bar.set_postfix_str(words, refresh=False)
            bar.update(len(new))
            if i + 1 == len(batches) or interrupted:
                log.flush()
                save(path)
            if i + 1 == len(batches):
                picture()
                if bar.disable:
                    passed = time.perf_counter() - start
                    left = passed / (done - first) * (total - done)
                    print(
                        f"epoch {epoch + 1}/{epochs}  {words}  {passed:.0f} s, {left:.0f} s left",
                        flush=True,
                    )
            if interrupted:
                raise KeyboardInterrupt(
                    f"stopped after step {done} of {total}; {path} goes on with --resume"
                )
    pictures = sorted((out / "samples").glob("epoch-*.png"))
    plot.animate(pictures, out / "samples.gif")
    plot.curves(records, out / "losses.png")
    return pictures[-1]


def _words(losses):
    return " ".join(f"{name} {value:.3f}" for name, value in losses.items())


def _bar(total, done):
    from tqdm import tqdm

    words = "compiling kernels"  # what the first step does, for seconds, once on a machine
    # None: on a terminal
    return tqdm(
        desc=words, total=total, initial=done, disable=None, unit="step", dynamic_ncols=True
    )


@contextlib.contextmanager
def _interruptible():
    """A list that the first Ctrl-C fills; the second one interrupts at once."""
    caught = []

    def handler(number, frame):
        caught.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        before = signal.signal(signal.SIGINT, handler)
    except ValueError:  # not the main thread: there is no Ctrl-C to catch
        yield caught
        return
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, before)
