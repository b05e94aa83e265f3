"""The training steps and samplers of tinygan's flows and diffusions as a PyTorch user writes them:
the same U-Net from the same first weights, whose names are tinygan's.

`draw(n)` gives what a step draws: which labels are told, (n, 1), the numbers that
times are made of, (n,), and noise, (n, latent).
"""

import torch
from torch import nn
from torch.nn import functional as F

from tinygan import device, models

from .with_torch import KINDS, Torch


class Conditions(nn.Module):
    def __init__(self, ours):
        super().__init__()
        self.embedding = nn.Module()
        self.embedding.register_buffer("frequencies", torch.tensor(ours.embedding.frequencies))
        self.time, self.mix = linear(ours.time), linear(ours.mix)
        self.label = linear(ours.label) if ours.label else None

    def forward(self, t, rows):
        angles = t[:, None] * self.embedding.frequencies
        h = self.time(torch.cat([angles.sin(), angles.cos()], 1))
        h = h if self.label is None else h + self.label(rows)
        return F.silu(self.mix(F.silu(h)))


class Residual(nn.Module):
    def __init__(self, ours):
        super().__init__()
        self.norm1, self.norm2 = norm(ours.norm1), norm(ours.norm2)
        self.conv1, self.conv2 = conv(ours.conv1), conv(ours.conv2)
        self.hear = linear(ours.hear)

    def forward(self, x, c):
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.hear(c)[:, :, None, None].chunk(2, 1)
        return x + self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))


class Whole(nn.Module):
    def __init__(self, ours):
        super().__init__()
        self.norm, self.hear = norm(ours.norm), linear(ours.hear)
        self.inward, self.outward = linear(ours.inward), linear(ours.outward)

    def forward(self, x, c):
        scale, shift = self.hear(c).chunk(2, 1)
        h = self.inward(self.norm(x).flatten(1)) * (1 + scale) + shift
        return x + self.outward(F.silu(h)).view_as(x)


class Attention(nn.Module):
    def __init__(self, ours):
        super().__init__()
        self.norm, self.heads = norm(ours.norm), ours.attention.num_heads
        parts = {"qkv": linear(ours.attention.qkv), "proj": linear(ours.attention.proj)}
        self.attention = nn.ModuleDict(parts)

    def forward(self, x, c):
        n, k, h, w = x.shape
        pixels = self.norm(x).flatten(2).transpose(1, 2)  # (n, h * w, k)
        parts = self.attention["qkv"](pixels).view(n, h * w, 3, self.heads, k // self.heads)
        found = F.scaled_dot_product_attention(*parts.permute(2, 0, 3, 1, 4))
        found = self.attention["proj"](found.transpose(1, 2).reshape(n, h * w, k))
        return x + found.transpose(1, 2).view(n, k, h, w)


class UNet(nn.Module):
    """`models.UNet`."""

    def __init__(self, ours):
        super().__init__()
        kinds = {"Residual": Residual, "Whole": Whole, "Attention": Attention}
        self.conditions, self.first = Conditions(ours.conditions), conv(ours.first)
        for name in ("down", "middle", "up"):
            blocks = [kinds[type(b).__name__](b) for b in getattr(ours, name)]
            setattr(self, name, nn.ModuleList(blocks))
        for name in ("halve", "enlarge"):
            setattr(self, name, nn.ModuleList([conv(c) for c in getattr(ours, name)]))
        self.norm, self.last = norm(ours.norm), conv(ours.last)
        self.load_state_dict(
            {k: torch.tensor(device.to_host(a).copy("C")) for k, a in ours.state_dict().items()}
        )

    def forward(self, x, t, rows):
        c, passed = self.conditions(t, rows), []
        h = self.first(F.pixel_unshuffle(x, 2))
        for block, halve in zip(self.down, self.halve):
            h = block(h, c)
            passed.append(h)
            h = halve(h)
        for block in self.middle:
            h = block(h, c)
        for block, enlarge in zip(reversed(self.up), reversed(self.enlarge)):
            h = block(F.interpolate(enlarge(h), scale_factor=2) + passed.pop(), c)
        return F.pixel_shuffle(self.last(F.silu(self.norm(h))), 2)


def dtype(ours):
    return {"dtype": getattr(torch, str(ours.weight.data.dtype))}


def linear(ours):
    return nn.Linear(*ours.weight.shape[::-1], ours.bias is not None, **dtype(ours))


def conv(ours):
    out, inner, *kernel = ours.weight.shape
    options = {k: v for k, v in ours.options.items() if k in ("stride", "padding")}
    return nn.Conv2d(inner, out, tuple(kernel), **options, **dtype(ours))


def norm(ours):
    return nn.GroupNorm(ours.num_groups, len(ours.weight), ours.eps, **dtype(ours))


class TorchDiffusion(Torch):
    """`models.Flow`, and `models.DDPM`."""

    def __init__(self, model, *args, **options):
        super().__init__(model, *args, **options)
        self.model, self.classes, self.drop = model, model.classes, model.drop
        self.net, self.network = self.of(model.network)
        self.optimizer = self.adam(self.net, model.optimizer)
        self.optimizer.param_groups[0]["eps"] = model.optimizer.param_groups[0]["eps"]
        self.optimizers = [self.optimizer]
        self.follow(self.net)
        self.is_flow = isinstance(model, models.Flow)
        if not self.is_flow:
            self.abar = torch.tensor(device.to_host(model._abar), device=self.where)

    def of(self, ours):
        """The twin of a U-Net, and what is called in a step: that, or it compiled."""
        net = UNet(ours).to(self.where)
        return net, torch.compile(net) if self.compiled else net

    def draw(self, n):
        told = (torch.rand(n, 1, device=self.where) >= self.drop).float()
        time = torch.rand if not self.is_flow or self.model.times == "uniform" else torch.randn
        noise = torch.randn(n, self.latent, device=self.where)
        return told, time(n, device=self.where), noise

    def loss(self, x, rows, drawn, noise):
        noise = noise.view_as(x)
        if self.is_flow:
            t = drawn if self.model.times == "uniform" else drawn.sigmoid()
            at = t.view(-1, 1, 1, 1)
            return F.mse_loss(self.network((1 - at) * noise + at * x, t, rows), x - noise)
        k = (drawn * self.model.timesteps).long() + 1
        abar = self.abar[k].to(x.dtype).view(-1, 1, 1, 1)
        a, s = abar.sqrt(), (1 - abar).sqrt()
        target = noise if self.model.predict == "eps" else a * noise - s * x
        t = (1 - k.double() / self.model.timesteps).to(x.dtype)
        return F.mse_loss(self.network(a * x + s * noise, t, rows), target)

    def update(self, batch):
        images, labels = batch if self.classes else (batch, None)
        told, drawn, noise = map(torch.as_tensor, self.draw(len(images)))
        rows = None
        if self.classes:  # F.one_hot would wait for a GPU
            known = torch.arange(self.classes, device=labels.device)
            rows = (labels[:, None] == known).to(images.dtype) * told
        loss = self.loss(images / self.model.scale, rows, drawn, noise)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.update_average()
        return {"loss": loss}

    def answer(self, x, t, rows, guidance):
        t = torch.full((len(x),), t, dtype=x.dtype, device=x.device)
        told = self.net(x, t, rows)
        if guidance == 1 or not self.classes:
            return told
        return told + (guidance - 1) * (told - self.net(x, t, torch.zeros_like(rows)))

    @torch.no_grad()
    def sample(self, x, rows, steps, guidance):
        """The samples that the network, not its average, makes of noise x: of a flow by Heun's
        method and a last step of Euler's, of a diffusion by DDIM (eta 0).
        """
        for i in range(steps):
            a, b = i / steps, (i + 1) / steps
            advance = self.heun if self.is_flow else self.ddim
            x = advance(x, a, b, lambda x, t: self.answer(x, t, rows, guidance))
        return x * self.model.scale

    def heun(self, x, a, b, v):
        first = v(x, a)
        if b == 1:
            return x + (b - a) * first
        return x + (b - a) / 2 * (first + v(x + (b - a) * first, b))

    def ddim(self, x, a, b, v):
        k, j = (self.model.count(t) for t in (a, b))
        now, then = (float(self.model.abar[i]) for i in (k, j))
        out, (a, s) = v(x, a), (now**0.5, (1 - now) ** 0.5)
        clean = (x - s * out) / a if self.model.predict == "eps" else a * x - s * out
        clean = clean.clamp(-1, 1) if self.model.clip else clean
        return then**0.5 * clean + (1 - then) ** 0.5 * (x - a * clean) / s


KINDS |= {models.Flow: TorchDiffusion, models.DDPM: TorchDiffusion}
