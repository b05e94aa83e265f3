"""The optimizers that are used most, in order of increasing complexity; names, arguments and
conventions are PyTorch's.

`update` changes p, one parameter's array, and what is remembered for it, in place; g is its
gradient. lr and t, how many steps this parameter has taken, are scalars on its device: arithmetic
among them is in float64, and takes p's dtype before it meets p. Adam's formula stands in
`kernels.reference.adam`, since a device has one kernel that updates all parameters at once.
"""

import numpy as np

from .. import kernels
from .optimizer import Optimizer


class SGD(Optimizer):
    """p -= lr * m, where m = momentum * m + (1 - dampening) * g, in the first step g.

    nesterov looks ahead: g + momentum * m instead of m (Sutskever 2013).
    """

    slots = {"momentum_buffer": "momentum"}

    def __init__(
        self, params, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0,
        nesterov=False, *, maximize=False,
    ):  # fmt: skip
        if nesterov and (not momentum or dampening):
            raise ValueError("SGD: nesterov needs a momentum above 0, and no dampening")
        super().__init__(params, locals())  # the arguments by name

    def update(self, p, g, m, *, lr, t, options):
        if m is not None:
            m *= options["momentum"]
            m += (1 - options["dampening"] * (t > 1)).astype(p.dtype) * g
            g = g + options["momentum"] * m if options["nesterov"] else m
        p -= lr.astype(p.dtype) * g


class RMSprop(Optimizer):
    """p -= lr * g / (sqrt(v) + eps), where v is a moving average of g*g (Tieleman & Hinton 2012).

    momentum: as in PyTorch. centered: the variance of g instead of v (Graves 2013).
    """

    slots = {"square_avg": None, "momentum_buffer": "momentum", "grad_avg": "centered"}

    def __init__(
        self, params, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0,
        centered=False, *, maximize=False,
    ):  # fmt: skip
        super().__init__(params, locals())

    def update(self, p, g, v, m, mean, *, lr, t, options):
        alpha = options["alpha"]
        v *= alpha
        v += (1 - alpha) * (g * g)
        variance = v
        if options["centered"]:
            mean += (1 - alpha) * (g - mean)
            variance = np.maximum(v - mean * mean, 0)  # rounding may take it below
        change = g / (np.sqrt(variance) + options["eps"])
        if m is not None:
            m *= options["momentum"]
            m += change
            change = m
        p -= lr.astype(p.dtype) * change


class Adam(Optimizer):
    """p -= lr * m / (sqrt(v) + eps), with m and v bias-corrected averages of g and g*g
    (Kingma & Ba 2015, algorithm 1).

    amsgrad: the largest v so far instead of v (Reddi 2018). decoupled_weight_decay: see AdamW.
    """

    slots = {"exp_avg": None, "exp_avg_sq": None, "max_exp_avg_sq": "amsgrad"}

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0,
        amsgrad=False, *, maximize=False, decoupled_weight_decay=False,
    ):  # fmt: skip
        super().__init__(params, locals())

    def update_all(self, params, grads, slots, *, lr, steps, options):
        m, v, peaks = zip(*slots)
        for beta, averages in zip(options["betas"], (m, v)):
            for a in averages if beta == 0 else ():
                a[...] = 0  # m + (g - m) would lose g beside a much larger m
        peaks = peaks if options["amsgrad"] else None
        adam = kernels.of(params[0]).adam
        adam(params, grads, m, v, lr, steps, *options["betas"], options["eps"], peaks)


class AdamW(Adam):
    """Adam whose weight decay stays out of its averages: p -= lr * weight_decay * p
    (Loshchilov & Hutter 2019).
    """

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2,
        amsgrad=False, *, maximize=False,
    ):  # fmt: skip
        decoupled_weight_decay = True
        Optimizer.__init__(self, params, locals())
