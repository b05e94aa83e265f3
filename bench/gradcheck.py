"""Which wrong gradients a gradient checker lets through: tinygan.testing beside the checkers that
happen to be installed.

    python bench/gradcheck.py [--seconds 30] [--rounds 3]

Each line of the first table is a bug of tests/seeded_bugs.py, handed to each checker at its default
tolerances as a custom gradient of its own framework. Any error is a kill, a refusal by the
framework included; but a checker that refuses the right version of the same function too has seen
nothing: a false alarm. --seconds limits one check: beyond, it is "slow". What a framework puts
right itself counts as missed: torch casts and sums gradients, and under autograd and jax, where
nobody writes into an array, a gradient may well share its memory. Those of
tests/seeded_torch_bugs.py are functions of torch tensors: "-" for who cannot be asked. There torch
gets every tensor that a call has, in lists, keywords or parameters, and all outputs, one by one,
and check_forward_ad where the forward mode counts.

The second table is the median time of one check of a right gradient, first and second order,
alternating in one process; for torch that is gradcheck and gradgradcheck, on one thread. torch slow
compares every entry of the Jacobian, tinygan too, up to 100,000 entries; the others compare one
projection. "refused" is a false alarm.
"""

import argparse
import contextlib
import functools
import signal
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from checkers import CHECKERS

sys.path.append(str(Path(__file__).parent.parent / "tests"))
import seeded_bugs  # noqa: E402


FUNCTIONS = {  # what is timed: a name in `functions` and the shapes of its inputs
    "tanh of 30": ("tanh", (30,)),
    "matmul, 10 x 10": ("matmul", (10, 10), (10, 10)),
    "softmax of 10 x 10": ("softmax", (10, 10)),
    "conv2d of 1,000": ("conv2d", (1, 10, 10, 10), (4, 10, 3, 3)),
    "conv2d of 10,000": ("conv2d", (1, 4, 50, 50), (4, 4, 3, 3)),
}
OUTCOMES = {
    "killed": "killed",
    "MISSED": "missed",
    "alarm": "false alarms",
    "slow": "too slow",
    "-": "not to be asked",
}


class Late(BaseException):
    """The time for a check is over; no Exception, so that no checker takes it for its own."""


def attempt(check, seconds):
    """Run check(): ("passed", "refused" or "slow", the seconds it took)."""

    def late(*_):
        raise Late

    before, start = signal.signal(signal.SIGALRM, late), time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        check()
        outcome = "passed"
    except (Exception, Late):
        outcome = "refused"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    took = time.perf_counter() - start
    return "slow" if took >= seconds else outcome, took


def judge(check, bug, clean, seconds):
    """What a checker makes of a bug: "killed", "MISSED", "alarm" (the right version is refused as
    well) or "slow".
    """
    outcomes = [attempt(lambda: check(made()), seconds)[0] for made in (clean, bug)]
    clean, bug = outcomes
    if "refused" == clean:
        return "alarm"
    return "slow" if "slow" in outcomes else {"refused": "killed", "passed": "MISSED"}[bug]


def rows(checkers):
    """(a bug's name, its right version and itself as functions that make them, {who: check of what
    is made}) of each line of the first table.
    """
    checks = {who: lambda made, c=c: c.check(made[0], made[1], *made[2]) for who, c in checkers}
    for name, bug in seeded_bugs.BUGS.items():
        yield name, seeded_bugs.CLEAN[name], bug, checks
    with contextlib.suppress(ImportError):
        import seeded_torch_bugs

        checks = {who: lambda made, c=c: c.of_torch(*made) for who, c in checkers if c.of_torch}
        for name, bug in seeded_torch_bugs.BUGS.items():
            yield name, seeded_torch_bugs.CLEAN[name], bug, checks


def kills(checkers, seconds):
    """The first table."""
    print(f"{'a wrong gradient':47}" + "".join(f"{who:>12}" for who in checkers))
    columns, asked = {who: [] for who in checkers}, 0
    for name, clean, bug, checks in rows(checkers.items()):
        asked += 1
        for who, column in columns.items():
            told = judge(checks[who], bug, clean, seconds) if who in checks else "-"
            column.append(told)
        cells = "".join(f"{column[-1]:>12}" for column in columns.values())
        print(f"{name:47}{cells}", flush=True)
    for outcome, word in OUTCOMES.items():
        cells = "".join(f"{column.count(outcome):12}" for column in columns.values())
        print(f"{f'{word}, of {asked}':47}{cells}")


def times(checkers, seconds, rounds):
    print(f"{'seconds, order 2':47}" + "".join(f"{who:>12}" for who in checkers))
    for title, (name, *shapes) in FUNCTIONS.items():
        rng = np.random.default_rng(0)
        inputs = [rng.normal(size=shape) for shape in shapes]
        runs = {
            who: functools.partial(c.twice, c.functions[name], *inputs)
            for who, c in checkers.items()
            if name in c.functions
        }
        found = {who: [] for who in runs}
        for _ in range(rounds + 1):  # the first is not counted: caches are filled, kernels compiled
            for who, run in runs.items():
                if "slow" not in found[who]:
                    outcome, took = attempt(run, seconds)
                    found[who].append(took if outcome == "passed" else outcome)
        cells = {}
        for who, took in found.items():
            refusals = [t for t in took if isinstance(t, str)]
            cells[who] = refusals[0] if refusals else f"{statistics.median(took[1:]):.3g}"
        print(f"{title:47}" + "".join(f"{cells.get(who, '-'):>12}" for who in checkers), flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    checkers = {}
    for who, make in CHECKERS.items():
        try:
            checkers[who] = make()
        except ImportError as e:
            print(f"{who}: not installed ({e})")
    versions = [f"{m} {sys.modules[m].__version__}" for m in ("torch", "jax") if m in sys.modules]
    print(", ".join([f"python {sys.version.split()[0]}", f"numpy {np.__version__}", *versions]))
    kills(checkers, args.seconds)
    print()
    times(checkers, args.seconds, args.rounds)


if __name__ == "__main__":
    main()
