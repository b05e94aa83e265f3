"""Flow matching (Lipman 2023; Liu 2023, rectified flow): noise moves along straight lines to data.

A sample x1 and noise x0 are joined by x_t = (1 - t) x0 + t x1. A network learns the velocity
x1 - x0 at (x_t, t): many lines cross there, and the mean of their velocities, which least squares
finds, is that of a flow dx/dt = v(x, t) that turns all of the noise into all of the data. It is
followed from fresh noise by a solver of differential equations, in as few as four steps.
"""

import numpy as np

from .. import device, ops, random
from ..nn.losses import mse
from .change import bits_per_dim, log_prob
from .diffusion import Diffusion
from .options import checked_options
from .solvers import SOLVERS


class Flow(Diffusion):
    """A flow from N(0, 1) to data; for the rest see `Diffusion`.

    method: of `solvers.SOLVERS`, how samples are made. times: when the network is taught, "uniform"
    in [0, 1] or "logit-normal", sigmoid(N(0, 1)), mostly in the middle, where the lines cross most
    and there is most to learn (Esser 2024, section 3.1). coupling: which noise belongs to which
    sample of a batch, "independent", or "optimal", those that make the lines shortest (Tong 2024:
    minibatch optimal transport): they cross less, and fewer steps suffice; with labels, among the
    samples of one label, so that each label's noise stays N(0, 1). Needs SciPy, and the host.
    """

    how = *Diffusion.how, "method"
    # log p(x) and its bits, by the change of variables
    log_prob, bits_per_dim = log_prob, bits_per_dim

    def __init__(
        self, network, shape, method="heun", times="logit-normal", coupling="independent", **options
    ):  # fmt: skip
        own = {"method": method, "times": times, "coupling": coupling}
        vars(self).update(checked_options("Flow", **own))
        super().__init__(network, shape, **options)

    def loss(self, x, rows):
        """|v(x_t, t) - (x - x0)|^2 in the mean (Lipman 2023, equation 23, with sigma_min 0)."""
        n = len(x)
        noise = self.noise(n).reshape(x.shape)
        if self.coupling == "optimal":
            noise = noise[optimal(noise, x, rows)]
        if self.times == "uniform":
            t = random.default.uniform((n,), x.dtype, self.device)
        else:
            t = ops.sigmoid(random.default.normal((n,), x.dtype, self.device))
        at = self.noised(x, noise, t.reshape(-1, *[1] * (x.ndim - 1)))
        return mse(self.network(at, t, rows), x - noise)

    def noised(self, x, noise, t):
        """(1 - t) noise + t x."""
        return (1 - t) * noise + t * x

    def advance(self, x, a, b, rows, guidance, *, method):
        """A step of a solver. The last one, to t = 1, where nothing is left to be learnt and the
        network knows nothing, is `euler` for `heun` and `midpoint` for `rk4`, of an order less.
        """
        if b == 1:
            method = {"heun": "euler", "rk4": "midpoint"}.get(method, method)
        return SOLVERS[method](lambda x, t: self.answer(x, t, rows, guidance), x, a, b)


def optimal(noise, x, rows):
    """The order of noise (n, ...) in which it lies nearest to x (n, ...), by the sum of squared
    distances, among those of one label's rows (n, classes): integers (n,) on their device.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        words = 'coupling "optimal" needs SciPy: pip install "tinygan[flow]"'
        raise ImportError(words) from None
    a, b, labels = (device.to_host(y).reshape(len(x), -1) for y in (noise, x, rows))
    b = b - b.mean(0)  # which changes no order; far from 0, rounding would hide what differs
    squares = (a * a).sum(1), (b * b).sum(1)
    cost = squares[0][:, None] + squares[1] - 2 * (a @ b.T)  # (noise, x)
    others = (labels[:, None] != labels).any(2)
    of_noise, of_x = linear_sum_assignment(cost + others * cost.max() * len(x))
    return device.to_device_of(of_noise[np.argsort(of_x)], x)
