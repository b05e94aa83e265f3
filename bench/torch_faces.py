"""What tinygan has of an operation of PyTorch's: the function of `ops` or of the losses, the method
of `Tensor`, the operator.

A face takes PyTorch's own arguments. It is found by its name; TABLE holds those whose name or
arguments differ.
"""

import contextlib
import inspect

import torch

import tinygan as tg
from tinygan import Tensor, nn, ops

# another thing under the same last name
NOT_OURS = ("masked", "fft", "signal", "_", "sparse", "torch", "jiterator")


class MissingError(Exception):
    """tinygan has no such thing, or not with this option."""


class _Rooms:
    """F.name is the public function of that name, with PyTorch's keywords, or a MissingError."""

    def __getattr__(self, name):
        for room in (ops, nn.losses, getattr(nn, "functional", ops), tg):
            if callable(found := getattr(room, name, None)):
                return _translated(found)
        raise MissingError(name)


DEFAULTS = {  # options that say nothing, and may be left out where tinygan does not have them
    "dtype": None, "align_corners": None, "recompute_scale_factor": None, "divisor_override": None,
    "ceil_mode": False, "return_indices": False, "count_include_pad": True, "dilation": 1,
    "max_norm": None, "inplace": False, "memory_format": torch.preserve_format,
}  # fmt: skip


def _translated(f):
    """f taking dim and keepdim, where its own names are axis and keepdims; without idle options."""
    parameters = inspect.signature(f).parameters

    def call(*args, **kwargs):
        for theirs, own in (("dim", "axis"), ("keepdim", "keepdims")):
            if theirs in kwargs and theirs not in parameters and own in parameters:
                kwargs[own] = kwargs.pop(theirs)
        for name, default in DEFAULTS.items():
            if name in kwargs and name not in parameters and kwargs[name] == default:
                del kwargs[name]
        return f(*args, **kwargs)

    return call


F = _Rooms()


def named(*names):
    """The first function of these names that there is."""

    def call(*args, **kwargs):
        for name in names[:-1]:
            with contextlib.suppress(MissingError):
                return getattr(F, name)(*args, **kwargs)
        return getattr(F, names[-1])(*args, **kwargs)

    return call


def reduction(name):
    """f(x, dim, keepdim), whose axes PyTorch may give as a list, or as an empty one for all."""

    def call(x, dim=None, keepdim=False, **kwargs):
        dim = tuple(dim) or None if isinstance(dim, list | tuple) else dim
        return getattr(F, name)(x, dim, keepdims=keepdim, **kwargs)

    return call


def variance(name):
    """var and std have three signatures; PyTorch's default is the unbiased one."""

    def call(x, dim=None, unbiased=None, keepdim=False, correction=1, **kwargs):
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        correction = correction if unbiased is None else int(unbiased)
        correction = 1 if correction is None else correction
        return reduction(name)(x, dim, keepdim, correction=correction, **kwargs)

    return call


def pad(x, pad, mode="constant", value=None):
    """PyTorch counts from the last axis, in one flat list; ours is NumPy's pairs, or images'."""
    if mode != "constant" and x.ndim == 4 and len(pad) == 4:
        return named("pad2d", "pad")(x, tuple(pad), mode=mode)
    pairs = [tuple(pad[i : i + 2]) for i in range(0, len(pad), 2)][::-1]
    pairs = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    options = {} if mode == "constant" else {"mode": mode}
    return F.pad(x, tuple(pairs), **options, **({"value": value} if value else {}))


def max_pool(x, *args, return_indices=False, **kwargs):
    """The largest alone: where they were is PyTorch's second result."""
    return F.max_pool2d(x, *args, **kwargs)


def euclidean(x, ord=2, dim=None, keepdim=False, **kwargs):
    if ord not in (2, 2.0, "fro", None):
        raise MissingError("a norm that is not the Euclidean one")
    return reduction("vector_norm")(x, dim, keepdim, **kwargs)


def certain_dropout(x, p=0.5, training=True, inplace=False):
    if training and 0 < p < 1:
        raise MissingError("the same random numbers")
    return nn.Dropout(p).train(training)(x)


def scaled(name):
    """add and sub multiply their second argument by `alpha`."""
    return lambda x, y, alpha=1: getattr(F, name)(x, y if alpha == 1 else y * alpha)


TABLE = {
    "add": scaled("add"),
    "sub": scaled("subtract"),
    "rsub": lambda x, y, alpha=1: y - (x if alpha == 1 else x * alpha),
    "__radd__": lambda x, y: y + x,
    "__rsub__": lambda x, y: y - x,
    "__rmul__": lambda x, y: y * x,
    "__rdiv__": lambda x, y: y / x,
    "__rpow__": lambda x, y: y**x,
    "__rmatmul__": lambda x, y: y @ x,
    "__getitem__": named("getitem"),
    "mul": named("multiply"),
    "div.no_rounding_mode": named("divide"),
    "true_divide": named("divide"),
    "neg": named("negative"),
    "pow": named("power"),
    "max.binary": named("maximum"),
    "min.binary": named("minimum"),
    "amax": reduction("max"),
    "amin": reduction("min"),
    **{name: reduction(name) for name in ("sum", "mean", "prod", "logsumexp")},
    **{
        f"{name}.reduction_{kind}_dim": reduction(name)
        for name in ("max", "min")
        for kind in ("with", "no")
    },
    **{name + kind: variance(name) for name in ("var", "std") for kind in ("", ".unbiased")},
    "clamp": named("clip"),
    "clamp_min": lambda x, min: F.clip(x, min),
    "clamp_max": lambda x, max: F.clip(x, None, max),
    "where": lambda x, condition, y: F.where(condition, x, y),
    "cat": named("concatenate"),
    "permute": lambda x, dims: F.transpose(x, tuple(dims)),
    "transpose": named("swapaxes"),
    "t": named("transpose"),
    "T": lambda x: x.T,
    "flatten": lambda x, start_dim=0, end_dim=-1: F.flatten(x, start_dim, end_dim),
    "unflatten": lambda x, dim, sizes: nn.Unflatten(dim, sizes)(x),
    "einsum": lambda xs, equation: F.einsum(equation, *xs),
    **{name: named("matmul") for name in ("mm", "bmm", "mv", "dot", "vdot")},
    **dict.fromkeys(("linalg.vector_norm", "norm", "norm.fro"), euclidean),
    "constant_pad_nd": lambda x, widths, value=0: pad(x, widths, value=value),
    **{
        f"nn.functional.pad.{mode}": pad
        for mode in ("constant", "reflect", "replicate", "circular")
    },
    **{
        f"nn.functional.{name}_loss": named(f"{name}_loss", name)
        for name in ("mse", "l1", "smooth_l1", "nll", "huber")
    },
    "nn.functional.embedding": lambda weight, rows, **kwargs: F.embedding(rows, weight, **kwargs),
    "nn.functional.dropout": certain_dropout,
    "nn.functional.max_pool2d": max_pool,
}


def faces(info):
    """The operation's full name, and name -> function of what tinygan has of it."""
    full = f"{info.name}.{info.variant_test_name}" if info.variant_test_name else info.name
    last, found = info.name.split(".")[-1], {}
    if full in TABLE:
        found["adapted"] = TABLE[full]
    names = dict.fromkeys([last, *(alias.name for alias in info.aliases)])
    for name in () if info.name.startswith(NOT_OURS) else names:
        if full not in TABLE and any(
            callable(getattr(room, name, None)) for room in (ops, nn.losses)
        ):
            found[f"function {name}"] = getattr(F, name)
        if name in dir(Tensor) and info.name == last:
            found[f"Tensor.{name}"] = method(name)
    symbol = getattr(info.operator_variant, "__name__", "").strip("_")
    if hasattr(Tensor, f"__{symbol}__") and not info.name.startswith("__"):
        found["operator"] = infix(info.operator_variant)
    return full, found


def method(name):
    def call(x, *args, **kwargs):
        if not isinstance(x, Tensor):
            raise MissingError("a method of a number or a raw array")
        thing = getattr(x, name)
        return thing(*args, **kwargs) if callable(thing) else thing

    return call


def infix(f):
    def call(*args, **kwargs):
        if kwargs:
            raise MissingError("an operator has no options")
        return f(*args)

    return call
