"""Milliseconds per training step next to PyTorch and others: the same networks, batch and
optimizer, taking turns.

    python bench/step.py [--tasks mlp-gan dcgan5x5 mlp-vae conv-vae wgan-gp dcgan r3gan hinge-sn
                                  flow ddpm gpt]
                         [--peers jax ...] [--rounds 7] [--readme] [--features avx2]

Each side has a process of its own, as its users run it, and waits while another works: in a shared
one, the large arrays of one side change how much freed memory malloc keeps for all, and threads get
in each other's way. Beforehand each peer must report tinygan's losses for the first two steps.
Printed are the medians of tinygan and of PyTorch; the work of a step, counted from the shapes of
the matrix products and convolutions that tinygan asks for, forward and backward (a multiplication
and an addition are two, taps in the padding count, and so does what a faster algorithm saves), and
the rate at which it is done; and speeds, the medians over rounds of PyTorch's time over each
peer's: above 1 is faster. The rate of one large product, measured first, is what the processor
could do. gpt is nanoGPT's small one, whose batches are of 12: --tasks gpt --batch-size 12. "torch
heap" is PyTorch where glibc is told to keep what is freed (MALLOC_TRIM_THRESHOLD_ and
MALLOC_MMAP_THRESHOLD_), as a well-informed user can, instead of page faults in every step; "torch
tuned" also freezes D in G's update and fuses Adam. --features avx2 keeps tinygan to what most
laptops have, while the others use all that this processor has. --readme prints the table of
docs/results.md as well.
"""

import argparse
import contextlib
import functools
import statistics

import numpy as np
from common import answer, ask, machine, obey, race, restricted, running, speed, turns
from tasks import TASKS, Ours, batch, maker, model, sized
from work import gflop

from tinygan import kernels

TITLES = {
    "mlp-gan": "mlp GAN",
    "dcgan5x5": "DCGAN",
    "mlp-vae": "mlp VAE",
    "conv-vae": "conv VAE",
    "wgan-gp": "WGAN-GP",
    "dcgan": "small DCGAN",
    "r3gan": "R3GAN",
    "hinge-sn": "hinge, spectral norm",
    "flow": "flow matching",
    "ddpm": "DDPM",
    "gpt": "GPT",
}
WORDS = {
    "tinygan": "**tinygan**",
    "torch heap": "PyTorch, heap kept",
    "torch tuned": "PyTorch tuned",
    "jax": "JAX jit",
    "mygrad": "MyGrad",
}

# older glibc takes no larger one
KEPT = {"MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_MMAP_THRESHOLD_": str(1 << 25)}
ENV = {"torch heap": KEPT, "torch tuned": KEPT}


def ceilings(rounds, n=2048):
    """{name: GFLOP/s} of the float32 product of two n x n matrices, in this process."""
    a, b = np.random.default_rng(0).standard_normal((2, n, n)).astype(np.float32)
    runs = {"tinygan": lambda: kernels.of(a).gemm(a, b), "numpy": lambda: a @ b}
    return {name: 2 * n**3 / 1e6 / min(times) for name, times in race(runs, rounds).items()}


def child(who, task=None, batch_size=0, rounds=0, **options):
    """One side, or the ceilings, in its process."""
    if who == "ceilings":
        return ceilings(rounds)
    obey(functools.partial(maker(who)(model(task, **options)).step, batch(task, batch_size)))


def measure(task, found, batch_size, rounds, env, **options):
    """GFLOP of a step, and {name: [milliseconds a step, one a round]}; env: of each side."""
    from agree import agree

    make = functools.partial(model, task, **options)
    names = ["tinygan", *agree(make, found, functools.partial(batch, task))]
    work = gflop(functools.partial(Ours(make()).step, batch(task, batch_size)))
    options |= {"task": task, "batch_size": batch_size}
    with contextlib.ExitStack() as stack:
        sides = {
            n: stack.enter_context(running(n, __file__, env.get(n), who=n, **options))
            for n in names
        }
        return work, turns(sides, rounds)


def main():
    from peers import peers

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found, missing = peers()
    others = [name for name in found if not name.startswith("torch")]
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--peers", nargs="*", choices=others, default=others, help="beside PyTorch")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--width", type=int, default=32, help="of dcgan, r3gan, hinge-sn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--features", choices=["avx2"], help="of the processor, for tinygan alone")
    parser.add_argument("--readme", action="store_true", help="print docs/results.md's table too")
    args = parser.parse_args()
    found = {n: make for n, make in found.items() if n in args.peers or n not in others}
    print(machine("numpy", "torch", *args.peers))
    words = f"float32, batch {args.batch_size}, dcgan at width {args.width}"
    words += f", tinygan with {args.features} alone" * bool(args.features)
    print(f"{words}, {args.rounds} rounds; {'; '.join(missing)}")
    env = ENV | {"tinygan": restricted(args.features)}
    rates = ask(__file__, env["tinygan"], who="ceilings", rounds=args.rounds)
    words = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    print(f"a product of 2048 x 2048, GFLOP/s: {words}")
    names = ["tinygan", *found]
    columns = ["step", "GFLOP", "tinygan ms", "GFLOP/s", "torch ms", "GFLOP/s", *names]
    print("".join(f"{title:>12}" for title in columns))
    table = {}
    for task in args.tasks:
        options = sized(task, args.width)
        work, times = measure(task, found, args.batch_size, args.rounds, env, **options)
        table[task] = row(task, work, times, names)
    if args.readme:
        print_markdown(table, args.batch_size, names)


def row(task, work, times, names):
    """Print a line of the table; its cells by name, as docs/results.md has them."""
    ours, theirs = (statistics.median(times[name]) for name in ("tinygan", "torch"))
    numbers = work, ours, 1e3 * work / ours, theirs, 1e3 * work / theirs
    cells = {name: f"{speed(times, name, 'torch'):.2f}x" for name in times}
    line = [task, *(f"{number:.4g}" for number in numbers)]
    line += [cells.get(name, "") for name in names]
    print("".join(f"{cell:>12}" for cell in line), flush=True)
    return cells | {"PyTorch eager, ms": f"{theirs:.3g}", "tinygan, ms": f"{ours:.3g}"}


def print_markdown(table, batch_size, names):
    """The table of docs/results.md: a step to a column."""
    titles = " | ".join(TITLES[task] for task in table)
    print(f"\n| batches of {batch_size} | {titles} |\n|---|{'--:|' * len(table)}")
    for name in ["PyTorch eager, ms", "tinygan, ms", *(n for n in names if n != "torch")]:
        cells = " | ".join(cells.get(name, "") for cells in table.values())
        print(f"| {WORDS.get(name, name)} | {cells} |")


if __name__ == "__main__":
    answer(main, child)
