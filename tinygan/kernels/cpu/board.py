"""Where threads find a loop's parts: a board of a few numbers in memory, read and written by
compiled code alone. A thread that waits for the interpreter, or that the system must wake, takes
20 to 190 us to begin; one that watches the board, less than one.

A *part* is a compiled function (start, stop, address of arguments) that does this much of a loop
and returns whether it failed. Whoever has a loop to share out posts it (`post`), and takes parts
itself until none is left; workers take them too, while they watch (`serve`).

Each number on the board is read and changed in one piece, in an order that all threads agree upon:

    open      1 while there is a loop
    inside    how many workers may be reading the rest of the board
    loop      the part, the address of its arguments, n and into how many parts 0..n falls
    failed    how many parts have failed
    waited    how many looks long the last to leave was waited for
    taken     for each part, 1 once somebody does it

A worker first says that it is inside. If the board is not open then, it leaves. Else the loop is
written already, and stays until it leaves: who posts closes the board at the end, and then waits
until nobody is inside.

Each thread begins at its own share, and goes round: as long as all are there, each finds in its
cache what it wrote there in the loop before.
"""

import functools

import llvmlite.ir as ir
import numpy as np
from numba import njit
from numba.core import cgutils, types
from numba.core.targetconfig import ConfigStack
from numba.extending import intrinsic

from .compiler import Cache, jit

# places in bytes; what different threads write lies in different lines of their caches
OPEN, INSIDE, FAILED = 0, 128, 256
PART, ARGS, N, PARTS, WAITED = range(384, 424, 8)
TAKEN = 512
MOST_PARTS = 4096

# LLVM's names for the instruction that says "I am waiting", and what it takes
_HINTS = {"x86_64": ("llvm.x86.sse2.pause", ())}
_HINTS["aarch64"] = _HINTS["arm64"] = "llvm.aarch64.hint", (ir.IntType(32)(1),)

_word = ir.IntType(64)
_part = ir.FunctionType(_word, [_word] * 3)


def board():
    """An empty board. Its address is that of its memory."""
    return np.zeros(TAKEN // 8 + MOST_PARTS, np.int64)


def _place(builder, address):
    return builder.inttoptr(address, _word.as_pointer())


@intrinsic
def _read(typing, address):
    def generate(context, builder, signature, args):
        return builder.load_atomic(_place(builder, args[0]), "seq_cst", align=8)

    return types.intp(types.intp), generate


@intrinsic
def _write(typing, address, number):
    def generate(context, builder, signature, args):
        builder.store_atomic(args[1], _place(builder, args[0]), "seq_cst", align=8)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


def _changing(operation):
    """operation(address, number), which returns what stood there before."""

    @intrinsic
    def change(typing, address, number):
        def generate(context, builder, signature, args):
            return builder.atomic_rmw(operation, _place(builder, args[0]), args[1], "seq_cst")

        return types.intp(types.intp, types.intp), generate

    return change


_add, _exchange = _changing("add"), _changing("xchg")


@intrinsic
def _pause(typing):
    """Wait for some ten nanoseconds, and leave the core's units to its other thread."""

    def generate(context, builder, signature, args):
        name, hint = _HINTS.get(builder.module.triple.partition("-")[0], (None, ()))
        if name:
            kind = ir.FunctionType(ir.VoidType(), [number.type for number in hint])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), hint)
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _call(typing, part, start, stop, args):
    def generate(context, builder, signature, args):
        part, *rest = args
        return builder.call(builder.inttoptr(part, _part.as_pointer()), rest)

    return types.intp(*[types.intp] * 4), generate


@intrinsic
def part_of(typing, kernel, args):
    """The addresses of a part, kernel(start, stop, *args), and of its arguments, which lie there as
    long as the function that calls this runs.
    """
    signature = types.none(types.intp, types.intp, *args.types)

    def generate(context, builder, own_signature, values):
        # becomes a part of the same machine code: on its own it would be compiled twice
        compiled = context.compile_subroutine(
            builder,
            kernel.dispatcher.py_func,
            signature,
            flags=ConfigStack().top().copy(),
            caching=False,
        )
        place = cgutils.alloca_once_value(builder, values[1])
        name = f"part.{compiled.fndesc.mangled_name}"
        function = ir.Function(builder.module, _part, name)
        function.linkage = "internal"
        inner = ir.IRBuilder(function.append_basic_block())
        start, stop, address = function.args
        given = inner.load(inner.inttoptr(address, place.type))
        rest = cgutils.unpack_tuple(inner, given, len(args.types))
        status, _ = context.call_internal_no_propagate(
            inner, compiled.fndesc, signature, [start, stop, *rest]
        )
        inner.ret(inner.zext(status.is_error, _word))
        addresses = [builder.ptrtoint(pointer, _word) for pointer in (function, place)]
        return context.make_tuple(builder, own_signature.return_type, addresses)

    return types.UniTuple(types.intp, 2)(kernel, args), generate


@jit
def post(board, n, parts, part, args):
    """Do a loop over 0..n, in so many parts, with whoever watches. Returns how many failed."""
    if parts == 1:
        return _call(part, 0, n, args)
    _write(board + PART, part)
    _write(board + ARGS, args)
    _write(board + N, n)
    _write(board + PARTS, parts)
    _write(board + FAILED, 0)
    for i in range(parts):
        _write(board + TAKEN + 8 * i, 0)
    _write(board + OPEN, 1)
    _work(board, 0)
    _write(board + OPEN, 0)
    looks = 0
    while _read(board + INSIDE):
        looks += 1
        _pause()
    _write(board + WAITED, looks)
    return _read(board + FAILED)


@jit
def serve(board, share, patience):
    """Take parts of what is posted, those from a `share` of 0 to 1 on first, until `patience` looks
    at the board have found nothing.
    """
    looks = 0
    while looks < patience:
        if _read(board + OPEN):
            _add(board + INSIDE, 1)
            if _read(board + OPEN):
                _work(board, share)
            _add(board + INSIDE, -1)
            looks = 0
        looks += 1
        _pause()


@jit
def _work(board, share):
    """Do all parts that nobody else does."""
    n, parts = _read(board + N), _read(board + PARTS)
    part, args = _read(board + PART), _read(board + ARGS)
    first = int(share * parts)
    for k in range(first, first + parts):
        i = k % parts
        if _exchange(board + TAKEN + 8 * i, 1) == 0:
            if _call(part, n * i // parts, n * (i + 1) // parts, args):
                _add(board + FAILED, 1)


@functools.cache
def launcher(kernel):
    """launch(board, n, parts, args): `post` for the loop kernel(start, stop, *args)."""

    def launch(board, n, parts, args):
        part, address = part_of(kernel, args)
        return post(board, n, parts, part, address)

    # a name of its own, for the cache: two files may have loops of one name
    launch.__qualname__ = f"{kernel.__module__}.{kernel.py_func.__qualname__}.launch"
    # on disk it would outlive a loop that is not kept there, and has changed
    return jit(launch) if isinstance(kernel._cache, Cache) else njit(nogil=True)(launch)
