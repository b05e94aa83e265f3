"""The training steps of tinygan's models as users of other libraries write them, from the same
first weights.

A peer is made of a tinygan model and has `step(batch)`, which returns its losses as numbers;
`draw(n)` gives the noise of a step, (n, latent), and the mixing weights of a gradient penalty,
(n,), which the others leave out. `agree.py` holds each against tinygan. Needs torch; JAX, autograd
and MyGrad where they are installed.
"""

import functools
import importlib

import torch
from common import CORES

from .with_arrays import with_autograd, with_jax, with_mygrad
from .with_diffusion import TorchDiffusion as TorchDiffusion  # which adds itself to the next
from .with_text import TorchGPT as TorchGPT
from .with_torch import with_torch

torch.set_num_threads(CORES)

PEERS = {
    "torch": lambda: with_torch,
    "torch heap": lambda: with_torch,
    "torch tuned": lambda: functools.partial(with_torch, tuned=True),
    "jax": with_jax,
    "autograd": with_autograd,
    "mygrad": with_mygrad,
}
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
