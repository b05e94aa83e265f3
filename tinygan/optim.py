"""The optimizers, in order of increasing complexity. They work on arrays, in place, and know nothing of graphs.

Learning rate and step count are one-element arrays on the parameters' device, so that a captured GPU step can change them.
"""

import numpy as np

from . import kernels


class Optimizer:
    """Base: `update(p, g, *slots)` changes one parameter's array in place; `slots` names what is remembered for each.

    params: Parameters, updated in place. lr: the step size. weight_decay: adds weight_decay * p to the gradient.
    """

    slots = ()

    def __init__(self, params, lr, weight_decay=0.0):
        self.params = list(params)
        if not self.params:
            raise ValueError(f"{type(self).__name__}: no parameters to optimize")
        if not lr >= 0:
            raise ValueError(f"{type(self).__name__}: lr must be at least 0, got {lr}")
        self.weight_decay = weight_decay
        arrays = [p.data for p in self.params]
        self._lr = np.full_like(arrays[0], lr, shape=(1,), dtype=np.float64)
        self._step = np.zeros_like(arrays[0], shape=(1,), dtype=np.int64)
        self._slots = {name: [np.zeros_like(a) for a in arrays] for name in self.slots}

    @property
    def lr(self):
        """The learning rate; set it at any time."""
        return float(self._lr[0])

    @lr.setter
    def lr(self, value):
        self._lr[...] = value

    def step(self, grads=None):
        """Update every parameter, from `grads` (raw arrays in their order) or from what `backward` left in `p.grad`."""
        grads = [p.grad for p in self.params] if grads is None else list(grads)
        if len(grads) != len(self.params):
            raise ValueError(f"{type(self).__name__}.step: {len(grads)} gradients for {len(self.params)} parameters")
        self._step += 1
        for i, (p, g) in enumerate(zip(self.params, grads)):
            if g is not None:
                if g.shape != p.shape:
                    raise ValueError(f"{type(self).__name__}.step: {p.name or i} has shape {p.shape}, its gradient {g.shape}")
                g = g + self.weight_decay * p.data if self.weight_decay else g
                self.update(p.data, g, *(slot[i] for slot in self._slots.values()))

    def zero_grad(self):
        """Forget the gradients that `backward` accumulated."""
        for p in self.params:
            p.grad = None

    def state_dict(self):
        """Name -> array, the very memory, of everything that `step` changes."""
        state = {"lr": self._lr, "step": self._step}
        return state | {f"{name}.{i}": a for name, slot in self._slots.items() for i, a in enumerate(slot)}

    def load_state_dict(self, state_dict):
        """Copy in what `state_dict` gave; on a mismatch nothing is changed."""
        own = self.state_dict()
        wrong = [k for k in own | dict(state_dict) if k not in own or k not in state_dict or own[k].shape != state_dict[k].shape]
        if wrong:
            raise ValueError(f"load_state_dict: {type(self).__name__} is unchanged, since these do not match: {', '.join(wrong)}")
        for name, a in own.items():
            a[...] = np.asarray(state_dict[name], like=a)


class SGD(Optimizer):
    """p -= lr * m, where m = momentum * m + g; nesterov looks ahead: g + momentum * m (Sutskever 2013)."""

    slots = ("momentum_buffer",)

    def __init__(self, params, lr=1e-3, momentum=0.0, weight_decay=0.0, nesterov=False):
        super().__init__(params, lr, weight_decay)
        self.momentum, self.nesterov = momentum, nesterov

    def update(self, p, g, m):
        m *= self.momentum
        m += g
        p -= self._lr.astype(p.dtype) * (g + self.momentum * m if self.nesterov else m)


class RMSprop(Optimizer):
    """p -= lr * g / (sqrt(v) + eps), where v is a moving average of g*g (Tieleman & Hinton 2012); momentum as in PyTorch."""

    slots = ("square_avg", "momentum_buffer")

    def __init__(self, params, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0):
        super().__init__(params, lr, weight_decay)
        self.alpha, self.eps, self.momentum = alpha, eps, momentum

    def update(self, p, g, v, m):
        v *= self.alpha
        v += (1 - self.alpha) * (g * g)
        m *= self.momentum
        m += g / (np.sqrt(v) + self.eps)
        p -= self._lr.astype(p.dtype) * m


class Adam(Optimizer):
    """p -= lr * m / (sqrt(v) + eps), with m and v bias-corrected averages of g and g*g (Kingma & Ba 2015, algorithm 1)."""

    slots = ("exp_avg", "exp_avg_sq")

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, lr, weight_decay)
        self.betas, self.eps = betas, eps

    def update(self, p, g, m, v):
        kernels.of(p).adam(p, g, m, v, self._lr, self._step, *self.betas, self.eps)


class EMA:
    """An exponential moving average of one module's floats, parameters and buffers, kept in another of the same kind.

    While young it forgets faster: the decay of update t is min(decay, (1 + t) / (10 + t)), with t counted on the device.
    """

    def __init__(self, average, module, decay=0.999):
        self.decay, state = decay, module.state_dict()
        average.load_state_dict(state)
        pairs = zip(average.state_dict().values(), state.values())
        self._updates = np.zeros_like(next(iter(state.values()), np.empty(0)), shape=(1,), dtype=np.int64)
        self.pairs = [(to, of) for to, of in pairs if to.dtype.kind == "f"]

    def update(self):
        """average += (1 - decay) * (module - average)."""
        self._updates += 1
        t = self._updates[0]
        weight = 1 - np.minimum(self.decay, (1 + t) / (10 + t))
        for to, of in self.pairs:
            kernels.of(to).lerp(to, of, weight)

    def state_dict(self):
        """The number of updates, the very memory; the average itself is the state of its module."""
        return {"updates": self._updates}

    def load_state_dict(self, state_dict):
        """Go on from there."""
        self._updates[...] = np.asarray(state_dict["updates"], like=self._updates)
