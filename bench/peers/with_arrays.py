"""The training steps of tinygan's models in libraries of functions on arrays: JAX, autograd and
MyGrad. The step is written once, for what all three have of NumPy.
"""

import functools
import types
from typing import NamedTuple

import numpy as np

from tinygan import models

half, one, zero = map(np.float32, (0.5, 1, 0))  # MyGrad takes Python's numbers for float64


class Network(NamedTuple):
    """What training changes of a network, each by name: its weights, Adam's moments of them, and
    running statistics.
    """

    weights: dict
    m: dict
    v: dict
    statistics: dict


def network(net):
    """The `Network` of a network of tinygan."""
    weights = {k: p.data.copy("C") for k, p in net.named_parameters()}
    state = {k: a for k, a in net.state_dict().items() if k not in weights}
    statistics = {k: a.copy() for k, a in state.items() if a.dtype.kind == "f"}
    m, v = ({k: np.zeros_like(p) for k, p in weights.items()} for _ in range(2))
    return Network(weights, m, v, statistics)


class Functional:
    """A training step as a function of all that it changes.

    `lib` has its NumPy (`np`); `vjp(f, tree)` for f that gives a value and something to keep: the
    value, the map from its cotangent to that of the tree, what was kept; `keep(seed)`, a function
    of (p, shape) that gives dropout masks; `jit`; and, of those that convolve, `Conv2d` and
    `ConvTranspose2d`.
    """

    def __init__(self, model, lib):
        self.model, self.lib, self.np = model, lib, lib.np
        self.is_vae, self.t = isinstance(model, models.VAE), 0
        if self.is_vae:
            nets = {"network": model.network}
        else:
            nets = {"generator": model.generator, "discriminator": model.discriminator}
        self.state = {name: network(net) for name, net in nets.items()}
        averaged = self.state["network" if self.is_vae else "generator"]
        self.state["average"] = {
            k: a.copy() for k, a in (averaged.weights | averaged.statistics).items()
        }
        self.update = lib.jit(self.vae if self.is_vae else self.gan)

    def draw(self, n):
        noise = np.random.standard_normal((n, self.model.latent)).astype(np.float32)
        return noise, np.random.rand(n).astype(np.float32)

    def step(self, batch):
        self.t += 1
        # of the new in the moving average
        weight = np.float32(1 - min(0.999, (1 + self.t) / (10 + self.t)))
        self.state, losses = self.update(self.state, self.t, weight, batch, *self.draw(len(batch)))
        return {k: float(v) for k, v in losses.items()}

    def run(self, net, w, x, keep, statistics=(), prefix=""):
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
            elif kind == "Flatten":
                x = self.np.reshape(x, (len(x), -1))
            elif kind == "Unflatten":
                x = self.np.reshape(x, (len(x), *m.unflattened_size))
            elif kind == "Dropout":
                x = x * keep(m.p, x.shape) if m.p else x
            else:
                x, moments = self.normalised(x, m, w[f"{name}.weight"])
                for k, new in moments.items():
                    k = f"{name}.running_{k}"
                    after[k] = (1 - m.momentum) * statistics[k] + m.momentum * new
            if b is not None:
                x = x + (b.reshape((-1, 1, 1)) if x.ndim == 4 else b)
        return x, after

    def normalised(self, x, m, weight):
        """A BatchNorm without its bias, and the moments that its running statistics are of."""
        axes, wide = (0, *range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))
        mean, variance, n = x.mean(axes), x.var(axes), x.size // x.shape[1]
        scale = weight / (variance + m.eps) ** 0.5
        out = (x - mean.reshape(wide)) * scale.reshape(wide)
        return out, {"mean": mean, "var": variance * (n / (n - 1))}

    def value_and_grad(self, f, tree):
        value, pullback, _ = self.lib.vjp(lambda tree: (f(tree), {}), tree)
        return value, pullback(one)

    def adam(self, net, g, t, optimizer):
        """The network after an update by the gradients g, its statistics as they were."""
        options = optimizer.param_groups[0]
        b1, b2 = options["betas"]
        m = {k: b1 * net.m[k] + (1 - b1) * g[k] for k in g}
        v = {k: b2 * net.v[k] + (1 - b2) * g[k] ** 2 for k in g}
        rate, root = options["lr"] / (1 - b1**t), (1 - b2**t) ** -0.5
        step = {k: rate * m[k] / (v[k] ** 0.5 * root + options["eps"]) for k in g}
        weights = {k: p - step[k] for k, p in net.weights.items()}
        return Network(weights, m, v, net.statistics)

    def averaged(self, average, new, weight):
        return {k: a + weight * (new[k] - a) for k, a in average.items()}

    def bce(self, x, t):
        return self.np.sum(self.np.logaddexp(zero, x) - t * x) / np.float32(len(x))

    def relativistic(self, fake, real):
        return self.np.mean(self.np.logaddexp(zero, fake - real))

    def slope(self, critic, x):
        return self.value_and_grad(lambda x: self.np.sum(critic(x)), x)[1]

    def critic_loss(self, critic, fake, real, mix):
        """What D is to lower: critic(x) gives its scores."""
        if isinstance(self.model, models.R3GAN):
            r1, r2 = (self.np.sum(self.slope(critic, x) ** 2) / len(x) for x in (real, fake))
            game = self.relativistic(critic(fake), critic(real))
            return game + half * self.model.r1 * r1 + half * self.model.r2 * r2
        if not isinstance(self.model, models.WGANGP):
            return self.bce(critic(fake), zero) + self.bce(critic(real), one)
        mix = mix.reshape(-1, 1, 1, 1)
        slope = self.slope(critic, mix * real + (1 - mix) * fake)
        length = self.np.sqrt(self.np.sum(slope**2, axis=(1, 2, 3)))
        penalty = self.np.mean((length - 1) ** 2)
        scores = self.np.mean(critic(fake)) - self.np.mean(critic(real))
        return scores + self.model.penalty * penalty

    def gan(self, state, t, weight, real, noise, mix):
        """The state after a step, and its losses."""
        gan, keep = self.model, self.lib.keep(t)
        G, D = state["generator"], state["discriminator"]

        def generate(w):
            return self.run(gan.generator, w, noise, keep, G.statistics)

        def critic(w, x):
            return self.run(gan.discriminator, w, x, keep)[0]

        def d_loss(w):
            return self.critic_loss(functools.partial(critic, w), fake, real, mix)

        def g_loss(x):
            scores = critic(D.weights, x["fake"])
            if isinstance(gan, models.R3GAN):
                return self.relativistic(critic(D.weights, real), scores)
            wasserstein = isinstance(gan, models.WGANGP)
            return -self.np.mean(scores) if wasserstein else self.bce(scores, one)

        fake, pullback, statistics = self.lib.vjp(generate, G.weights)
        d_value, slope = self.value_and_grad(d_loss, D.weights)
        D = self.adam(D, slope, t, gan.d_optimizer)
        g_value, slope = self.value_and_grad(g_loss, {"fake": fake})
        G = self.adam(G, pullback(slope["fake"]), t, gan.g_optimizer)
        G = G._replace(statistics=statistics)
        average = self.averaged(state["average"], G.weights | statistics, weight)
        state = {"generator": G, "discriminator": D, "average": average}
        return state, {"d_loss": d_value, "g_loss": g_value}

    def vae(self, state, t, weight, batch, noise, mix):
        """The state after a step, and its loss."""
        vae, x, n = self.model, (batch + 1) / 2, np.float32(len(batch))

        def loss(w):
            out = self.run(vae.encoder, w, x, None, prefix="encoder.")[0]
            mean, log_variance = out[:, : vae.latent], out[:, vae.latent :]
            z = mean + self.np.exp(half * log_variance) * noise
            logits = self.run(vae.decoder, w, z, None, prefix="decoder.")[0]
            kl = self.np.sum(mean * mean + self.np.exp(log_variance) - log_variance - one)
            return self.bce(logits, x) + half * kl / n

        value, slope = self.value_and_grad(loss, state["network"].weights)
        net = self.adam(state["network"], slope, t, vae.optimizer)
        average = self.averaged(state["average"], net.weights, weight)
        return {"network": net, "average": average}, {"loss": value}


def with_jax():
    import jax
    from jax import lax

    def vjp(f, tree):
        value, pullback, kept = jax.vjp(f, tree, has_aux=True)
        return value, lambda g: pullback(jax.numpy.asarray(g))[0], kept

    def keep(seed):
        key, draws = jax.random.key(seed), iter(range(100))

        def mask(p, shape):
            kept = jax.random.bernoulli(jax.random.fold_in(key, next(draws)), 1 - p, shape)
            return kept / np.float32(1 - p)

        return mask

    def conv2d(x, w, stride, padding, dilation, groups):
        return lax.conv_general_dilated(x, w, (stride, stride), [(padding, padding)] * 2)

    def conv_transpose2d(x, w, stride, padding, output_padding, groups, dilation):
        around = [(k - 1 - padding, k - 1 - padding + output_padding) for k in w.shape[2:]]
        names = {"dimension_numbers": ("NCHW", "OIHW", "NCHW"), "transpose_kernel": True}
        return lax.conv_transpose(x, w, (stride, stride), around, **names)

    jit = functools.partial(jax.jit, donate_argnums=0)
    convolutions = {"Conv2d": conv2d, "ConvTranspose2d": conv_transpose2d}
    lib = types.SimpleNamespace(np=jax.numpy, vjp=vjp, keep=keep, jit=jit, **convolutions)
    # u and v would be one more state that a step changes
    # and a U-Net is no chain of layers
    others = "SpectralNorm", "UNet"
    return lambda model: None if any(has(k, model) for k in others) else Functional(model, lib)


def has(kind, model):
    """Whether a network of the model has a layer of that kind."""
    nets = [part for part in model.parts().values() if hasattr(part, "modules")]
    return any(kind in type(m).__name__ for net in nets for m in net.modules())


def dense_only(library, vjp):
    """A peer without convolutions, whose masks NumPy draws."""

    def keep(seed):
        return lambda p, shape: (np.random.rand(*shape) >= p).astype(np.float32) / np.float32(1 - p)

    def peer(model):
        lib = types.SimpleNamespace(np=library, vjp=vjp, keep=keep, jit=lambda f: f)
        return None if has("Conv", model) or has("SpectralNorm", model) else Functional(model, lib)

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
