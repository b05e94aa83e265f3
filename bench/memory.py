"""Peak resident memory of the process that makes a training step, in MB, next to PyTorch's, and its growth over many steps.

    python bench/memory.py [--tasks mlp-gan dcgan5x5 ...] [--steps 100] [--batch-size 128]

A process each: the peak before the first step (imports and weights), after twenty, and growth from there to the last (--steps
10000 takes its time). Kernels are compiled beforehand, as they are once on a machine.
"""

import argparse

from common import TASKS, alone, answer, ask, machine


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=128)
    args = parser.parse_args()
    print(machine("numpy", "torch") + f"; float32, batch {args.batch_size}; MB")
    print(f"{'':10}{'tinygan: start':>16}{'peak':>8}{'growth':>8}{'torch: start':>16}{'peak':>8}{'growth':>8}{'peak, ratio':>13}")
    for task in args.tasks:
        ask(__file__, who="tinygan", task=task, batch_size=args.batch_size, steps=20)  # fills the cache of kernels
        row, peaks = f"{task:10}", []
        for who in ("tinygan", "torch"):
            found = ask(__file__, who=who, task=task, batch_size=args.batch_size, steps=max(20, args.steps))
            row += f"{found['before']:16.0f}{found['early']:8.0f}{found['peak'] - found['early']:8.1f}"
            peaks.append(found["peak"])
        print(f"{row}{peaks[0] / peaks[1]:13.2f}", flush=True)


if __name__ == "__main__":
    answer(main, alone)
