"""What Numba has no words for: numbers side by side in vector registers. Two pieces of `product`,
in LLVM's language.

They are made for this processor, take addresses as whole numbers, and become part of the loop that
calls them.
"""

import llvmlite.ir as ir
import numba
from numba.core.registry import cpu_target
from numba.extending import intrinsic

_features = cpu_target.target_context.codegen().magic_tuple()
# of a vector register
BYTES = 64 if "+avx512f" in _features[2] else 32 if "+avx2" in _features[2] else 16
# of a tile: two vectors each in 20 of 32 registers, or 12 of 16
ROWS = 10 if BYTES == 64 or "aarch64" in _features[0] else 6


def tile(vectors):
    """The tile `vectors` registers wide: c[to[i] + j] (+)= begin[j] + sum over p < k of a[rows[i] +
    columns[p]] * b[p, j].

    `zero` is a number of the type to compute in, `add` says whether to keep what is in c, the
    others are addresses and k.
    """

    @intrinsic
    def compute(typing, zero, a, rows, columns, k, b, begin, c, to, add):
        number, index, size = (
            (ir.FloatType() if zero.bitwidth == 32 else ir.DoubleType()),
            ir.IntType(64),
            zero.bitwidth // 8,
        )
        width = BYTES // size
        vector, lanes = ir.VectorType(number, width), ir.VectorType(ir.IntType(32), width)

        def generate(context, builder, signature, args):
            def at(base, i):
                return builder.gep(base, [i if isinstance(i, ir.Value) else index(i)])

            def line(base):  # the places of its vectors
                return [
                    builder.bitcast(at(base, j * width), vector.as_pointer())
                    for j in range(vectors)
                ]

            _, a, rows, columns, k, b, begin, c, to, add = args
            a, b, begin, c = (builder.inttoptr(x, number.as_pointer()) for x in (a, b, begin, c))
            rows, columns, to = (
                builder.inttoptr(x, index.as_pointer()) for x in (rows, columns, to)
            )
            starts = [at(a, builder.load(at(rows, i))) for i in range(ROWS)]
            first = [index(0)] + [builder.load(place, align=size) for place in line(begin)] * ROWS
            before, test, body, after = (
                builder.block,
                *map(builder.append_basic_block, ("test", "body", "after")),
            )
            builder.branch(test)
            builder.position_at_end(test)
            p, sums = builder.phi(index), [builder.phi(vector) for _ in range(ROWS * vectors)]
            builder.cbranch(builder.icmp_signed("<", p, k), body, after)
            builder.position_at_end(body)
            column, more = builder.load(at(columns, p)), []
            loaded = [
                builder.load(place, align=size)
                for place in line(at(b, builder.mul(p, index(vectors * width))))
            ]
            for start in starts:
                one = builder.insert_element(
                    vector(ir.Undefined), builder.load(at(start, column)), ir.IntType(32)(0)
                )
                every = builder.shuffle_vector(one, vector(ir.Undefined), lanes([0] * width))
                for v in loaded:  # "contract": multiply and add in one instruction
                    product = builder.fmul(every, v, flags=("contract",))
                    more.append(builder.fadd(product, sums[len(more)], flags=("contract",)))
            for phi, value, then in zip([p, *sums], first, [builder.add(p, index(1)), *more]):
                phi.add_incoming(value, before)
                phi.add_incoming(then, body)
            builder.branch(test)
            builder.position_at_end(after)
            for i in range(ROWS):
                for place, total in zip(line(at(c, builder.load(at(to, i)))), sums[vectors * i :]):
                    total = builder.select(
                        add, builder.fadd(builder.load(place, align=size), total), total
                    )
                    builder.store(total, place, align=size)
            return context.get_dummy_value()

        return numba.types.void(zero, *[numba.types.intp] * 8, numba.types.boolean), generate

    return compute


@intrinsic
def turn(typing, zero, b, across, out, lanes):
    """out[p * lanes + q] = b[p + q * across], for p and q up to the length of a vector: a square,
    transposed in registers.

    It takes log2(length) rounds, in each of which squares twice as large exchange their
    off-diagonal quarters (Eklundh 1972).
    """
    number, index, size = (
        (ir.FloatType() if zero.bitwidth == 32 else ir.DoubleType()),
        ir.IntType(64),
        zero.bitwidth // 8,
    )
    width = BYTES // size
    vector, choice = ir.VectorType(number, width), ir.VectorType(ir.IntType(32), width)

    def generate(context, builder, signature, args):
        _, b, across, out, lanes = args

        def place(base, i, step):
            address = builder.add(base, builder.mul(builder.mul(index(i), step), index(size)))
            return builder.inttoptr(address, vector.as_pointer())

        lines, side = [builder.load(place(b, i, across), align=size) for i in range(width)], 1
        while side < width:
            for i in (i for i in range(width) if not i & side):
                x, y = lines[i], lines[i + side]
                low = [j + width - side if j & side else j for j in range(width)]
                high = [j + width if j & side else j + side for j in range(width)]
                lines[i], lines[i + side] = (
                    builder.shuffle_vector(x, y, choice(lanes)) for lanes in (low, high)
                )
            side *= 2
        for i, line in enumerate(lines):
            builder.store(line, place(out, i, lanes), align=size)
        return context.get_dummy_value()

    return numba.types.void(zero, *[numba.types.intp] * 4), generate
