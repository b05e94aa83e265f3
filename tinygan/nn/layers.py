"""Dense layers, dropout, embeddings, and modules of modules. Convolutions and norms have own files.

A layer holds parameters and calls an operation of `ops`; it knows no optimizer.
"""

import itertools

import numpy as np

from .. import ops, random
from ..autograd import describe
from . import init
from .module import Module, Parameter
from .supervised import check_labels


class Linear(Module):
    """x @ weight.T + bias: (..., in_features) -> (..., out_features)."""

    def __init__(self, in_features, out_features, bias=True):
        bound = init.bound((out_features, in_features))
        self.weight = init.uniform((out_features, in_features), bound)
        self.bias = init.uniform((out_features,), bound) if bias else None

    def forward(self, x):
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self):
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, bias={self.bias is not None}"


class Dropout(Module):
    """In training, zero each element with probability p, and divide the rest by 1 - p.

    inplace is taken and ignored: nothing here is computed in place. (Srivastava 2014)
    """

    def __init__(self, p=0.5, inplace=False):
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p must be from 0 to 1, got {p}")
        self.p = p

    def forward(self, x):
        return ops.dropout(x, self.p, self.training)


class Dropout2d(Dropout):
    """Dropout of whole channels of (n, c, ...) (Tompson 2015)."""

    def forward(self, x):
        shape = x.shape[:2] + (1,) * (x.ndim - 2)
        kept = np.ones_like(ops.raw(x), shape=shape)
        return ops.multiply(x, super().forward(kept)) if self.training else x


class Embedding(Module):
    """Row i of `weight` for each integer i: a raw array (...,) -> (..., embedding_dim).

    padding_idx: a row that starts as 0 and has no gradient.
    """

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None):
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.weight = Parameter(random.default.normal((num_embeddings, embedding_dim)))
        if padding_idx is not None:
            check_labels(np.array(padding_idx), num_embeddings, what=("Embedding: row", "rows"))
            self.weight.data[padding_idx] = 0

    def forward(self, x):
        x = ops.raw(x)
        check_labels(x, self.num_embeddings, what=("Embedding: row", "rows"))
        rows = self.weight[x]
        if self.padding_idx is None:
            return rows
        return ops.where((x == self.padding_idx)[..., None], ops.raw(rows), rows)


class PReLU(Module):
    """x where x > 0, weight * x elsewhere: a learnt weight, or one a channel (He 2015)."""

    def __init__(self, num_parameters=1, init=0.25):
        self.num_parameters = num_parameters
        self.weight = Parameter(np.full(num_parameters, init, np.float32))

    def forward(self, x):
        if self.num_parameters not in (1, *x.shape[1:2]):
            raise ValueError(f"PReLU: {self.num_parameters} weights for x: {describe(x)}")
        weight = ops.reshape(self.weight, (-1,) + (1,) * (x.ndim - 2) if x.ndim else ())
        return ops.where(ops.raw(x) > 0, x, x * weight)


class Sequential(Module):
    """Modules one after another, numbered from 0; or one dict of them, with names of its own."""

    def __init__(self, *modules):
        named = isinstance(modules[0], dict) if modules else False
        for name, m in modules[0].items() if named else enumerate(modules):
            self.append(m, str(name))

    def append(self, module, name=None):
        """One more at the end."""
        if not isinstance(module, Module):
            got = type(module).__name__
            raise TypeError(f"Sequential: takes modules, as Sequential(first, second), got {got}")
        if name is None:
            name = next(str(i) for i in itertools.count(len(self)) if str(i) not in vars(self))
        if "." in name or hasattr(self, name):
            raise ValueError(f"Sequential: {name!r} cannot be a name: it has a dot, or is taken")
        setattr(self, name, module)
        return self

    def __iter__(self):
        return iter(self.children())

    def __len__(self):
        return len(self.children())

    def __getitem__(self, i):
        return Sequential(*self.children()[i]) if isinstance(i, slice) else self.children()[i]

    def forward(self, x):
        for m in self:
            x = m(x)
        return x


class ModuleList(Module, list):
    """A list of modules that is one itself; a plain list, as an attribute, is found as well."""

    def _members(self):
        return [*super()._members(), *((str(i), m) for i, m in enumerate(self))]


class ModuleDict(Module, dict):
    """A dict of modules that is one itself."""

    def _members(self):
        return [*super()._members(), *self.items()]
