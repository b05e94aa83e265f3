"""Nested arguments and results as flat tuples of arrays, and back; and complex numbers as pairs of
real ones.

This room knows no gradients, but lists, tuples and dicts, and which arrays are of floats in any
engine.
"""

import numpy as np


def varies(x):
    """Whether x is differentiated: a number or any engine's array of floats, real or complex."""
    if hasattr(x, "is_floating_point"):  # PyTorch
        return x.is_floating_point() or x.is_complex()
    if not (hasattr(x, "dtype") and hasattr(x, "shape")):
        return isinstance(x, float | complex)
    return np.dtype(x.dtype).kind in "fc" or str(x.dtype) == "bfloat16"


def is_sequence(x):
    """Whether x is a tuple, a list, or what HIPS autograd makes of one."""
    return isinstance(x, tuple | list) or type(x).__name__ == "SequenceBox"


def parts(x):
    """(path, part) of a container, HIPS autograd's boxes among them; None of anything else."""
    if isinstance(x, dict) or type(x).__name__ == "DictBox":
        return [(f"[{key!r}]", x[key]) for key in x]
    return [(f"[{i}]", part) for i, part in enumerate(x)] if is_sequence(x) else None


def leaves(x, name=""):
    """(name, leaf) for everything in nested containers that is no container itself."""
    if (inside := parts(x)) is None:
        return [(name, x)]
    return [leaf for path, part in inside for leaf in leaves(part, name + path)]


def rebuild(x, leaf, name=""):
    """The same containers with leaf(name, what stood there) in every place."""
    if (inside := parts(x)) is None:
        return leaf(name, x)
    made = [rebuild(part, leaf, name + path) for path, part in inside]
    if isinstance(x, dict):
        return dict(zip(x, made))
    if hasattr(x, "_fields"):  # a namedtuple
        return type(x)(*made)
    return made if isinstance(x, list) else tuple(made)


def as_tuple(x):
    """Outputs as a tuple, whether a function gave one, a tuple or a list."""
    return tuple(x) if is_sequence(x) else (x,)


class Flat:
    """f as a function of one array after another, which gives a tuple of arrays: of the leaves that
    are differentiated.

    All else in `inputs` and `kwargs` stays as it is, and so does what `constant` names, with all
    that is below it; all else that f gives is left out. `numbers`: whether a Python float counts;
    as a keyword it never does. `inputs` (the names) and `arrays` are those of the leaves;
    `outputs`, the names of the last results.
    """

    def __init__(self, f, inputs, kwargs, constant, numbers):
        self.f = f
        self.given = (inputs, kwargs)
        self.constant = set(constant)
        keywords = {f"input {key}" for key in kwargs}
        self.inputs = []
        self.arrays = []
        self.outputs = []
        for name, x in self._named(inputs, kwargs):
            for path, leaf in leaves(x, name):
                counts = hasattr(leaf, "dtype") or (numbers and path not in keywords)
                if counts and varies(leaf) and not self.is_constant(path):
                    self.inputs.append(path)
                    self.arrays.append(leaf)
        # whether each of the inputs is one array, as in most calls
        self.simple = not kwargs and self.inputs == [f"input {i}" for i in range(len(inputs))]

    def _named(self, inputs, kwargs):
        names = getattr(self.f, "input_names", None) or [f"input {i}" for i in range(len(inputs))]
        keywords = [(f"input {key}", x) for key, x in kwargs.items()]
        return [*zip(names, inputs), *keywords]

    def is_constant(self, name):
        """Whether `constant` names it or something around it."""
        inside = (name.startswith(c + "[") for c in self.constant)
        return name in self.constant or any(inside)

    def filled(self, arrays):
        """(inputs, kwargs) with these arrays in their places."""
        if self.simple:
            return tuple(arrays), {}
        new = dict(zip(self.inputs, arrays, strict=True))
        inputs, kwargs = self.given
        made = [rebuild(x, new.get, name) for name, x in self._named(inputs, kwargs)]
        return tuple(made[: len(inputs)]), dict(zip(kwargs, made[len(inputs) :]))

    def unpacked(self, result):
        """The (name, array) that vary in what f gave."""
        # the usual case, made quick
        if not self.constant and parts(result) is None:
            return [("output 0", result)] if varies(result) else []
        named = [leaf for i, y in enumerate(as_tuple(result)) for leaf in leaves(y, f"output {i}")]
        return [(name, y) for name, y in named if varies(y) and not self.is_constant(name)]

    def __call__(self, *arrays):
        inputs, kwargs = self.filled(arrays)
        named = self.unpacked(self.f(*inputs, **kwargs))
        self.outputs = [name for name, _ in named]
        return tuple(y for _, y in named)


class Reals:
    """A function of complex arrays as one of real arrays with a last axis of two, real and
    imaginary parts, in its protocol.

    Gradients by z = x + iy count as d/dx + i d/dy, PyTorch's convention, and so do cotangents.
    """

    without = None  # the pairs are put together, in memory of their own

    def __init__(self, fn, inputs, outputs):
        self.fn = fn
        self.aliases = getattr(fn, "aliases", True)
        self.inputs = inputs
        self.outputs = outputs  # which are complex
        for name in "partial", "untracked", "derivative", "jvp":
            if not getattr(fn, name, None):
                setattr(self, name, None)

    @staticmethod
    def split(arrays):
        """Complex arrays as pairs; others as they are."""
        complex_ = lambda a: a is not None and a.dtype.kind == "c"
        return [np.stack([a.real, a.imag], -1) if complex_(a) else a for a in arrays]

    @staticmethod
    def join(arrays, which):
        """Pairs as complex arrays, where `which` says so."""
        if any(a is not None and a.dtype.kind == "c" for a in arrays):
            raise TypeError("the parts of a complex number are real")
        pair = lambda a: np.asarray(a[..., 0] + 1j * a[..., 1])
        return [pair(a) if c and a is not None else a for a, c in zip(arrays, which, strict=True)]

    def value(self, *arrays):
        """The outputs."""
        return self.split(self.fn.value(*self.join(arrays, self.inputs)))

    def untracked(self, *arrays):
        """The outputs where nothing is differentiated."""
        return self.split(self.fn.untracked(*self.join(arrays, self.inputs)))

    def vjp(self, *arrays):
        """The outputs, and the pullback."""
        outs, pull = self.fn.vjp(*self.join(arrays, self.inputs))
        pullback = lambda cs: self.split(pull(self.join(cs, self.outputs)))
        return self.split(outs), pullback

    def partial(self, k, *arrays):
        """The pullback to array k alone."""
        pull = self.fn.partial(k, *self.join(arrays, self.inputs))
        return lambda cs: self.split([pull(self.join(cs, self.outputs))])[0]

    def jvp(self, arrays, tangents):
        """The tangents of the outputs."""
        pairs = (self.join(some, self.inputs) for some in (arrays, tangents))
        return self.split(self.fn.jvp(*pairs))

    def derivative(self, arrays):
        """The gradients as a function of arrays and cotangents."""
        fn = self.fn.derivative(self.join(arrays, self.inputs))
        return Reals(fn, [*self.inputs, *self.outputs], self.inputs)
