"""Module: a tree of layers that knows its parameters by name. It knows no layer in particular and nothing of training.

What an attribute is, its type decides: a `Parameter` is trained, a raw array is a buffer (saved, not trained), a `Module`
is a child; anything else is configuration. Names and order are those of the attributes.
"""

import copy

import numpy as np

from .. import device as devices
from ..autograd import Tensor, describe


class Parameter(Tensor):
    """A Tensor that `Module.parameters` finds. Updated in place: its memory stays where it is."""

    __slots__ = ()

    def __deepcopy__(self, memo):
        # CuPy's own deepcopy forgets the order of the axes in memory
        new = memo[id(self)] = type(self)(self.data.copy("K"))
        vars(new).update(copy.deepcopy(vars(self), memo))
        return new


class Module:
    """Base of all layers: subclasses set attributes in `__init__` and define `forward`."""

    training = True

    def __call__(self, *args, **kwargs):
        return self.forward(*args, **kwargs)

    def forward(self, *args, **kwargs):
        raise NotImplementedError(f"{type(self).__name__} has no forward method")

    def children(self):
        """The modules directly below, with their names."""
        return [(name, m) for name, m in vars(self).items() if isinstance(m, Module)]

    def modules(self):
        """This module and all below it, parents first."""
        return [self] + [m for _, child in self.children() for m in child.modules()]

    def named_parameters(self):
        """(name, Parameter) in the order of definition; one that is shared is listed once."""
        found = {}
        for name, value in self._tree():
            if isinstance(value, Parameter):
                found.setdefault(id(value), (name, value))
                value.name = name
        return list(found.values())

    def parameters(self):
        """The Parameters in the order of definition."""
        return [p for _, p in self.named_parameters()]

    def _tree(self):
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield from ((f"{name}.{below}", thing) for below, thing in value._tree())
            elif isinstance(value, Parameter) or devices.is_array(value):
                yield name, value

    def train(self, mode=True):
        """Set training mode (dropout drops, batch normalisation uses the batch) here and below."""
        for m in self.modules():
            m.training = mode
        return self

    def eval(self):
        """Leave training mode: the result for one sample no longer depends on the others."""
        return self.train(False)

    def to(self, device=None, dtype=None):
        """Move parameters and buffers to 'cpu' or 'gpu', and floats to a dtype, in place. Optimizers are made afterwards."""

        def moved(a):
            a = a if dtype is None or a.dtype.kind != "f" else a.astype(dtype)
            return a if device is None else devices.to(a, device)

        for m in self.modules():
            for name, value in vars(m).items():
                if isinstance(value, Parameter):
                    value.data = moved(value.data)
                elif devices.is_array(value):
                    setattr(m, name, moved(value))
        return self

    def float(self):
        """To float32."""
        return self.to(dtype=np.float32)

    def double(self):
        """To float64, for gradient checks."""
        return self.to(dtype=np.float64)

    def state_dict(self):
        """Name -> raw array, the very memory, of every parameter and buffer; keys and shapes as PyTorch's."""
        return {name: value.data if isinstance(value, Parameter) else value for name, value in self._tree()}

    def load_state_dict(self, state_dict, strict=True):
        """Copy arrays, PyTorch tensors or Tensors in by name. On any mismatch all are listed and nothing is changed.

        strict: names missing on either side are mismatches too.
        """
        own, wrong = self.state_dict(), []
        new = {k: v.data if isinstance(v, Tensor) else v if devices.is_array(v) else np.asarray(v) for k, v in state_dict.items()}
        if strict:
            wrong += [f"missing {name} {describe(own[name])}" for name in own if name not in new]
            wrong += [f"unexpected {name} {describe(new[name])}" for name in new if name not in own]
        common = [name for name in own if name in new]
        clash = [name for name in common if new[name].shape != own[name].shape]
        wrong += [f"{name} has shape {new[name].shape}, not {own[name].shape}" for name in clash]
        if wrong:
            raise ValueError(f"load_state_dict: {type(self).__name__} is unchanged, since " + "; ".join(wrong))
        for name in common:
            own[name][...] = devices.to_device_of(new[name], own[name])

    def __repr__(self):
        inner = [f"({name}): {m!r}".replace("\n", "\n  ") for name, m in self.children()]
        lines = "".join(f"\n  {line}" for line in inner)
        return f"{type(self).__name__}({self.extra_repr()}{lines}{chr(10) if inner else ''})"

    def extra_repr(self):
        """What to print between the brackets."""
        return ""
