"""Optimizers that are used less, for comparisons and for those who know what they want.

As in `algorithms`, from which nothing here is needed.
"""

import numpy as np

from .optimizer import Optimizer


def follow(average, value, beta):
    """average = beta * average + (1 - beta) * value, in place."""
    if beta == 0:  # the sum below would lose a value beside a much larger average
        average[...] = value
    else:
        average += (1 - beta) * (value - average)


class Adagrad(Optimizer):
    """p -= lr * g / (sqrt(s) + eps), where s sums g*g over all steps (Duchi 2011)."""

    slots = {"sum": None}

    def __init__(
        self, params, lr=1e-2, lr_decay=0.0, weight_decay=0.0,
        initial_accumulator_value=0.0, eps=1e-10, *, maximize=False,
    ):  # fmt: skip
        super().__init__(params, locals())

    def initial(self, slot, p, options):
        return np.full_like(p, options["initial_accumulator_value"])

    def update(self, p, g, s, *, lr, t, options):
        s += g * g
        rate = lr / (1 + (t - 1) * options["lr_decay"])
        p -= rate.astype(p.dtype) * (g / (np.sqrt(s) + options["eps"]))


class Adadelta(Optimizer):
    """p -= lr * d, where d is g brought from the size of past g to that of past d (Zeiler 2012)."""

    slots = {"square_avg": None, "acc_delta": None}

    def __init__(self, params, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, *, maximize=False):
        super().__init__(params, locals())

    def update(self, p, g, v, u, *, lr, t, options):
        rho, eps = options["rho"], options["eps"]
        v *= rho
        v += (1 - rho) * (g * g)
        d = np.sqrt(u + eps) / np.sqrt(v + eps) * g
        u *= rho
        u += (1 - rho) * (d * d)
        p -= lr.astype(p.dtype) * d


class ASGD(Optimizer):
    """SGD with a falling rate (Polyak & Juditsky 1992).

    state["ax.i"] is the average of parameter i over the steps after t0.
    """

    slots = {"ax": None}

    def __init__(
        self, params, lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0.0, *, maximize=False
    ):
        super().__init__(params, locals())

    def update(self, p, g, average, *, lr, t, options):
        rate = lr / (1 + options["lambd"] * lr * (t - 1)) ** options["alpha"]
        p *= (1 - options["lambd"] * rate).astype(p.dtype)
        p -= rate.astype(p.dtype) * g
        weight = 1 / np.maximum(1, t - 1 - options["t0"])
        average += weight.astype(p.dtype) * (p - average)


class Adamax(Optimizer):
    """Adam by the largest |g| instead of the average g*g (Kingma & Ba 2015, algorithm 2)."""

    slots = {"exp_avg": None, "exp_inf": None}

    def __init__(
        self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, *, maximize=False
    ):
        super().__init__(params, locals())

    def update(self, p, g, m, u, *, lr, t, options):
        beta1, beta2 = options["betas"]
        follow(m, g, beta1)
        np.maximum(beta2 * u, np.abs(g) + options["eps"], out=u)
        p -= (lr / (1 - beta1**t)).astype(p.dtype) * (m / u)


class NAdam(Optimizer):
    """Adam that looks ahead as Nesterov does (Dozat 2016).

    The momentum mu rises from about half of beta1 to beta1.
    """

    slots = {"exp_avg": None, "exp_avg_sq": None, "mu_product": None}

    def __init__(
        self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0,
        momentum_decay=4e-3, decoupled_weight_decay=False, *, maximize=False,
    ):  # fmt: skip
        super().__init__(params, locals())

    def initial(self, slot, p, options):
        if slot == "mu_product":
            return np.full_like(p, 1, shape=(1,), dtype=np.float64)
        return np.zeros_like(p)

    def update(self, p, g, m, v, product, *, lr, t, options):
        (beta1, beta2), decay = options["betas"], options["momentum_decay"]
        mu, ahead = (beta1 * (1 - 0.5 * 0.96 ** (s * decay)) for s in (t, t + 1))
        product *= mu
        follow(m, g, beta1)
        follow(v, g * g, beta2)
        of_g = (lr * (1 - mu) / (1 - product[0])).astype(p.dtype)
        of_m = (lr * ahead / (1 - product[0] * ahead)).astype(p.dtype)
        root = np.sqrt(v / (1 - beta2**t).astype(p.dtype))
        p -= (of_g * g + of_m * m) / (root + options["eps"])


class RAdam(Optimizer):
    """Adam that does not divide by sqrt(v) until v's own variance is known and small (Liu 2020)."""

    slots = {"exp_avg": None, "exp_avg_sq": None}

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0,
        decoupled_weight_decay=False, *, maximize=False,
    ):  # fmt: skip
        super().__init__(params, locals())

    def update(self, p, g, m, v, *, lr, t, options):
        beta1, beta2 = options["betas"]
        follow(m, g, beta1)
        follow(v, g * g, beta2)
        most, left = 2 / (1 - beta2) - 1, 1 - beta2**t
        rho = most - 2 * t * beta2**t / left
        known = left * (rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho)
        size = np.sqrt(np.maximum(known, 0)).astype(p.dtype)
        adaptive = size / (np.sqrt(v) + options["eps"])
        change = np.where(rho > 5, adaptive, p.dtype.type(1)) * m
        p -= (lr / (1 - beta1**t)).astype(p.dtype) * change
