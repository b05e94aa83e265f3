"""Peak resident memory of the process that makes a training step, in MB, next to PyTorch's, and its
growth over many steps.

    python bench/memory.py [--tasks mlp-gan dcgan5x5 ...] [--scenes lengths sides batches] [--steps
    100] [--batch-size 128]

A process each: the peak before the first step (imports and weights), after twenty, and growth from
there to the last (--steps 10000 takes its time). Kernels are compiled beforehand, as they are once
on a machine. Then scenes in which no size comes twice: vectors of 3,000 lengths, a convolution and
its transpose over images of fifty sizes, steps of a DCGAN with sixty batch sizes; the peak, and
what the process holds when model and arrays are gone, at once and fifteen seconds later.
"""

import argparse
import gc
import importlib
import math
import resource
import time
from pathlib import Path

from common import answer, ask, machine, peak
from tasks import TASKS, alone, images, maker, model

SIDES = "tinygan", "torch"
SCENES = "lengths", "sides", "batches"


def resident():
    """The memory that this process has now, in MB, where the system tells (Linux)."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return math.nan
    return int(statm.read_text().split()[1]) * resource.getpagesize() / (1 << 20)


def tensors(library):
    """What makes a tensor of an array: torch.Tensor would make one of float32 of anything."""
    return library.tensor if library.__name__ == "torch" else library.Tensor


def lengths(who):
    """Element by element on vectors of 3,000 lengths, 0.3 to 5 MB."""
    import numpy as np

    tensor = tensors(importlib.import_module(who))
    for n in range(70_000, 1_270_000, 400):
        tensor(np.ones(n, np.float32)) * 2


def sides(who):
    """A convolution, its transpose and their gradients over images of fifty sizes, 16 x 16 to 212 x
    212.
    """
    library, nn = importlib.import_module(who), importlib.import_module(f"{who}.nn")
    tensor = tensors(library)
    pair = nn.Conv2d(3, 32, 4, 2, 1), nn.ConvTranspose2d(32, 3, 4, 2, 1)
    for side in range(16, 216, 4):
        (pair[1](pair[0](tensor(images(16, side).repeat(3, axis=1)))) ** 2).mean().backward()
        for layer in pair:
            layer.weight.grad = layer.bias.grad = None


def batches(who):
    """Steps of a DCGAN with sixty batch sizes, 2 to 120."""
    peer = maker(who)(model("dcgan5x5"))
    for n in range(2, 122, 2):
        peer.step(images(n))


def scene(who, name):
    """A child that plays a scene: the memory before, the peak, and the memory after, at once and
    later.
    """
    importlib.import_module(who)
    before = resident()
    globals()[name](who)
    gc.collect()
    after = resident()
    time.sleep(15)
    return {"before": before, "peak": peak(), "after": after, "later": resident()}


def child(**options):
    return scene(options["who"], options["scene"]) if "scene" in options else alone(**options)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="*", choices=TASKS, default=TASKS)
    parser.add_argument("--scenes", nargs="*", choices=SCENES, default=SCENES)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=128)
    args = parser.parse_args()
    print(machine("numpy", "torch") + f"; float32, batch {args.batch_size}; MB")
    if args.tasks:
        titles = "".join(f"{who + ': start':>16}{'peak':>8}{'growth':>8}" for who in SIDES)
        print(f"{'':10}{titles}{'peak, ratio':>13}")
    for task in args.tasks:
        # fills the cache of kernels
        ask(__file__, who="tinygan", task=task, batch_size=args.batch_size, steps=20)
        row, peaks = f"{task:10}", []
        for who in SIDES:
            found = ask(
                __file__, who=who, task=task, batch_size=args.batch_size, steps=max(20, args.steps)
            )
            row += (
                f"{found['before']:16.0f}{found['early']:8.0f}{found['peak'] - found['early']:8.1f}"
            )
            peaks.append(found["peak"])
        print(f"{row}{peaks[0] / peaks[1]:13.2f}", flush=True)
    if args.scenes:
        print(
            f"{'':10}"
            + "".join(f"{who + ': start':>16}{'peak':>8}{'after':>8}{'later':>8}" for who in SIDES)
        )
    for name in args.scenes:
        found = [ask(__file__, who=who, scene=name) for who in SIDES]
        numbers = [
            f"{f['before']:16.0f}{f['peak']:8.0f}{f['after']:8.0f}{f['later']:8.0f}" for f in found
        ]
        print(f"{name:10}{''.join(numbers)}", flush=True)


if __name__ == "__main__":
    answer(main, child)
