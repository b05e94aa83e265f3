"""Module: a tree of layers that knows its parameters by name. It knows no layer, and no training.

What an attribute is, its type decides: a `Parameter` is trained, a raw array is a buffer (saved,
not trained), a `Module` is a child; lists, tuples and dicts of parameters and modules are looked
into (`blocks.0.weight`); anything else is configuration, a plain `Tensor` too, which is neither
trained nor saved. Names and order are those of the attributes. There is nothing to prepare: an
`__init__` need not call super().__init__().
"""

import copy

import numpy as np

from .. import device as devices
from ..arrays import copy_in
from ..autograd import Tensor
from ..ops.methods import missing


class Parameter(Tensor):
    """A Tensor that `Module.parameters` finds. Updated in place: its memory stays where it is."""

    __slots__ = ()

    def __deepcopy__(self, memo):
        # CuPy's own deepcopy forgets the order of the axes in memory
        memo[id(self.data)] = data = self.data.copy("K")
        new = memo[id(self)] = type(self)(data)
        vars(new).update(copy.deepcopy(vars(self), memo))
        return new

    def _in_place(self, other):
        """`p -= rate * g` would bind p to a new Tensor, and leave the parameter as it was."""
        raise TypeError("Parameter: p -= a would only rebind the name p: p.data -= a changes it")

    __iadd__ = __isub__ = __imul__ = __itruediv__ = __ipow__ = _in_place


def _found(name, value):
    """(name, thing) of the modules and parameters that a value is or, a list or dict, holds."""
    if isinstance(value, (Module, Parameter)):
        yield name, value
    elif isinstance(value, (list, tuple, dict)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _found(f"{name}.{key}", item)


class Module:
    """Base of all layers: subclasses set attributes in `__init__` and define `forward`."""

    training = True

    def __setattr__(self, name, value):
        old = vars(self).get(name)
        if isinstance(old, Parameter) and value is not None and not isinstance(value, Parameter):
            raise TypeError(
                f"{type(self).__name__}.{name} is a Parameter, and would be none:"
                f" nn.Parameter(a) replaces it, {name}.data[...] = a changes it"
            )
        super().__setattr__(name, value)

    def __getattr__(self, name):
        missing(type(self).__name__, name)

    def __call__(self, *args, **kwargs):
        return self.forward(*args, **kwargs)

    def forward(self, *args, **kwargs):
        raise NotImplementedError(f"{type(self).__name__} has no forward method")

    def _members(self):
        """(name, thing) of the modules, parameters and buffers that this module itself holds."""
        for name, value in vars(self).items():
            if devices.is_array(value):
                yield name, value
            elif isinstance(value, (Module, Parameter, list, tuple, dict)):
                yield from _found(name, value)

    def named_children(self):
        """(name, module) of the modules directly below."""
        return [(name, m) for name, m in self._members() if isinstance(m, Module)]

    def children(self):
        """The modules directly below."""
        return [m for _, m in self.named_children()]

    def named_modules(self):
        """(name, module) of this one, named "", and all below it, parents first, each once."""
        found = {id(self): ("", self)}
        for name, child in self.named_children():
            for below, m in child.named_modules():
                found.setdefault(id(m), (f"{name}.{below}".rstrip("."), m))
        return list(found.values())

    def modules(self):
        """This module and all below it, parents first, each once."""
        return [m for _, m in self.named_modules()]

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
        for name, value in self._members():
            if isinstance(value, Module):
                yield from ((f"{name}.{below}", thing) for below, thing in value._tree())
            else:
                yield name, value

    def register_parameter(self, name, value):
        """self.name = value: to be an attribute is all it takes."""
        setattr(self, name, value)

    add_module = register_parameter

    def register_buffer(self, name, value):
        """self.name = value, an array, or that of a Tensor: saved, not trained."""
        setattr(self, name, value.data if isinstance(value, Tensor) else value)

    def apply(self, f):
        """Call f with every module below and with this one, last."""
        for m in self.children():
            m.apply(f)
        f(self)
        return self

    def zero_grad(self, set_to_none=True):
        """Forget what `backward` has added up: every `grad` becomes None, or else zeros."""
        for p in self.parameters():
            p.grad = None if set_to_none or p.grad is None else np.zeros_like(p.grad)

    def requires_grad_(self, requires_grad=True):
        """Refuses to freeze: what is trained is what the optimizer is given."""
        if not requires_grad:
            raise AttributeError(
                f"{type(self).__name__}: to freeze a module,"
                " give the optimizer, or grad, the parameters of the others"
            )
        return self

    def train(self, mode=True):
        """Set training mode (dropout drops, batch normalisation uses the batch) here and below."""
        for m in self.modules():
            m.training = mode
        return self

    def eval(self):
        """Leave training mode: the result for one sample no longer depends on the others."""
        return self.train(False)

    def to(self, device=None, dtype=None):
        """Move parameters and buffers to 'cpu' or 'gpu', and floats to a dtype, in place.

        Optimizers are made afterwards.
        """
        if dtype is not None and np.dtype(dtype) not in (np.float32, np.float64):
            kind = type(self).__name__
            raise TypeError(f"{kind}.to: dtype must be float32 or float64, got {np.dtype(dtype)}")

        def moved(a):
            a = a if dtype is None or a.dtype.kind != "f" else a.astype(dtype)
            return a if device is None else devices.to(a, device)

        for m in self.modules():
            for name, value in list(m._members()):
                if isinstance(value, Parameter):
                    value.data = moved(value.data)
                    value.grad = None if value.grad is None else moved(value.grad)
                elif not isinstance(value, Module):
                    setattr(m, name, moved(value))
        return self

    def float(self):
        """To float32."""
        return self.to(dtype=np.float32)

    def double(self):
        """To float64, for gradient checks."""
        return self.to(dtype=np.float64)

    def state_dict(self):
        """Name -> raw array, the very memory, of all parameters and buffers; keys as PyTorch's."""
        return {
            name: value.data if isinstance(value, Parameter) else value
            for name, value in self._tree()
        }

    def load_state_dict(self, state_dict, strict=True):
        """Copy arrays, PyTorch tensors or Tensors in by name.

        On any mismatch all are listed and nothing is changed. strict: a name that is missing on
        either side is a mismatch too.
        """
        copy_in(self, self.state_dict(), state_dict, strict)

    def __repr__(self):
        inner = [f"({name}): {m!r}".replace("\n", "\n  ") for name, m in self.named_children()]
        lines = "".join(f"\n  {line}" for line in inner)
        return f"{type(self).__name__}({self.extra_repr()}{lines}{chr(10) if inner else ''})"

    def extra_repr(self):
        """What to print between the brackets: the attributes that are numbers or words."""
        options = {k: v for k, v in vars(self).items() if isinstance(v, (int, float, str, tuple))}
        return ", ".join(
            f"{k}={v!r}" for k, v in options.items() if k not in ("training", "inplace")
        )
