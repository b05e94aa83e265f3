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
import logging
import signal
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parent.parent / "tests"))
import seeded_bugs  # noqa: E402


def each(x):
    return x if isinstance(x, tuple) else (x,)


def with_tinygan():
    """A check of (f, vjp, *inputs); the functions to time, by name; a check of (function, *inputs)
    to second order; and, of who takes functions of torch tensors, a check of (f, inputs, options).
    """
    from tinygan import ops
    from tinygan.testing import check_grads, check_module

    functions = {
        "tanh": ops.tanh,
        "matmul": ops.matmul,
        "softmax": ops.softmax,
        "conv2d": lambda x, w: ops.conv2d(x, w, stride=2, padding=1),
    }

    def of_torch(f, inputs, options):
        (check_module if hasattr(f, "parameters") else check_grads)(f, *inputs, order=1, **options)

    return (
        (lambda f, vjp, *inputs: check_grads(f, *inputs, vjp=vjp)),
        functions,
        check_grads,
        of_torch,
    )


def with_torch(fast):
    import torch
    from torch.autograd import gradcheck, gradgradcheck
    from torch.utils import _pytree as tree

    torch.set_num_threads(1)  # at these sizes a second thread waits more than it works

    def tensors(arrays):
        torch.manual_seed(0)
        return tuple(torch.tensor(x, requires_grad=True) for x in arrays)

    def check(f, vjp, *inputs):
        class Function(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *xs):
                ctx.save_for_backward(*xs)
                out = f(*(x.detach().numpy() for x in xs))
                return (
                    tuple(map(torch.tensor, out)) if isinstance(out, tuple) else torch.tensor(out)
                )

            @staticmethod
            def backward(ctx, *g):
                g = tuple(a.numpy() for a in g)
                found = vjp(
                    g if len(g) > 1 else g[0], *(x.detach().numpy() for x in ctx.saved_tensors)
                )
                return tuple(
                    a if a is None else torch.from_numpy(np.asarray(a, order="C"))
                    for a in each(found)
                )

        gradcheck(Function.apply, tensors(inputs), fast_mode=fast)

    def check_twice(f, *inputs):
        gradcheck(f, tensors(inputs), fast_mode=fast)
        gradgradcheck(f, tensors(inputs), fast_mode=fast)

    def of_torch(f, inputs, options):
        parameters = dict(f.named_parameters()) if isinstance(f, torch.nn.Module) else {}
        call = f if not parameters else lambda *xs, **kw: torch.func.functional_call(f, kw, xs)
        leaves, form = tree.tree_flatten((inputs, options.get("kwargs", parameters)))
        at = [i for i, x in enumerate(leaves) if isinstance(x, torch.Tensor)]

        def flat(*tensors):
            given = dict(zip(at, tensors))
            xs, kw = tree.tree_unflatten([given.get(i, x) for i, x in enumerate(leaves)], form)
            return tuple(tree.tree_leaves(call(*xs, **kw)))

        tracked = [leaves[i].detach().requires_grad_() for i in at]
        gradcheck(flat, tracked, fast_mode=fast, check_forward_ad=options.get("jvp", False))

    functions = {
        "tanh": torch.tanh,
        "matmul": torch.matmul,
        "softmax": lambda x: torch.softmax(x, -1),
        "conv2d": lambda x, w: torch.nn.functional.conv2d(x, w, stride=2, padding=1),
    }
    return check, functions, check_twice, of_torch


def with_autograd():
    import autograd.numpy as np_like
    from autograd.extend import defvjp_argnums, primitive
    from autograd.test_util import check_grads

    def check(f, vjp, *inputs):
        op = primitive(f)

        def rule(argnums, out, args, kwargs):
            def gradients(g):
                found = each(vjp(g, *args))
                return tuple(found[i] for i in argnums)

            return gradients

        defvjp_argnums(op, rule)
        check_twice(op, *inputs, order=1)

    def check_twice(f, *inputs, order=2):
        np.random.seed(0)
        check_grads(f, tuple(range(len(inputs))), modes=["rev"], order=order)(*inputs)

    def softmax(x):
        e = np_like.exp(x - np_like.max(x, axis=-1, keepdims=True))
        return e / np_like.sum(e, axis=-1, keepdims=True)

    return check, {"tanh": np_like.tanh, "matmul": np_like.matmul, "softmax": softmax}, check_twice


def with_jax():
    import jax
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)
    # the errors of callbacks, which are what we look for
    logging.getLogger("jax").setLevel(logging.CRITICAL)

    def like(arrays):
        return jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(np.shape(a), np.asarray(a).dtype), arrays
        )

    def call(f, shapes, *arguments):
        return jax.pure_callback(lambda *a: f(*jax.tree.map(np.asarray, a)), shapes, *arguments)

    def check(f, vjp, *inputs):
        shapes = like(f(*inputs))
        op = jax.custom_vjp(lambda *xs: call(f, shapes, *xs))
        op.defvjp(
            lambda *xs: (op(*xs), xs),
            lambda xs, g: call(lambda g, *xs: each(vjp(g, *xs)), like(tuple(inputs)), g, *xs),
        )
        check_grads(op, inputs, order=1, modes=["rev"])

    def conv2d(x, w):
        return jax.lax.conv_general_dilated(x, w, (2, 2), [(1, 1), (1, 1)])

    functions = {
        "tanh": jax.numpy.tanh,
        "matmul": jax.numpy.matmul,
        "softmax": jax.nn.softmax,
        "conv2d": conv2d,
    }
    return check, functions, lambda f, *inputs: check_grads(f, inputs, order=2, modes=["rev"])


CHECKERS = {
    "tinygan": with_tinygan,
    "torch slow": lambda: with_torch(False),
    "torch fast": lambda: with_torch(True),
    "autograd": with_autograd,
    "jax": with_jax,
}
FUNCTIONS = {  # what is timed: a name in `functions` and the shapes of its inputs
    "tanh of 30": ("tanh", (30,)),
    "matmul, 10 x 10": ("matmul", (10, 10), (10, 10)),
    "softmax of 10 x 10": ("softmax", (10, 10)),
    "conv2d of 1,000": ("conv2d", (1, 10, 10, 10), (4, 10, 3, 3)),
    "conv2d of 10,000": ("conv2d", (1, 4, 50, 50), (4, 4, 3, 3)),
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


def kills(checkers, seconds):
    """The first table: (a module of bugs, who is asked and how) for each group of rows."""
    groups = [
        (
            seeded_bugs,
            {
                who: lambda made, check=c[0]: check(made[0], made[1], *made[2])
                for who, c in checkers.items()
            },
        )
    ]
    with contextlib.suppress(ImportError):
        import seeded_torch_bugs

        groups.append(
            (
                seeded_torch_bugs,
                {
                    who: lambda made, check=c[3]: check(*made)
                    for who, c in checkers.items()
                    if c[3:]
                },
            )
        )
    print(f"{'a wrong gradient':47}" + "".join(f"{who:>12}" for who in checkers))
    columns = {who: [] for who in checkers}
    for seeded, checks in groups:
        for name, bug in seeded.BUGS.items():
            for who, column in columns.items():
                column.append(
                    judge(checks[who], bug, seeded.CLEAN[name], seconds) if who in checks else "-"
                )
            print(
                f"{name:47}" + "".join(f"{column[-1]:>12}" for column in columns.values()),
                flush=True,
            )
    asked = sum(len(seeded.BUGS) for seeded, _ in groups)
    words = {
        "killed": "killed",
        "MISSED": "missed",
        "alarm": "false alarms",
        "slow": "too slow",
        "-": "not to be asked",
    }
    for outcome, word in words.items():
        print(
            f"{f'{word}, of {asked}':47}"
            + "".join(f"{column.count(outcome):12}" for column in columns.values())
        )


def times(checkers, seconds, rounds):
    print(f"{'seconds, order 2':47}" + "".join(f"{who:>12}" for who in checkers))
    for title, (name, *shapes) in FUNCTIONS.items():
        rng = np.random.default_rng(0)
        inputs = [rng.normal(size=shape) for shape in shapes]
        runs = {
            who: lambda f=f, check=check: check(f[name], *inputs)
            for who, (_, f, check, *_) in checkers.items()
            if name in f
        }
        found = {who: [] for who in runs}
        for _ in range(rounds + 1):  # the first is not counted: caches are filled, kernels compiled
            for who, run in runs.items():
                if "slow" not in found[who]:
                    outcome, took = attempt(run, seconds)
                    found[who].append(took if outcome == "passed" else outcome)
        cells = {
            who: next((t for t in took if isinstance(t, str)), None)
            or f"{statistics.median(took[1:]):.3g}"
            for who, took in found.items()
        }
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
