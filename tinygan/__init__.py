"""tinygan: an autograd engine in NumPy small enough to read in an evening, and the GANs and VAEs
that train on it.

    import tinygan as tg
    from tinygan import nn, ops, optim

Importing the package loads NumPy and nothing else. To read it, begin with
examples/mnist_classifier.py and autograd.py: the README has the order of the rest.
"""

import importlib

from . import ops
from .autograd import Tensor, grad, primitive
from .recording import enable_grad, no_grad

__version__ = "0.2.0.dev0"


def __getattr__(name):
    """`tg.nn`, `tg.optim` and the other rooms by attribute, loaded when first asked for."""
    rooms = "data device io latents metrics models nn optim parallel random refine".split()
    rooms += ["testing", "train"]
    if name in rooms:
        return importlib.import_module(f".{name}", __name__)
    ops.methods.missing(__name__, name)
