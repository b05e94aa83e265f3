"""Trainings by two processes, one of which is killed at a random step: how long the other takes to
end, and whether the run that is resumed reaches the weights of one that nothing happened to.

    python bench/faults.py [--kills 20] [--seed 0]

Steps are those of tests/parallel_case.py, four to an epoch, which ends with a checkpoint.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from test_parallel import CASE, apart, launch  # noqa: E402

STEPS = 20


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        expected, longest = trained(whole)
        seconds, right = [], 0
        for i in range(args.kills):
            step, rank = int(rng.integers(1, STEPS)), int(rng.integers(2))
            out = Path(folder) / str(i)
            out.mkdir()
            killed = launch(2, CASE, out, "mlp", f'fault=["kill", {step}, {rank}]', "keep=true")
            lines = [line for line in killed.stderr.splitlines() if "parallel_case.py: " in line]
            resume = "true" if (out / "run/checkpoint.npz").exists() else "false"
            found, _ = trained(out, f"resume={resume}")
            equal = apart(expected, found) < 1e-12
            right += equal and bool(killed.returncode)
            seconds.append(killed.seconds)
            words = f"process {rank} killed ahead of step {step}: ended in {killed.seconds:.1f} s"
            print(
                f"{words}, {'' if equal else 'NOT '}the same weights; {'; '.join(lines)}",
                flush=True,
            )
    words = f"{right} of {args.kills} ended and reached the same weights"
    times = f"{statistics.median(seconds):.1f} s (median), {max(seconds):.1f} s (most)"
    print(
        f"{words}; a killed run took {times}, start and end included, a whole one {longest:.1f} s"
    )


def trained(out, *options):
    """The weights of a training by two processes, and how long it took."""
    out.mkdir(exist_ok=True)
    done = launch(2, CASE, out, "mlp", "keep=true", *options)
    if done.returncode:
        sys.exit(done.stderr)
    return dict(np.load(out / "mlp-0.npz")), done.seconds


if __name__ == "__main__":
    main()
