"""Where a training step's time goes on the CPU: each compiled loop's share of it, and what products
and convolutions reach.

    python bench/loops.py [--tasks gpt ...] [--batch-size 128] [--width 32] [--steps 60]

A loop's time is what it keeps the caller waiting, all cores at work on it. Loops of one kind are
one line, products one of each shape (m, n, k), of which a call may make a stack. What is left is
Python's and NumPy's: its functions, and products and loops too small for ours. (docs/results.md has
gpt in batches of 12 and flow of 64.)
"""

import argparse
import collections
import importlib
import pkgutil
import time

from common import machine
from tasks import TASKS, Ours, batch, model, sized

from tinygan.kernels import cpu
from tinygan.kernels.cpu.thresholds import MULTIPLICATIONS_PER_ELEMENT

PRODUCTS = ("_multiply_blocks", "gather", "correlate", "scatter")  # their size counts products


def watched(split, seen):
    """`threads.split`, which adds (calls, seconds, multiplications) of each loop to `seen`."""

    def timed(kernel, n, size, *args):
        name = kernel.__name__
        if name == "_blocks":  # a NumPy expression, shared out
            name = f"elementwise {getattr(args[0], '__name__', args[0])}"
        if name == "_multiply_blocks":
            name += f" {args[0]}"
        products = size * MULTIPLICATIONS_PER_ELEMENT * (kernel.__name__ in PRODUCTS)
        start = time.perf_counter()
        split(kernel, n, size, *args)
        for i, more in enumerate((1, time.perf_counter() - start, products)):
            seen[name][i] += more

    return timed


def profile(step, steps):
    """(seconds of a step, {loop: [calls, seconds, multiplications] of a step})."""
    seen = collections.defaultdict(lambda: [0, 0.0, 0])
    modules = [
        importlib.import_module(f"{cpu.__name__}.{m.name}")
        for m in pkgutil.iter_modules(cpu.__path__)
    ]
    modules = [(m, m.split) for m in modules if hasattr(m, "split")]
    for _ in range(5):
        step()
    try:
        for m, split in modules:
            m.split = watched(split, seen)
        start = time.perf_counter()
        for _ in range(steps):
            step()
        seconds = (time.perf_counter() - start) / steps
    finally:
        for m, split in modules:
            m.split = split
    return seconds, {name: [x / steps for x in row] for name, row in seen.items()}


def main():
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--width", type=int, default=32, help="of dcgan, r3gan, hinge-sn")
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    if min(args.batch_size, args.width, args.steps) < 1:
        parser.error("--batch-size, --width and --steps must be at least 1")
    print(machine("numpy", "numba"))
    for task in args.tasks:
        ours, x = Ours(model(task, **sized(task, args.width))), batch(task, args.batch_size)
        seconds, loops = profile(lambda: ours.step(x), args.steps)
        print(f"\n{task}, batch {args.batch_size}: {1e3 * seconds:.2f} ms a step")
        print(f"{'calls':>7}{'ms':>9}{'%':>7}{'GFLOP/s':>9}  loop")
        left = seconds - sum(s for _, s, _ in loops.values())
        rows = sorted(loops.items(), key=lambda item: -item[1][1])
        for name, (calls, s, products) in [*rows, ("Python and NumPy", ("", left, 0))]:
            rate = f"{2 * products / s / 1e9:.0f}" if products else ""
            print(f"{calls:>7.3}{1e3 * s:9.3f}{100 * s / seconds:7.1f}{rate:>9}  {name}")


if __name__ == "__main__":
    main()
