"""tinygan: an autograd engine in NumPy small enough to read in an evening, and the GANs and VAEs that train on it.

    import tinygan as tg
    from tinygan import nn, ops, optim

Reading order: examples/mnist_gan.py, autograd.py, ops/arith.py, ops/conv.py, kernels/reference.py then cpu.py, nn/layers.py,
models/gan.py, models/vae.py, train.py, kernels/gpu.py. Importing the package loads NumPy and nothing else.
"""

from . import ops
from .autograd import Tensor, grad, no_grad, primitive

__version__ = "0.1.0"
