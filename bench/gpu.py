"""Milliseconds per training step on a GPU: ours eager and captured, PyTorch eager, with CUDA graphs
and compiled; rooflines.

    python bench/gpu.py [--models gan-dcgan ...] [--widths 1 4] [--batch-sizes 128 1024]
                        [--precisions float32 tf32]
                        [--columns eager captured torch graphs compile]
                        [--rounds 5] [--out FILE] [--limit SECONDS]

The same networks, first weights and losses, alternating in one process; medians over rounds. Width
multiplies hidden units and channels. The roofline is a bound that no launch overhead enters: the
operations of a step's matrix products at the rate of one large product, plus the bytes of its
arrays, each read and written once by each operation that makes it or differentiates it, and of Adam
and the moving average, at the rate of one large copy; both rates measured here. Needs a GPU and
CuPy, and for its three columns a PyTorch that sees the GPU. A row is written, to FILE too, when it
is measured; after the limit none is begun. Exit status 1: something failed, and the row says what,
or was left out.
"""

import argparse
import contextlib
import functools
import itertools
import statistics
import sys
import time
import warnings

from tasks import DIFFUSED, GAMES, TEXT, batch, model
from work import moved, operations

from tinygan import device, kernels, models, nn, random
from tinygan.capture import capture
from tinygan.cli import run

# upsample's networks are no chains of layers, which could be widened
CHAINS = {name: make for name, make in models.MODELS.items() if name != "upsample"}
MODELS = {f"gan-{name}": make for name, make in CHAINS.items()}
MODELS |= {f"vae-{name}": make for name, make in models.VAES.items()}
MODELS |= {
    task: functools.partial(models.MODELS[nets], **game) for task, (nets, game) in GAMES.items()
}
MODELS |= {task: functools.partial(model, task) for task in (*DIFFUSED, "gpt")}
PRECISIONS = ("float32", "tf32")


def widened(net, k):
    """A Sequential like this one whose inner sizes are k times as large."""
    matrices = [i for i, m in enumerate(net) if hasattr(m, "weight") and m.weight.ndim > 1]
    layers, inner = [], 1
    for i, m in enumerate(net):
        out = k if i < matrices[-1] else 1
        layers.append(_widened(m, inner, out))
        inner = out if i in matrices else inner
    return nn.Sequential(*layers)


def _widened(m, inner, out):
    """The layer for inputs `inner` times and outputs `out` times as large."""
    name = type(m).__name__
    if name == "SpectralNorm":
        return nn.spectral_norm(_widened(m.layer, inner, out))
    if name == "Linear":
        o, i = m.weight.shape
        return nn.Linear(i * inner, o * out, m.bias is not None)
    if name.startswith("Conv"):
        a, b = m.weight.shape[:2] if name == "ConvTranspose2d" else m.weight.shape[1::-1]
        options = {key: v for key, v in m.options.items() if key != "groups"}
        options |= {"bias": m.bias is not None}
        return getattr(nn, name)(a * inner, b * out, m.weight.shape[2:], **options)
    if name.startswith("BatchNorm"):
        return getattr(nn, name)(len(m.weight) * out)
    if name == "Unflatten":
        return nn.Unflatten(m.dim, (m.unflattened_size[0] * out, *m.unflattened_size[1:]))
    return m


def ours(name, k, where):
    """tinygan's model of that name and width, always with the same first weights."""
    random.manual_seed(0)
    if name in DIFFUSED:
        return MODELS[name](width=32 * k, hidden=256 * k, device=where)
    if name == "gpt":
        return MODELS[name](width=TEXT["width"] * k, device=where)
    plain = MODELS[name]()
    if hasattr(plain, "generator"):
        nets = widened(plain.generator, k), widened(plain.discriminator, k)
        options = {"lr": 2e-4, "objective": plain.objective, "device": where}
        return type(plain)(*nets, plain.latent, **options)
    nets = widened(plain.encoder, k), widened(plain.decoder, k)
    return models.VAE(*nets, plain.latent, lr=1e-3, device=where)


def graphed(theirs, x):
    """A function that replays one step of PyTorch's as a CUDA graph (the recipe of PyTorch's notes
    on CUDA graphs).
    """
    import torch

    side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    several = isinstance(x, tuple)
    kept = tuple(part.clone() for part in x) if several else x.clone()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            theirs.update(kept)
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph):
        theirs.update(kept)

    def replay(x):
        for ours, theirs in zip(kept, x) if several else [(kept, x)]:
            ours.copy_(theirs)
        graph.replay()

    return replay


def timed(f, count):
    """Seconds per call, the device's work included."""
    wait = device.module("gpu").cuda.runtime.deviceSynchronize
    wait()
    start = time.perf_counter()
    for _ in range(count):
        f()
    wait()
    return (time.perf_counter() - start) / count


def sent(real):
    """A batch, an array or a tuple of them, on the GPU."""
    parts = real if isinstance(real, tuple) else (real,)
    parts = tuple(device.to(part, "gpu") for part in parts)
    return parts if isinstance(real, tuple) else parts[0]


def own_step(name, k, real, wrap):
    """A function that makes one step of ours."""
    step, x = wrap(ours(name, k, "gpu").step), sent(real)
    return lambda: (step(x), random.default.next_step())


def their_step(name, k, real, graph=False, **options):
    """A function that makes one step of PyTorch's, from the same weights."""
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("this PyTorch sees no GPU")
    from peers.with_torch import tensors, with_torch

    # all compiled networks share its limit of 8: from the fourth on they would run eagerly
    torch._dynamo.reset()
    theirs = with_torch(ours(name, k, "cpu"), "cuda", **options)
    x = tensors(real, "cuda")
    return functools.partial(graphed(theirs, x) if graph else theirs.update, x)


COLUMNS = {
    "eager": functools.partial(own_step, wrap=lambda step: step),
    "captured": functools.partial(own_step, wrap=capture),
    "torch": their_step,
    "graphs": functools.partial(their_step, graph=True, capturable=True),
    "compile": functools.partial(their_step, compiled=True),
}


def measured(row, columns, rounds):
    """({column: seconds}, what failed) of a row: a model's name, its width and a batch of real
    images.
    """
    calls, counts, failed = {}, {}, []
    for column in columns:
        try:
            f = COLUMNS[column](*row)
            # compiles; a step that cannot be captured warns, which is an error here
            [f() for _ in range(5)]
            counts[column] = max(3, round(0.3 / timed(f, 3)))
            calls[column] = f
        except Exception as e:
            failed.append(
                f"{column}: {type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"
            )
    times = [{c: timed(f, counts[c]) for c, f in calls.items()} for _ in range(rounds)]
    return {c: statistics.median(t[c] for t in times) for c in calls}, failed


def main():
    args = arguments()
    device.resolve("gpu")  # or one line that says why not
    cupy, start, lacks = device.module("gpu"), time.perf_counter(), 0
    warnings.filterwarnings("error", "tinygan: this step runs without a CUDA graph")

    def say(line):
        print(line, flush=True)
        if args.out:
            with open(args.out, "a") as f:
                print(line, file=f)

    say(f"{device.describe()}, torch {version('torch')}; ms/step, medians of {args.rounds} rounds")
    for precision in args.precisions:
        with rounded(precision):
            rate, bandwidth = rates(cupy, args.square)
            words = f"a product {rate / 1e12:.2f} TFLOP/s, a copy {bandwidth / 1e12:.2f} TB/s"
            say(f"\n{precision}: {words}")
            names = (*args.columns, "products", "bytes", "roofline")
            say(f"{'model':12} {'width':>5} {'batch':>5}" + "".join(f"{n:>10}" for n in names))
            for name, k, n in itertools.product(args.models, args.widths, args.batch_sizes):
                label = f"{name:12} {k:5} {n:5}"
                if args.limit and time.perf_counter() - start > args.limit:
                    say(f"{label}  left out: the time is up")
                    lacks += 1
                    continue
                real = batch(name, n)
                times, failed = measured((name, k, real), args.columns, args.rounds)
                bounds = bound(ours(name, k, "gpu"), real, rate, bandwidth)
                cells = [times.get(column) for column in args.columns] + [*bounds, sum(bounds)]
                say(
                    label
                    + "".join("         -" if t is None else f"{t * 1e3:10.3f}" for t in cells)
                )
                for reason in failed:
                    say(f"    {reason}")
                lacks += len(failed)
                cupy.get_default_memory_pool().free_all_blocks()
    return min(lacks, 1)


@contextlib.contextmanager
def rounded(precision):
    """Inside it float32 products are rounded so, tinygan's and PyTorch's."""
    if torch := sys.modules.get("torch"):
        tf32 = precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    with kernels.precision(precision, "gpu"):
        yield


def bound(model, real, rate, bandwidth):
    """Seconds that a step's products and its bytes take at the least."""
    step = functools.partial(model.step, sent(real))
    return operations(step, "gpu") / rate, moved(model, step) / bandwidth


def version(package):
    try:
        return __import__(package).__version__
    except ImportError:
        return "is missing"


def rates(cupy, side):
    """(operations a second of a large product, bytes a second of a large copy)."""

    def best(f):
        return min([timed(f, 10) for _ in range(6)][1:])

    square, product = cupy.ones((side, side), "f"), cupy.empty((side, side), "f")
    large, other = cupy.ones((2, 4 * side**2), "f")
    seconds = best(lambda: kernels.of(square).gemm(square, square, out=product))
    return 2 * side**3 / seconds, 2 * large.nbytes / best(lambda: cupy.copyto(other, large))


def arguments():
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--widths", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[128, 1024])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=list(COLUMNS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="a file to write to as well")
    parser.add_argument("--limit", type=float, default=0, help="seconds; 0: none")
    parser.add_argument("--square", type=int, default=8192, help="the large product's side")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
