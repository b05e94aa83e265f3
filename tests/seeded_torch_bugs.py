"""Wrong gradients that take PyTorch to be made: `seeded_bugs.py` for what a NumPy function and its
rule cannot say.

`BUGS[name]()` and `CLEAN[name]()` give (f, inputs, options): a function of torch tensors or of
lists of them, or an nn.Module, with a wrong and with the right gradient, and the same values; in
two, f is another function where nothing wants a gradient. options: `kwargs` that f is called with,
`jvp` if its forward mode counts. All is made anew at each call. This file knows PyTorch and no
checker.
"""

import numpy as np
import torch
from seeded_bugs import if_dense, if_expanded, numbers
from torch.nn import functional as F
from torch.utils._pytree import tree_map

BUGS, CLEAN = {}, {}


def bug(name, make, *inputs, **options):
    """Enter make(wrong), which gives f with a gradient that is or is not wrong."""
    fresh = lambda x: torch.tensor(x) if isinstance(x, np.ndarray) else x
    for table, wrong in (CLEAN, False), (BUGS, True):
        table[name] = lambda wrong=wrong: (make(wrong), *tree_map(fresh, ([*inputs], options)))


def function(f, rule, tangent=None):
    """A torch.autograd.Function of f; rule(ctx, g, *inputs) gives the gradients, tangent(*inputs,
    *t) that of the output.
    """

    class Made(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)
            return f(*inputs)

        @staticmethod
        def backward(ctx, g):
            return rule(ctx, g, *ctx.saved_tensors)

        @staticmethod
        def jvp(ctx, *t):
            return tangent(*ctx.saved_tensors, *t)

    return Made.apply


X, Y, W, B = numbers(2, 3), numbers(2, 3, seed=1), numbers(4, 3), numbers(4)

# gradients that are asked for one at a time


def product(wrong):
    def rule(ctx, g, x, y):
        both = all(ctx.needs_input_grad) or not wrong
        return (g * y, g * x) if both else (g, g)

    return function(torch.mul, rule)


def layer(wrong):
    """tanh(x @ w.T + b): what x's gradient is made of is made for x's gradient."""

    def rule(ctx, g, x, w, b):
        if ctx.needs_input_grad[0] or not wrong:
            g = g * (1 - torch.tanh(x @ w.T + b) ** 2)
        return g @ w, g.T @ x, g.sum(0)

    return function(lambda x, w, b: torch.tanh(x @ w.T + b), rule)


def shifted(wrong):
    """x * w + b: no gradient for b where w needs none."""

    def rule(ctx, g, x, w, b):
        bias = None if wrong and not ctx.needs_input_grad[1] else g.sum(0)
        return g * w, (g * x).sum(0), bias

    return function(lambda x, w, b: x * w + b, rule)


bug("right if all inputs need a gradient", product, X, Y)
bug("an activation skipped with the input's gradient", layer, X, W, B)
bug("a bias skipped with the weight's gradient", shifted, X, W[0], W[1])

# another function where no gradient is wanted


def by_requires_grad(wrong):
    return lambda x: F.gelu(x) if x.requires_grad or not wrong else F.gelu(x, approximate="tanh")


def by_mode(wrong):
    fast = lambda: wrong and not torch.is_grad_enabled()
    return lambda x: x.float().sigmoid().double() if fast() else x.sigmoid()


bug("another forward for constants", by_requires_grad, X)
bug("another forward without grad mode", by_mode, X)

# memory as PyTorch lays it out: a sum's gradient is one number, a convolution's channels-last


def reading(read):
    """x * x with a rule that reads its cotangent's memory so."""

    def rule(ctx, g, x):
        return 2 * x * torch.from_numpy(read(g.detach().numpy()))

    return lambda wrong: function(torch.square, rule if wrong else lambda ctx, g, x: 2 * x * g)


bug("an expanded cotangent as a single number", reading(if_expanded), X)
bug("a channels-last cotangent as NCHW", reading(if_dense), numbers(2, 3, 4, 5))

# what has inputs that are no arguments, or no real numbers


class Scaled(torch.nn.Module):
    """A layer with a scale for each output, of which the gradient is not summed over the batch but
    averaged.
    """

    def __init__(self, wrong):
        super().__init__()
        self.linear = torch.nn.Linear(3, 4, dtype=torch.float64)
        self.scale = torch.nn.Parameter(torch.tensor(B))
        reduce = torch.mean if wrong else torch.sum
        self.times = function(torch.mul, lambda ctx, g, x, s: (g * s, reduce(g * x, 0)))

    def forward(self, x):
        return self.times(self.linear(x), self.scale)


def squared(wrong):
    return function(torch.square, lambda ctx, g, z: 2 * g * (z if wrong else z.conj()))


bug("one parameter of a module", Scaled, X)
bug("a complex rule not conjugated", squared, X + 1j * Y)


# what not every call asks for: keywords, the second of a list, one value of many, forward mode


def leaky(wrong):
    def f(x, *, slope=0.01):
        rule = lambda ctx, g, x: torch.where(x > 0, g, g * (0.01 if wrong else slope))
        return function(lambda x: F.leaky_relu(x, slope), rule)(x)

    return f


def weighted(wrong):
    return lambda x, *, weight: F.linear(x, weight.detach() if wrong else weight)


def total(wrong):
    """The sum of a list, whose first takes all of the gradient but for its share."""
    first = function(torch.mul, lambda ctx, g, x, n: (g if wrong else g * n, None))
    return lambda xs: first(xs[0], torch.tensor(2.0)) + xs[1] * xs[2]


def statistics(wrong):
    """A mean and a spread by name, of which the spread's gradient forgets the mean's part."""
    mean = lambda x: x.mean(0).detach() if wrong else x.mean(0)
    return lambda x: {"mean": x.mean(0), "spread": ((x - mean(x)) ** 3).sum(0)}


def rotated(wrong):
    rule = lambda ctx, g, x: g * torch.cos(x)
    tangent = lambda x, t: t * (torch.sin(x) if wrong else torch.cos(x))
    return function(torch.sin, rule, tangent)


bug("right for a keyword's default", leaky, X, kwargs={"slope": 0.3})
bug("no gradient for a keyword", weighted, X, kwargs={"weight": W})
bug("the first of a list", total, [X, Y, X + Y])
bug("one of two outputs by name", statistics, W)
bug("forward mode by another rule", rotated, X, jvp=True)
