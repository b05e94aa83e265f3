"""`check_module`: a layer or a network as a function of its parameters, all checked at once."""

import sys

from .arrays import owner
from .check import check_grads
from .containers import leaves, varies


def check_module(net, *inputs, **options):
    """Raise GradientError unless net(*inputs) has right gradients, by each parameter and input.

    net: a tinygan.nn.Module or a torch.nn.Module, in the mode that it is in: dropout needs
    net.eval(). Its parameters and buffers stay as they are. options: those of check_grads; a
    parameter's name is "parameter['0.weight']".
    """
    __tracebackhide__ = True
    kind = {"torch": OfTorch, "tinygan": OfTinygan}.get(owner(net))
    if kind is None or not hasattr(net, "named_parameters"):
        wanted = "a tinygan.nn.Module or a torch.nn.Module"
        raise TypeError(f"check_module: needs {wanted}, got {type(net).__name__}")
    f = kind(net, len(inputs))
    parameters = f.parameters()
    try:
        return check_grads(f, parameters, *inputs, **options)
    except (TypeError, RuntimeError) as e:
        own, given = _dtypes(parameters), _dtypes(inputs)
        if own and given and own != given:
            are = f"the parameters are {' and '.join(own)} and the inputs {' and '.join(given)}"
            e.add_note(f"check_module: {are}: pass net.double() and inputs of float64")
        raise


def _dtypes(arrays):
    """The names of the types of floats in containers of arrays."""
    found = [x for _, x in leaves(arrays) if hasattr(x, "dtype") and varies(x)]
    return sorted({str(x.dtype).removeprefix("torch.") for x in found})


class OfTorch:
    """f(parameters by name, *inputs) of a torch.nn.Module."""

    def __init__(self, net, n):
        self.net = net
        self.input_names = ["parameter", *(f"input {i}" for i in range(n))]

    def parameters(self):
        """Those that are trained, by name."""
        return {name: p for name, p in self.net.named_parameters() if p.requires_grad}

    def __call__(self, parameters, *inputs, **kwargs):
        buffers = {name: b.clone() for name, b in self.net.named_buffers()}  # a running mean moves
        call = sys.modules["torch"].func.functional_call
        return call(self.net, parameters | buffers, inputs, kwargs)


class OfTinygan(OfTorch):
    """The same of a tinygan.nn.Module, whose parameters are replaced during the call in every place
    where they stand."""

    def parameters(self):
        """All of them, by name."""
        return dict(self.net.named_parameters())

    def __call__(self, parameters, *inputs, **kwargs):
        own = self.parameters()
        state = self.net.state_dict()
        new = {id(p): parameters[name] for name, p in own.items()}
        buffers = {name: b.copy() for name, b in state.items() if name not in own}
        places = [place for place in _places(self.net) if id(place[2]) in new]
        for inside, key, p in places:
            inside[key] = new[id(p)]
        try:
            return self.net(*inputs, **kwargs)
        finally:
            for inside, key, p in places:
                inside[key] = p
            for name, b in self.net.state_dict().items():
                if name in buffers:
                    b[...] = buffers[name]


def _places(thing):
    """(dict or list, key, what stands there) for everything in a module, its children, and lists
    and dicts in them."""
    inside = vars(thing) if hasattr(thing, "named_parameters") else thing
    for key, value in list(inside.items() if isinstance(inside, dict) else enumerate(inside)):
        yield inside, key, value
        if isinstance(value, dict | list) or hasattr(value, "named_parameters"):
            yield from _places(value)
