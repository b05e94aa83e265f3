"""Check your own gradients: four functions, each with a right and a wrong rule, and what
`check_grads` says of the wrong one.

    python examples/check_your_gradients.py

The second needs PyTorch (`pip install torch`) and is left out without it. In a test-suite each
check is one line: `check_grads(f, x)` passes silently or raises an AssertionError.
"""

import numpy as np

import tinygan as tg
from tinygan import nn
from tinygan.testing import GradientError, check_grads, check_module

rng = np.random.default_rng(0)
x, w = rng.standard_normal((4, 3)), rng.standard_normal((3, 3))


def tinygan_op(factor):
    """cube(x) = x**3 as a tinygan operation: the rule is checked, and its own derivative."""

    @tg.primitive
    def cube(x):
        return x**3

    cube.defvjp(lambda g, out, x: factor * g * x**2)
    check_grads(cube, x)


def torch_function(factor):
    """The same as a torch.autograd.Function: the type of the input says whose function it is."""
    import torch

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return factor * g * x**2

    check_grads(Cube.apply, torch.tensor(x))


def numpy_function(transposed):
    """A dense layer in plain NumPy with its gradients by hand; forgetting to transpose w goes
    unnoticed while w is square.
    """

    def vjp(g, x, w):
        return g @ (w.T if transposed else w), x.T @ g

    check_grads(lambda x, w: x @ w, x, w, vjp=vjp)


def module(summed):
    """A layer of one's own; summing its bias over the wrong axis goes unnoticed where the batch is
    as large as the layer.
    """

    @tg.primitive
    def shift(x, b):
        return x + b

    def to_b(g, out, x, b):
        return tg.ops.sum(g, axis=0 if summed else 1)

    shift.defvjp(lambda g, out, x, b: g * 1.0, to_b)

    class Shifted(nn.Linear):
        def forward(self, x):
            return shift(x @ self.weight.transpose(1, 0), self.bias)

    check_module(Shifted(3, 4).double(), x)


def main():
    rights = {
        tinygan_op: (3, 3.000001),
        torch_function: (3, -3),
        numpy_function: (True, False),
        module: (True, False),
    }
    for check, (right, wrong) in rights.items():
        print(f"\n{check.__name__}: {' '.join(check.__doc__.split())}")
        try:
            check(right)
            print("\nThe right rule passes. The wrong one:\n")
            check(wrong)
        except GradientError as e:
            print(e)
        except ImportError as e:
            print(f"left out: {e}")


if __name__ == "__main__":
    main()
