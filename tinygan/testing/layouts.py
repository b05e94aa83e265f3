"""The same numbers in other places of memory: which layouts there are, and what is asked of a
function in them."""

import dataclasses
import types

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .arrays import eps, signed
from .case import attempt
from .jacobian import Jacobian


def _moved(a, axes):
    """The same array, with memory in the order of these axes."""
    return np.ascontiguousarray(a.transpose(axes)).transpose(np.argsort(axes))


def _sliced(a):
    """The rows are parts of longer ones."""
    if a.ndim < 2:
        return a
    return np.concatenate([a, np.full_like(a[..., :1], 7)], -1)[..., :-1]


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


def _repeated(a, part):
    """Some of the numbers, in the places of all."""
    return np.broadcast_to(a[part], a.shape) if a.size else a


LAYOUTS = {  # of arrays that are the same in it as in C order, nothing is asked
    "Fortran-ordered": lambda a: np.array(a, order="F"),
    "channels-last": lambda a: _moved(a, [0, *range(2, a.ndim), 1]) if a.ndim > 2 else a,
    "negative-stride": lambda a: np.flip(np.flip(a).copy()),
    "strided": lambda a: np.stack([a, np.full_like(a, 7)], -1)[..., 0] if a.ndim else a,
    "sliced": _sliced,
    "zero-stride": lambda a: _repeated(a, np.s_[..., :1]) if a.ndim else a,
    "alike in the first axis": lambda a: _repeated(a, np.s_[:1]) if a.ndim > 1 else a,
    "expanded": lambda a: _repeated(a, (0,) * a.ndim) if a.ndim > 1 else a,
    "overlapping": _overlapping,
    "read-only": _read_only,
}
# The layouts whose arrays have other numbers, some of them several times.
REPEATED = "zero-stride", "alike in the first axis", "expanded", "overlapping"


class LayoutQuestions:
    """The part of `questions.Questions` that is about layouts."""

    def layouts(self, arrays):
        """(name, arrays laid out so, the same numbers in C order), where these differ."""
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
            expected = self.outs, self.gradients
            if name in REPEATED:
                expected = attempt(lambda: self.results(plain))
            if expected is None:
                continue  # a point that f need not accept
            try:
                outs, found = self.results(laid)
            except Exception as e:
                # f itself need not take this layout
                if attempt(lambda: self.fn.value(*laid)) is not None:
                    self.fail(refused(name, "inputs", e), question="layouts")
                continue
            if all(map(self.equal, outs, expected[0], self.case.sizes)):
                same = all(map(self.equal, found, expected[1], self.scales))
                if not same and (name not in REPEATED or self.steady(plain, expected[1])):
                    self.fail(f"{name} inputs give another gradient", question="layouts")
            elif name not in REPEATED:  # f reads memory: as_strided, or a mask drawn in its order
                case = dataclasses.replace(
                    self.case,
                    fn=_laid(self.fn, LAYOUTS[name]),
                    arrays=plain,
                    prefix=f"{name} inputs give another output, whose gradient is wrong: ",
                    question="layouts",
                )
                Jacobian(case).check()

    def steady(self, arrays, expected):
        """Whether the gradients there do not hang on the last digit of the inputs, as where
        singular values are alike."""
        moved = lambda a: a * (1 + eps(a.dtype) * signed(self.case.rng, a.shape))
        nearby = [np.asarray(moved(a), a.dtype) for a in arrays]
        found = attempt(lambda: self.results(nearby)[1])
        return found is not None and all(map(self.equal, found, expected, self.scales))

    def cotangent_layouts(self):
        """The same for cotangents, which f has no say in."""
        pull = self.fn.vjp(*self.arrays)[1]
        for name, laid, plain in self.layouts(self.cotangents):
            expected = pull(plain) if name in REPEATED else self.gradients
            try:
                found = pull(laid)
            except Exception as e:
                self.fail(refused(name, "cotangents", e), question="layouts")
                continue
            self.close(found, expected, f"{name} cotangents give another gradient", "layouts")
        self.both_layouts()

    def both_layouts(self):
        """Inputs and cotangents that lie alike, and not in C order: where short cuts are taken."""
        fortran = lambda arrays: [np.array(a, order="F") for a in arrays]
        laid, cotangents = fortran(self.arrays), fortran(self.cotangents)
        outs, found = attempt(lambda: self.results(laid, cotangents)) or ([], [])
        if outs and all(map(self.equal, outs, self.outs, self.case.sizes)):
            message = "Fortran-ordered inputs and cotangents give another gradient"
            self.close(found, self.gradients, message, "layouts")


def refused(name, what, error):
    """The message."""
    return f"{name} {what} are refused: {type(error).__name__}: {error}"


def _laid(fn, layout):
    """A function whose inputs are laid out in some way, whatever it is given."""
    moved = lambda f: lambda *arrays: f(*map(layout, arrays))
    return types.SimpleNamespace(value=moved(fn.value), vjp=moved(fn.vjp))
