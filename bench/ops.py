"""Microseconds an operation, forward plus backward, on arrays of three numbers: what the engine
itself costs.

    python bench/ops.py [--rounds 7]

Each line differentiates a chain of 1,000 operations. The last columns are the same chain in the
from-scratch and other engines that happen to be installed (torch, autograd, mygrad), alternating in
one process, and the bare NumPy forward pass.
"""

import argparse
import contextlib
import statistics
import sys
import time

import numpy as np
from common import machine

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


def with_tinygan():
    def differentiate(f):
        x = tg.Tensor(np.ones(3))
        return lambda: tg.grad(repeat(f, x), x, np.ones(3))

    return tg.ops, W, differentiate


def with_numpy():
    return np, W, lambda f: lambda: repeat(f, np.ones(3))


def with_torch():
    import torch

    torch.set_num_threads(1)

    def differentiate(f):
        x = torch.ones(3, dtype=torch.float64, requires_grad=True)
        g = torch.ones(3, dtype=torch.float64)
        return lambda: torch.autograd.grad(repeat(f, x), x, g)

    return torch, torch.tensor(W), differentiate


def with_autograd():
    import autograd
    import autograd.numpy as anp

    def differentiate(f):
        return lambda: autograd.grad(lambda x: anp.sum(repeat(f, x)))(np.ones(3))

    return anp, W, differentiate


def with_mygrad():
    import mygrad

    def differentiate(f):
        return lambda: repeat(f, mygrad.tensor(np.ones(3))).sum().backward()

    return mygrad, W, differentiate


ENGINES = {  # name -> () -> (module with tanh, w, differentiate(chain) -> what is timed)
    "tinygan": with_tinygan,
    "numpy fwd": with_numpy,
    "torch": with_torch,
    "autograd": with_autograd,
    "mygrad": with_mygrad,
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    sys.setrecursionlimit(10 * N)
    found = {}
    for name, make in ENGINES.items():
        with contextlib.suppress(ImportError):
            found[name] = make()
    print(f"{machine('numpy')}; microseconds an operation, medians of {rounds} rounds")
    print(f"{'operation':18}" + "".join(f"{name:>11}" for name in found))
    means = []
    for op in chains(np, W):
        runs = {}
        for name, (module, w, differentiate) in found.items():
            runs[name] = differentiate(chains(module, w)[op])
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
