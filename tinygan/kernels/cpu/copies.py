"""An array copied into another order of its axes: pictures whose channels lie last in memory, and
first, as a dense layer's numbers do.

NumPy walks one of the two in large steps. Here squares of both go through registers.
"""

import math

from ..layout import dense, flat, memory_order
from .compiler import TYPES, jit
from .microkernel import VECTOR_BYTES, transpose
from .packing import address, ceil_div
from .threads import split
from .thresholds import SMALL_LOOP


def copy_into(out, x):
    """out[...] = x, of one shape, into a dense out."""
    places = None
    if x.size >= SMALL_LOOP and x.dtype == out.dtype in TYPES and dense(x):
        places = _exchanged(x.transpose(memory_order(out)))
    if places:
        n, rows, columns = places
        strips = n * ceil_div(rows, VECTOR_BYTES // x.itemsize)
        split(_exchange, strips, x.size, (rows, columns), flat(x), flat(out))
    else:
        out[...] = x


def _exchanged(x):
    """(n, rows, columns) if x, reshaped, is n matrices of that shape which lie column by column,
    one behind another; else None.
    """
    order, alike = tuple(memory_order(x)), 0
    while alike < x.ndim and order[alike] == alike:
        alike += 1
    apart = order[alike] if alike < x.ndim else alike
    if order[alike:] == (*range(apart, x.ndim), *range(alike, apart)):
        parts = x.shape[:alike], x.shape[alike:apart], x.shape[apart:]
        return tuple(map(math.prod, parts))


@jit
def _exchange(start, stop, shape, x, out):
    """Strips start to stop of n matrices' transposes: of so many rows as a vector has LANES, and
    `strips` to a matrix. In plain NumPy, with x (n, columns, rows) and out (n, rows, columns):

        for number in range(start, stop):
            i, p = number // strips, number % strips * LANES
            out[i, p : p + LANES] = x[i, :, p : p + LANES].T
    """
    rows, columns = shape
    lanes = VECTOR_BYTES // x.itemsize
    strips = ceil_div(rows, lanes)
    zero = x.dtype.type(0)
    for number in range(start, stop):
        first, p = number // strips * rows * columns, number % strips * lanes
        whole = columns - columns % lanes if p + lanes <= rows else 0
        for q in range(0, whole, lanes):
            square = address(x, first + q * rows + p)
            transpose(zero, square, rows, address(out, first + p * columns + q), columns)
        for r in range(p, min(p + lanes, rows)):
            for q in range(whole, columns):
                out[first + r * columns + q] = x[first + q * rows + r]
