"""What is asked about: a function at one point, what its inputs are called, and how to say that one
of its gradients is wrong. All questions start from a `Case`; the answers are theirs to compare.
"""

import dataclasses

import numpy as np

from .arrays import signed
from .report import GradientError


def attempt(call):
    """What the call gives, or None: for points and types of number that f need not accept."""
    try:
        return call()
    except Exception:
        return None


@dataclasses.dataclass
class Options:
    """Those of check_grads that the questions know of; `forward`: jvp was given."""

    order: int
    rtol: float | None
    layouts: bool
    nondeterminism: float
    skip: tuple
    forward: bool


@dataclasses.dataclass
class Case:
    """A function in the protocol of `engines`, at a point: f itself (depth 1), its gradients (2),
    theirs (3), ...

    inputs, outputs: names. sizes: for each output, how large the numbers are that may have
    cancelled in it. prefix, question: of all messages, where all belong to one question.
    """

    fn: object
    arrays: list
    inputs: list
    outputs: list
    sizes: list
    options: Options
    rng: np.random.Generator
    depth: int = 1
    prefix: str = ""
    question: str | None = None

    def fail(self, message, kind=GradientError, question=None):
        """Raise it, with the way to leave the question out."""
        question = question or self.question
        if question in self.options.skip:
            return
        ways = {None: "", "layouts": " (layouts=False leaves this out)"}
        ways["repeats"] = " (nondeterminism=1e-9, say, allows for it; dropout: net.eval())"
        way = ways.get(question, f" (skip={[question]} leaves this out)")
        message = self.prefix + message + way
        if self.depth > 1:
            below = self.depth - 1
            times = "once" if below == 1 else f"{below} times"
            message = (
                f"order {self.depth}, gradients of the gradients: {message}\nOrder {below} is "
                f"right: pass order={below} if f is meant to be differentiated {times} only"
            )
        raise kind(message)

    def cotangents(self, outs):
        """Random ones for each output."""
        return [np.asarray(signed(self.rng, y.shape), y.dtype) for y in outs]

    def results(self, arrays, cotangents=None):
        """The outputs, and the gradients."""
        outs, pull = self.fn.vjp(*arrays)
        return outs, pull(cotangents or self.cotangents(outs))
