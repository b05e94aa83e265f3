"""Milliseconds per training step on a GPU: ours eager and captured, PyTorch eager, with CUDA graphs and compiled; rooflines.

    python bench/gpu.py [--models gan-mlp gan-dcgan vae-mlp vae-conv] [--batch-sizes 128 1024] [--widths 1 4] [--rounds 5]

The same networks, first weights and losses, alternating in one process; medians over rounds. Width multiplies hidden units
and channels. The roofline is a bound that no launch overhead enters: the operations of a step's matrix products at the
rate of one large product, plus the bytes of its arrays, each read and written once by each operation that makes it or
differentiates it, and of Adam and the moving average, at the rate of one large copy; both rates measured here.
Needs a GPU, CuPy and a PyTorch that sees the GPU.
"""

import argparse
import functools
import statistics
import time

import numpy as np

from tinygan import autograd, device, kernels, models, nn, ops, random
from tinygan.capture import capture
from tinygan.cli import run
from tinygan.models import gan as gan_module
from tinygan.models import vae as vae_module

MODELS = {f"gan-{k}": models.MODELS[k] for k in ("mlp", "dcgan")} | {f"vae-{k}": models.VAES[k] for k in ("mlp", "conv")}


def widened(net, k):
    """A Sequential like this one whose inner sizes are k times as large."""
    last, inner, layers = [i for i, m in enumerate(net) if hasattr(m, "weight") and m.weight.ndim > 1][-1], 1, []
    for i, m in enumerate(net):
        name, out = type(m).__name__, 1 if i == last else k
        if name == "Linear":
            m = nn.Linear(m.weight.shape[1] * inner, m.weight.shape[0] * out, m.bias is not None)
        elif name.startswith("Conv"):
            a, b = m.weight.shape[:2] if name == "ConvTranspose2d" else m.weight.shape[1::-1]
            options = {key: v for key, v in m.options.items() if key != "groups"}
            m = getattr(nn, name)(a * inner, b * out, m.weight.shape[2:], bias=m.bias is not None, **options)
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
        return models.GAN(widened(plain.generator, k), widened(plain.discriminator, k), plain.latent, 2e-4, device=where)
    return models.VAE(widened(plain.encoder, k), widened(plain.decoder, k), plain.latent, 1e-3, device=where)


class Theirs:
    """The model's step, as a PyTorch user writes it; `compiled` compiles the networks, `capturable` is for `graphed`."""

    def __init__(self, model, where, compiled=False, capturable=False):
        import torch
        from peers import twin

        self.torch, self.latent, self.is_gan = torch, model.latent, isinstance(model, models.GAN)
        parts = [model.generator, model.discriminator] if self.is_gan else [model.encoder, model.decoder]
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
        """A function that replays one step as a CUDA graph (the recipe of PyTorch's notes on CUDA graphs)."""
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
                total[1] += 3 * sum(a.nbytes for a in arrays)  # forward; backward reads them and writes as many gradients
            seen.add(t)
        total[1] += 7 * sum(p.data.nbytes for p in parameters)  # Adam reads p, g, m, v and writes p, m, v
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[128, 1024])
    parser.add_argument("--widths", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    device.resolve("gpu")  # or one line that says why not
    cupy = device.module("gpu")
    try:
        import torch

        torch.zeros(1, device="cuda")
    except (ImportError, RuntimeError, AssertionError) as e:
        raise device.DeviceError(f"this needs a PyTorch that sees the GPU ({str(e).splitlines()[0]})") from None
    gpu, wait = kernels.of(cupy.zeros(1)), cupy.cuda.runtime.deviceSynchronize
    best = lambda f: min([timed(f, wait, 10) for _ in range(6)][1:])
    print(f"{device.describe()}, torch {torch.__version__}; ms/step, medians of {args.rounds} rounds")
    names = ("ours eager", "ours captured", "torch eager", "torch graphs", "torch.compile")
    for precision in ("float32", "tf32"):
        kernels.precision(precision, "gpu")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        square, product, large = cupy.ones((8192, 8192), "f"), cupy.empty((8192, 8192), "f"), cupy.ones(1 << 28, "f")
        rate = 2 * 8192**3 / best(lambda: gpu.gemm(square, square, out=product))
        bandwidth = 2 * large.nbytes / best(large.copy)
        square = product = large = None
        print(f"\n{precision}: one product {rate / 1e12:.1f} TFLOP/s, one copy {bandwidth / 1e12:.2f} TB/s")
        print(f"{'model':10} {'width':>5} {'batch':>5}" + "".join(f"{n:>15}" for n in (*names, "products", "bytes", "roofline")))
        for name, k, n in ((name, k, n) for name in args.models for k in args.widths for n in args.batch_sizes):
            real = np.random.default_rng(0).uniform(-1, 1, (n, 1, 28, 28)).astype(np.float32)
            x, y = device.to(real, "gpu"), torch.from_numpy(real).cuda()
            steps = [ours(name, k, "gpu") for _ in range(2)]
            theirs = [Theirs(steps[0], "cuda", **options) for options in ({}, {"capturable": True}, {"compiled": True})]
            calls = [lambda f=f: (f(x), random.default.next_step()) for f in (steps[0].step, capture(steps[1].step))]
            calls += [functools.partial(f, y) for f in (theirs[0].step, theirs[1].graphed(y), theirs[2].step)]
            counts = []
            for f in calls:
                [f() for _ in range(5)]  # compiles
                counts.append(max(3, round(0.3 / timed(f, wait, 3))))
            rounds = [[timed(f, wait, count) for f, count in zip(calls, counts)] for _ in range(args.rounds)]
            operations, moved = work(steps[0], x)
            bounds = operations / rate, moved / bandwidth
            times = [*map(statistics.median, zip(*rounds)), *bounds, sum(bounds)]
            print(f"{name:10} {k:5} {n:5}" + "".join(f"{t * 1e3:15.3f}" for t in times), flush=True)


if __name__ == "__main__":
    run(main)
