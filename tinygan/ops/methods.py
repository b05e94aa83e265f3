"""Tensor's operators and methods: `x + y`, `x.sum()` and the like are the functions of this folder, and nothing more.

`autograd` knows no operation by name, so they are attached here. NumPy's names and arguments, and PyTorch's where they
say the same (`dim`, `keepdim`, `view`, `permute`); what PyTorch spells otherwise, an error spells for us.
"""

import functools

from ..autograd import Tensor
from . import activations, arith, reduce, shape
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
    "dim": "x.ndim",
    "expand": "ops.broadcast_to",
    "gather": "x[rows, columns]",
    "half": "float32: this engine computes in float32 or float64",
    "index_select": "x[indices], x[:, indices]",
    "long": "a raw array: x.data.astype(np.int64)",
    "masked_fill": "ops.where(mask, value, x)",
    "mm": "ops.matmul or @",
    "norm": "ops.vector_norm",
    "numel": "x.size",
    "repeat": "ops.concatenate, or ops.broadcast_to",
    "split": "slices, x[:, :n]",
    "t": "x.T",
    "to": "x.float(), x.double(), Module.to(device) or device.to(array, device)",
    "type": "x.float(), x.double()",
}


NAMES = {"dim": "axis", "keepdim": "keepdims"}


def torch_names(f):
    """f, which takes PyTorch's `dim` and `keepdim` as well as NumPy's `axis` and `keepdims`."""

    @functools.wraps(f, updated=())
    def either(*args, **options):
        options = {NAMES.get(k, k): tuple(v) if isinstance(v, list) else v for k, v in options.items()}
        return f(*args, **options)

    return either


def numpy_names(f, meaning):
    """f, which refuses PyTorch's `dim`, since it would mean something else: ValueError."""

    @functools.wraps(f, updated=())
    def only(*args, **options):
        if "dim" in options:
            raise ValueError(f"{f.__name__}: dim= would mean PyTorch's {meaning}")
        return f(*args, **options)

    return only


def method(f):
    """Make f a method of Tensor, under its own name."""
    setattr(Tensor, f.__name__, f)
    return f


@method
def __add__(self, other):
    """self + other."""
    return add(self, other)


@method
def __radd__(self, other):
    """other + self."""
    return add(other, self)


@method
def __sub__(self, other):
    """self - other."""
    return subtract(self, other)


@method
def __rsub__(self, other):
    """other - self."""
    return subtract(other, self)


@method
def __mul__(self, other):
    """self * other."""
    return multiply(self, other)


@method
def __rmul__(self, other):
    """other * self."""
    return multiply(other, self)


@method
def __truediv__(self, other):
    """self / other."""
    return divide(self, other)


@method
def __rtruediv__(self, other):
    """other / self."""
    return divide(other, self)


@method
def __pow__(self, other):
    """self ** other."""
    return power(self, other)


@method
def __rpow__(self, other):
    """other ** self."""
    return power(other, self)


@method
def __matmul__(self, other):
    """self @ other."""
    return matmul(self, other)


@method
def __rmatmul__(self, other):
    """other @ self."""
    return matmul(other, self)


@method
def __neg__(self):
    """-self."""
    return negative(self)


@method
def __pos__(self):
    """+self."""
    return self


@method
def __abs__(self):
    """abs(self)."""
    return abs(self)


@method
def __getitem__(self, index):
    """self[index], with NumPy's indices."""
    return shape.getitem(self, index)


# Comparisons have no derivative: they give raw arrays of booleans. `==` compares numbers, too: a set or a dict tells
# Tensors apart by identity.


@method
def __lt__(self, other):
    """self < other, raw."""
    return self.data < raw(other)


@method
def __le__(self, other):
    """self <= other, raw."""
    return self.data <= raw(other)


@method
def __gt__(self, other):
    """self > other, raw."""
    return self.data > raw(other)


@method
def __ge__(self, other):
    """self >= other, raw."""
    return self.data >= raw(other)


@method
def __eq__(self, other):
    """self == other, raw."""
    return self.data == raw(other)


@method
def __ne__(self, other):
    """self != other, raw."""
    return self.data != raw(other)


Tensor.__hash__ = object.__hash__


def _sizes(sizes):
    """(2, 3) of x.reshape(2, 3) as well as of x.reshape((2, 3))."""
    return tuple(sizes[0]) if len(sizes) == 1 and not hasattr(sizes[0], "__index__") else sizes


@method
def reshape(self, *sizes):
    """The same numbers in another shape; one size may be -1."""
    return shape.reshape(self, _sizes(sizes))


@method
def view(self, *sizes):
    """`reshape` under PyTorch's name."""
    return shape.reshape(self, _sizes(sizes))


@method
def transpose(self, *axes):
    """All axes in another order, reversed by default, as in NumPy; transpose(i, j) exchanges two, as in PyTorch."""
    return shape.swapaxes(self, *axes) if len(axes) == 2 else shape.transpose(self, _sizes(axes) or None)


@method
def permute(self, *dims):
    """The axes in the order `dims`."""
    return shape.transpose(self, _sizes(dims))


@method
def pow(self, exponent):
    """self ** exponent."""
    return power(self, exponent)


@method
def float(self):
    """In float32; the gradient comes back in self's own dtype."""
    return arith.astype(self, "float32")


@method
def double(self):
    """In float64; the gradient comes back in self's own dtype."""
    return arith.astype(self, "float64")


def missing(owner, name):
    """AttributeError that says how tinygan spells what PyTorch has under that name."""
    words = f"{owner} has no {name!r}"
    if name in SPELLED:
        words += f": {SPELLED[name]}"
    elif name[-1:] == "_" != name[:1]:
        words += ": no operation works in place; p.data[...] = a changes a parameter"
    raise AttributeError(words)


Tensor.T = property(shape.transpose)
Tensor.__getattr__ = lambda self, name: missing("Tensor", name)

# The functions that take an axis, as `ops` and Tensor show them to the world
concatenate = torch_names(shape.concatenate)
stack = torch_names(shape.stack)
flip, squeeze, unsqueeze, cumsum, logsumexp, mean, prod, sum, vector_norm, log_softmax, softmax = (
    method(torch_names(f))
    for f in (
        *(shape.flip, shape.squeeze, shape.unsqueeze),
        *(reduce.cumsum, reduce.logsumexp, reduce.mean, reduce.prod, reduce.sum, reduce.vector_norm),
        *(activations.log_softmax, activations.softmax),
    )
)
_pair = "values and indices: axis= gives the values, x.data.argmax(axis) the indices"
_unbiased = "division by count - 1: say axis=, and correction=1 for that"
max, min = (method(numpy_names(f, _pair)) for f in (reduce.max, reduce.min))
std, var = (method(numpy_names(f, _unbiased)) for f in (reduce.std, reduce.var))

for _f in (
    *(abs, arith.clip, arith.cos, arith.exp, arith.log, arith.sin, arith.sqrt),
    *(activations.relu, activations.sigmoid, activations.tanh, shape.flatten),
):
    method(_f)
