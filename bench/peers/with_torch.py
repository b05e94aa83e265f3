"""The training steps of tinygan's models as a PyTorch user writes them, from the same first
weights, on the CPU or a GPU.

A peer is made of a tinygan model. `update(batch)` is one step on tensors and leaves the losses
where they are; `step(batch)` takes a NumPy batch and waits for the losses.
"""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import relu, softplus
from torch.nn.utils import spectral_norm

from tinygan import device, models
from tinygan.nn.losses import hinge


def twin(module):
    """The PyTorch network that a tinygan network describes, with its weights, on the CPU."""
    net = nn.Sequential(*map(_layer, module))
    state = {k: np.ascontiguousarray(device.to_host(v)) for k, v in module.state_dict().items()}
    net.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    return net


def _layer(m):
    """PyTorch's layer of the same name and sizes, with first weights of its own."""
    name, arguments, options = type(m).__name__, (), {}
    if name == "SpectralNorm":
        return spectral_norm(_layer(m.layer), n_power_iterations=m.n_power_iterations, eps=m.eps)
    if name == "Linear":
        arguments, options = m.weight.shape[::-1], {"bias": m.bias is not None}
    elif name in ("Conv2d", "ConvTranspose2d"):
        first, second, *kernel = m.weight.shape
        arguments = (second, first) if name == "Conv2d" else (first, second)
        arguments += (tuple(kernel),)
        options = dict(m.options, bias=m.bias is not None)
    elif name.startswith("BatchNorm"):
        arguments = m.weight.shape
    elif name == "LeakyReLU":
        arguments = (m.negative_slope,)
    elif name == "Dropout":
        arguments = (m.p,)
    elif name == "Unflatten":
        arguments = (m.dim, m.unflattened_size)
    return getattr(nn, name)(*arguments, **options)


def tensors(batch, where):
    """A batch, an array or a tuple of them, as tensors."""
    if isinstance(batch, tuple):
        return tuple(tensors(part, where) for part in batch)
    return torch.from_numpy(batch).to(where)


class Torch:
    """What the steps in PyTorch share.

    where: PyTorch's name of a device. tuned: Adam is fused, and G's update computes nothing for D's
    weights. compiled: the networks are. capturable: a CUDA graph can hold the step.
    """

    def __init__(self, model, where="cpu", tuned=False, compiled=False, capturable=False):
        self.latent, self.where, self.tuned, self.compiled = model.latent, where, tuned, compiled
        self.adam_options = {"fused": tuned or None, "capturable": capturable}
        self.updates = 0

    def draw(self, n):
        """The noise of a step, (n, latent), and what else it draws."""
        return torch.randn(n, self.latent, device=self.where), None

    def network(self, ours):
        """The twin of a network of tinygan, and what is called in a step: that, or it compiled."""
        net = twin(ours).to(self.where)
        return net, torch.compile(net) if self.compiled else net

    def adam(self, net, ours):
        """The optimizer of a network, with the settings of tinygan's."""
        betas = ours.param_groups[0]["betas"]
        return torch.optim.Adam(net.parameters(), ours.lr, betas, **self.adam_options)

    def follow(self, net):
        """The moving average of a network's floats begins; a state's tensors are the network's
        own memory.
        """
        floats = {k: v for k, v in net.state_dict().items() if v.is_floating_point()}
        self.average = {k: v.clone() for k, v in floats.items()}
        self.averaged = list(floats.values())

    def update_average(self):
        self.updates += 1
        weight = 1 - min(0.999, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.average.values()), self.averaged, weight)

    def step(self, batch):
        losses = self.update(tensors(batch, self.where))
        return {name: loss.item() for name, loss in losses.items()}


class TorchGAN(Torch):
    """`models.GAN`."""

    def __init__(self, gan, *args, **options):
        super().__init__(gan, *args, **options)
        self.g_net, self.generator = self.network(gan.generator)
        self.d_net, self.discriminator = self.network(gan.discriminator)
        self.g_optimizer = self.adam(self.g_net, gan.g_optimizer)
        self.d_optimizer = self.adam(self.d_net, gan.d_optimizer)
        self.optimizers = [self.g_optimizer, self.d_optimizer]
        self.follow(self.g_net)

    def d_loss(self, fake, real, mix):
        one = torch.ones(len(real), 1, device=real.device)
        fake_loss = bce(self.discriminator(fake), torch.zeros_like(one))
        return fake_loss + bce(self.discriminator(real), one)

    def g_loss(self, fake, real):
        return bce(self.discriminator(fake), torch.ones(len(fake), 1, device=fake.device))

    def update(self, real):
        noise, mix = self.draw(len(real))
        fake = self.generator(torch.as_tensor(noise))
        self.d_optimizer.zero_grad()
        d_loss = self.d_loss(fake.detach(), real, mix)
        d_loss.backward()
        self.d_optimizer.step()
        self.g_optimizer.zero_grad()
        if self.tuned:
            self.d_net.requires_grad_(False)
        g_loss = self.g_loss(fake, real)
        g_loss.backward()
        if self.tuned:
            self.d_net.requires_grad_(True)
        self.g_optimizer.step()
        self.update_average()
        return {"d_loss": d_loss, "g_loss": g_loss}


class TorchWGANGP(TorchGAN):
    """`models.WGANGP`."""

    def __init__(self, gan, *args, **options):
        super().__init__(gan, *args, **options)
        self.penalty = gan.penalty

    def draw(self, n):
        return super().draw(n)[0], torch.rand(n, device=self.where)

    def d_loss(self, fake, real, mix):
        mix = torch.as_tensor(mix).view(-1, 1, 1, 1)
        x = (mix * real + (1 - mix) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(self.discriminator(x).sum(), x, create_graph=True)
        penalty = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
        scores = self.discriminator(fake).mean() - self.discriminator(real).mean()
        return scores + self.penalty * penalty

    def g_loss(self, fake, real):
        return -self.discriminator(fake).mean()


class TorchHinge(TorchGAN):
    """`models.GAN` with the hinge loss."""

    def d_loss(self, fake, real, mix):
        fake_loss = relu(1 + self.discriminator(fake)).mean()
        return fake_loss + relu(1 - self.discriminator(real)).mean()

    def g_loss(self, fake, real):
        return -self.discriminator(fake).mean()


class TorchR3GAN(TorchGAN):
    """`models.R3GAN`."""

    def __init__(self, gan, *args, **options):
        super().__init__(gan, *args, **options)
        self.weights = gan.r2, gan.r1

    def d_loss(self, fake, real, mix):
        samples = [x.detach().requires_grad_() for x in (fake, real)]
        fakes, reals = map(self.discriminator, samples)
        slopes = torch.autograd.grad(fakes.sum() + reals.sum(), samples, create_graph=True)
        loss = softplus(fakes - reals).mean()
        for weight, slope in zip(self.weights, slopes):
            loss = loss + weight / 2 * slope.square().sum() / len(slope)
        return loss

    def g_loss(self, fake, real):
        with torch.no_grad():
            reals = self.discriminator(real)
        return softplus(reals - self.discriminator(fake)).mean()


class TorchVAE(Torch):
    """`models.VAE`."""

    def __init__(self, vae, *args, **options):
        super().__init__(vae, *args, **options)
        encoder, self.encoder = self.network(vae.encoder)
        decoder, self.decoder = self.network(vae.decoder)
        both = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
        self.optimizer = self.adam(both, vae.optimizer)
        self.optimizers = [self.optimizer]
        self.follow(both)

    def update(self, images):
        x = (images + 1) / 2
        noise = torch.as_tensor(self.draw(len(x))[0])
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        logits = self.decoder(mean + torch.exp(0.5 * log_variance) * noise)
        kl = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum()
        loss = (bce(logits, x, reduction="sum") + kl) / len(x)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.update_average()
        return {"loss": loss}


KINDS = {models.GAN: TorchGAN, models.WGANGP: TorchWGANGP, models.R3GAN: TorchR3GAN}
KINDS |= {models.VAE: TorchVAE}  # with_diffusion.py has others


def with_torch(model, *args, **options):
    """The PyTorch step of a model."""
    hinged = getattr(model, "objective", None) is hinge
    return (TorchHinge if hinged else KINDS[type(model)])(model, *args, **options)
