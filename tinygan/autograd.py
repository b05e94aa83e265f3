"""Reverse-mode automatic differentiation: the file people came for.

A *primitive* is a function on raw arrays plus one small rule per argument, its vector-Jacobian
product (VJP). Calling it with a `Tensor` records the call; `grad` walks the records backwards, from
the youngest tensor to the oldest, and asks the rules. Rules are themselves written with primitives:
handed raw arrays they just compute, handed Tensors they are recorded too, and so the derivative of
a derivative needs no further code.

This room knows no operation by name and no device: `ops` attaches the operators of `Tensor` (+, *,
@, ...).
"""

import functools
import itertools
import operator

import numpy as np

from .recording import mode

_births, _birth = itertools.count().__next__, operator.attrgetter("birth")
_new, _generic = object.__new__, np.generic


class Tensor:
    """An array that remembers how it was made: `data`, and the call `op(*args, **kwargs)` that gave
    it (None for a leaf).

    data: a NumPy or CuPy array of float32 or float64, whose dtype is kept; Python numbers and lists
    become float32, as in PyTorch. grad: the raw array that `backward` accumulates into, for leaves.
    name: what error messages call it.
    """

    __slots__ = ("data", "op", "args", "raw", "kwargs", "birth", "__dict__", "__weakref__")
    # array * tensor asks Tensor.__rmul__, instead of making an array of objects
    __array_ufunc__ = None
    grad = name = None

    def __init__(self, data, *, name=None):
        data = data.data if isinstance(data, Tensor) else data
        if isinstance(data, (list, tuple)) and any(isinstance(a, Tensor) for a in data):
            raise TypeError(
                "Tensor: a list of Tensors would lose their graph: ops.stack or ops.concatenate joins them"
            )
        if isinstance(data, np.ma.MaskedArray):
            raise TypeError("Tensor: a masked array would lose its mask: x.filled(value) has none")
        if isinstance(data, (int, float, list, tuple, _generic, np.ndarray)):
            # no np.matrix, whose * is another
            data = np.asarray(data, getattr(data, "dtype", np.float32))
        if getattr(data, "dtype", None) not in (np.float32, np.float64):
            words = f"Tensor: needs floats, float32 or float64, got {describe(data)}"
            raise TypeError(
                f"{words}; labels, indices and masks stay raw arrays, .astype(np.float32) casts others"
            )
        self.data, self.op, self.args, self.birth = data, None, (), _births()
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
        """Add d(self)/d(leaf), raw arrays, into the `grad` of every leaf; `gradient` weighs a self
        that is no scalar.

        The graph lives for as long as its Tensors do, whatever `retain_graph` (PyTorch's) says.
        ValueError without a graph.
        """
        if self.op is None:
            raise ValueError(
                f"backward: {describe(self)} has no graph: made under no_grad, by detach, or of raw arrays alone"
            )
        leaves = [t for t in _ancestors([self], 0) if t.op is None]
        for leaf, g in zip(leaves, grad(self, leaves, gradient, allow_unused=True)):
            if g is not None:
                leaf.grad = g if leaf.grad is None else leaf.grad + g

    def __array__(self, dtype=None, copy=None):
        # CuPy refuses: a silent copy to the host is never wanted
        return np.array(self.data, dtype, copy=copy)

    def __array_function__(self, func, types, args, kwargs):
        raise TypeError(
            f"np.{func.__name__} would cut a Tensor off its graph: use tinygan.ops, or x.data for the value"
        )

    def __setstate__(self, state):
        """Unpickled, or copied: born now, after its arguments, which are restored before it."""
        for name, value in ((state[0] or {}) | state[1]).items():
            if name != "birth":
                setattr(self, name, value)
        # an argument whose attributes lead here, in a circle, is not restored yet
        for t in (*self.args, self):
            if isinstance(t, Tensor) and not hasattr(t, "birth"):
                t.birth = _births()

    def __repr__(self):
        return f"Tensor({self.data}, {self.name or (self.op.__name__ if self.op else 'leaf')} {describe(self)})"


def primitive(f):
    """Make `f`, a function on raw arrays, differentiable. Positional arguments may be Tensors;
    keywords configure.

        @primitive
        def multiply(x, y): return x * y
        multiply.defvjp(lambda g, out, x, y: g * y,     # to x, from the incoming gradient g (and the result out)
                        lambda g, out, x, y: g * x)     # to y

    Raw arguments are constants: without a Tensor among them the call is just `f`. A rule of None
    (or none at all) marks an argument through which no gradient flows. Arrays of floats must have
    the Tensors' dtype; numbers and integers take it.
    """

    @functools.wraps(f)
    def op(*args, **kwargs):
        if kwargs:
            kwargs = _configuration(op, kwargs)
        for a in args:
            if isinstance(a, Tensor):
                break
        else:  # nothing to record
            return f(*args, **kwargs)
        raw, dtype, odd = [], None, False  # odd: not all arrays are of one dtype
        for a in args:
            if isinstance(a, Tensor):
                a = a.data
                if a.dtype is not dtype:
                    dtype, odd = a.dtype, odd or dtype is not None
            elif getattr(a, "dtype", dtype) is not dtype:
                odd = True
            raw.append(a)
        try:
            data = _of_mixed(op, f, raw, kwargs) if odd else f(*raw, **kwargs)
            args = (
                tuple(a if isinstance(a, Tensor) else r for a, r in zip(args, raw)) if odd else args
            )
        except Exception as e:
            if len({describe(a)[-3:] for a in args if hasattr(a, "dtype")}) > 1:
                raise TypeError(
                    f"{op.__name__}: arguments on two devices, {', '.join(map(describe, args))}: move one"
                ) from e
            e.add_note(f"in {op.__name__}({', '.join(map(describe, args))})")
            raise
        if not odd and getattr(data, "dtype", None) is not dtype:
            _refuse_another(op, data, dtype, args)
        t = _new(Tensor)
        t.data = np.asarray(data) if isinstance(data, _generic) else data
        t.birth = _births()
        if mode.recording:
            t.op, t.args, t.raw, t.kwargs = op, args, raw, kwargs
        else:
            t.op, t.args = None, ()
        return t

    def defvjp(*rules):
        op.rules = rules

    op.rules, op.defvjp, op.elementwise = (), defvjp, False
    return op


def _configuration(op, kwargs):
    """The keywords of a call, none of them a Tensor or a NumPy scalar."""
    if tensors := [name for name, value in kwargs.items() if isinstance(value, Tensor)]:
        raise TypeError(
            f"{op.__name__}: {tensors[0]}= is a Tensor: a keyword has no gradient, pass it by position"
        )
    return {name: _plain(value) for name, value in kwargs.items()}


def _of_mixed(op, f, raw, kwargs):
    """f(*raw, **kwargs) of more than one dtype; NumPy scalars and integers that would promote
    floats are changed in `raw`.
    """
    raw[:] = map(_plain, raw)
    arrays = [a for a in raw if hasattr(a, "dtype")]
    dtype, *others = {a.dtype for a in arrays if a.dtype.kind == "f"}
    if others:
        words = f"{op.__name__.strip('_')}: float32 and float64 do not mix ({', '.join(map(describe, arrays))})"
        raise TypeError(
            f"{words}: cast one, a Tensor by x.float(), a raw array by a.astype(np.float32), or net.double()"
        )
    data = None if op.elementwise else f(*raw, **kwargs)
    if data is None or data.dtype != dtype:
        raw[:] = [
            a.astype(dtype) if getattr(getattr(a, "dtype", None), "kind", "") in tuple("iub") else a
            for a in raw
        ]
        data = f(*raw, **kwargs)
        _refuse_another(op, data, dtype, raw)
    return data


def _refuse_another(op, data, dtype, args):
    """TypeError for a result of another dtype than the Tensors', unless an argument says that this
    is what is wanted.
    """
    got = getattr(data, "dtype", None)
    if (got is None or got != dtype) and not any(a is got for a in args):  # np.dtype(float) == None
        words = f"{op.__name__.strip('_')}: gives {describe(data)} for Tensors of {dtype}"
        raise TypeError(f"{words}: make lists, complex numbers and None arrays of {dtype}")


def _plain(a):
    """A NumPy scalar, which would promote float32, counts as the Python number it holds."""
    return a.item() if isinstance(a, _generic) else a


def grad(outputs, inputs, grad_outputs=None, *, create_graph=False, allow_unused=False):
    """The gradients of `outputs` with respect to `inputs`: a list in their order, or one array for
    one Tensor.

    outputs: a Tensor, or a sequence whose gradients are summed. grad_outputs: the cotangents, raw
    or Tensors, one per output with its shape; needed unless an output has one element.
    create_graph: give Tensors that can be differentiated again, instead of raw arrays.
    allow_unused: give None for an input that the outputs do not depend on, instead of a ValueError
    that names it. Only calls on a path from an input to an output are visited. (Griewank & Walther
    2008, ch. 3)
    """
    single = isinstance(inputs, Tensor)
    inputs = [inputs] if single else list(inputs)
    for a in inputs:
        if not isinstance(a, Tensor):
            raise TypeError(
                f"grad: inputs must be Tensors, of which the outputs are computed; got {describe(a)}"
            )
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    cotangents = (
        list(grad_outputs)
        if isinstance(grad_outputs, (list, tuple))
        else [grad_outputs] * len(outputs)
    )
    if len(cotangents) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs but {len(cotangents)} grad_outputs")
    wanted, gradients = set(inputs), {}

    def accumulate(t, g):
        had = gradients.get(t)
        gradients[t] = g if had is None else had + g  # never in place: a rule may hand on its own g

    for i, y in enumerate(outputs):
        cotangents[i] = _cotangent(y, cotangents[i], create_graph)
        accumulate(y, cotangents[i])
    path, live = _path(outputs, inputs)
    before, mode.recording = mode.recording, create_graph
    try:
        while path:
            t = path.pop()
            g = gradients.get(t) if t in wanted else gradients.pop(t, None)
            if g is None:  # reached only through arguments without a rule
                continue
            out, args = (t, t.args) if create_graph else (t.data, t.raw)
            for i, (a, rule) in enumerate(zip(t.args, t.op.rules)):
                if isinstance(a, Tensor) and a in live and rule is not None:
                    try:
                        ga = rule(g, out, *args, **t.kwargs)
                        if ga.shape != a.data.shape or ga.dtype != a.data.dtype:
                            raise ValueError(
                                f"a gradient has its argument's shape and dtype, but this is {describe(ga)}"
                            )
                    except Exception as e:
                        e.add_note(
                            f"in the rule of {t.op.__name__} for argument {i}, {describe(a)}"
                        )
                        raise
                    accumulate(a, ga)
    finally:
        mode.recording = before
    missing = [
        f"{x.name or f'inputs[{i}]'} {describe(x)}"
        for i, x in enumerate(inputs)
        if x not in gradients
    ]
    if missing and not allow_unused:
        words = f"grad: the outputs do not depend on {'; '.join(missing)}, or by an argument that has no rule"
        raise ValueError(f"{words} (allow_unused=True gives None for these)")
    found = [gradients.get(x) for x in inputs]
    if not create_graph:
        found = _unshared(found, [t.data for t in inputs] + cotangents)
    return found[0] if single else found


def _path(outputs, inputs):
    """The recorded calls between inputs and outputs, oldest first, and the set of tensors through
    which gradients flow.

    A tensor is born after its arguments: sorting by birth sorts topologically, and nothing depends
    on a younger tensor.
    """
    live, path = set(inputs), []
    for t in sorted(_ancestors(outputs, min((x.birth for x in inputs), default=0)), key=_birth):
        if t.op is not None:
            for a, rule in zip(t.args, t.op.rules):
                if isinstance(a, Tensor) and a in live and rule is not None:
                    live.add(t)
                    path.append(t)
                    break
    return path, live


def _ancestors(outputs, oldest):
    """The tensors that outputs are made of, themselves included, born at `oldest` or later."""
    seen, stack = set(outputs), list(outputs)
    while stack:
        for a in stack.pop().args:
            if isinstance(a, Tensor) and a not in seen and a.birth >= oldest:
                seen.add(a)
                stack.append(a)
    return seen


def _cotangent(y, g, create_graph):
    if not isinstance(y, Tensor):
        raise TypeError(
            f"grad: an output must be a Tensor, got {describe(y)}: nothing it was computed from is a Tensor"
        )
    if g is None and y.data.size != 1:
        raise ValueError(
            f"grad: an output of shape {y.shape} needs grad_outputs of that shape; only a scalar needs none"
        )
    g = np.ones_like(y.data) if g is None else g
    if getattr(g, "shape", None) != y.shape or g.dtype != y.dtype:
        raise ValueError(
            f"grad: grad_outputs is {describe(g)}, but its output is {describe(y)}: shape and dtype must agree"
        )
    raw = g.data if isinstance(g, Tensor) else g
    return raw if not create_graph else g if isinstance(g, Tensor) else Tensor(g)


def _unshared(arrays, others):
    """The arrays, copied where they share memory with `others`, with one another, or with
    themselves, or are scalars.
    """
    kept = list(others)
    for i, a in enumerate(arrays):
        if a is not None:
            if (
                isinstance(a, _generic)
                or a.size
                and (0 in a.strides or any(np.may_share_memory(a, b) for b in kept))
            ):
                arrays[i] = a = np.array(a) if isinstance(a, _generic) else a.copy()
            kept.append(a)
    return arrays


def describe(a):
    """'(2, 3) float32 cpu' for a tensor or array, its repr for anything else: the words of every
    error message.
    """
    a = a.data if isinstance(a, Tensor) else a
    if not hasattr(a, "dtype"):
        return repr(a)
    return f"{a.shape} {a.dtype} {'cpu' if isinstance(a, (np.ndarray, _generic)) else 'gpu'}"
