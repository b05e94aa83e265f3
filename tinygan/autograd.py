"""Reverse-mode automatic differentiation: the file people came for.

A *primitive* is a function on raw arrays plus one small rule per argument, its vector-Jacobian
product (VJP). Calling it with a `Tensor` records the call; `grad` walks the records backwards, from
the youngest tensor to the oldest, and asks the rules. Rules are themselves written with primitives:
handed raw arrays they just compute, handed Tensors they are recorded too, and so the derivative of
a derivative needs no further code.

This room knows no operation by name and no device: `ops` attaches Tensor's operators, and `arrays`
knows which raw arrays may meet (`adopted`, `unified`) and whose memory is whose (`unshared`).
"""

import functools
import itertools
import operator

import numpy as np

from .arrays import (
    KNOWN, NumPyArray, NumPyScalar, adopted, describe, explain, floats, foreign, plain,
    refuse_another, refuse_unused, unified, unshared,
)  # fmt: skip
from .recording import enable_grad, mode, no_grad

_next_serial = itertools.count().__next__
_serial = operator.attrgetter("serial")
_allocate = object.__new__  # a Tensor for a result, which needs none of __init__'s checks


class Tensor:
    """An array that remembers how it was made: `data` is the result of `op(*args, **kwargs)`.

    op: None for a leaf. data: a NumPy or CuPy array of float32 or float64, whose dtype is kept;
    Python numbers and lists become float32, as in PyTorch. grad: the raw array that `backward`
    accumulates into, for leaves. name: what error messages call it. raw_args: `args` with the
    arrays of Tensors in their place. serial: higher than that of every Tensor made before. hook: if
    set, `grad` hands it this Tensor's gradient as soon as that is whole, and takes what it returns.
    """

    __slots__ = ("data", "op", "args", "raw_args", "kwargs", "serial", "__dict__", "__weakref__")
    # array * tensor asks Tensor.__rmul__, instead of making an array of objects
    __array_ufunc__ = None
    grad = name = hook = None

    def __init__(self, data, *, name=None):
        if isinstance(data, (list, tuple)) and any(isinstance(a, Tensor) for a in data):
            lost = "a list of Tensors would lose their graph"
            raise TypeError(f"Tensor: {lost}: ops.stack or ops.concatenate joins them")
        self.data = data.data if isinstance(data, Tensor) else floats(data)
        self.op = None
        self.args = ()
        self.serial = _next_serial()
        if name is not None:
            self.name = name

    shape = property(lambda self: self.data.shape)
    dtype = property(lambda self: self.data.dtype)
    ndim = property(lambda self: self.data.ndim)

    def numpy(self):
        """The value as a NumPy array on the host (the same memory where it lives there already)."""
        return self.data.get() if hasattr(self.data, "get") else self.data

    def item(self):
        """The value of a one-element tensor as a Python float."""
        return self.data.item()

    def detach(self):
        """A leaf with the same memory and no history."""
        return Tensor(self.data, name=self.name)

    def backward(self, gradient=None, retain_graph=True):
        """Add d(self)/d(leaf), raw arrays, into the `grad` of every leaf.

        gradient: weighs the elements of a self that is no scalar. The graph lives for as long as
        its Tensors do, whatever `retain_graph` (PyTorch's) says. ValueError without a graph.
        """
        if self.op is None:
            ways = "made under no_grad, by detach, or of raw arrays alone"
            raise ValueError(f"backward: {describe(self)} has no graph: {ways}")
        leaves = [t for t in _ancestors([self], 0) if t.op is None]
        for leaf, g in zip(leaves, grad(self, leaves, gradient, allow_unused=True)):
            if g is not None:
                leaf.grad = g if leaf.grad is None else leaf.grad + g

    def __array_function__(self, func, types, args, kwargs):
        ways = "use tinygan.ops, or x.data for the value"
        raise TypeError(f"np.{func.__name__} would cut a Tensor off its graph: {ways}")

    def __setstate__(self, state):
        """Unpickled, or copied: made now, after its arguments, which are restored before it."""
        for name, value in ((state[0] or {}) | state[1]).items():
            if name != "serial":
                setattr(self, name, value)
        # an argument whose attributes lead here, in a circle, is not restored yet
        for t in (*self.args, self):
            if isinstance(t, Tensor) and not hasattr(t, "serial"):
                t.serial = _next_serial()

    def __repr__(self):
        made = self.op.__name__ if self.op else "leaf"
        return f"Tensor({self.data}, {self.name or made} {describe(self)})"


def primitive(f):
    """Make `f`, a function on raw arrays, differentiable.

        @primitive
        def multiply(x, y): return x * y

        # to x, from the gradient g of the result (and the result itself, out), and to y
        multiply.defvjp(lambda g, out, x, y: g * y, lambda g, out, x, y: g * x)

    Positional arguments may be Tensors; keywords configure. Raw arguments are constants: without a
    Tensor among them the call is just `f`. A rule of None (or none at all) marks an argument that
    no gradient flows through. Floats must have the Tensors' dtype; numbers and integers take it.
    """

    @functools.wraps(f)
    def op(*args, **kwargs):
        kwargs = kwargs and _configuration(op, kwargs)
        for a in args:
            if type(a) not in KNOWN:
                if isinstance(a, Tensor):
                    break
                args = tuple(map(adopted, args))
        else:  # nothing to record
            return f(*args, **kwargs)
        dtype = a.data.dtype
        raw_args, mixed = [], False  # mixed: there are other dtypes, or other libraries' arrays
        for a in args:
            if isinstance(a, Tensor):
                a = a.data
                mixed = mixed or a.dtype is not dtype
            elif getattr(a, "dtype", dtype) is not dtype or (type(a) not in KNOWN and foreign(a)):
                a, mixed = adopted(a), True
            raw_args.append(a)
        try:
            if mixed:
                data, raw_args = unified(op, f, raw_args, kwargs)
                args = tuple(a if isinstance(a, Tensor) else r for a, r in zip(args, raw_args))
            else:
                data = f(*raw_args, **kwargs)
        except Exception as e:
            explain(op, raw_args, e)
            raise
        if type(data) is not NumPyArray or data.dtype is not dtype:
            if getattr(data, "dtype", None) is not dtype:
                refuse_another(op, data, dtype, args)
            data = np.asarray(data) if isinstance(data, NumPyScalar) else data
        t = _allocate(Tensor)
        t.data = data
        t.serial = _next_serial()
        if mode.recording:
            t.op, t.args, t.raw_args, t.kwargs = op, args, raw_args, kwargs
        else:
            t.op, t.args = None, ()
        return t

    def defvjp(*rules):
        op.rules = rules

    op.rules = ()
    op.defvjp = defvjp
    op.elementwise = False  # True: integers are numbers, not indices or labels (arrays.unified)
    return op


def _configuration(op, kwargs):
    """The keywords of a call, none of them a Tensor or a NumPy scalar."""
    for name, value in kwargs.items():
        if isinstance(value, Tensor):
            raise TypeError(f"{op.__name__}: {name}= is a Tensor: pass it by position")
    return {name: plain(value) for name, value in kwargs.items()}


def grad(outputs, inputs, grad_outputs=None, *, create_graph=False, allow_unused=False):
    """The gradients of `outputs` with respect to `inputs`: a list, or one array for one Tensor.

    outputs: a Tensor, or a sequence whose gradients are summed. grad_outputs: the cotangents, raw
    or Tensors, one per output with its shape; needed unless an output has one element.
    create_graph: give Tensors that can be differentiated again, instead of raw arrays.
    allow_unused: give None for an input that no output depends on; else a ValueError names it.
    Only calls on a path from input to output are visited. (Griewank & Walther 2008, chapter 3)
    """
    single = isinstance(inputs, Tensor)
    inputs = [inputs] if single else list(inputs)
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    for a in inputs:
        if not isinstance(a, Tensor):
            raise TypeError(f"grad: inputs must be Tensors of the graph, got {describe(a)}")
    cotangents = _cotangents(outputs, grad_outputs, create_graph)
    with enable_grad() if create_graph else no_grad():
        gradients = _propagate(outputs, cotangents, inputs, create_graph)
    if not allow_unused:
        refuse_unused(inputs, gradients)
    found = [gradients.get(x) for x in inputs]
    if not create_graph:
        found = unshared(found, [x.data for x in inputs] + cotangents)
    return found[0] if single else found


def _propagate(outputs, cotangents, inputs, create_graph):
    """{tensor: gradient} for the inputs: from the youngest call to the oldest, each hands its
    gradient on to its arguments, by its rules.
    """
    gradients, wanted = {}, set(inputs)

    def accumulate(t, g):
        had = gradients.get(t)
        gradients[t] = g if had is None else had + g  # never in place: a rule may hand on its own g

    for y, g in zip(outputs, cotangents):
        accumulate(y, g)
    path, live = _path(outputs, inputs)
    finished = _finished(path, [x for x in inputs if x.hook])
    while path:
        t = path.pop()
        g = gradients.get(t) if t in wanted else gradients.pop(t, None)
        rules = () if g is None else t.op.rules  # None: reached only by arguments without a rule
        out, args = (t, t.args) if create_graph else (t.data, t.raw_args)
        for i, (a, rule) in enumerate(zip(t.args, rules)):
            if isinstance(a, Tensor) and a in live and rule is not None:
                try:
                    ga = rule(g, out, *args, **t.kwargs)
                    if ga.shape != a.data.shape or ga.dtype != a.data.dtype:
                        raise ValueError(f"not of its argument's shape and dtype: {describe(ga)}")
                except Exception as e:
                    e.add_note(f"in the rule of {t.op.__name__} for argument {i}, {describe(a)}")
                    if "__array_ufunc__" in str(e):
                        e.add_note("write rules with tinygan.ops, not with NumPy's functions")
                    raise
                accumulate(a, ga)
        for a in finished.get(t, ()):
            if a in gradients:
                gradients[a] = a.hook(gradients[a])
    return gradients


def _finished(path, hooked):
    """{call: those inputs whose gradients are whole after it}: of its calls, each one's oldest."""
    found, left = {}, set(hooked)
    for t in path if hooked else ():
        for a in t.args:
            if isinstance(a, Tensor) and a in left:
                left.remove(a)
                found.setdefault(t, []).append(a)
    return found


def _path(outputs, inputs):
    """The calls between inputs and outputs, oldest first, and the tensors that have a gradient.

    A tensor is made after its arguments: sorting by `serial` sorts topologically, and nothing
    depends on a younger tensor.
    """
    live, path = set(inputs), []
    oldest = min(map(_serial, inputs), default=0)
    for t in sorted(_ancestors(outputs, oldest), key=_serial):
        if t.op is not None:
            for a, rule in zip(t.args, t.op.rules):
                if isinstance(a, Tensor) and a in live and rule is not None:
                    live.add(t)
                    path.append(t)
                    break
    return path, live


def _ancestors(outputs, oldest):
    """The tensors that outputs are made of, themselves included, of serial `oldest` or higher."""
    seen, stack = set(outputs), list(outputs)
    while stack:
        for a in stack.pop().args:
            if isinstance(a, Tensor) and a not in seen and a.serial >= oldest:
                seen.add(a)
                stack.append(a)
    return seen


def _cotangents(outputs, given, create_graph):
    """The gradients to begin with, one for each output: those given, or 1 for a scalar."""
    given = list(given) if isinstance(given, (list, tuple)) else [given] * len(outputs)
    if len(given) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs but {len(given)} grad_outputs")
    found = []
    for y, g in zip(outputs, given):
        if not isinstance(y, Tensor):
            way = "nothing it was computed from is a Tensor"
            raise TypeError(f"grad: an output must be a Tensor, got {describe(y)}: {way}")
        if g is None and y.data.size != 1:
            needs = f"an output of shape {y.shape} needs grad_outputs of that shape"
            raise ValueError(f"grad: {needs}; only a scalar needs none")
        g = np.ones_like(y.data) if g is None else adopted(g)
        if getattr(g, "shape", None) != y.shape or g.dtype != y.dtype:
            both = f"grad_outputs is {describe(g)}, but its output is {describe(y)}"
            raise ValueError(f"grad: {both}: shape and dtype must agree")
        if create_graph != isinstance(g, Tensor):
            g = Tensor(g) if create_graph else g.data
        found.append(g)
    return found
