"""Tensor's operators and methods: `x + y`, `x.sum()` and the like are functions of this folder.

`autograd` knows no operation by name, so they are attached here. NumPy's names and arguments, and
PyTorch's where they say the same (`dim`, `keepdim`, `view`, `permute`); where PyTorch has another
word, the error tells ours.
"""

import builtins
import functools
import math

import numpy as np

from ..autograd import Tensor
from . import activations, arith, derived, reduce, shape
from .arith import abs, add, divide, multiply, negative, power, raw, subtract
from .linear import matmul

SPELLED = {  # PyTorch's name: what to write here
    "argmax": "x.data.argmax(axis)",
    "bmm": "ops.matmul or @",
    "byte": "a raw array: x.data.astype(np.uint8)",
    "cat": "ops.concatenate",
    "chunk": "slices, x[:, :n]",
    "clamp": "x.clip(min, max)",
    "clone": "x, since no operation works in place, or Tensor(x.data.copy())",
    "contiguous": "x, since memory layouts are the kernels' business",
    "cpu": "x.numpy(), or Module.to('cpu')",
    "cuda": "Module.to('gpu'), and device.to(array, 'gpu') for raw arrays",
    "device": "device.of(x.data)",
    "dim": "x.ndim",
    "expand": "ops.broadcast_to",
    "from_numpy": "Tensor(array)",
    "functional": "the functions are in ops, the losses in nn.losses",
    "gather": "x[rows, columns]",
    "half": "float32: this engine computes in float32 or float64",
    "index_select": "x[indices], x[:, indices]",
    "lr_scheduler": "functions in optim.schedules, for optimizer.lr = lr * schedule(progress)",
    "long": "a raw array: x.data.astype(np.int64)",
    "manual_seed": "random.manual_seed",
    "masked_fill": "ops.where(mask, value, x)",
    "mm": "ops.matmul or @",
    "mse_loss": "nn.losses.mse",
    "norm": "ops.vector_norm",
    "permute": "ops.transpose",
    "numel": "x.size",
    "repeat": "ops.concatenate, or ops.broadcast_to",
    "requires_grad_": "give the optimizer, or grad, only the parameters that are to be trained",
    "split": "slices, x[:, :n]",
    "t": "x.T",
    "tensor": "Tensor(array)",
    "to": "x.float(), x.double(), Module.to(device) or device.to(array, device)",
    "tolist": "x.data.tolist()",
    "type": "x.float(), x.double()",
}
NAMES = {"dim": "axis", "keepdim": "keepdims"}


def torch_names(f):
    """f, which takes PyTorch's `dim` and `keepdim` as well as NumPy's `axis` and `keepdims`."""

    @functools.wraps(f, updated=())
    def either(*args, **options):
        return f(*args, **_numpys(f, options)) if options else f(*args)

    return either


def _numpys(f, options):
    """The options under NumPy's names."""
    named = {NAMES.get(k, k): tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    if len(named) < len(options):
        raise TypeError(f"{f.__name__}: one thing by two names, {', '.join(map(repr, options))}")
    return named


def numpy_names(f, meaning):
    """f, which refuses PyTorch's `dim`, since it would mean something else: ValueError."""

    @functools.wraps(f, updated=())
    def only(*args, **options):
        if "dim" in options:
            raise ValueError(f"{f.__name__}: dim= would mean PyTorch's {meaning}")
        return f(*args, **_numpys(f, options))

    return only


def _sizes(sizes):
    """(2, 3) of x.reshape(2, 3) as well as of x.reshape((2, 3))."""
    return tuple(sizes[0]) if len(sizes) == 1 and not hasattr(sizes[0], "__index__") else sizes


class _Count(int):
    """The number of elements, as NumPy's `size`; called, as PyTorch's size(), the shape."""

    def __new__(cls, shape):
        count = super().__new__(cls, math.prod(shape))
        count.shape = shape
        return count

    def __reduce__(self):
        return int, (int(self),)

    def __call__(self, dim=None):
        return self.shape if dim is None else self.shape[dim]


def _comparable(x):
    """Whether x is an array or a number: anything else, None say, is simply not equal."""
    return hasattr(x, "dtype") or isinstance(x, (int, builtins.float, list, tuple))


def missing(owner, name, there=()):
    """AttributeError that says how tinygan spells what PyTorch has under that name, or which of the
    names that are there come near.
    """
    words = f"{owner} has no {name!r}"
    if name in SPELLED:
        words += f": {SPELLED[name]}"
    elif name[-1:] == "_" != name[:1]:
        words += ": no operation works in place; p.data[...] = a changes a parameter"
    elif there:
        import difflib  # only a misspelt name needs it

        if near := difflib.get_close_matches(name, there, cutoff=0.5):
            words += f"; near it are {', '.join(near)}"
    raise AttributeError(words)


class Methods:
    """What becomes part of Tensor, at the end of this file."""

    __add__ = add
    __sub__ = subtract
    __mul__ = multiply
    __truediv__ = divide
    __matmul__ = matmul
    __pow__ = power
    __neg__ = negative
    __abs__ = abs
    __getitem__ = shape.getitem
    pow = power
    T = property(shape.transpose)
    size = property(lambda self: _Count(self.shape))
    requires_grad = property(lambda self: True)

    @requires_grad.setter
    def requires_grad(self, value):
        if not value:
            raise AttributeError(
                "requires_grad: every Tensor is differentiable. To freeze a parameter, give the"
                " optimizer, or grad, only the others; x.data and x.detach() are without history"
            )

    def __getattr__(self, name):
        missing("Tensor", name)

    def __radd__(self, other):
        """other + self."""
        return add(other, self)

    def __rsub__(self, other):
        """other - self."""
        return subtract(other, self)

    def __rmul__(self, other):
        """other * self."""
        return multiply(other, self)

    def __rtruediv__(self, other):
        """other / self."""
        return divide(other, self)

    def __rpow__(self, other):
        """other ** self."""
        return power(other, self)

    def __rmatmul__(self, other):
        """other @ self."""
        return matmul(other, self)

    def __array__(self, dtype=None, copy=None):
        # CuPy refuses: a silent copy to the host is never wanted
        return np.array(self.data, dtype, copy=copy)

    def __dlpack__(self, **options):
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.data.__dlpack_device__()

    def __pos__(self):
        """+self."""
        return self

    def __iter__(self):
        """self[0], self[1], ..."""
        if not self.ndim:
            raise TypeError("iteration over a 0-d Tensor: it is one number, float(x) or x.item()")
        return (self[i] for i in range(len(self)))

    def __len__(self):
        """The first size."""
        return len(self.data)

    def __bool__(self):
        """Whether the one element is not 0."""
        return bool(self.data)

    def __float__(self):
        """The one element."""
        return self.item()

    def __int__(self):
        """The whole part of the one element."""
        return int(self.item())

    def __format__(self, spec):
        """f"{loss:.3f}" for a Tensor of one element."""
        return format(self.item() if spec else str(self), spec)

    # a set or a dict tells Tensors apart by identity, although `==` below compares their numbers
    __hash__ = object.__hash__

    # Comparisons have no derivative: they give raw arrays of booleans.

    def __lt__(self, other):
        """self < other, raw."""
        return self.data < raw(other)

    def __le__(self, other):
        """self <= other, raw."""
        return self.data <= raw(other)

    def __gt__(self, other):
        """self > other, raw."""
        return self.data > raw(other)

    def __ge__(self, other):
        """self >= other, raw."""
        return self.data >= raw(other)

    def __eq__(self, other):
        """self == other, raw."""
        return self.data == raw(other) if _comparable(other) else NotImplemented

    def __ne__(self, other):
        """self != other, raw."""
        return self.data != raw(other) if _comparable(other) else NotImplemented

    def reshape(self, *sizes):
        """The same numbers in another shape; one size may be -1."""
        return shape.reshape(self, _sizes(sizes))

    def view(self, *sizes):
        """`reshape` under PyTorch's name."""
        return shape.reshape(self, _sizes(sizes))

    def transpose(self, *axes):
        """All axes in another order, reversed by default, as in NumPy.

        transpose(i, j) exchanges two, as in PyTorch.
        """
        if len(axes) == 2:
            return shape.swapaxes(self, *axes)
        return shape.transpose(self, _sizes(axes) or None)

    def permute(self, *dims):
        """The axes in the order `dims`."""
        return shape.transpose(self, _sizes(dims))

    def float(self):
        """In float32; the gradient comes back in self's own dtype."""
        return arith.astype(self, "float32")

    def double(self):
        """In float64; the gradient comes back in self's own dtype."""
        return arith.astype(self, "float64")


# The functions that take an axis, as `ops` and Tensor show them to the world
concatenate, stack = torch_names(shape.concatenate), torch_names(shape.stack)
flip, squeeze, unsqueeze = map(torch_names, (derived.flip, shape.squeeze, shape.unsqueeze))
cumsum, logsumexp, mean = map(torch_names, (derived.cumsum, reduce.logsumexp, reduce.mean))
prod, sum, vector_norm = map(torch_names, (derived.prod, reduce.sum, derived.vector_norm))
log_softmax, softmax = map(torch_names, (activations.log_softmax, activations.softmax))
_pair = "values and indices: axis= gives the values, x.data.argmax(axis) the indices"
_unbiased = "division by count - 1: say axis=, and correction=1 for that"
max, min = numpy_names(reduce.max, _pair), numpy_names(reduce.min, _pair)
std, var = numpy_names(derived.std, _unbiased), numpy_names(reduce.var, _unbiased)

_functions = [
    *(abs, arith.clip, arith.cos, arith.exp, arith.log, arith.sin, arith.sqrt, shape.flatten),
    *(activations.relu, activations.sigmoid, activations.tanh, log_softmax, softmax, flip),
    *(cumsum, logsumexp, max, mean, min, prod, std, sum, var, vector_norm, squeeze, unsqueeze),
]
for _name, _thing in [(f.__name__, f) for f in _functions] + [*vars(Methods).items()]:
    if callable(_thing) or isinstance(_thing, property):
        setattr(Tensor, _name, _thing)
