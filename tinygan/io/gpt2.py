"""GPT-2's checkpoints (Radford 2019), in the layout in which they are published and fine-tuned ones
are shared, read into a `models.Transformer`, and written.

Dense layers lie there as (in, out), the other way round than here. This file knows that network and
names of arrays; it knows no tokens.
"""

import re

import numpy as np

from ..data import DataError
from ..models.transformer import Transformer
from ..nn.transformer import ACTIVATIONS
from .safetensors import load_safetensors, save_safetensors

HEAD = 64  # features of a head, in each of the four that were published
# of a block: GPT-2's name, ours, and the shape of the weight in widths; the bias has the last
BLOCK = {
    "ln_1": ("norm1.", (1,)),
    "attn.c_attn": ("self_attn.in_proj_", (1, 3)),
    "attn.c_proj": ("self_attn.out_proj.", (1, 1)),
    "ln_2": ("norm2.", (1,)),
    "mlp.c_fc": ("linear1.", (1, 4)),
    "mlp.c_proj": ("linear2.", (4, 1)),
}
MASK = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # constants, no weights
LISTED = 8  # of what does not fit


def load_gpt2(path, heads=None, limit=1 << 32):
    """The `models.Transformer` of a .safetensors file in GPT-2's layout, in eval mode.

    Sizes are those of the arrays: wte.weight (vocabulary, width), wpe.weight (context, width), and
    so on; all names may begin with "transformer.". heads: of each block, which no shape tells; one
    for 64 features unless given. lm_head.weight may be there if it is wte.weight. DataError for a
    file that is none, or whose arrays are others: they are listed.
    """
    state = _weights(path, limit)
    wte, wpe = (state.get(f"{name}.weight", np.zeros(())) for name in ("wte", "wpe"))
    if wte.ndim != 2 or wpe.ndim != 2 or not wte.size or not wpe.size:
        held = _listed(sorted(map(_told, state.items())))
        words = "needs wte.weight (vocabulary, width) and wpe.weight (context, width)"
        raise DataError(f"{path}: no GPT-2: {words}, has {held}")
    (vocabulary, width), context = wte.shape, len(wpe)
    depth = len({name.split(".")[1] for name in state if name.startswith("h.")})
    layout = _layout(vocabulary, context, width, depth=max(depth, 1))
    wrong = [f"missing {name} {layout[name][1]}" for name in layout if name not in state]
    wrong += [f"unexpected {_told(pair)}" for pair in state.items() if pair[0] not in layout]
    for name in layout.keys() & state.keys():
        a, shape = state[name], layout[name][1]
        if a.shape != shape or a.dtype.kind != "f":
            wrong.append(f"{_told((name, a))}, which should be floats {shape}")
        elif not np.abs(a).max() <= np.finfo(np.float32).max:
            wrong.append(f"{_told((name, a))}, which holds what is no number, or too large")
    if wrong:  # before any memory is taken
        raise DataError(f"{path}: no GPT-2 of {depth} blocks of {width}: {_listed(sorted(wrong))}")
    if heads is None and width % HEAD:
        raise ValueError(f"load_gpt2: heads must be given: {width} features are no heads of {HEAD}")
    heads = width // HEAD if heads is None else heads
    net = Transformer(vocabulary, context, width, depth, heads, activation="gelu_tanh")
    net.load_state_dict({ours: _turned(name, state[name]) for name, (ours, _) in layout.items()})
    return net.eval()


def save_gpt2(path, net):
    """Replace `path` by the weights of a `models.Transformer`, in GPT-2's layout.

    ValueError for one that GPT-2 is not: causal, with learnt positions, biases, and "gelu_tanh".
    """
    block = net.blocks[0]
    alike = block.causal and net.places is not None and net.norm.bias is not None
    if not alike or block.activation is not ACTIVATIONS["gelu_tanh"]:
        words = 'is causal, with learnt positions, biases and activation="gelu_tanh"'
        raise ValueError(f"save_gpt2: GPT-2 {words}, and this network is not")
    state, (vocabulary, width) = net.state_dict(), net.tokens.weight.shape
    layout = _layout(vocabulary, net.context, width, depth=len(net.blocks))
    arrays = {name: _turned(name, state[ours]) for name, (ours, _) in layout.items()}
    save_safetensors(path, arrays, {"format": "pt"})  # without which some readers refuse it


def _layout(vocabulary, context, width, depth):
    """{GPT-2's name: (ours, the shape there)}."""
    found = {
        "wte.weight": ("tokens.weight", (vocabulary, width)),
        "wpe.weight": ("places.weight", (context, width)),
    }
    for n in range(depth):
        for theirs, (ours, widths) in BLOCK.items():
            shape = tuple(width * w for w in widths)
            found[f"h.{n}.{theirs}.weight"] = f"blocks.{n}.{ours}weight", shape
            found[f"h.{n}.{theirs}.bias"] = f"blocks.{n}.{ours}bias", shape[-1:]
    return found | {f"ln_f.{name}": (f"norm.{name}", (width,)) for name in ("weight", "bias")}


def _weights(path, limit):
    """The arrays of a file by the names of the plain layout, without masks and a tied last layer;
    DataError where that is another.
    """
    found = {}
    for name, a in load_safetensors(path, limit).items():
        name = name.removeprefix("transformer.")
        if name in found:
            raise DataError(f"{path}: no GPT-2: holds {name} twice")
        if not MASK.fullmatch(name):
            found[name] = a
    last = found.pop("lm_head.weight", None)
    if last is not None and not np.array_equal(last, found.get("wte.weight")):
        words = "is not wte.weight, and the two are one here"
        raise DataError(f"{path}: no GPT-2: {_told(('lm_head.weight', last))} {words}")
    return found


def _turned(name, a):
    """A dense layer's weight the other way round; all else as it is."""
    return a.T if a.ndim == 2 and name.startswith("h.") else a


def _told(pair):
    name, a = pair
    return f"{ascii(name)[1:-1]:.80} {a.shape} {a.dtype}"


def _listed(words):
    words = [*words]
    more = [f"and {len(words) - LISTED} more"] if len(words) > LISTED else []
    return "; ".join(words[:LISTED] + more) or "nothing"
