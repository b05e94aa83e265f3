"""The training steps of tinygan's models as users of other libraries write them, from the same
first weights.

A peer is made of a tinygan model and has `step(batch)`, which returns its losses as numbers;
`draw(n)` gives the noise of a step, (n, latent), and the mixing weights of a gradient penalty,
(n,). `agree` holds each against tinygan. Needs torch; JAX, autograd and MyGrad where they are
installed.
"""

import functools
import importlib
import types

import numpy as np
import torch
from common import CORES, Ours, images
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from tinygan import models, random
from tinygan.nn.module import Parameter

torch.set_num_threads(CORES)


def layers(model):
    """Every module of a model's networks."""
    return [
        m for part in model.parts().values() if hasattr(part, "modules") for m in part.modules()
    ]


def twin(module):
    """The PyTorch network that a tinygan network describes, with its weights."""
    layers = []
    for m in module:
        name, arguments = type(m).__name__, ()
        options = {}
        if name == "Linear":
            arguments, options = m.weight.shape[::-1], {"bias": m.bias is not None}
        elif name in ("Conv2d", "ConvTranspose2d"):
            into, out = m.weight.shape[1], m.weight.shape[0]
            arguments = (into, out) if name == "Conv2d" else (out, into)
            arguments += (m.weight.shape[2:],)
            options = dict(m.options, bias=m.bias is not None)
        elif name.startswith("BatchNorm"):
            arguments = m.weight.shape
        elif name == "LeakyReLU":
            arguments = (m.negative_slope,)
        elif name == "Dropout":
            arguments = (m.p,)
        elif name == "Unflatten":
            arguments = (m.dim, m.unflattened_size)
        layers.append(getattr(nn, name)(*arguments, **options))
    net = nn.Sequential(*layers)
    net.load_state_dict(
        {k: torch.tensor(np.ascontiguousarray(v)) for k, v in module.state_dict().items()}
    )
    return net


class Torch:
    """What the steps in PyTorch share. tuned: Adam is fused, and G's update computes nothing for
    D's weights.
    """

    def __init__(self, model, tuned=False):
        self.latent, self.penalty, self.tuned, self.updates = (
            model.latent,
            getattr(model, "penalty", 0),
            tuned,
            0,
        )

    def draw(self, n):
        return torch.randn(n, self.latent), torch.rand(n)

    def adam(self, net, ours):
        return torch.optim.Adam(
            net.parameters(), ours.lr, ours.param_groups[0]["betas"], fused=self.tuned or None
        )

    def follow(self, net):
        """The moving average of a network's floats begins."""
        self.averaged, self.average = (
            net,
            {k: v.clone() for k, v in net.state_dict().items() if v.is_floating_point()},
        )

    def update_average(self):
        self.updates += 1
        weight = 1 - min(0.999, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            for name, value in self.averaged.state_dict().items():
                if name in self.average:
                    self.average[name].lerp_(value, weight)


class TorchGAN(Torch):
    def __init__(self, gan, tuned=False):
        super().__init__(gan, tuned)
        self.generator, self.discriminator = twin(gan.generator), twin(gan.discriminator)
        self.g_optimizer = self.adam(self.generator, gan.g_optimizer)
        self.d_optimizer = self.adam(self.discriminator, gan.d_optimizer)
        self.follow(self.generator)

    def d_loss(self, fake, real, mix):
        one, zero = torch.ones(len(real), 1), torch.zeros(len(real), 1)
        return bce(self.discriminator(fake), zero) + bce(self.discriminator(real), one)

    def g_loss(self, fake):
        return bce(self.discriminator(fake), torch.ones(len(fake), 1))

    def step(self, real):
        real = torch.from_numpy(real)
        noise, mix = map(torch.as_tensor, self.draw(len(real)))
        fake = self.generator(noise)
        self.d_optimizer.zero_grad()
        d_loss = self.d_loss(fake.detach(), real, mix)
        d_loss.backward()
        self.d_optimizer.step()
        self.g_optimizer.zero_grad()
        self.discriminator.requires_grad_(not self.tuned)
        g_loss = self.g_loss(fake)
        g_loss.backward()
        self.discriminator.requires_grad_(True)
        self.g_optimizer.step()
        self.update_average()
        return {"d_loss": d_loss.item(), "g_loss": g_loss.item()}


class TorchWGANGP(TorchGAN):
    def d_loss(self, fake, real, mix):
        mix = mix.view(-1, 1, 1, 1)
        x = (mix * real + (1 - mix) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(self.discriminator(x).sum(), x, create_graph=True)
        penalty = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
        return (
            self.discriminator(fake).mean()
            - self.discriminator(real).mean()
            + self.penalty * penalty
        )

    def g_loss(self, fake):
        return -self.discriminator(fake).mean()


class TorchVAE(Torch):
    def __init__(self, vae, tuned=False):
        super().__init__(vae, tuned)
        self.network = nn.ModuleDict({"encoder": twin(vae.encoder), "decoder": twin(vae.decoder)})
        self.optimizer = self.adam(self.network, vae.optimizer)
        self.follow(self.network)

    def step(self, images):
        x = (torch.from_numpy(images) + 1) / 2
        noise = torch.as_tensor(self.draw(len(x))[0])
        mean, log_variance = self.network["encoder"](x).chunk(2, dim=1)
        logits = self.network["decoder"](mean + torch.exp(0.5 * log_variance) * noise)
        kl = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum()
        loss = (bce(logits, x, reduction="sum") + kl) / len(x)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.update_average()
        return {"loss": loss.item()}


def with_torch(model, tuned=False):
    kinds = {models.GAN: TorchGAN, models.WGANGP: TorchWGANGP, models.VAE: TorchVAE}
    return kinds[type(model)](model, tuned)


half, one, zero = map(np.float32, (0.5, 1, 0))  # MyGrad takes Python's numbers for float64


class Functional:
    """The steps in a library of functions on arrays. `lib` has its NumPy (`np`); `vjp(f, tree)` for
    f that gives a value and something to keep: the value, the map from its cotangent to that of the
    tree, what was kept; `keep(seed)`, a function of (p, shape) that gives dropout masks; `jit`.
    """

    def __init__(self, model, lib):
        self.model, self.lib, self.np = model, lib, lib.np
        self.nets = {"network": model.network} if isinstance(model, models.VAE) else {
            "generator": model.generator, "discriminator": model.discriminator}  # fmt: skip
        self.state, self.t = {}, 0
        for name, net in self.nets.items():
            weights = {k: p.data.copy("C") for k, p in net.named_parameters()}
            others = {
                k: a.copy()
                for k, a in net.state_dict().items()
                if k not in weights and a.dtype.kind == "f"
            }
            m, v = ({k: np.zeros_like(p) for k, p in weights.items()} for _ in range(2))
            self.state[name] = weights, m, v, others
            self.state.setdefault("average", {k: p.copy() for k, p in (weights | others).items()})
        self.update = lib.jit(self.vae if "network" in self.nets else self.gan)

    def draw(self, n):
        return np.random.standard_normal((n, self.model.latent)).astype(np.float32), np.random.rand(
            n
        ).astype(np.float32)

    def step(self, batch):
        self.t += 1
        # of the new in the moving average
        weight = np.float32(1 - min(0.999, (1 + self.t) / (10 + self.t)))
        self.state, losses = self.update(self.state, self.t, weight, batch, *self.draw(len(batch)))
        return {k: float(v) for k, v in losses.items()}

    def run(self, net, w, x, keep, others=(), prefix=""):
        """What a network of tinygan gives, and its running statistics afterwards."""
        after = {}
        for name, m in net.named_children():
            kind, name = type(m).__name__, prefix + name
            b = w.get(f"{name}.bias")
            if kind == "Linear":
                x = self.np.matmul(x, w[f"{name}.weight"].T)
            elif kind in ("Conv2d", "ConvTranspose2d"):
                x = getattr(self.lib, kind)(x, w[f"{name}.weight"], **m.options)
            elif kind == "LeakyReLU":
                x = self.np.where(x > 0, x, np.float32(m.negative_slope) * x)
            elif kind == "ReLU":
                x = self.np.maximum(x, zero)
            elif kind == "Tanh":
                x = self.np.tanh(x)
            elif kind in ("Flatten", "Unflatten"):
                x = self.np.reshape(
                    x, (len(x), *(m.unflattened_size if kind == "Unflatten" else (-1,)))
                )
            elif kind == "Dropout":
                x = x * keep(m.p, x.shape) if m.p else x
            else:  # BatchNorm
                axes, wide = (0, *range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))
                mean, variance, n = x.mean(axes), x.var(axes), x.size // x.shape[1]
                scale = w[f"{name}.weight"] / (variance + m.eps) ** 0.5
                x = (x - mean.reshape(wide)) * scale.reshape(wide)
                for k, new in (("mean", mean), ("var", variance * (n / (n - 1)))):
                    after[f"{name}.running_{k}"] = (1 - m.momentum) * others[
                        f"{name}.running_{k}"
                    ] + m.momentum * new
            x = x if b is None else x + (b.reshape((-1, 1, 1)) if x.ndim == 4 else b)
        return x, after

    def value_and_grad(self, f, tree):
        value, pullback, _ = self.lib.vjp(lambda tree: (f(tree), {}), tree)
        return value, pullback(one)

    def adam(self, p, m, v, g, t, optimizer):
        options = optimizer.param_groups[0]
        b1, b2 = options["betas"]
        m = {k: b1 * m[k] + (1 - b1) * g[k] for k in p}
        v = {k: b2 * v[k] + (1 - b2) * g[k] ** 2 for k in p}
        rate, root = options["lr"] / (1 - b1**t), (1 - b2**t) ** -0.5
        return {k: p[k] - rate * m[k] / (v[k] ** 0.5 * root + options["eps"]) for k in p}, m, v

    def bce(self, x, t):
        return self.np.sum(self.np.logaddexp(zero, x) - t * x) / np.float32(len(x))

    def gan(self, state, t, weight, real, noise, mix):
        gan, keep = self.model, self.lib.keep(t)
        (*generator, moving), (*discriminator, nothing), average = (
            state[k] for k in ("generator", "discriminator", "average")
        )

        def critic(d, x):
            return self.run(gan.discriminator, d, x, keep)[0]

        def generate(g):
            return self.run(gan.generator, g, noise, keep, moving)

        def d_loss(d):
            if not isinstance(gan, models.WGANGP):
                return self.bce(critic(d, fake), zero) + self.bce(critic(d, real), one)
            part = mix.reshape(-1, 1, 1, 1)
            _, slope = self.value_and_grad(
                lambda x: self.np.sum(critic(d, x)), part * real + (1 - part) * fake
            )
            length = self.np.sqrt(self.np.sum(slope**2, axis=(1, 2, 3)))
            penalty = self.np.mean((length - 1) ** 2)
            return (
                self.np.mean(critic(d, fake))
                - self.np.mean(critic(d, real))
                + gan.penalty * penalty
            )

        def g_loss(x):
            scores = critic(discriminator[0], x["fake"])
            return (
                -self.np.mean(scores) if isinstance(gan, models.WGANGP) else self.bce(scores, one)
            )

        fake, pullback, moving = self.lib.vjp(generate, generator[0])
        value_d, slope = self.value_and_grad(d_loss, discriminator[0])
        discriminator = self.adam(*discriminator, slope, t, gan.d_optimizer)
        value_g, slope = self.value_and_grad(g_loss, {"fake": fake})
        generator = self.adam(*generator, pullback(slope["fake"]), t, gan.g_optimizer)
        average = {k: a + weight * ((generator[0] | moving)[k] - a) for k, a in average.items()}
        state = {
            "generator": (*generator, moving),
            "discriminator": (*discriminator, nothing),
            "average": average,
        }
        return state, {"d_loss": value_d, "g_loss": value_g}

    def vae(self, state, t, weight, batch, noise, mix):
        vae, x, n = self.model, (batch + 1) / 2, np.float32(len(batch))

        def loss(w):
            out = self.run(vae.encoder, w, x, None, prefix="encoder.")[0]
            mean, log_variance = out[:, : vae.latent], out[:, vae.latent :]
            z = mean + self.np.exp(half * log_variance) * noise
            logits = self.run(vae.decoder, w, z, None, prefix="decoder.")[0]
            kl = self.np.sum(mean * mean + self.np.exp(log_variance) - log_variance - one)
            return self.bce(logits, x) + half * kl / n

        *network, nothing = state["network"]
        value, slope = self.value_and_grad(loss, network[0])
        network = self.adam(*network, slope, t, vae.optimizer)
        average = {k: a + weight * (network[0][k] - a) for k, a in state["average"].items()}
        return {"network": (*network, nothing), "average": average}, {"loss": value}


def with_jax():
    import jax
    from jax import lax

    def vjp(f, tree):
        value, pullback, kept = jax.vjp(f, tree, has_aux=True)
        return value, lambda g: pullback(jax.numpy.asarray(g))[0], kept

    def keep(seed):
        key, draws = jax.random.key(seed), iter(range(100))
        return lambda p, shape: (
            jax.random.bernoulli(jax.random.fold_in(key, next(draws)), 1 - p, shape)
            / np.float32(1 - p)
        )

    def conv2d(x, w, stride, padding, dilation, groups):
        return lax.conv_general_dilated(x, w, (stride, stride), [(padding, padding)] * 2)

    def conv_transpose2d(x, w, stride, padding, output_padding, groups, dilation):
        around = [(k - 1 - padding, k - 1 - padding + output_padding) for k in w.shape[2:]]
        names = ("NCHW", "OIHW", "NCHW")
        return lax.conv_transpose(
            x, w, (stride, stride), around, dimension_numbers=names, transpose_kernel=True
        )

    jit = functools.partial(jax.jit, donate_argnums=0)
    lib = types.SimpleNamespace(
        np=jax.numpy, vjp=vjp, keep=keep, jit=jit, Conv2d=conv2d, ConvTranspose2d=conv_transpose2d
    )
    return lambda model: Functional(model, lib)


def dense_only(library, vjp):
    """A peer without convolutions, whose masks NumPy draws."""

    def keep(seed):
        return lambda p, shape: (np.random.rand(*shape) >= p).astype(np.float32) / np.float32(1 - p)

    def peer(model):
        convolves = any("Conv" in type(m).__name__ for m in layers(model))
        lib = types.SimpleNamespace(np=library, vjp=vjp, keep=keep, jit=lambda f: f)
        return None if convolves else Functional(model, lib)

    return peer


def with_autograd():
    import autograd
    import autograd.numpy

    def vjp(f, tree):
        pullback, value = autograd.make_vjp(lambda tree: f(tree)[0])(tree)
        return value, pullback, {}

    return dense_only(autograd.numpy, vjp)


def with_mygrad():
    import mygrad

    mygrad.turn_memory_guarding_off()

    def vjp(f, tree):
        tree = {k: mygrad.tensor(a, copy=False) for k, a in tree.items()}
        value = f(tree)[0]

        def pullback(g):
            value.backward(g)
            return {k: t.grad for k, t in tree.items()}

        return value.data, pullback, {}

    return dense_only(mygrad, vjp)


PEERS = {"torch": lambda: with_torch, "torch heap": lambda: with_torch,
         "torch tuned": lambda: functools.partial(with_torch, tuned=True),
         "jax": with_jax, "autograd": with_autograd, "mygrad": with_mygrad}  # fmt: skip
UNWRITTEN = ("chainer", "dezero")  # frameworks of their own, on plain NumPy


def peers():
    """{name: model -> peer, or None where it has no convolutions}, and what is to be said of those
    that are not there.
    """
    found, words = {}, []
    for name, make in PEERS.items():
        try:
            found[name] = make()
        except ImportError as e:
            words.append(f"{name}: not installed ({e})")
    for name in UNWRITTEN:
        try:
            importlib.import_module(name)
            words.append(f"{name}: installed, but its steps are not written here")
        except ModuleNotFoundError as e:
            words.append(f"{name}: not installed ({e})")
        except Exception as e:
            words.append(f"{name}: does not import ({type(e).__name__}: {e})")
    return found, words


def agree(make, found, n=8, steps=2, tolerance=1e-3):
    """Run two steps of every peer with tinygan's noise and no dropout; SystemExit unless all report
    the same losses.

    The first loss tells of networks and objectives, those after an update of gradients and
    optimizers. Returns the names of the peers that can make the step.
    """
    random.manual_seed(0)
    model, batch = make(), images(n)
    for m in layers(model):
        m.p = 0.0
        for p in (p for p in vars(m).values() if isinstance(p, Parameter)):
            p.data *= 2  # or D's scores would hardly depend on what it sees
    sides = {
        name: peer for name, peer in ((name, make(model)) for name, make in found.items()) if peer
    }
    for step in range(steps):
        random.default.seek(step)
        drawn = model.noise(n), random.default.uniform((n,))
        random.default.seek(step)  # tinygan draws them again
        expected = Ours(model).step(batch)
        for name, peer in sides.items():
            peer.draw = lambda n, drawn=drawn: drawn
            for loss, value in peer.step(batch).items():
                if not abs(value - expected[loss]) <= tolerance * max(1, abs(value)):
                    raise SystemExit(
                        f"step {step + 1}: {name} has {loss} {value}, tinygan {expected[loss]}"
                    )
    return list(sides)
