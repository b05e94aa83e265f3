"""The training steps of tinygan's models of text as a PyTorch user writes them: the same
Transformer from the same first weights, whose names are tinygan's.
"""

import torch
from torch import nn
from torch.nn import functional as F

from tinygan import device, models

from .with_torch import KINDS, Torch


class Block(nn.Module):
    def __init__(self, ours):
        super().__init__()
        width, bias = ours.self_attn.embed_dim, ours.linear1.bias is not None
        self.heads, self.causal = ours.self_attn.num_heads, ours.causal
        self.self_attn = nn.MultiheadAttention(width, self.heads, bias=bias)
        self.linear1, self.linear2 = (
            nn.Linear(*n, bias) for n in ((width, 4 * width), (4 * width, width))
        )
        self.norm1, self.norm2 = nn.LayerNorm(width, bias=bias), nn.LayerNorm(width, bias=bias)

    def forward(self, x, past=None):
        n, t, c = x.shape
        own = self.self_attn
        parts = F.linear(self.norm1(x), own.in_proj_weight, own.in_proj_bias)
        q, k, v = parts.view(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        found = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal and past is None)
        x = x + own.out_proj(found.transpose(1, 2).reshape(n, t, c))
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x)))), (k, v)


class Transformer(nn.Module):
    """`models.Transformer`, with learnt positions."""

    def __init__(self, ours):
        super().__init__()
        self.tokens = nn.Embedding(*ours.tokens.weight.shape)
        self.places = nn.Embedding(*ours.places.weight.shape)
        self.blocks = nn.ModuleList([Block(block) for block in ours.blocks])
        self.norm = nn.LayerNorm(len(ours.norm.weight), bias=ours.norm.bias is not None)
        self.load_state_dict(
            {k: torch.tensor(device.to_host(a)) for k, a in ours.state_dict().items()}
        )

    def forward(self, tokens, past=None):
        """Scores (n, t, vocabulary), and the keys and values to go on from."""
        start = 0 if past is None else past[0][0].shape[2]
        places = torch.arange(start, start + tokens.shape[1], device=tokens.device)
        x, kept = self.tokens(tokens) + self.places(places), []
        for i, block in enumerate(self.blocks):
            x, own = block(x, None if past is None else past[i])
            kept.append(own)
        return F.linear(self.norm(x), self.tokens.weight), kept


class TorchGPT(Torch):
    """`models.GPT`. Nothing is drawn: dropout is left out."""

    def __init__(self, model, where="cpu", tuned=False, compiled=False, capturable=False):
        self.where, self.max_norm = where, model.max_norm
        self.net = Transformer(model.network).to(where)
        self.network = torch.compile(self.net) if compiled else self.net
        params = list(self.net.parameters())
        decay = model.optimizer.param_groups[0]["weight_decay"]
        groups = [
            {"params": [p for p in params if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
        ]
        betas = model.optimizer.param_groups[0]["betas"]
        options = {"fused": tuned or None, "capturable": capturable}
        self.optimizer = torch.optim.AdamW(groups, model.optimizer.lr, betas, **options)
        self.optimizers = [self.optimizer]

    def draw(self, n):
        return ()

    def loss(self, batch):
        scores, _ = self.network(batch[:, :-1])
        return F.cross_entropy(scores.flatten(0, 1), batch[:, 1:].flatten())

    def update(self, batch):
        loss = self.loss(batch.long())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.max_norm)
        self.optimizer.step()
        return {"loss": loss.detach()}

    @torch.no_grad()
    def stream(self, tokens, length, cached=True):
        """The likeliest token behind rows of tokens (n, t), `length` times."""
        read, past = torch.as_tensor(tokens).long(), None
        for _ in range(length):
            scores, kept = self.net(read[:, -1:] if past else read, past)
            past = kept if cached else None
            chosen = scores[:, -1].argmax(1)
            yield chosen
            read = torch.cat([read, chosen[:, None]], 1)


KINDS[models.GPT] = TorchGPT
