"""Seconds from launch to the end of the first training step: what imports cost, what compiling
costs, what the cache saves.

    python bench/start.py [--tasks dcgan mlp-gan ...] [--runs 3]

Each number is the median over fresh processes, the interpreter's own start included. Cold: the
cache of kernels is empty; cached: it is not. Exits with 1 if `import tinygan` loads any package but
NumPy.
"""

import argparse
import importlib
import statistics
import sys
import tempfile
import time

from common import answer, ask, machine
from tasks import TASKS, images, model


def child(task):
    """Import a package, or run the first step of a task; the time then, and the packages loaded."""
    before = set(sys.modules)
    if task in TASKS:
        model(task).step(images(128))
    else:
        importlib.import_module(task)
    now, loaded = time.time(), {name.split(".")[0] for name in set(sys.modules) - before}
    return {"now": now, "loaded": sorted(loaded - sys.stdlib_module_names)}


def seconds(task, **env):
    start = time.time()
    return ask(__file__, task=task, env=env)["now"] - start


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["dcgan"])
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    print(machine("numpy", "numba") + f"; batch 128, medians of {args.runs} processes")
    for package in ("numpy", "tinygan"):
        times = [seconds(package) for _ in range(args.runs)]
        print(f"import {package:8}{statistics.median(times):8.2f} s", flush=True)
    print(f"{'first step of':15}{'cold':>8}{'cached':>8}")
    for task in args.tasks:
        cold, cached = [], []
        for _ in range(args.runs):
            with tempfile.TemporaryDirectory() as folder:
                cold.append(seconds(task, NUMBA_CACHE_DIR=folder))
                cached.append(seconds(task, NUMBA_CACHE_DIR=folder))
        print(
            f"{task:15}{statistics.median(cold):8.2f}{statistics.median(cached):8.2f}", flush=True
        )
    loaded = ask(__file__, task="tinygan")["loaded"]
    print(f"import tinygan loads {', '.join(loaded)}")
    if loaded != ["numpy", "tinygan"]:
        raise SystemExit(1)


if __name__ == "__main__":
    answer(main, child)
