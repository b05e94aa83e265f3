"""Training steps of two processes with a core each, beside one process; what they send and when.

    python bench/parallel.py [--tasks dcgan5x5 mlp-gan gpt] [--batch-size 128] [--processes 2]
                             [--rounds 5] [--seconds 1] [--trace FILE.png]

The batch is the same for all sides, so that two processes have half of it each. A step is that of
`train`: the batch's rows, the model's step, the mean of the losses, and whether somebody asks to
stop. Sides take turns; milliseconds are medians over rounds. "Sent at the end" has one bucket for
each optimizer; "nothing sent" computes as much and trains nonsense: what the others take longer,
they wait for each other and for bytes. Efficiency is beside as many single cores. A step's bytes
are counted where they are handed to MPI. They must be the bytes of the parameters of each update,
and of four moments for each channel that a batch normalisation sees forward and backward, two where
it goes forward alone, of the losses and of one number that asks for the end. Of the time in which
gradients are under way, that until the backward walk ends is hidden; an end is noted when the walk
next asks, so later than it was. First comes the time of a sum over the processes by its size, and
the line through it (least squares of the relative errors), alpha + beta * bytes; by it and by
"nothing sent" a step is foretold. As root, Open MPI wants OMPI_ALLOW_RUN_AS_ROOT=1 and
OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; taskset is Linux's.
"""

import argparse
import contextlib
import functools
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from common import CORES, answer, ask, machine, speed, timed
from sent import Watch, expected
from tasks import TASKS, batch, model

HUGE = 1 << 40  # bytes of a bucket that is never full before the walk ends
SIZES = tuple(1 << exponent for exponent in range(2, 26, 2))  # bytes
ONE, ALL, TOGETHER = "one process, one core", "one process, all cores", "processes, a core each"
END, MUTE = "sent at the end", "nothing sent"


def mpirun(n):
    """The words ahead of a command that start it n times; SystemExit if there is no mpirun."""
    found = shutil.which("mpirun", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not found:
        raise SystemExit('parallel.py: there is no mpirun: pip install "tinygan[mpi]"')
    return [found, "--oversubscribe", "-n", str(n)]


@contextlib.contextmanager
def training(task, batch_size):
    """(world, model, f): each call of f is a step, of all processes that were started together."""
    from tinygan import data, parallel, random
    from tinygan.train.loop import loop
    from tinygan.train.run import Run

    random.manual_seed(0)
    made, world = model(task), parallel.world()
    of = data.Batches(batch(task, batch_size), batch_size, transform=None)
    with world.joined(Run(made, of, 1, None), lambda: False):
        yield world, made, functools.partial(next, loop(made, of, 10**9, world=world))


def child(what, task=None, batch_size=0, seconds=0, bucket=0, mute=False):
    """One of the processes of a side: milliseconds a step; or what it sends; or what sums take."""
    from tinygan import parallel

    if parallel.number():  # the first speaks
        sys.stdout = open(os.devnull, "w")
    if what == "sums":
        return sums(parallel.world())
    parallel.gradients.BUCKET = bucket or parallel.gradients.BUCKET
    with training(task, batch_size) as (world, made, step):
        if mute:
            world.begin = lambda flat: world.mpi.REQUEST_NULL
        if what == "trace":
            for _ in range(5):
                step()
            watch = Watch(world)
            steps = [watch.step(step) for _ in range(21)]
            return {"steps": steps, "expected": expected(made, batch_size)}
        timed(step, 2)
        count = np.array(max(3, 1e3 * seconds / timed(step, 2)), np.int64)  # the first one's counts
        return timed(step, int(world.spread(count) if world.size > 1 else count))


def sums(world):
    """{bytes: seconds} of a sum over the processes, the median."""
    found = {}
    for size in SIZES:
        flat, times = np.zeros(size // 4, np.float32), []
        for _ in range(max(9, min(201, (1 << 27) // size))):
            start = time.perf_counter()
            world.wait([world.begin(flat)])
            times.append(time.perf_counter() - start)
        found[size] = statistics.median(times)
    return found


def fitted(times):
    """(seconds, seconds a byte) of the line through {bytes: seconds}."""
    sizes, seconds = (np.array([*map(float, side)]) for side in (times, times.values()))
    rows = np.stack([1 / seconds, sizes / seconds], axis=1)
    return np.linalg.lstsq(rows, np.ones(len(rows)), rcond=None)[0].tolist()


def print_sums(n):
    times = {int(size): t for size, t in ask(__file__, before=mpirun(n), what="sums").items()}
    alpha, beta = fitted(times)
    print(f"a sum over {n} processes: {1e6 * alpha:.1f} us + bytes / {1e-9 / beta:.2f} GB/s")
    for size, t in times.items():
        print(f"{size:12} bytes {1e6 * t:10.1f} us, the line {1e6 * (alpha + beta * size):10.1f}")
    return alpha, beta


def measure(task, batch_size, n, rounds, seconds):
    """{side: [milliseconds a step, one a round]}: A B A B, so that a slow moment hits all; new
    processes for each, since mpirun's would not wait for their turn.
    """
    many = {"before": mpirun(n)}
    sides = {
        ALL: {},
        ONE: {"before": ["taskset", "-c", "0"]},
        TOGETHER: many,
        END: many | {"bucket": HUGE},
    }
    sides[MUTE] = many | {"mute": True}
    options = {"what": "steps", "task": task, "batch_size": batch_size, "seconds": seconds}
    times = {name: [] for name in sides}
    for _ in range(rounds):
        for name, own in sides.items():
            times[name].append(ask(__file__, **options, **own))
    return times


def print_times(task, times, batch_size, n):
    print(f"\n{task}, {n} processes")
    print(f"{'':26}{'ms':>9}{'samples/s':>11}{'one core':>10}{'efficiency':>12}")
    for name, own in times.items():
        ms, faster = statistics.median(own), speed(times, name, ONE)
        cores = {ONE: 1, ALL: CORES}.get(name, n)
        line = f"{name:26}{ms:9.2f}{1e3 * batch_size / ms:11.0f}{faster:9.2f}x"
        print(f"{line}{faster / cores:12.2f}", flush=True)


def print_trace(found, path):
    """What a step sent, when, and how much of it was hidden; a picture of it if there is a path."""
    steps, wanted = found["steps"], found["expected"]
    for kind in ("gradients", "others"):
        own = {sum(e["bytes"] for e in step["sent"] if e["kind"] == kind) for step in steps}
        print(f"{kind}: {' '.join(map(str, own))} bytes a step, {wanted[kind]} expected")
    hidden = statistics.median(step["hidden"] for step in steps)
    print(f"of the time that gradients are under way, {hidden:.0%} are within the walk")
    step = sorted(steps, key=lambda step: step["hidden"])[len(steps) // 2]
    for e in [e for e in step["sent"] if e["kind"] == "gradients"]:
        place = f"begun {e['begun']:8.2f} ms, complete {e['done']:8.2f}, walk's end {e['end']:8.2f}"
        print(f"{e['bytes']:10} bytes: {place}")
    print(f"the step ends at {step['seconds']:.2f} ms; others: {others(step)}")
    if path:
        from sent import draw

        draw(step, path)


def others(step):
    own = [e["done"] - e["begun"] for e in step["sent"] if e["kind"] == "others"]
    return f"{len(own)} sums, {sum(own):.2f} ms"


def main():
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--tasks", nargs="*", choices=TASKS, default=["dcgan5x5", "mlp-gan", "gpt"])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn")
    parser.add_argument("--trace", metavar="FILE.png", help="a picture of the last task's step")
    args = parser.parse_args()
    n = args.processes
    print(machine("numpy", "mpi4py", "openmpi") + f"; float32, batch {args.batch_size}")
    alpha, beta = print_sums(n)
    for task in args.tasks:
        times = measure(task, args.batch_size, n, args.rounds, args.seconds)
        print_times(task, times, args.batch_size, n)
        options = {"what": "trace", "task": task, "batch_size": args.batch_size}
        found = ask(__file__, before=mpirun(n), **options)
        print_trace(found, args.trace if task == args.tasks[-1] else None)
        sent = found["steps"][0]["sent"]
        seconds = len(sent) * alpha + beta * sum(e["bytes"] for e in sent)
        words = f"{len(sent)} sums: {1e3 * seconds:.2f} ms if none is hidden, and a step"
        print(f"{words} {statistics.median(times[MUTE]) + 1e3 * seconds:.2f} ms, by the line")


if __name__ == "__main__":
    answer(main, child)
