"""Steps along a flow dx/dt = v(x, t), from a time a to a time b, backwards if b < a: each is a line
or two of arithmetic on whatever v takes and gives. (Hairer, Norsett & Wanner 1993, section II.1)

The error of a whole way in steps of h falls as h (`euler`), h^2 (`midpoint`, `heun`) and h^4
(`rk4`), at the price of 1, 2, 2 and 4 calls of v a step.
"""


def euler(v, x, a, b):
    """Along the slope at the start."""
    return x + (b - a) * v(x, a)


def midpoint(v, x, a, b):
    """Along the slope half way, where half a step of `euler` leads."""
    h = b - a
    return x + h * v(x + h / 2 * v(x, a), a + h / 2)


def heun(v, x, a, b):
    """Along the mean of the slopes at the start and where `euler` leads."""
    h, first = b - a, v(x, a)
    return x + h / 2 * (first + v(x + h * first, b))


def rk4(v, x, a, b):
    """The classic method of Runge and Kutta."""
    h, middle = b - a, (a + b) / 2
    first = v(x, a)
    second = v(x + h / 2 * first, middle)
    third = v(x + h / 2 * second, middle)
    last = v(x + h * third, b)
    return x + h / 6 * (first + 2 * second + 2 * third + last)


SOLVERS = {f.__name__: f for f in (euler, midpoint, heun, rk4)}
