"""Milliseconds per training step on a GPU: ours eager and captured, PyTorch eager, with CUDA graphs
and compiled; rooflines.

    python bench/gpu.py [--models gan-dcgan ...] [--widths 1 4] [--batch-sizes 128 1024]
    [--precisions float32 tf32]
                        [--columns eager captured torch graphs compile] [--rounds 5] [--out FILE] [--limit SECONDS]

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
import functools
import statistics
import sys
import time
import warnings

import numpy as np

from tinygan import autograd, device, kernels, models, nn, ops, random
from tinygan.capture import capture
from tinygan.cli import run
from tinygan.models import gan as gan_module
from tinygan.models import vae as vae_module

MODELS = {f"gan-{name}": make for name, make in models.MODELS.items()}
MODELS |= {f"vae-{name}": make for name, make in models.VAES.items()}
PRECISIONS = ("float32", "tf32")


def widened(net, k):
    """A Sequential like this one whose inner sizes are k times as large."""
    last, inner, layers = (
        [i for i, m in enumerate(net) if hasattr(m, "weight") and m.weight.ndim > 1][-1],
        1,
        [],
    )
    for i, m in enumerate(net):
        name, out = type(m).__name__, 1 if i == last else k
        if name == "Linear":
            m = nn.Linear(m.weight.shape[1] * inner, m.weight.shape[0] * out, m.bias is not None)
        elif name.startswith("Conv"):
            a, b = m.weight.shape[:2] if name == "ConvTranspose2d" else m.weight.shape[1::-1]
            options = {key: v for key, v in m.options.items() if key != "groups"}
            m = getattr(nn, name)(
                a * inner, b * out, m.weight.shape[2:], bias=m.bias is not None, **options
            )
        elif name.startswith("BatchNorm"):
            m = getattr(nn, name)(len(m.weight) * k)
        elif name == "Unflatten" and i < last:
            m = nn.Unflatten(m.dim, (m.unflattened_size[0] * k, *m.unflattened_size[1:]))
        inner = out if hasattr(m, "weight") and m.weight.ndim > 1 else inner
        layers.append(m)
    return nn.Sequential(*layers)


def ours(name, k, where):
    random.manual_seed(0)
    plain = MODELS[name]()
    if name.startswith("gan"):
        return models.GAN(
            widened(plain.generator, k),
            widened(plain.discriminator, k),
            plain.latent,
            2e-4,
            device=where,
        )
    return models.VAE(
        widened(plain.encoder, k), widened(plain.decoder, k), plain.latent, 1e-3, device=where
    )


class Theirs:
    """The model's step, as a PyTorch user writes it; `compiled` compiles the networks, `capturable`
    is for `graphed`.
    """

    def __init__(self, model, where, compiled=False, capturable=False):
        import torch
        from peers import twin

        self.torch, self.latent, self.is_gan = torch, model.latent, isinstance(model, models.GAN)
        parts = (
            [model.generator, model.discriminator]
            if self.is_gan
            else [model.encoder, model.decoder]
        )
        self.nets = [twin(part.to("cpu")).to(where) for part in parts]
        [part.to(model.device) for part in parts]
        averaged = [p for net in self.nets[: 1 if self.is_gan else 2] for p in net.parameters()]
        self.average, self.averaged = [p.detach().clone() for p in averaged], averaged
        adam = functools.partial(torch.optim.Adam, capturable=capturable)
        options = {"lr": 2e-4, "betas": (0.5, 0.999)} if self.is_gan else {"lr": 1e-3}
        groups = [net.parameters() for net in self.nets] if self.is_gan else [averaged]
        self.optimizers = [adam(group, **options) for group in groups]
        self.a, self.b = (torch.compile(net) if compiled else net for net in self.nets)

    def update(self, optimizer, loss):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def step(self, x):
        torch, bce = self.torch, self.torch.nn.functional.binary_cross_entropy_with_logits
        noise = torch.randn(len(x), self.latent, device=x.device)
        if self.is_gan:
            fake, one = self.a(noise), torch.ones(len(x), 1, device=x.device)
            d_loss = bce(self.b(fake.detach()), one * 0) + bce(self.b(x), one)
            self.update(self.optimizers[1], d_loss)
            loss = bce(self.b(fake), one)
        else:
            x = (x + 1) / 2
            mean, log_variance = self.a(x).chunk(2, 1)
            output = self.b(mean + (0.5 * log_variance).exp() * noise)
            kl = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(1)
            loss = (bce(output, x, reduction="none").flatten(1).sum(1) + kl).mean()
        self.update(self.optimizers[0], loss)
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.averaged, 0.001)
        return loss

    def graphed(self, x):
        """A function that replays one step as a CUDA graph (the recipe of PyTorch's notes on CUDA
        graphs).
        """
        torch = self.torch
        side, graph, kept = torch.cuda.Stream(), torch.cuda.CUDAGraph(), x.clone()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.step(kept)
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph):
            self.step(kept)
        return lambda x: (kept.copy_(x), graph.replay())


def work(model, batch):
    """(operations of the matrix products, bytes of all arrays) of one step: counted as it runs."""
    gpu, total, seen = kernels.of(batch), [0, 0], set()
    module, multiply = (gan_module if hasattr(model, "generator") else vae_module), gpu._multiply

    def counting_multiply(a, b, c):
        total[0] += 2 * c.size * a.shape[-1]
        multiply(a, b, c)

    def counting_grad(loss, parameters):
        for t in autograd._ancestors([loss], 0) - seen:
            arrays = [a for a in map(ops.raw, (t, *t.args)) if device.is_array(a)]
            if t.op and not any(np.may_share_memory(t.data, a) for a in arrays[1:]):
                # forward; backward reads them and writes as many gradients
                total[1] += 3 * sum(a.nbytes for a in arrays)
            seen.add(t)
        # Adam reads p, g, m, v and writes p, m, v
        total[1] += 7 * sum(p.data.nbytes for p in parameters)
        return autograd.grad(loss, parameters)

    gpu._multiply, module.grad = counting_multiply, counting_grad
    try:
        model.step(batch)
    finally:
        gpu._multiply, module.grad = multiply, autograd.grad
    return total[0], total[1] + 3 * sum(to.nbytes for to, _ in model.ema.pairs)


def timed(f, wait, count):
    """Seconds per call."""
    wait()
    start = time.perf_counter()
    for _ in range(count):
        f()
    wait()
    return (time.perf_counter() - start) / count


def own_step(name, k, real, wrap):
    """A function that makes one step of ours."""
    step, x = wrap(ours(name, k, "gpu").step), device.to(real, "gpu")
    return lambda: (step(x), random.default.next_step())


def their_step(name, k, real, graphed=False, **options):
    """A function that makes one step of PyTorch's, from the same weights."""
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("this PyTorch sees no GPU")
    # all compiled networks share its limit of 8: from the fourth on they would run eagerly
    torch._dynamo.reset()
    theirs, x = Theirs(ours(name, k, "cpu"), "cuda", **options), torch.from_numpy(real).cuda()
    return functools.partial(theirs.graphed(x) if graphed else theirs.step, x)


COLUMNS = {
    "eager": functools.partial(own_step, wrap=lambda step: step),
    "captured": functools.partial(own_step, wrap=capture),
    "torch": their_step,
    "graphs": functools.partial(their_step, graphed=True, capturable=True),
    "compile": functools.partial(their_step, compiled=True),
}


def measured(row, columns, rounds, wait):
    """({column: seconds}, what failed) of a row: a model's name, its width and a batch of real
    images.
    """
    calls, counts, failed = {}, {}, []
    for column in columns:
        try:
            f = COLUMNS[column](*row)
            # compiles; a step that cannot be captured warns, which is an error here
            [f() for _ in range(5)]
            counts[column] = max(3, round(0.3 / timed(f, wait, 3)))
            calls[column] = f
        except Exception as e:
            failed.append(
                f"{column}: {type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"
            )
    times = [{c: timed(f, wait, counts[c]) for c, f in calls.items()} for _ in range(rounds)]
    return {c: statistics.median(t[c] for t in times) for c in calls}, failed


def main():
    args = arguments()
    device.resolve("gpu")  # or one line that says why not
    cupy, start, lacks = device.module("gpu"), time.perf_counter(), 0
    gpu, wait = kernels.of(cupy.zeros(1)), cupy.cuda.runtime.deviceSynchronize
    warnings.filterwarnings("error", "tinygan: this step runs without a CUDA graph")

    def say(line):
        print(line, flush=True)
        if args.out:
            with open(args.out, "a") as f:
                print(line, file=f)

    say(f"{device.describe()}, torch {version('torch')}; ms/step, medians of {args.rounds} rounds")
    for precision in args.precisions:
        kernels.precision(precision, "gpu")
        if torch := sys.modules.get("torch"):
            tf32 = precision == "tf32"
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        rate, bandwidth = rates(cupy, gpu, wait, args.square)
        say(
            f"\n{precision}: a product {rate / 1e12:.2f} TFLOP/s, a copy {bandwidth / 1e12:.2f} TB/s"
        )
        names = (*args.columns, "products", "bytes", "roofline")
        say(f"{'model':12} {'width':>5} {'batch':>5}" + "".join(f"{n:>10}" for n in names))
        rows = ((m, k, n) for m in args.models for k in args.widths for n in args.batch_sizes)
        for name, k, n in rows:
            label = f"{name:12} {k:5} {n:5}"
            if args.limit and time.perf_counter() - start > args.limit:
                say(f"{label}  left out: the time is up")
                lacks += 1
                continue
            real = np.random.default_rng(0).uniform(-1, 1, (n, 1, 28, 28)).astype(np.float32)
            times, failed = measured((name, k, real), args.columns, args.rounds, wait)
            operations, moved = work(ours(name, k, "gpu"), device.to(real, "gpu"))
            bounds = operations / rate, moved / bandwidth
            cells = [times.get(column) for column in args.columns] + [*bounds, sum(bounds)]
            say(label + "".join("         -" if t is None else f"{t * 1e3:10.3f}" for t in cells))
            for reason in failed:
                say(f"    {reason}")
            lacks += len(failed)
            cupy.get_default_memory_pool().free_all_blocks()
    return min(lacks, 1)


def version(package):
    try:
        return __import__(package).__version__
    except ImportError:
        return "is missing"


def rates(cupy, gpu, wait, side):
    """(operations a second of a large product, bytes a second of a large copy)."""
    best = lambda f: min([timed(f, wait, 10) for _ in range(6)][1:])
    square, product = cupy.ones((side, side), "f"), cupy.empty((side, side), "f")
    large = cupy.ones(4 * side**2, "f")
    seconds = best(lambda: gpu.gemm(square, square, out=product))
    return 2 * side**3 / seconds, 2 * large.nbytes / best(large.copy)


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
