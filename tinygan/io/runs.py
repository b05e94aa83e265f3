"""The forward passes that a trace is made of: of several batches, each with numbers of its own.

Those look like the example's. In some passes an input is far from it, above or below. A network may
refuse such numbers, as an embedding does, or a batch of one, which has no variance. This room knows
layers, and nothing of what the passes are compared for.
"""

import numpy as np

from ..autograd import Tensor, describe
from ..device import is_array, to_host
from ..recording import enable_grad, no_grad

SMALL = 2, 3, 17  # besides 1
LARGE = 257, 67  # the second, where the calls of the first would take more than MEMORY
MEMORY = 1 << 30
FAR = 1e3  # times what is largest in the example


class ExportError(ValueError):
    """A network cannot be written in another format; the message names the operation and layer."""


def runs(net, inputs, rng):
    """The Runs of a network: of the small batches and a large one, and of inputs that are far."""
    yield from _tried(net, [_alike(a, 1, rng) for a in inputs])
    for batch in SMALL:
        run = Run(net, [_alike(a, batch, rng) for a in inputs])
        yield run
    fits = run.nbytes() / batch * LARGE[0] < MEMORY
    yield Run(net, [_alike(a, LARGE[0 if fits else 1], rng) for a in inputs])
    for i, a in enumerate(inputs):
        for far in _far(a, batch, rng):
            given = [far if j == i else _alike(b, batch, rng) for j, b in enumerate(inputs)]
            yield from _tried(net, given)


def _tried(net, arrays):
    """The Run in a list, or none if the network itself refuses such a batch."""
    try:
        return [Run(net, arrays)]
    except ExportError:
        raise
    except Exception:
        return []


def example(a):
    """An example as an array of float32 or int64 on the host."""
    a = a.data if isinstance(a, Tensor) else a
    a = to_host(a) if is_array(a) else np.asarray(a)
    if a.dtype.kind not in "fiu" or a.ndim < 1 or not a.size:
        raise ExportError(
            "export_onnx: an example input is an array of floats or whole numbers whose first axis"
            f" is the batch, got {describe(a)}"
        )
    if not np.isfinite(a).all():
        raise ExportError(f"export_onnx: an example input holds nan or inf: {describe(a)}")
    return a.astype(np.float32 if a.dtype.kind == "f" else np.int64)


def _alike(a, batch, rng):
    """Other numbers of the example's kind, as many as a batch of that size has."""
    shape = (batch, *a.shape[1:])
    if a.dtype.kind == "i":
        return rng.choice(a.reshape(-1), shape)  # a label stays a label
    least, most = (a.min(), a.max()) if a.min() < a.max() else (-np.inf, np.inf)
    rows = a[rng.integers(len(a), size=batch)]
    numbers = rows + (a.std() or 1) * rng.standard_normal(shape)
    return np.clip(numbers, least, most).astype(np.float32)


def _far(a, batch, rng):
    """Numbers that the example has not: zeros; whole ones up to its largest, and up to twice as
    many; floats far above all others, and below.
    """
    shape = (batch, *a.shape[1:])
    if a.dtype.kind == "i":
        count = max(int(a.max()), 0) + 1
        return [rng.integers(0, n, shape) for n in (1, count, 2 * count)]
    far = FAR * (1 + float(np.abs(a).max())) * (1 + rng.random(shape, np.float32))
    return [far * 0, far, -far]


class Run:
    """One forward pass: its inputs, its calls in their order, and what array is whose."""

    def __init__(self, net, arrays):
        given = [a.copy() for a in arrays]
        inputs = [Tensor(a) if a.dtype.kind == "f" else a for a in arrays]
        try:
            with enable_grad(), np.errstate(all="ignore"):
                out = net(*inputs)
        except Exception as e:
            e.add_note(f"in a trace of inputs {describe(*arrays)}")
            raise
        self.batch = len(arrays[0])
        self.inputs, self.outputs = inputs, [*out] if isinstance(out, tuple | list) else [out]
        for t in self.outputs:
            if not isinstance(t, Tensor):
                raise ExportError(
                    f"export_onnx: the network gives {describe(t)}, which is no Tensor"
                )
        if not self.outputs:
            raise ExportError("export_onnx: the network gives nothing")
        self.calls = sorted(_calls(self.outputs), key=lambda t: t.serial)
        self.keys = {id(array_of(x)): f"input {i}" for i, x in enumerate(inputs)}
        for i, t in enumerate(self.calls):
            self.keys.setdefault(id(t.data), i)
        self._refuse_what_changed(given)

    def _refuse_what_changed(self, given):
        """ExportError if a call, made again, gives something else than is there."""
        for i, (x, a) in enumerate(zip(self.inputs, given)):
            if not _close(array_of(x), a):
                raise ExportError(f"export_onnx: the network changes its input {i} in place")
        for t in self.calls:
            with no_grad(), np.errstate(all="ignore"):
                again = t.op(*t.args, **t.kwargs)
            if not _close(t.data, array_of(again)):
                name = t.op.__name__.strip("_")
                raise ExportError(
                    f"export_onnx: what {name} gave, or what it was given, is changed in place"
                    " afterwards, as by y.data[...] = a or p.weight.data *= 2; no graph says that"
                )

    def nbytes(self):
        """What its results take."""
        return sum(t.data.nbytes for t in self.calls)


def _close(a, b):
    """Whether the numbers of two arrays are the same but for the rounding of a product."""
    a, b = np.asarray(a), np.asarray(b)
    largest = np.max(np.abs(b), where=np.isfinite(b), initial=0)
    return a.shape == b.shape and np.allclose(a, b, 1e-5, 1e-5 * largest, equal_nan=True)


def array_of(x):
    """The array that a Tensor has, or that x is."""
    return x.data if isinstance(x, Tensor) else x


def _calls(outputs):
    """The Tensors with a call that the outputs are made of."""
    seen, stack = set(outputs), [*outputs]
    while stack:
        for a in stack.pop().args:
            if isinstance(a, Tensor) and a not in seen:
                seen.add(a)
                stack.append(a)
    return [t for t in seen if t.op is not None]
