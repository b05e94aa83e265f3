"""Microseconds an operation, forward plus backward, on arrays of three numbers: what the engine
itself costs.

    python bench/ops.py [--rounds 7]

Each line differentiates a chain of 1,000 operations. The last columns are the same chain in the
from-scratch and other engines that happen to be installed (torch, autograd, mygrad), alternating in
one process, and the bare NumPy forward pass.
"""

import argparse
import importlib
import statistics
import sys
import time

import numpy as np

import tinygan as tg

N = 1000
W = np.array([0.999, 1.001, 0.998])


def chains(np_like, w):
    """The chains, written with the operators and functions that every engine has."""
    tanh = getattr(np_like, "tanh", np.tanh)
    return {
        "x * w": lambda x: x * w,
        "x + w": lambda x: x + w,
        "x * 0.999": lambda x: x * 0.999,
        "tanh(x)": tanh,
        "-x": lambda x: -x,
        "tanh(x * w + w)": lambda x: tanh(x * w + w),
    }


SIZE = {"tanh(x * w + w)": 3}


def repeat(f, x):
    for _ in range(N):
        x = f(x)
    return x


def engines():
    """name -> (module with tanh, w, differentiate(chain))."""

    def ours(f):
        x = tg.Tensor(np.ones(3))
        return lambda: tg.grad(repeat(f, x), x, np.ones(3))

    def bare(f):
        return lambda: repeat(f, np.ones(3))

    found = {"tinygan": (tg.ops, W, ours), "numpy fwd": (np, W, bare)}
    for name in ("torch", "autograd", "mygrad"):
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        if name == "torch":
            import torch

            torch.set_num_threads(1)

            def theirs(f):
                x = torch.ones(3, dtype=torch.float64, requires_grad=True)
                return lambda: torch.autograd.grad(
                    repeat(f, x), x, torch.ones(3, dtype=torch.float64)
                )

            found[name] = (torch, torch.tensor(W), theirs)
        elif name == "autograd":
            import autograd
            import autograd.numpy as anp

            found[name] = (
                anp,
                W,
                lambda f: lambda: autograd.grad(lambda x: anp.sum(repeat(f, x)))(np.ones(3)),
            )
        else:
            import mygrad

            def theirs(f):
                return lambda: repeat(f, mygrad.tensor(np.ones(3))).sum().backward()

            found[name] = (mygrad, W, theirs)
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    sys.setrecursionlimit(10 * N)
    found = engines()
    print(
        f"python {sys.version.split()[0]}, numpy {np.__version__}; microseconds an operation, medians of {rounds} rounds"
    )
    print(f"{'operation':18}" + "".join(f"{name:>11}" for name in found))
    means = []
    for op in chains(np, W):
        runs = {
            name: differentiate(chains(module, w)[op])
            for name, (module, w, differentiate) in found.items()
        }
        times = {name: [] for name in runs}
        for run in runs.values():
            run()
        for _ in range(rounds):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                times[name].append((time.perf_counter() - start) * 1e6 / N / SIZE.get(op, 1))
        row = [statistics.median(times[name]) for name in found]
        means.append(row)
        print(f"{op:18}" + "".join(f"{t:11.2f}" for t in row), flush=True)
    print(f"{'mean':18}" + "".join(f"{statistics.mean(column):11.2f}" for column in zip(*means)))


if __name__ == "__main__":
    main()
