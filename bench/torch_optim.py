"""PyTorch's own optimizer settings, those that its tests run over, on tinygan's optimizers.

    python bench/torch_optim.py [--steps 20] [--all]

A setting runs if tinygan has the optimizer and takes the options as they stand; it is equal if so
many steps from the same float64 parameters with the same gradients, of which some are missing in
some steps, give PyTorch's to 1e-12 of their size. Printed are the counts for each optimizer, and
what was refused and why; with --all also what ran, with the largest difference.
"""

import argparse
import warnings

import numpy as np
import torch

from tinygan import nn, optim

SHAPES = (4, 3), (3,), (), (2, 1, 3, 3)


def settings():
    """(name of the optimizer, PyTorch's words for the setting, its options) of each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_optimizers import optim_db
    for info in optim_db:
        for setting in info.optim_inputs_func(device="cpu"):
            yield info.optim_cls.__name__, setting.desc, setting.kwargs


def compare(name, options, steps):
    """The largest difference between tinygan's parameters and PyTorch's, relative to their size."""
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape) for shape in SHAPES]
    ours = [nn.Parameter(np.array(a)) for a in start]
    theirs = [torch.tensor(a, requires_grad=True) for a in start]
    optimizers = (
        getattr(optim, name)(ours, **options),
        getattr(torch.optim, name)(theirs, **options),
    )
    worst = 0.0
    for i in range(steps):
        for k, (p, t) in enumerate(zip(ours, theirs)):
            g = np.array(rng.standard_normal(p.shape)) if (i + k) % 5 else None
            p.grad, t.grad = g, None if g is None else torch.tensor(g)
        for optimizer in optimizers:
            optimizer.step()
        for p, t in zip(ours, theirs):
            difference = np.abs(p.data - t.detach().numpy()) / np.maximum(1, np.abs(p.data))
            worst = max(worst, float(np.max(difference)))
    return worst


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--all", action="store_true")
    args = parser.parse_args()
    torch.set_default_dtype(torch.float64)  # or NAdam and ASGD keep their rates in float32
    rows, words = {}, []
    for name, title, options in settings():
        row = rows.setdefault(name, [0, 0, 0])
        row[0] += 1
        try:
            worst = compare(name, options, args.steps)
        except (AttributeError, TypeError, ValueError) as e:
            words.append(f"{name}, {title}: refused, {e}")
            continue
        row[1] += 1
        row[2] += worst <= 1e-12
        if args.all or worst > 1e-12:
            words.append(f"{name}, {title}: {worst:.1e}")
    print(f"torch {torch.__version__}, {args.steps} steps, float64")
    rows["all"] = [sum(column) for column in zip(*rows.values())]
    for name, row in [("", ("settings", "run", "equal")), *rows.items()]:
        print(f"{name:12}" + "".join(f"{cell:>10}" for cell in row))
    print(*words, sep="\n")


if __name__ == "__main__":
    main()
