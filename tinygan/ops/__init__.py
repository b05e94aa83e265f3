"""The differentiable operations, under their NumPy and PyTorch names; and `Tensor`'s operators and methods made of them.

On raw arrays every operation computes and records nothing. This room knows gradients and no layers.
"""

from ..autograd import Tensor
from .activations import leaky_relu, log_softmax, relu, sigmoid, softmax, softplus, tanh
from .arith import (
    abs, add, broadcast_to, clip, divide, exp, log, maximum, minimum, multiply, negative, power, raw, sqrt, subtract, where,
    xlogy,
)
from .conv import conv2d, conv_transpose2d
from .linear import linear, matmul
from .norm import batch_norm, layer_norm
from .reduce import logsumexp, max, mean, min, prod, sum, var, vector_norm
from .shape import concatenate, flatten, getitem, pad, reshape, stack, swapaxes, transpose

__all__ = [name for name, thing in globals().copy().items() if callable(thing) and name[0].islower()]


def _sizes(op):
    """x.reshape(2, 3) as well as x.reshape((2, 3))."""
    return lambda self, *sizes: op(self, sizes if sizes and hasattr(sizes[0], "__index__") else sizes[0] if sizes else None)


for _name, _op in {"add": add, "sub": subtract, "mul": multiply, "truediv": divide, "pow": power, "matmul": matmul}.items():
    setattr(Tensor, f"__{_name}__", lambda self, other, op=_op: op(self, other))
    setattr(Tensor, f"__r{_name}__", lambda self, other, op=_op: op(other, self))
for _name in ("__lt__", "__le__", "__gt__", "__ge__"):  # raw booleans: comparisons have no derivative
    setattr(Tensor, _name, lambda self, other, name=_name: getattr(self.data, name)(raw(other)))
for _op in (abs, clip, exp, flatten, log, max, mean, min, prod, sigmoid, sqrt, sum, tanh, var):
    setattr(Tensor, _op.__name__, _op)
Tensor.__neg__, Tensor.__abs__, Tensor.__getitem__ = negative, abs, getitem
Tensor.reshape, Tensor.transpose, Tensor.T = _sizes(reshape), _sizes(transpose), property(transpose)
