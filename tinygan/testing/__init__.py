"""Is this gradient right? Checks for any project's tests: tinygan's, PyTorch's, JAX's, NumPy's.

    from tinygan.testing import check_grads, check_module

    check_grads(f, x, y)                         # f: of tinygan Tensors; second derivatives too
    check_grads(MyFunction.apply, torch_tensor)  # PyTorch, JAX and MyGrad by the type of the inputs
    check_grads(f, x, engine="autograd")         # HIPS autograd
    check_grads(f, x, vjp=lambda g, x: ...)      # a NumPy function and its gradient by hand
    check_module(net, x)                         # all parameters of a tinygan or PyTorch module

It raises GradientError (an AssertionError) with the place, both numbers and a script that shows the
failure again, or KinkError where f has a kink and the gradient is not even between the one-sided
derivatives. Inputs and outputs may be nested in lists, tuples and dicts; complex numbers count as
pairs of real ones.

How it knows. A function that is affine in an input is its own oracle: its differences are exact
over any distance, in float32 and on a GPU too. Otherwise a complex step gives the last digit where
f takes complex numbers and two differences confirm it, or central differences are extrapolated
until they agree with themselves. The tolerance is relative to each derivative, with no absolute
floor: what a derivative cannot be told better than (rounding in f over the step) is estimated from
f, at each place; where f's values lie on a grid, looked up or rounded, it is the grid's. A Jacobian
of up to 100,000 entries is compared entry by entry; of a larger one, products with random vectors
of both signs are, then corners and some columns, and a wrong product is halved until the wrong
number is found.

What it asks besides: shape and dtype; memory shared with nobody; inputs and cotangents left alone;
the same result twice, after calls at points with other signs and another order in between, of an
input that was updated in place, for f(x, x), and in every memory layout of inputs and of cotangents
(if f itself reads memory, its gradient there must be right for that); linearity in the cotangent,
exactly for 0, but for rounding over twelve orders of magnitude; one of several outputs alone; each
input differentiated alone; the same values where nothing is; forward mode, if asked; symmetry of
second derivatives. Each of these can be left out: see `check_grads`.

What it cannot see: an error below the rounding of f's own values; values of f that are wrong
together with their gradient; the derivative at a jump, where there is none. `testing.strategies`
draws arrays for it with Hypothesis, ties and kinks included; `testing.engines` is where another
engine would be added; the pytest fixture `gradcheck` comes with the installation.

In which order to read: `check`, the door; `case`, what is asked about; `questions` and `layouts`,
what is asked besides numbers; `jacobian`, which compares gradients with slopes; `slopes` and
`numeric`, which find the slopes in f's values alone. Then how a function comes in: `adapt`,
`containers`, `engines`, `arrays`; and how a failure goes out: `report`. `modules`, `strategies` and
`plugin` stand by themselves.
"""

from .check import check_grads
from .modules import check_module
from .report import GradientError, KinkError
