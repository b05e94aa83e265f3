"""What tinygan.testing.check_grads makes of other people's functions: PyTorch's operation database
and jax.numpy.

    python bench/foreign.py [--engine torch] [--only cumprod] [--order 1] [--seconds 10] [--samples
    4]
        [--out FILE]

These gradients have been tested for years, so that an alarm is likely to be the checker's own
fault. Each function is tried on its first small samples, in a worker process that is replaced if it
dies or hangs, and gets a line:

    passed
    agreed     an alarm that the framework's own checker raises too (torch: gradcheck in slow mode,
               with the wrapper and the tolerance for nondeterminism that its database gives; jax:
               check_grads)
    explained  an alarm or exception whose reason stands in KNOWN below, and is one
    FALSE      any other alarm
    CRASH      an exception that is no GradientError, or the death of the process
    late       no answer in --seconds of processor time for a sample
    skipped    no sample to be had, or none with a float to differentiate

--order 2 asks for second derivatives as well where there are any. Written to --out as it comes;
then the counts.
"""

import argparse
import collections
import contextlib
import faulthandler
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

from common import machine

OVERLAP = (
    "the rule clears a part of a copy that keeps the cotangent's strides, "
    "where numbers share a place"
)
VIEWS = "its input is a view, and it reads the storage around it"
KNOWN = {  # (engine, function): why its gradient is rightly refused
    ("torch", "nn.functional.hardsigmoid"): "the rule has 1/6 in float32, for float64 too",
    ("torch", "as_strided (partial_views)"): VIEWS,
    ("torch", "diagonal_scatter"): OVERLAP,
    ("torch", "slice_scatter"): OVERLAP,
}
WORST = ("passed", "skipped", "late", "explained", "agreed", "CRASH", "FALSE")
OUTCOMES = ("passed", "agreed", "explained", "FALSE", "CRASH", "late", "skipped")
NUMBERS = 100  # a sample that has at most so many is small
NOWHERE = open(os.devnull, "w")


class Late(BaseException):
    """The time for a check is over; no Exception, so that nobody takes it for its own."""


def alarmed(call, seconds):
    """What the call gives in so many seconds of processor time; one that never hears the alarm ends
    the process.
    """

    def late(*_):
        raise Late

    signal.signal(signal.SIGPROF, late)
    faulthandler.dump_traceback_later(20 * seconds, exit=True, file=NOWHERE)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return call()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()


def line(e):
    """An exception's first line."""
    return f"{type(e).__name__}: {str(e).strip().splitlines()[0] if str(e).strip() else ''}"[:200]


def verdict(key, sample, order, seconds):
    """(outcome, words) for one sample."""
    from tinygan.testing import GradientError, check_grads

    f, inputs, own = sample
    try:
        alarmed(lambda: check_grads(f, *inputs, order=order), seconds)
        return "passed", ""
    except Late:
        return "late", f"inputs of shape {', '.join(str(tuple(x.shape)) for x in inputs)}"
    except GradientError as e:
        alarm, words = True, str(e).strip().splitlines()[0]
    except Exception as e:
        alarm, words = False, line(e)
    try:
        alarmed(lambda: own(order), 2 * seconds)
    except Late:
        pass  # it has not said that anything is wrong
    except Exception as e:
        return (
            ("agreed", f"{words} | {line(e)}")
            if alarm
            else ("skipped", f"its own checker: {line(e)}")
        )
    if words.startswith("f gives no floats") and "complex" not in words:
        return "skipped", words
    if key in KNOWN:
        return "explained", f"{KNOWN[key]} | {words}"
    return "FALSE" if alarm else "CRASH", words


def attempt(engine, name, twice, samples, order, seconds, most):
    """(outcome, words) for a function, by the worst of its samples."""
    try:
        found = alarmed(lambda: [s for s in samples() if s[1]], seconds)
    except (Exception, Late) as e:
        return "skipped", f"its samples fail: {line(e)}"
    size = lambda s: sum(x.size if engine == "jax" else x.numel() for x in s[1])
    small = [s for s in found if 0 < size(s) <= NUMBERS] or sorted(found, key=size)[:1]
    if not small:
        return "skipped", "no sample has a float to differentiate"
    verdicts = [verdict((engine, name), s, min(order, 1 + twice), seconds) for s in small[:most]]
    return max(verdicts, key=lambda v: WORST.index(v[0]))


def child(engine, names, order, seconds, most):
    """Print a line for each function as it is done."""
    warnings.simplefilter("ignore")
    cases = importlib.import_module(f"foreign_cases.with_{engine}").cases()
    if names is None:
        print(json.dumps(list(cases)))
    for name in names or ():
        twice, samples = cases[name]
        print(
            json.dumps([name, *attempt(engine, name, twice, samples, order, seconds, most)]),
            flush=True,
        )


def answers(**options):
    """The lines of a worker, until it ends."""
    command = [sys.executable, __file__, "--child", json.dumps(options)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    env = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}  # JAX mostly compiles
    with subprocess.Popen(command, **pipes, env=env, text=True) as worker:
        try:
            for text in worker.stdout:
                with contextlib.suppress(json.JSONDecodeError):  # what a function may print
                    yield json.loads(text)
        finally:
            worker.kill()


def outcomes(engine, names, **options):
    """(name, outcome, words) for each, with a fresh worker after one that did not come back."""
    while names:
        done = 0
        for answer in answers(engine=engine, names=names, **options):
            yield answer
            done += 1
        names = names[done:]
        if names:
            yield names[0], "CRASH", "the process died, or hung without hearing the alarm"
            names = names[1:]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=("torch", "jax"), help="both unless given")
    parser.add_argument("--only", help="functions whose name has this regular expression in it")
    parser.add_argument("--order", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10, help="of processor time for a sample")
    parser.add_argument("--samples", type=int, default=4, help="so many of each function, at most")
    parser.add_argument("--out", type=Path, help="a file to write to as well")
    args = parser.parse_args()
    options = {"order": args.order, "seconds": args.seconds, "most": args.samples}
    file = args.out.open("w") if args.out else None

    def tell(text):
        print(text, flush=True)
        if file:
            print(text, file=file, flush=True)

    for engine in [args.engine] if args.engine else ("torch", "jax"):
        try:
            tell(f"{engine}, order {args.order}: {machine('numpy', engine)}")
            names = next(answers(engine=engine, names=None, **options))
        except (ImportError, StopIteration):
            tell(f"{engine}: not installed")
            continue
        names = [n for n in names if re.search(args.only or "", n)]
        counts = collections.Counter()
        for name, outcome, words in outcomes(engine, names, **options):
            counts[outcome] += 1
            tell(f"{name:42} {outcome:10} {words}".rstrip())
        tell(
            f"{engine}: {sum(counts.values())} functions: "
            + ", ".join(f"{counts[o]} {o}" for o in OUTCOMES)
            + "\n"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(**json.loads(sys.argv[2]))
    else:
        main()
