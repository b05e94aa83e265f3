"""The tape of a network as data: which operations its forward pass calls, on what, and which sizes
in them move with the batch.

A Tensor remembers its call, and so a trace is a walk over those. It is made several times (`runs`),
of batches of several sizes with other numbers in them: what is the same in all is a constant; a
whole number that grows evenly with the batch is a `Size`; an array that is the very memory of a
call's result, or an input, is that; anything else follows the values in a way that the tape does
not hold, `UNKNOWN`, and whoever uses it refuses. This room knows layers, and no file format.
"""

import contextlib
import copy
import math
import threading
from typing import NamedTuple

import numpy as np

from .. import random
from ..autograd import Tensor, primitive
from ..device import is_array
from ..nn import Module
from ..recording import no_grad
from .runs import ExportError, array_of, example, runs

UNKNOWN = type("Unknown", (), {"__repr__": lambda self: "what the tape does not hold"})()


class Size(NamedTuple):
    """The whole number times * batch + plus."""

    times: int
    plus: int


class Root(NamedTuple):
    """The square root of a Size, as a deviation over the batch is divided by."""

    size: Size


class Value(NamedTuple):
    """What a call gives, or an input. key: the number of the call, or "input 0"."""

    key: int | str
    shape: tuple  # of whole numbers and Sizes


class Call(NamedTuple):
    """A call of an operation: `args` and `kwargs` as on the tape, but Values for Tensors (a
    Parameter stays itself). layer: the dotted name of the module that made it. op.layer: the
    module, where that is one call as a whole.
    """

    op: object
    args: tuple
    kwargs: dict
    out: Value
    layer: str


class Trace(NamedTuple):
    """The calls from inputs to outputs in their order. net: the copy, in eval mode, traced."""

    net: Module
    calls: list
    inputs: list
    outputs: list
    dtypes: list  # of the inputs


def trace(net, inputs, whole=lambda layer, x: False):
    """The Trace of a copy of a module in eval mode, in float32 on the CPU.

    inputs: example arrays, the first axis of each the batch; floats become float32 Tensors, whole
    numbers are raw int64. whole(layer, x): whether that layer's call is to be one call, as if the
    layer were a primitive. ExportError where the calls themselves depend on values.
    """
    inputs = [example(a) for a in inputs]
    if not inputs:
        raise ExportError("export_onnx: needs an example of each input, got none")
    net = copy.deepcopy(net).to("cpu", np.float32).eval()
    rng, spans = np.random.default_rng(0), []
    for name, layer in net.named_modules():
        vars(layer)["forward"] = _followed(layer, name, whole, spans)
    before = {name: a.copy() for name, a in net.state_dict().items()}
    with _others_in_eval_mode(net), _draws_uncounted():
        found = list(runs(net, inputs, rng))
    after = net.state_dict()
    changed = [
        name for name in before if name not in after or not _same([after[name], before[name]])
    ]
    changed += after.keys() - before.keys()
    if changed:
        raise ExportError(
            f"export_onnx: the network changes its own {changed[0]}, in eval mode too"
        )
    return _Merger(found, spans).trace(net, [a.dtype for a in inputs])


@contextlib.contextmanager
def _others_in_eval_mode(net):
    """Inside it, a module that is called and is none of the net's is in eval mode for the call: one
    made in a forward, or that a function holds, whose copy holds the same one.
    """
    own, call, thread = {id(m) for m in net.modules()}, Module.__call__, threading.get_ident()

    def called(module, *args, **kwargs):
        if id(module) in own or threading.get_ident() != thread:
            return call(module, *args, **kwargs)
        modes = [(m, m.training) for m in module.modules()]
        module.eval()
        try:
            return call(module, *args, **kwargs)
        finally:
            for m, training in modes:
                m.training = training

    Module.__call__ = called
    try:
        yield
    finally:
        Module.__call__ = call


@contextlib.contextmanager
def _draws_uncounted():
    """Inside it, random numbers are drawn as ever; afterwards none has been."""
    step, draw = random.default.step, random.default.draw
    try:
        yield
    finally:
        random.default.seek(step)
        random.default.draw = draw


def _followed(layer, name, whole, spans):
    """The layer's forward, which notes in `spans` its name and what was made while it ran."""
    forward = layer.forward

    def values(x):
        with no_grad():
            out = forward(x)
        return out.data if isinstance(out, Tensor) else out

    values.__name__ = type(layer).__name__
    one_call = primitive(values)
    one_call.layer = layer
    own = "forward" in vars(layer)  # which is another than its class says

    def followed(*args, **kwargs):
        start = Tensor(0.0).serial
        single = len(args) == 1 and not kwargs and isinstance(args[0], Tensor)
        if single and not own and whole(layer, args[0]):
            out = one_call(*args)
        else:
            out = forward(*args, **kwargs)
        spans.append((start, Tensor(0.0).serial, name))
        return out

    return followed


class _Merger:
    """What runs have in common."""

    def __init__(self, runs, spans):
        self.runs, self.spans = runs, spans

    def trace(self, net, dtypes):
        tapes = [run.calls for run in self.runs]
        if len({tuple(t.op for t in tape) for tape in tapes}) > 1:
            raise ExportError(
                "export_onnx: the network calls other operations for other values, or another"
                " batch; a graph holds one way only"
            )
        given = enumerate(zip(*[run.inputs for run in self.runs]))
        inputs = [self.value(f"input {i}", things) for i, things in given]
        self.values = {value.key: value for value in inputs}
        self.values |= {i: self.value(i, ts) for i, ts in enumerate(zip(*tapes))}
        calls = []
        for i, ts in enumerate(zip(*tapes)):
            args = self.merged([t.args for t in ts])
            kwargs = {k: self.merged([t.kwargs[k] for t in ts]) for k in ts[0].kwargs}
            layer = self.layer(ts[-1].serial)
            calls.append(Call(ts[0].op, args, kwargs, self.values[i], layer))
        outputs = [self.merged(ts) for ts in zip(*[run.outputs for run in self.runs])]
        return Trace(net, calls, inputs, outputs, dtypes)

    def value(self, key, things):
        shapes = [tuple(array_of(x).shape) for x in things]
        if len({len(shape) for shape in shapes}) > 1:
            name = things[0].op.__name__.strip("_")
            raise ExportError(
                f"export_onnx: {name} gives {shapes[0]} of one batch, {shapes[-1]} of another; a"
                " graph holds one number of axes only"
            )
        return Value(key, self.merged(shapes))

    def layer(self, serial):
        """The name of the innermost layer that ran when the Tensor of that number was made."""
        around = [(start, name) for start, end, name in self.spans if start < serial < end]
        return max(around)[1] if around else ""

    def merged(self, things):
        """The one thing that they are: itself, a Value, a Size, or UNKNOWN."""
        first = things[0]
        arrays = [array_of(a) for a in things]
        if is_array(arrays[0]):
            keys = {run.keys.get(id(a)) for run, a in zip(self.runs, arrays)}
            if len(keys) == 1 and None not in keys:
                return self.values[keys.pop()]
            return first if _same(arrays) else UNKNOWN
        if len({type(a) for a in things}) > 1:
            return UNKNOWN
        if isinstance(first, slice):
            parts = [(a.start, a.stop, a.step) for a in things]
            return slice(*self.merged(parts))
        if isinstance(first, tuple | list):
            if len({len(a) for a in things}) > 1:
                return UNKNOWN
            parts = [self.merged(part) for part in zip(*things)]
            return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
        if isinstance(first, int | np.integer) and not isinstance(first, bool):
            return _size([run.batch for run in self.runs], things)
        with contextlib.suppress(ValueError):
            if all(a == first or a is first for a in things):
                return first
        return self._root(things) if isinstance(first, float) else UNKNOWN

    def _root(self, numbers):
        squares = [round(a * a) if math.isfinite(a) else -1 for a in numbers]
        if min(squares) < 0 or [math.sqrt(n) for n in squares] != [*numbers]:
            return UNKNOWN
        size = self.merged(squares)
        return Root(size) if isinstance(size, Size) else UNKNOWN


def _same(arrays):
    """Whether all arrays hold the same numbers."""
    first, kind = arrays[0], arrays[0].dtype.kind
    return all(np.array_equal(a, first, equal_nan=kind in "fc") for a in arrays)


def _size(batches, numbers):
    """The whole number that is as these are for those batches, the first two one apart."""
    numbers = [int(n) for n in numbers]
    times = numbers[1] - numbers[0]
    plus = numbers[0] - times * batches[0]
    if any(times * batch + plus != n for batch, n in zip(batches, numbers)):
        return UNKNOWN
    return Size(times, plus) if times else plus
