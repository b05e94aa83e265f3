"""What a data-parallel training step should take on 1 to 1,024 GPUs, for every model of tinygan: a
cost model, of which docs/scaling.md tells what was measured and what is a guess.

    python bench/scaling.py [--batch-size 128] [--plot docs/scaling.png]

A step takes t(b) = fixed + b * operations / (reached * RATE) for b samples a GPU, and what is not
hidden of the sums: those of buckets of gradients, one after another, may run while WINDOW of the
step computes, but for the last of each update; those of BatchNorm's moments never do. "As built" is
without a window: NCCL's sums stand in the queue of the kernels. A sum is by ring or tree, whichever
is sooner, with the latencies of NCCL's own model.
"""

import argparse
import functools
import math
from typing import NamedTuple

from sent import channels, expected
from tasks import TASKS, batch, model
from work import gflop

RATE = 51.26e12  # operations a second, a large float32 product on an H200 (bench/gpu.py)
# milliseconds of a captured step on it, {task: (batch, ms)}: bench/results/gpu-nvidia-h200.txt
MEASURED = {
    "dcgan": (128, 0.794),
    "dcgan5x5": (128, 3.023),
    "conv-vae": (128, 0.548),
    "mlp-gan": (128, 0.678),
    "flow": (64, 1.696),
    "ddpm": (64, 1.704),
}
FIXED = 1e-3  # seconds of a step that was not measured: a guess
# the part of RATE that more samples are computed at: dcgan5x5 reaches 0.4 in all; flow's step took
# 1.945 ms for 64 and 3.634 ms for 256
REACHED = {"dcgan5x5": 0.4, "wgan-gp": 0.4, "flow": 0.1, "ddpm": 0.1}
OTHERS = 0.2  # of the others: a guess
WINDOW = 0.3  # the part of a step in which gradients may be under way: a guess by traces on CPUs
MACHINE = 8  # GPUs
NVLINK = 380e9  # bytes a second each way, measured; 450e9 stated
NETWORK = 0.85 * MACHINE * 50e9  # the eight of a machine together, 400 Gb/s each; 0.85 is a guess
BUCKET = 1 << 20  # bytes, and what the last parameter in it has more
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Way(NamedTuple):
    """How NCCL sums: microseconds to begin, of a hop within a machine and of one between machines,
    and the part of the bandwidth that it reaches (src/graph/tuning.cc).
    """

    tree: bool
    begin: float
    within: float
    between: float
    share: float


WAYS = (
    Way(tree=True, begin=4.4, within=0.52, between=5.0, share=0.24),
    Way(tree=False, begin=3.6, within=0.47, between=2.7, share=0.25),
    Way(tree=True, begin=0.0, within=28.0, between=50.0, share=0.9),
    Way(tree=False, begin=8.4, within=3.4, between=9.6, share=1.0),
)


def allreduce(size, n):
    """Seconds of the sum of so many bytes over n GPUs; ring: Patarasu & Yuan 2009."""
    return min(_by(way, size, n) for way in WAYS) if n > 1 else 0.0


def _by(way, size, n):
    machines = math.ceil(n / MACHINE)
    own = min(n, MACHINE)
    bandwidth = way.share * (NVLINK if machines == 1 else min(NVLINK, NETWORK))
    if way.tree:
        hops = 2 * (own - 1), 2 * math.log2(machines)
        moved = 2 * size
    else:
        hops = 2 * (n - machines), 2 * (machines - 1)
        moved = 2 * (n - 1) / n * size
    latency = way.begin + hops[0] * way.within + hops[1] * way.between
    return 1e-6 * latency + moved / bandwidth


class Cost(NamedTuple):
    """Of a model's step: parameters, bytes of gradients, operations a sample, bytes of each
    update's buckets, channels of each batch normalisation, seconds whatever the batch, and the
    rate at which more samples are computed.
    """

    parameters: int
    gradients: int
    operations: float
    updates: list
    channels: list
    fixed: float
    rate: float

    def alone(self, b):
        """Seconds of a step of b samples on one GPU."""
        return self.fixed + b * self.operations / self.rate

    def waited(self, b, n, window=WINDOW):
        """Seconds that a step of b samples on each of n GPUs waits for sums."""
        total = last = 0.0
        for buckets in self.updates:
            last += allreduce(buckets[-1], n)
            total += sum(allreduce(size, n) for size in buckets)
        moments = sum(4 * allreduce(4 * c, n) for c in self.channels)
        return max(last, total - window * self.alone(b)) + moments

    def efficiency(self, b, n, window=WINDOW):
        """Of n GPUs beside one, each with b samples."""
        return self.alone(b) / (self.alone(b) + self.waited(b, n, window))

    def hides(self, n, least=0.9):
        """The smallest power of two of samples a GPU at which so much is reached, or 0."""
        sizes = [1 << i for i in range(17)]
        return next((b for b in sizes if self.efficiency(b, n) >= least), 0)


def cost(task, n=24):
    """The Cost of a task's model, counted in a step of n samples on the CPU."""
    made = model(task)
    operations = 1e9 * gflop(functools.partial(made.step, batch(task, n))) / n
    sizes = [buckets(o.params) for o in made.optimizers]
    gradients, updates = expected(made, n)["gradients"], sizes
    if hasattr(made, "d_optimizer"):
        d = sizes[made.optimizers.index(made.d_optimizer)]
        updates = sizes + [d] * (len(made.slices(n)) - 1)
    rate = REACHED.get(task, OTHERS) * RATE
    of, ms = MEASURED.get(task, (0, 1e3 * FIXED))
    fixed = max(0.0, 1e-3 * ms - of * operations / rate)
    count = sum(map(sum, sizes)) // 4
    return Cost(count, gradients, operations, updates, channels(made), fixed, rate)


def buckets(params):
    """The bytes of each, as `parallel.gradients` fills them: from the last parameter on."""
    sizes = [0]
    for p in reversed(params):
        if sizes[-1] >= BUCKET:
            sizes.append(0)
        sizes[-1] += p.data.nbytes
    return sizes


def print_next():
    """From which size on a model wants more than data-parallel steps."""
    # float32: weights, gradients and Adam's two moments
    print(f"weights, gradients, Adam: 16 bytes a parameter, 80 GB hold {80e9 / 16 / 1e9:.1f}e9;")
    print("with Adam's moments shared by 64 (ZeRO 1) 8.1 bytes, 9.9e9; all shared 0.25, 320e9")
    for name, rate in ("float32", RATE), ("tf32", 446.16e12):
        sums = 4 * 2 * (MACHINE - 1) / MACHINE * 4 / NVLINK  # seconds a token and unit of width
        products = 72 / (MACHINE * 0.4 * rate)  # a token and width squared
        width = 5 * sums / products
        print(
            f"tensor parallel over {MACHINE}, {name}: a fifth of the products' time at {width:.0f}"
        )


def draw(costs, b, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for task, own in costs.items():
        style = "-" if task in MEASURED else ":"
        axes.plot(COUNTS, [own.efficiency(b, n) for n in COUNTS], style, label=task)
    axes.set(xscale="log", xlabel="GPUs", ylim=(0, 1.02))
    axes.set(ylabel=f"efficiency, {b} samples a GPU (model)")
    axes.set_xticks(COUNTS, map(str, COUNTS))
    axes.minorticks_off()
    axes.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=80)


def main():
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--batch-size", type=int, default=128, help="of a GPU")
    parser.add_argument("--plot", metavar="FILE.png")
    args = parser.parse_args()
    b, costs = args.batch_size, {}
    print("microseconds of a sum, " + ", ".join(f"{n} GPUs" for n in (2, 8, 64, 1024)))
    for size in (256, 1 << 20, 1 << 24, 1 << 30):
        print(f"{size:12}" + "".join(f"{1e6 * allreduce(size, n):10.0f}" for n in (2, 8, 64, 1024)))
    print(f"\n{b} samples a GPU; efficiency, and that as built; samples a GPU for 0.9")
    titles = "parameters,gradients,MFLOP,ms,8,64,1024,built 8,1024,0.9 at 8,at 1024".split(",")
    print(f"{'':10}" + "".join(f"{title:>11}" for title in titles))
    for task in args.tasks:
        costs[task] = own = cost(task)
        cells = [own.parameters, own.gradients, f"{own.operations / 1e6:.3g}"]
        cells += [f"{1e3 * own.alone(b):.2f}"]
        cells += [f"{own.efficiency(b, n):.2f}" for n in (8, 64, 1024)]
        cells += [f"{own.efficiency(b, n, window=0):.2f}" for n in (8, 1024)]
        cells += [own.hides(n) or "none" for n in (8, 1024)]
        print(f"{task:10}" + "".join(f"{cell:>11}" for cell in cells), flush=True)
    print()
    print_next()
    if args.plot:
        draw(costs, b, args.plot)


if __name__ == "__main__":
    main()
