"""The innermost loops of every product, in LLVM's language, for which Numba has no words: numbers
side by side in the vector registers of this processor.

Each function's docstring holds the plain loop that it means, and the tests run that loop beside it.
They take addresses as whole numbers and become part of the compiled loop that calls them. Nothing
here knows an array, or checks a bound.

How to read it: `builder.load(...)` and its like compute nothing. Each writes one instruction down,
to be run later. Python's own loops run now, and write their body down as often as they turn; only
`for_range` writes down a loop. A vector is what a register holds: 16 float32 with AVX-512, 8 with
AVX2, else 4.
"""

from typing import NamedTuple

import llvmlite.ir as ir
from numba.core import types
from numba.core.cgutils import alloca_once_value, for_range
from numba.core.registry import cpu_target
from numba.extending import intrinsic

_triple, _, _features = cpu_target.target_context.codegen().magic_tuple()

# Bytes of a vector register.
VECTOR_BYTES = 64 if "+avx512f" in _features else 32 if "+avx2" in _features else 16

# Rows of a tile. With two vectors to a row, its totals take 20 of the 32 registers that AVX-512 and
# ARM have, or 12 of 16. The others hold a row of B and a number of A.
MR = 10 if VECTOR_BYTES == 64 or "aarch64" in _triple else 6


class Addresses(NamedTuple):
    """Where in memory, as counts of bytes, a tile finds its numbers and its tables of int64."""

    a: int  # numbers of A
    rows: int  # the table of where A's rows lie, or how far apart they are
    columns: int  # the table of where A's columns lie, from its rows on, or how far apart they are
    b: int  # numbers of B
    b_rows: int  # how far apart B's rows are
    start: int  # the numbers that the sums of each of the tile's rows begin with
    c: int  # numbers of C
    to: int  # the table of where C's rows lie, or how far apart they are


def tile(vectors, direct=False):
    """The microkernel for a tile of C, MR rows high and NR columns wide: so many `vectors`.

    microkernel(zero, Addresses(a, rows, columns, b, b_rows, start, c, to), k, accumulate) means

        for i in range(MR):
            for j in range(NR):
                total = start[j]
                for p in range(k):
                    total += a[rows[i] + columns[p]] * b[p * b_rows + j]
                c[to[i] + j] = c[to[i] + j] + total if accumulate else total

    with the loop over p outermost: all MR * NR totals stay in registers meanwhile, and MR numbers
    of A and NR of B serve for MR * NR multiplications. `zero` is any number of the type that is
    computed in.

    A direct one, which is faster, reads no tables: rows[i] is i * rows, columns[p] is p * columns,
    and to[i] is i * to.
    """

    @intrinsic
    def microkernel(typing, zero, addresses, k, accumulate):
        def generate(context, builder, signature, args):
            _, packed, k, accumulate = args
            at = Addresses(*(builder.extract_value(packed, i) for i in range(len(addresses))))
            write = _Instructions(builder, zero)
            a, b, start, c = map(write.numbers, (at.a, at.b, at.start, at.c))
            if direct:
                a_rows = [write.line(a, i, at.rows) for i in range(MR)]
                c_rows = [write.line(c, i, at.to) for i in range(MR)]
            else:
                rows, columns, to = map(write.integers, (at.rows, at.columns, at.to))
                a_rows = [write.offset(a, write.entry(rows, i)) for i in range(MR)]
                c_rows = [write.offset(c, write.entry(to, i)) for i in range(MR)]
            for c_row in c_rows:
                write.prefetch(c_row, vectors)  # it comes while the sums are made
            starts = write.load_vectors(start, vectors)
            # variables of the compiled loop; LLVM puts them in registers
            totals = [[alloca_once_value(builder, value) for value in starts] for _ in range(MR)]

            with for_range(builder, k) as loop:
                if direct:
                    column = builder.mul(loop.index, at.columns)
                else:
                    column = write.entry(columns, loop.index)
                b_row = write.offset(b, builder.mul(loop.index, at.b_rows))
                b_vectors = write.load_vectors(b_row, vectors)
                for a_row, row in zip(a_rows, totals):
                    a_vector = write.broadcast(write.entry(a_row, column))
                    for b_vector, total in zip(b_vectors, row):
                        value = write.multiply_add(a_vector, b_vector, builder.load(total))
                        builder.store(value, total)

            for c_row, row in zip(c_rows, totals):
                for j, old in enumerate(write.load_vectors(c_row, vectors)):
                    total = builder.load(row[j])
                    total = builder.select(accumulate, builder.fadd(old, total), total)
                    write.store_vector(total, c_row, j)
            return context.get_dummy_value()

        return types.void(zero, addresses, types.intp, types.boolean), generate

    return microkernel


@intrinsic
def transpose(typing, zero, x, x_stride, out, out_stride):
    """A square of numbers transposed, as many lines as a vector holds.

    transpose(zero, x, x_stride, out, out_stride) means, with `side` for how many these are,

        for p in range(side):
            for q in range(side):
                out[p * out_stride + q] = x[p + q * x_stride]

    It takes log2(LANES) rounds, in each of which squares twice as large exchange their off-diagonal
    quarters (Eklundh 1972). With four lanes, a row to a vector:

        a b c d      a e c g      a e i m
        e f g h  ->  b f d h  ->  b f j n
        i j k l      i m k o      c g k o
        m n o p      j n l p      d h l p
    """

    def generate(context, builder, signature, args):
        _, x, x_stride, out, out_stride = args
        write = _Instructions(builder, zero)
        x, out = write.numbers(x), write.numbers(out)
        lines = [write.line(x, q, x_stride) for q in range(write.lanes)]
        rows = [write.load_vectors(line, 1)[0] for line in lines]
        for p, row in enumerate(write.transposed(rows)):
            write.store_vector(row, write.line(out, p, out_stride), 0)
        return context.get_dummy_value()

    return types.void(zero, *[types.intp] * 4), generate


def copy(width=None):
    """Numbers that lie side by side, so many or as many as a vector holds, copied.

    copy(width)(zero, x, out) means out[:width] = x[:width], without a loop.
    """

    @intrinsic
    def copied(typing, zero, x, out):
        def generate(context, builder, signature, args):
            _, x, out = args
            write = _Instructions(builder, zero)
            some = ir.VectorType(write.number, width or write.lanes)
            numbers = builder.load(builder.inttoptr(x, some.as_pointer()), align=write.size)
            write.store_vector(numbers, write.numbers(out), 0)
            return context.get_dummy_value()

        return types.void(zero, *[types.intp] * 2), generate

    return copied


LANES = 16  # partial sums of `sum_of_lanes`, whatever a vector register holds


@intrinsic
def sum_of_lanes(typing, address, count):
    """The sum of count * LANES float32 that lie side by side from an address on.

    total = sum_of_lanes(address, count), of a flat x there, means

        totals = np.zeros(LANES, np.float32)
        for p in range(count):
            totals += x[p * LANES : (p + 1) * LANES]
        while len(totals) > 1:
            totals = totals[: len(totals) // 2] + totals[len(totals) // 2 :]
        total = totals[0]

    A compiled loop with one variable for the sum would wait for each addition before the next.
    """

    def generate(context, builder, signature, args):
        address, count = args
        lanes, number = ir.VectorType(ir.FloatType(), LANES), ir.IntType(32)
        x = builder.inttoptr(address, lanes.as_pointer())
        sums = alloca_once_value(builder, lanes([0.0] * LANES))
        with for_range(builder, count) as loop:
            some = builder.load(builder.gep(x, [loop.index]), align=4)
            builder.store(builder.fadd(builder.load(sums), some), sums)
        total, side = builder.load(sums), LANES // 2
        while side:
            half = ir.VectorType(number, side)
            halves = (half(list(range(at, at + side))) for at in (0, side))
            total = builder.fadd(*(builder.shuffle_vector(total, total, h) for h in halves))
            side //= 2
        return builder.extract_element(total, number(0))

    return types.float32(types.intp, types.intp), generate


class _Instructions:
    """What the builder writes down for numbers of one of Numba's types, alone or as vectors.

    A method's arguments and result are no numbers, but names of registers that will hold them.
    """

    def __init__(self, builder, number):
        self.builder = builder
        self.size = number.bitwidth // 8  # bytes
        self.lanes = VECTOR_BYTES // self.size  # of a vector
        self.number = ir.FloatType() if self.size == 4 else ir.DoubleType()
        self.vector = ir.VectorType(self.number, self.lanes)
        self.integer = ir.IntType(64)

    def numbers(self, address):
        """A pointer to numbers."""
        return self.builder.inttoptr(address, self.number.as_pointer())

    def integers(self, address):
        """A pointer to the integers of a table."""
        return self.builder.inttoptr(address, self.integer.as_pointer())

    def offset(self, pointer, i):
        """pointer + i, in numbers or integers; i may be Python's."""
        return self.builder.gep(pointer, [self.integer(i) if isinstance(i, int) else i])

    def line(self, pointer, i, stride):
        """pointer + i * stride, in numbers, for an i of Python's."""
        return self.offset(pointer, self.builder.mul(self.integer(i), stride))

    def entry(self, pointer, i):
        """pointer[i]"""
        return self.builder.load(self.offset(pointer, i))

    def _vector(self, pointer, j):
        return self.builder.bitcast(self.offset(pointer, j * self.lanes), self.vector.as_pointer())

    def load_vectors(self, pointer, count):
        """So many vectors that lie side by side, at any address: it need not be a multiple of a
        vector's size.
        """
        places = [self._vector(pointer, j) for j in range(count)]
        return [self.builder.load(place, align=self.size) for place in places]

    def prefetch(self, pointer, count):
        """Ask the cache for the places of so many vectors, which will be written."""
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        ask = self.builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        for j in range(count):
            place = self.builder.bitcast(self.offset(pointer, j * self.lanes), byte)
            # to write, to be kept in the nearest cache, of data
            self.builder.call(ask, [place, number(1), number(3), number(1)])

    def store_vector(self, vector, pointer, j):
        """A vector, or a shorter one, to the place of the j-th from a pointer on."""
        place = self.builder.bitcast(self._vector(pointer, j), vector.type.as_pointer())
        self.builder.store(vector, place, align=self.size)

    def choose(self, x, y, places):
        """A vector of those among the numbers of x, and then of y, that stand at these places."""
        kind = ir.VectorType(ir.IntType(32), len(places))
        return self.builder.shuffle_vector(x, y, kind(list(places)))

    def transposed(self, rows):
        """As many vectors as one has lanes, their numbers exchanged as in `transpose`."""
        lanes, side = self.lanes, 1
        while side < lanes:
            # of each pair of rows `side` apart, numbered 0 to lanes - 1 and lanes to 2 lanes - 1
            upper = [j + lanes - side if j & side else j for j in range(lanes)]
            lower = [j + lanes if j & side else j + side for j in range(lanes)]
            for i in range(lanes):
                if not i & side:
                    pair = rows[i], rows[i + side]
                    rows[i] = self.choose(*pair, upper)
                    rows[i + side] = self.choose(*pair, lower)
            side *= 2
        return rows

    def broadcast(self, number):
        """A vector with this number in each lane."""
        nothing = self.vector(ir.Undefined)
        first = self.builder.insert_element(nothing, number, ir.IntType(32)(0))
        return self.choose(first, nothing, [0] * self.lanes)

    def multiply_add(self, x, y, total):
        """total + x * y. "contract" lets it be one instruction, which rounds once."""
        product = self.builder.fmul(x, y, flags=("contract",))
        return self.builder.fadd(product, total, flags=("contract",))
