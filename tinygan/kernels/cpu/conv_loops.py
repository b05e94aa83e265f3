"""The compiled loops of a convolution and of its two gradients: products of `matmul` whose matrix
is never written down.

Images lie in their padding, a few at a time: a group (images, height, width, channels), small
enough for the cache. The tables that `conv_direct` makes, and explains by an example, say where
each patch begins in a group (rows) and where each tap and channel lies in a patch (columns): entry
(r, q) of the matrix that `im2col` would write is group.ravel()[rows[r] + columns[q]].

The plain loops in the docstrings take one image at a time: padded(image) is zeros of shape
group[1:], with the image at `corner` and what does not fit cut off; unpadded(padded, image) is the
image, with what of it lies in the padding taken from there.
"""

from typing import NamedTuple

import numpy as np

from .compiler import jit, word
from .matmul import store
from .microkernel import MR, VECTOR_BYTES, Addresses, tile
from .packing import address, ceil_div, k_part, pack, padded_width, tile_width

_one_vector_wide, _two_vectors_wide = tile(1), tile(2)


class Source(NamedTuple):
    """A, of which entry (i, p) lies rows[i] + columns[p] numbers behind an address."""

    address: int
    rows: np.ndarray  # (m,), up to whole tiles
    columns: np.ndarray  # (k,)


class Target(NamedTuple):
    """C, of which entry (i, j) is numbers[rows[i] + j]."""

    numbers: np.ndarray
    rows: np.ndarray  # (m,), up to whole tiles


@jit
def multiply(shape, a, panels, bias, c, accumulate):
    """C = A B + bias, or C += A B + bias, of this shape (m, n, k), with a Source A and a Target C.
    B is packed. The bias, (n,), is as long as whole tiles are; an empty one is none. In plain
    NumPy, with A and B matrices:

        for i in range(m):
            place = c.rows[i] + np.arange(n)
            before = c.numbers[place] if accumulate else 0
            c.numbers[place] = before + bias[:n] + A[i] @ B
    """
    m, n, k = shape
    dtype = c.numbers.dtype
    size = c.numbers.itemsize
    zero = dtype.type(0)
    nr = tile_width(n, size)
    width = padded_width(n, size)
    scratch = np.zeros((MR + 1) * nr, dtype)  # a tile, and a row of zeros
    scratch_rows = np.arange(0, MR * nr, nr)
    no_bias = scratch[MR * nr :]
    for first in range(0, max(k, 1), k_part(k)):
        depth = min(k_part(k), k - first)
        begun = accumulate or first > 0
        with_bias = len(bias) > 0 and first == 0
        for i in range(0, m, MR):
            for j in range(0, n, nr):
                is_edge = i + MR > m or j + nr > n
                addresses = Addresses(
                    a=a.address,
                    rows=address(a.rows, i),
                    columns=address(a.columns, first),
                    b=address(panels, first * width + j * depth),
                    b_rows=nr,
                    start=address(bias, j) if with_bias else address(no_bias, 0),
                    c=address(scratch, 0) if is_edge else address(c.numbers, j),
                    to=address(scratch_rows, 0) if is_edge else address(c.rows, i),
                )
                if nr * size == VECTOR_BYTES:
                    _one_vector_wide(zero, addresses, depth, begun and not is_edge)
                else:
                    _two_vectors_wide(zero, addresses, depth, begun and not is_edge)
                if is_edge:
                    for u in range(min(MR, m - i)):
                        place = c.rows[i + u] + j
                        store(u * nr, min(nr, n - j), scratch, c.numbers, place, begun)


@jit
def gather(start, stop, x, tables, filters, out):
    """A convolution of images start to stop; or a transposed one, in phases, each a convolution
    with some of the taps. In plain NumPy, with `weights` a phase's filters, (terms, channels):

        for i in range(start, stop):
            image, result = padded(x[i]).ravel(), out[i].reshape(-1)
            for (positions, terms, row, column, _), weights in zip(phases, filters):
                for r in range(row, row + positions):
                    patch = image[rows[r] + columns[column : column + terms]]
                    place = to[r] + np.arange(out.shape[3])
                    result[place] = patch @ weights + bias

    tables: (group, corner, rows, columns, to, phases). filters: the packed ones of all phases, one
    behind the other, each from the fifth number of its phase on, and the bias up to whole tiles.
    """
    group, corner, rows, columns, to, phases = tables
    panels, bias = filters
    padded = np.zeros(group, x.dtype)
    for first in range(start, stop, len(padded)):
        count = min(len(padded), stop - first)
        _pad(x[first : first + count], padded, corner)
        numbers = out[first:].reshape(-1)
        for positions, terms, row, column, panel in phases:
            shape = positions * count, out.shape[3], terms
            source = Source(padded.ctypes.data, rows[row:], columns[column:])
            multiply(shape, source, panels[panel:], bias, Target(numbers, to[row:]), False)


@jit
def scatter(start, stop, y, tables, filters, out):
    """A transposed convolution of images start to stop to few channels: each position's numbers
    times the filters, added to its patch. In plain NumPy, with `weights` of (channels, columns):

        for i in range(start, stop):
            image = begin.copy()
            for r, position in enumerate(y[i].reshape(-1, y.shape[3])):
                image[rows[r] + columns] += position @ weights
            out[i] = unpadded(image.reshape(group[1:]), out[i])

    tables: (group, corner, rows, columns), the group of one image. filters: the packed ones, and
    the image to begin with, flat.
    """
    group, corner, rows, columns = tables
    panels, begin = filters
    positions = y.shape[1] * y.shape[2]
    channels = y.shape[3]
    width = padded_width(len(columns), y.itemsize)
    m = ceil_div(positions, MR) * MR  # rows up to whole tiles: no edges
    y_rows = np.minimum(np.arange(m), positions - 1) * channels
    products = np.empty(m * width, y.dtype)
    target = Target(products, np.arange(m) * width)
    no_bias = products[:0]
    padded = np.empty(group, y.dtype)
    image = padded.reshape(-1)
    for i in range(start, stop):
        source = Source(y[i].ctypes.data, y_rows, np.arange(channels))
        multiply((m, width, channels), source, panels, no_bias, target, False)
        image[:] = begin
        for r in range(positions):
            for q in range(len(columns)):
                image[word(rows[r] + columns[q])] += products[word(r * width + q)]
        _place(padded[0], out[i], -corner[0], -corner[1])


@jit
def correlate(start, stop, x, tables, y, partial):
    """Partial sums start to stop of a filter's gradient, each over its share of the images. In
    plain NumPy, with `parts` partial sums:

        for part in range(start, stop):
            partial[part] = 0
            for i in range(part * len(x) // parts, (part + 1) * len(x) // parts):
                image = padded(x[i]).ravel()
                for r, position in enumerate(y[i].reshape(-1, y.shape[3])):
                    partial[part] += np.outer(image[rows[r] + columns], position)

    As a product, A's rows are taps and channels, and its columns are positions: here `rows` and
    `columns` change places. tables: (group, corner, rows, columns), the columns up to whole tiles.
    """
    group, corner, rows, columns = tables
    parts, terms, channels = partial.shape
    positions = y.shape[1] * y.shape[2]
    width = padded_width(channels, y.itemsize)
    count_of_panels = width // tile_width(channels, y.itemsize)
    panels = np.empty(width * len(rows), y.dtype)
    to = np.arange(ceil_div(terms, MR) * MR) * channels
    padded = np.zeros(group, x.dtype)
    for part in range(start, stop):
        partial[part] = 0
        target = Target(partial[part].reshape(-1), to)
        last = (part + 1) * len(x) // parts
        for first in range(part * len(x) // parts, last, len(padded)):
            count = min(len(padded), last - first)
            _pad(x[first : first + count], padded, corner)
            depth = positions * count
            numbers = y[first:].reshape(-1)
            pack(0, count_of_panels, (depth, channels), numbers, (channels, 1), panels)
            source = Source(padded.ctypes.data, columns, rows)
            multiply((terms, channels, depth), source, panels, panels[:0], target, True)


@jit
def _pad(images, padded, corner):
    """Images to the first places of a group, whose padding is zeros already."""
    for t in range(len(images)):
        _place(images[t], padded[t], corner[0], corner[1])


@jit
def _place(image, onto, top, left):
    """An image (h, w, c) onto another, its corner at (top, left), what does not fit cut off."""
    c = image.shape[2]
    cut = max(0, -left)
    count = (min(image.shape[1], onto.shape[1] - left) - cut) * c
    for i in range(max(0, -top), min(image.shape[0], onto.shape[0] - top)):
        source = image[i].reshape(-1)[cut * c :]
        target = onto[i + top].reshape(-1)[(cut + left) * c :]
        for q in range(count):
            target[q] = source[q]
