"""The same numbers in other places of memory: which layouts there are, and what is asked of a
function in them."""

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .slopes import attempt, eps, signed


def _moved(a, axes):
    """The same array, with memory in the order of these axes."""
    return np.ascontiguousarray(a.transpose(axes)).transpose(np.argsort(axes))


def _read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def _overlapping(a):
    """Neighbours along all axes share numbers, as the windows of a signal do."""
    if a.ndim < 2 or a.size == 0:
        return a
    base = np.resize(a, sum(a.shape) - a.ndim + 1)
    return as_strided(base, a.shape, base.strides * a.ndim)


LAYOUTS = {  # of arrays that are the same in it as in C order, nothing is asked
    "Fortran-ordered": lambda a: np.array(a, order="F"),
    "channels-last": lambda a: _moved(a, [0, *range(2, a.ndim), 1]) if a.ndim > 2 else a,
    "negative-stride": lambda a: np.flip(np.flip(a).copy()),
    "strided": lambda a: np.stack([a, np.full_like(a, 7)], -1)[..., 0] if a.ndim else a,
    "sliced": lambda a: (
        np.concatenate([a, np.full_like(a[..., :1], 7)], -1)[..., :-1] if a.ndim > 1 else a
    ),
    "zero-stride": lambda a: np.broadcast_to(a[..., :1], a.shape) if a.ndim and a.size else a,
    "alike in the first axis": lambda a: (
        np.broadcast_to(a[:1], a.shape) if a.ndim > 1 and a.size else a
    ),
    "expanded": lambda a: (
        np.broadcast_to(a[(0,) * a.ndim], a.shape) if a.ndim > 1 and a.size else a
    ),
    "overlapping": _overlapping,
    "read-only": _read_only,
}
# other numbers, some of them several times
REPEATED = (
    "zero-stride",
    "alike in the first axis",
    "expanded",
    "overlapping",
)


class LayoutQuestions:
    """The part of `questions.Questions` that is about layouts."""

    def layouts(self, arrays):
        """(name, arrays laid out so, the same numbers in C order), where that makes a
        difference."""
        without = getattr(self.fn, "without", ())
        for name in LAYOUTS if without is not None else ():
            if name in without:
                continue
            laid = [np.asarray(LAYOUTS[name](a)) for a in arrays]
            alike = lambda a, b: a.strides == b.strides and a.flags.writeable
            if not all(map(alike, laid, arrays)):
                yield name, laid, [np.array(a, order="C") for a in laid]

    def input_layouts(self):
        """The same numbers elsewhere in memory give the same gradients; if f itself gives others,
        then gradients of those."""
        for name, laid, plain in self.layouts(self.arrays):
            expected = (
                attempt(lambda: self.results(plain))
                if name in REPEATED
                else (self.kept, self.found)
            )
            if expected is None:
                continue  # a point that f need not accept
            try:
                outs, found = self.results(laid)
            except Exception as e:
                if attempt(lambda: self.fn.value(*laid)) is None:
                    continue  # nor this layout
                self.fail(f"{name} inputs are refused: {type(e).__name__}: {e}", question="layouts")
                continue
            if all(map(self.equal, outs, expected[0], self.sizes)):
                same = all(map(self.equal, found, expected[1], self.scales))
                if not same and (name not in REPEATED or self.steady(plain, expected[1])):
                    self.fail(f"{name} inputs give another gradient", question="layouts")
            elif name not in REPEATED:  # f reads memory: as_strided, or a mask drawn in its order
                message = f"{name} inputs give another output, whose gradient is wrong: "
                fail = lambda text, *a, message=message, **k: self.fail(
                    message + text, *a, question="layouts", **k
                )
                self.jacobian(_Laid(self.fn, LAYOUTS[name]), plain, fail).check()

    def steady(self, arrays, expected):
        """Whether the gradients there do not hang on the last digit of the inputs, as where
        singular values are alike."""
        nearby = [
            np.asarray(a * (1 + eps(a.dtype) * signed(self.rng, a.shape)), a.dtype) for a in arrays
        ]
        found = attempt(lambda: self.results(nearby)[1])
        return found is not None and all(map(self.equal, found, expected, self.scales))

    def cotangent_layouts(self):
        """The same for cotangents, which f has no say in."""
        pull = self.fn.vjp(*self.arrays)[1]
        for name, laid, plain in self.layouts(self.cs):
            expected = pull(plain) if name in REPEATED else self.found
            try:
                found = pull(laid)
            except Exception as e:
                self.fail(
                    f"{name} cotangents are refused: {type(e).__name__}: {e}", question="layouts"
                )
                continue
            self.close(found, expected, f"{name} cotangents give another gradient", "layouts")
        self.both_layouts()

    def both_layouts(self):
        """Inputs and cotangents that lie alike, and not in C order: where short cuts are taken."""
        laid, cs = ([np.array(a, order="F") for a in arrays] for arrays in (self.arrays, self.cs))
        outs, found = attempt(lambda: self.results(laid, cs)) or ([], [])
        if outs and all(map(self.equal, outs, self.kept, self.sizes)):
            message = "Fortran-ordered inputs and cotangents give another gradient"
            self.close(found, self.found, message, "layouts")


class _Laid:
    """A function whose inputs are laid out in some way, whatever it is given."""

    def __init__(self, fn, layout):
        self.fn, self.layout = fn, layout

    def value(self, *arrays):
        return self.fn.value(*map(self.layout, arrays))

    def vjp(self, *arrays):
        return self.fn.vjp(*map(self.layout, arrays))
