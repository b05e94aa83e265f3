"""What indexing becomes in ONNX: slices in one node, numbers and an array of them as rows that are
gathered, new axes; and the padding that is its inverse.
"""

import numpy as np

from ..ops import shape as shapes
from .runs import LARGE
from .trace import UNKNOWN, Size, Value

END = np.iinfo(np.int64).max  # beyond every axis


def _put(graph, out, x, index, shape):
    """x amid zeros: what `pad` calls, and the derivative of a slice."""
    index = index if type(index) is tuple else (index,)
    index += (slice(None),) * (len(shape) - len(index))
    widths = [_widths(part, n) for part, n in zip(index, shape)]
    if None in widths or len(index) > len(shape):
        graph.refuse("has no counterpart in ONNX, but for a pad of sizes that stay")
    before, after = zip(*widths)
    return graph.node("Pad", x, graph.integers(before + after))


def _widths(part, n):
    """How much of n lies before a slice and after it; None where that is not known."""
    if not isinstance(part, slice):
        return None
    if part == slice(None) or n is not UNKNOWN and part == slice(0, n):  # the batch, too
        return 0, 0
    numbers = [i for i in (n, part.start, part.stop) if i is not None]
    if not all(isinstance(i, int) for i in numbers):
        return None
    start, stop, step = part.indices(n)
    return (start, n - stop) if step == 1 else None


def _getitem(graph, out, x, index):
    index = _full(graph, index, len(x.shape))
    parts = [part for part in index if part is not None]
    for part, n in zip(parts, x.shape):
        _refuse_a_bend(graph, part, n)
    name = _sliced(graph, graph.take(x), parts)
    # from the last axis on: those before keep their numbers
    for axis in reversed(range(len(parts))):
        if not isinstance(parts[axis], slice):
            name = graph.node("Gather", name, _rows(graph, parts[axis]), axis=axis)
    new = []
    axis = 0  # of the result
    for part in index:
        if part is None:
            new.append(axis)
        axis += 1 if part is None else _axes(part)
    return graph.node("Unsqueeze", name, graph.integers(new)) if new else name


def _refuse_a_bend(graph, part, n):
    """x[:300] is x for every batch that was tried, and not for one of 301; x[:20] was seen to be
    what is no Size, and so whatever counts its rows is refused where it does.
    """
    if isinstance(n, int) or not isinstance(part, slice):
        return
    most = 0 if n is UNKNOWN else min(LARGE)
    for end in (part.start, part.stop):
        rows = end.plus if isinstance(end, Size) else end
        if isinstance(rows, int) and abs(rows) > most:
            graph.refuse(f"at row {rows} of the batch, which is beyond those that are tried")


def _full(graph, index, axes):
    """An index as a list of slices, numbers, None and at most one array, one for each axis."""
    index = [*index] if type(index) is tuple else [index]
    if any(part is UNKNOWN for part in index):
        graph.take(UNKNOWN)
    for part in index:
        if isinstance(part, list) and any(
            isinstance(n, Size) or n is UNKNOWN for n in _leaves(part)
        ):
            graph.refuse("by a list of what grows with the batch has no counterpart in ONNX")
    index = [np.array(part) if isinstance(part, list | bool) else part for part in index]
    arrays = [part for part in index if isinstance(part, Value | np.ndarray)]
    masks = [a for a in arrays if isinstance(a, np.ndarray) and a.dtype.kind == "b"]
    numbers = [part for part in index if isinstance(part, int | Size)]
    if masks or len(arrays) > 1 or arrays and numbers:
        graph.refuse("by a mask, or by several arrays at once, has no counterpart in ONNX")
    given = sum(part is not None and part is not Ellipsis for part in index)
    rest = [slice(None)] * (axes - given)
    at = next((i for i, part in enumerate(index) if part is Ellipsis), len(index))
    return index[:at] + rest + index[at + 1 :]


def _leaves(part):
    """What a list holds, and the lists in it."""
    if not isinstance(part, list):
        return [part]
    return [leaf for item in part for leaf in _leaves(item)]


def _axes(part):
    """How many axes a part of an index leaves of one."""
    if isinstance(part, slice):
        return 1
    return 0 if isinstance(part, int | Size) else len(part.shape)


def _sliced(graph, name, parts):
    """The slices of an index, all in one node."""
    starts, stops, axes, steps = [], [], [], []
    for axis, part in enumerate(parts):
        if isinstance(part, slice) and part != slice(None):
            step = 1 if part.step is None else part.step
            first, last = (0, END) if step > 0 else (END, -END)
            starts.append(first if part.start is None else part.start)
            stops.append(last if part.stop is None else part.stop)
            axes.append(axis)
            steps.append(step)
    if not axes:
        return name
    columns = map(graph.integers, (starts, stops, axes, steps))
    return graph.node("Slice", name, *columns)


def _rows(graph, part):
    """The name of what a Gather takes: a number, which takes the axis away, or an array."""
    if isinstance(part, Size):
        return graph.node("Squeeze", graph.size(part))
    if isinstance(part, int):
        return graph.initializer(np.array(part, np.int64))
    return graph.integers(part)


TABLE = {shapes.getitem: _getitem, shapes._put: _put}
