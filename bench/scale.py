"""How the time and memory of a DCGAN step grow with the batch, the side of the images and the
width, next to PyTorch.

    python bench/scale.py [--seconds 2] [--axes batch side width]

A process for each point: milliseconds a step (median), its peak resident memory in MB, and what of
that came after the start (imports and weights). Below each axis stand the exponents: the slopes of
least squares through the logarithms of time and of the memory after the start. The smallest batch
is 2, because DCGAN normalises single features over it.
"""

import argparse
import math
import statistics

from common import answer, ask, machine
from tasks import alone

AXES = {
    "batch": (2, 4, 16, 64, 256, 1024),
    "side": (28, 48, 64, 96, 128),
    "width": (8, 16, 32, 64, 128),
}
WHO = ("tinygan", "torch")


def exponent(xs, ys):
    """The slope of log y over log x; NaN of a single point."""
    if len(xs) < 2:
        return math.nan
    logs = [math.log(x) for x in xs], [math.log(max(y, 0.1)) for y in ys]
    return statistics.linear_regression(*logs).slope


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--axes", nargs="+", choices=AXES, default=AXES)
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="of steps at each point, 20 at least"
    )
    parser.add_argument("--most", type=int, default=1024, help="leave out larger values")
    args = parser.parse_args()
    print(machine("numpy", "torch") + "; float32; dcgan at batch 32, side 28, width 16 but for one")
    print(f"{'':12}" + "".join(f"{f'{who}: ms':>14}{'peak':>8}{'rise':>8}" for who in WHO))
    for axis in args.axes:
        values = [value for value in AXES[axis] if value <= args.most]
        found = {who: [] for who in WHO}
        for value in values:
            point = {"batch": 32, "side": 28, "width": 16} | {axis: value}
            options = {"task": "dcgan", "batch_size": point["batch"]}
            options |= {"side": point["side"], "width": point["width"]}
            ask(__file__, who="tinygan", steps=20, **options)  # fills the cache of kernels
            for who in WHO:
                at = ask(__file__, who=who, steps=20, seconds=args.seconds, **options)
                found[who].append((at["ms"], at["peak"], at["peak"] - at["before"]))
            cells = (
                f"{ms:14.2f}{peak:8.0f}{rise:8.0f}"
                for ms, peak, rise in (points[-1] for points in found.values())
            )
            print(f"{axis:6}{value:6}" + "".join(cells), flush=True)
        slopes = [[exponent(values, ys) for ys in zip(*points)] for points in found.values()]
        cells = "".join(f"{ms:14.2f}{'':8}{rise:8.2f}" for ms, _, rise in slopes)
        print(f"{'exponent':12}{cells}", flush=True)


if __name__ == "__main__":
    answer(main, alone)
