"""What all optimizers share: parameter groups and their options, state, and a step that refuses
before it moves anything. An algorithm adds what it remembers and how it changes one parameter.
"""

import collections.abc
import copy
import itertools
import math
from typing import NamedTuple

import numpy as np

from .. import device
from ..arrays import copy_in
from ..autograd import Tensor, describe


class ParameterGroup(collections.abc.Mapping):
    """One of `param_groups`, as in PyTorch: "params", and the options that hold for them, which
    are checked when they are set.

    A captured GPU step reads the learning rate where it lies, on the device, and so is told of a
    new one; the other options are those of its recording.
    """

    def __init__(self, kind, state, index, contents):
        self.kind = kind
        self.state = state
        self.index = index  # which of the groups it is
        self.contents = contents

    def __getitem__(self, name):
        return float(self.state["lr"][self.index]) if name == "lr" else self.contents[name]

    def __setitem__(self, name, value):
        self.contents[name] = value = _checked(self.kind, name, value, self.contents)
        if name == "lr":
            self.state["lr"][self.index] = value

    def __iter__(self):
        return iter(self.contents)

    def __len__(self):
        return len(self.contents)


def _checked(kind, name, value, known):
    """The value of an option in Python's numbers (NumPy's would promote float32), if sensible."""
    if name not in known:
        raise ValueError(f"{kind.__name__} has no option {name!r}: it has {', '.join(known)}")
    pair = isinstance(known[name], tuple | list)  # of betas
    numbers = tuple(v.item() if hasattr(v, "item") else v for v in (value if pair else [value]))
    top = math.inf
    wanted = "a finite number of at least 0"
    if pair:
        top = 1
        wanted = "two numbers from 0 to below 1"
    if len(numbers) != (2 if pair else 1) or not all(0 <= v < top for v in numbers):
        raise ValueError(f"{kind.__name__}: {name} must be {wanted}, got {value}")
    return numbers if pair else numbers[0]


class _Made(NamedTuple):
    """A parameter as it was when the optimizer was made."""

    group: int  # which of `param_groups` it is in
    name: str
    shape: tuple
    dtype: np.dtype


class Optimizer:
    """The base of all optimizers, which define `slots` and `update`.

    params: Tensors, or (name, Tensor) pairs as from `named_parameters()`, or dicts of "params" and
    the options that differ from the defaults. defaults: {option: value}.

    `update(p, g, *slots, lr, t, options)` changes one parameter's array p in place, by its gradient
    g. lr (float64) and t (int64), the number of steps that p has taken, are scalars on its device.

    `slots` names the arrays remembered for each parameter, each with the option that asks for it
    (None: always); `update` gets None for one that is not.

    `step` itself sees to two options: `maximize` turns g around; `weight_decay` w adds w * p to g
    or, with `decoupled_weight_decay`, takes lr * w * p from p.
    """

    slots = {}

    def __init__(self, params, defaults):
        kind = type(self)
        self.params = []
        self.param_groups = []
        self.state = {}
        self._made = []
        options = {k: v for k, v in defaults.items() if k not in ("self", "params", "__class__")}
        self.defaults = {k: _checked(kind, k, v, options) for k, v in options.items()}
        if isinstance(params, (Tensor, dict, set)) or not hasattr(params, "__iter__"):
            raise TypeError(
                f"{kind.__name__}: params must be a list, such as [layer.weight]"
                f" or net.parameters(), got {type(params).__name__}"
            )
        params = list(params)
        groups = params if params and isinstance(params[0], dict) else [{"params": params}]
        for group in groups:
            self.add_param_group(group)

    def initial(self, slot, p, options):
        """What a slot begins with, for the parameter's array p."""
        return np.zeros_like(p)

    def add_param_group(self, param_group):
        """Optimize {"params": ..., option: value} too; a step captured before will not know it."""
        kind = type(self)
        index = len(self.param_groups)
        options = dict(self.defaults)
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(f"{kind.__name__}: {param_group!r} is no dict with 'params'")
        for name, value in param_group.items():
            if name != "params":
                options[name] = _checked(kind, name, value, self.defaults)
        pairs = _leaves(kind, param_group["params"], self.params)
        params = [p for _, p in pairs]
        steps = np.zeros_like(params[0].data, shape=(len(params),), dtype=np.int64)
        rate = np.full_like(steps, options["lr"], shape=(1,), dtype=np.float64)
        for name, new in (("lr", rate), ("step", steps)):
            self.state[name] = np.append(self.state.get(name, new[:0]), new)
        group = ParameterGroup(kind, self.state, index, {"params": params, **options})
        self.param_groups.append(group)
        for name, p in pairs:
            self._made.append(_Made(index, name, p.shape, p.dtype))
            self.params.append(p)
            self._slots(len(self.params) - 1, group)

    def _slots(self, i, group):
        """The arrays remembered for parameter i, made when first asked for."""
        own = []
        for slot, option in self.slots.items():
            a = self.state.get(f"{slot}.{i}")
            if a is None and (option is None or group[option]):
                a = self.state[f"{slot}.{i}"] = self.initial(slot, self.params[i].data, group)
            own.append(a)
        return own

    @property
    def lr(self):
        """The learning rate, where the groups have the same; set it at any time, for all."""
        rates = {group["lr"] for group in self.param_groups}
        if len(rates) > 1:
            raise ValueError(f"lr differs among groups, {rates}: read param_groups[i]['lr']")
        return rates.pop()

    @lr.setter
    def lr(self, value):
        for group in self.param_groups:
            group["lr"] = value

    def step(self, grads=None):
        """Update every parameter, from what `backward` left in `p.grad`, or from `grads`.

        grads: raw arrays in the order of the parameters. A parameter whose gradient is None stays,
        and its number of steps does. ValueError for a gradient that does not fit: nothing changes.
        """
        grads = self._fitting([p.grad for p in self.params] if grads is None else list(grads))
        group_of = [None if g is None else made.group for g, made in zip(grads, self._made)]
        for index, run in itertools.groupby(range(len(grads)), group_of.__getitem__):
            if index is not None:
                self._advance(list(run), grads, index)

    def _fitting(self, grads):
        """The gradients as arrays, if each has its parameter's shape, dtype and device."""
        kind = type(self).__name__
        array = device.module(self.state["lr"]).ndarray
        if len(grads) != len(self.params):
            raise ValueError(
                f"{kind}.step: {len(grads)} gradients for {len(self.params)} parameters"
            )
        for i, (p, g, made) in enumerate(zip(self.params, grads, self._made)):
            form = made.shape, made.dtype
            if isinstance(g, (Tensor, np.generic)):
                grads[i] = g = g.data if isinstance(g, Tensor) else np.asarray(g)
            for a in (p.data,) if g is None else (p.data, g):
                if not isinstance(a, array) or (a.shape, a.dtype) != form:
                    now = f"is {describe(p)} and its gradient {describe(g)}"
                    raise ValueError(
                        f"{kind}.step: {made.name} {now}; it was {made.shape} {made.dtype}"
                        " when the optimizer was made; nothing is updated"
                    )
            if array is np.ndarray and g is not None and not p.data.flags.writeable:
                raise ValueError(f"{kind}.step: {made.name} is read-only; nothing is updated")
        return grads

    def _advance(self, run, grads, index):
        """One step of the parameters `run`, neighbours in the group of that index."""
        group = self.param_groups[index]
        lr = self.state["lr"][index]
        params = [self.params[i].data for i in run]
        grads = [grads[i] for i in run]
        decay = group.get("weight_decay")
        if group.get("maximize"):
            grads = [-g for g in grads]
        if decay and group.get("decoupled_weight_decay"):
            kept = {dtype: (1 - lr * decay).astype(dtype) for dtype in {p.dtype for p in params}}
            for p in params:
                p *= kept[p.dtype]
        elif decay:
            grads = [g + decay * p for p, g in zip(params, grads)]
        steps = self.state["step"][run[0] : run[-1] + 1]
        steps += 1
        slots = [self._slots(i, group) for i in run]
        self.update_all(params, grads, slots, lr=lr, steps=steps, options=group)

    def update_all(self, params, grads, slots, *, lr, steps, options):
        """`update` of several parameters, which share their options."""
        for p, g, own, t in zip(params, grads, slots, steps):
            self.update(p, g, *own, lr=lr, t=t, options=options)

    def __deepcopy__(self, memo):
        # CuPy's own deepcopy forgets the order of the axes in memory
        memo |= {id(a): a.copy("K") for a in self.state.values()}
        new = memo[id(self)] = object.__new__(type(self))
        vars(new).update(copy.deepcopy(vars(self), memo))
        return new

    def zero_grad(self, set_to_none=True):
        """Forget what `backward` has added up: every `grad` becomes None, or else zeros."""
        for p in self.params:
            p.grad = None if set_to_none or p.grad is None else np.zeros_like(p.grad)

    def state_dict(self):
        """Name -> array, the very memory, of all that `step` changes.

        Parameters are counted through all groups.
        """
        return dict(self.state)

    def load_state_dict(self, state_dict):
        """Copy in what `state_dict` gave; on a mismatch nothing is changed."""
        copy_in(self, self.state, state_dict)


def _leaves(kind, params, before):
    """(name, Tensor) pairs of what a group was given as its parameters; none may be in `before`."""
    params = [params] if isinstance(params, Tensor) else params
    pairs = []
    known = {id(p) for p in before}
    for p in params:
        name, p = p if isinstance(p, tuple) else (getattr(p, "name", None), p)
        name = name or f"parameter {len(known)}"
        if not isinstance(p, Tensor):
            raise TypeError(f"{kind.__name__}: {name} must be a Tensor, got {describe(p)}")
        if p.op is not None:
            raise ValueError(
                f"{kind.__name__}: {name} is a result of {p.op.__name__}, not a leaf:"
                " it gets no gradient"
            )
        if id(p) in known:
            raise ValueError(f"{kind.__name__}: {name} is there twice, and would move twice")
        known.add(id(p))
        pairs.append((name, p))
    if not pairs:
        raise ValueError(f"{kind.__name__}: no parameters to optimize")
    return pairs
