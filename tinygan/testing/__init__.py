"""Is this gradient right? Checks for the test-suite of any project: tinygan's own, PyTorch's, JAX's, or plain NumPy.

    from tinygan.testing import check_grads

    check_grads(f, x, y)                         # f: a function of tinygan Tensors; its gradients and second derivatives
    check_grads(MyFunction.apply, torch_tensor)  # PyTorch, JAX and MyGrad by the type of the inputs
    check_grads(f, x, engine="autograd")         # HIPS autograd
    check_grads(f, x, vjp=lambda g, x: ...)      # a NumPy function and its gradient by hand

It raises GradientError (an AssertionError) with the place, both numbers and a script that shows the failure again, or
KinkError where f has a kink and the gradient is not even between the one-sided derivatives.

How it knows. A function that is affine in an input is its own oracle: its differences are exact over any distance, in float32
and on a GPU too. Otherwise central differences are extrapolated until they agree with themselves, and sharpened to the last
digit by a complex step if f takes complex numbers. The tolerance is relative to each derivative, with no absolute floor: what
a derivative cannot be told better than (rounding in f over the step) is estimated from f, at each place. A Jacobian of up to
100,000 entries is compared entry by entry; of a larger one, products with random vectors of both signs are, then corners and
some columns, and a wrong product is halved until the wrong number is found.

What it asks besides: shape and dtype; memory shared with nobody; inputs and cotangents left alone; the same result twice, after
other calls in between, in every memory layout, for f(x, x); linearity in the cotangent, exactly 0 for 0; one of several outputs
alone; symmetry of second derivatives.

What it cannot see: an error below the rounding of f's own values; values of f that are wrong together with their gradient; the
derivative at a jump, where there is none. `testing.strategies` draws arrays for it with Hypothesis, ties and kinks included;
`testing.engines` is where another engine would be added; the pytest fixture `gradcheck` comes with the installation.
"""

from .check import check_grads
from .report import GradientError, KinkError
