"""PyTorch's own databases of operations and modules, put to tinygan: who answers, who refuses.

    python bench/torch_ops.py [--reference] [--extremal] [--modules] [--only sum,std] [--out FILE]

Each sample of op_db (torch.testing._internal, float64) is put to every face that tinygan has of
that operation: the function of `ops` or of the losses, the method of `Tensor` with PyTorch's own
arguments, the operator. A face is found by its name; TABLE holds those whose name or arguments
differ. Compared to 1e-10: the value; the gradient for a random cotangent, plain and recorded; the
gradient, to inputs and cotangent, of the inner product of the gradients with random arrays; the
value of inputs that lie otherwise in memory. Then the value (1e-5) and the gradient (1e-4) in
float32, to which the inputs are rounded beforehand.

equal: all of these. explained: they differ, for the reason in EXPLAINED. differs: a wrong number,
shape or dtype. refused: a ValueError, TypeError or IndexError that names something public.
crashed: any other error. missing: an option outside this table. --reference: the larger sets of
samples. --extremal: NaN, infinities, huge and tiny numbers. --modules: module_db instead, with
constructor arguments, state_dict and the gradients of the parameters.
"""

import argparse
import contextlib
import functools
import inspect
import itertools
import json
import re
import types
import warnings

import numpy as np
import torch
from torch.func import functional_call
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_modules import module_db
from torch.testing._internal.opinfo import core

import tinygan as tg
from tinygan import Tensor, grad, nn, ops

torch.set_num_threads(1)  # the arrays are tiny
KINDS = "equal explained differs refused crashed".split()
NOT_OURS = (
    "masked",
    "fft",
    "signal",
    "_",
    "sparse",
    "torch",
    "jiterator",
)  # another thing under the same last name


# ---- the faces: what tinygan has of an operation ----


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


NAN = "(NaN there, a number here)"
COUNT = "we divide by the count unless told otherwise: docs/conventions.md"
EXPLAINED = [  # operations, what the difference says, why
    ("xlogy", NAN, "0 log 0 is 0, with slope 0: docs/conventions.md"),
    ("logsumexp", NAN, "of nothing but -inf: docs/conventions.md"),
    ("pow __rpow__", "second", "x**y has d2/dxdy = 1/x at y = 0, where PyTorch has 0"),
    ("max.binary maximum min.binary minimum", NAN, "docs/conventions.md"),
    ("abs nn.functional.elu", "nan), expected", "NaN in, NaN out"),
    ("nn.functional.elu", "second", "at the kink, of a slope of alpha"),
    ("var std", "value[", COUNT),
    ("double", "dtype float64, expected float32", "that is what it is for"),
    ("nn.functional.binary_cross_entropy", "second", "PyTorch adds 1e-12 to x (1 - x)"),
]


# ---- arguments ----


def leaves_of(thing):
    """The torch tensors in an argument, in order."""
    if isinstance(thing, torch.Tensor):
        return [thing]
    thing = list(thing.values()) if isinstance(thing, dict) else thing
    return [t for part in thing for t in leaves_of(part)] if isinstance(thing, list | tuple) else []


def mapped(thing, leaf, dtypes=True):
    """The structure with leaf(t) for every torch tensor t; `dtypes`: NumPy's for PyTorch's."""
    if isinstance(thing, torch.Tensor):
        return leaf(thing)
    if dtypes and isinstance(thing, torch.dtype):
        return np.dtype(str(thing).removeprefix("torch."))
    if isinstance(thing, torch.Size):
        return tuple(thing) if dtypes else thing
    if isinstance(thing, list | tuple):
        return type(thing)(mapped(part, leaf, dtypes) for part in thing)
    if isinstance(thing, dict):
        return {key: mapped(part, leaf, dtypes) for key, part in thing.items()}
    return thing


def call(f, sample, leaf, dtypes=True):
    """The outputs of f for a sample, one flat list."""
    x, args, kwargs = mapped([sample.input, sample.args, sample.kwargs], leaf, dtypes)
    return flat(f(x, *args, **kwargs))


def flat(out):
    return [x for part in out for x in flat(part)] if isinstance(out, list | tuple) else [out]


def noise(i, shape):
    return np.random.default_rng(1000 + i).standard_normal(shape)


def zeros_for(gradients, inputs):
    return [np.zeros(x.shape, x.dtype) if g is None else g for g, x in zip(gradients, inputs)]


def host(g):
    """A gradient as an array; PyTorch's ZeroTensor, which has no memory, cannot say it itself."""
    return np.zeros(g.shape) if g._is_zerotensor() else g.detach().numpy()


class Theirs:
    """PyTorch's answers for one sample: value, first, second (None where PyTorch has none)."""

    def __init__(self, op, sample):
        leaves = []

        def leaf(t):
            if not t.requires_grad:
                return t.detach().clone()
            leaves.append(t.detach().requires_grad_())
            return leaves[-1]

        out = call(op, sample, leaf, dtypes=False)
        if any(t is NotImplemented for t in out):
            raise TypeError("NotImplemented")
        self.value = [t.detach().numpy() if isinstance(t, torch.Tensor) else t for t in out]
        if any(np.iscomplexobj(v) for v in self.value):
            raise TypeError("complex numbers")
        self.active = [i for i, t in enumerate(out) if getattr(t, "requires_grad", False)]
        self.first = self.second = None
        if self.active:
            self.differentiate([out[i] for i in self.active], leaves)

    def differentiate(self, ys, leaves):
        gs = [
            torch.tensor(noise(i, y.shape), dtype=y.dtype, requires_grad=True)
            for i, y in enumerate(ys)
        ]
        first = torch.autograd.grad(ys, leaves, gs, create_graph=True, allow_unused=True)
        first = [torch.zeros_like(t) if g is None else g for g, t in zip(first, leaves)]
        self.first = [host(g) for g in first]
        slope = sum((g * torch.tensor(noise(i, g.shape))).sum() for i, g in enumerate(first))
        self.second = [np.zeros(t.shape) for t in (*leaves, *gs)]
        if slope.requires_grad:
            try:
                second = torch.autograd.grad(slope, [*leaves, *gs], allow_unused=True)
            except (RuntimeError, NotImplementedError):  # PyTorch has none
                self.second = None
                return
            self.second = [z if g is None else host(g) for g, z in zip(second, self.second)]


def ours(face, sample, dtype=None, layout=None):
    """The leaves and outputs of a face: what wants a gradient becomes a Tensor, the rest copies."""
    leaves = []

    def leaf(t):
        a = t.detach().numpy()
        if a.dtype.kind == "f":
            a = a.astype(dtype or a.dtype, copy=False)
            a = layout(a) if layout else a
        if not t.requires_grad:
            return a.copy()
        leaves.append(Tensor(a))
        return leaves[-1]

    out = call(face, sample, leaf)
    return leaves, out


def fortran(a):
    """The first axis next to itself in memory."""
    return a.copy(order="F")


def backwards(a):
    """From the end to the beginning of memory, the last axis in every second place."""
    if not a.ndim:
        return a
    view = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)[
        (slice(None, None, -1),) * (a.ndim - 1) + (slice(None, None, -2),)
    ]
    view[...] = a
    return view


# ---- the comparison ----


class DiffersError(Exception):
    """A wrong answer."""


def compare(what, found, expected, rtol=1e-10, dtype=None):
    """DiffersError unless the arrays agree; it tells the first place where they do not."""
    if len(found) != len(expected):
        raise DiffersError(f"{what}: {len(found)} results, expected {len(expected)}")
    for i, (a, b) in enumerate(zip(found, expected)):
        number = not hasattr(a, "dtype")
        a, b = np.asarray(ops.raw(a)), np.asarray(b)
        where = f"{what}[{i}]" if len(expected) > 1 else what
        if a.shape != b.shape:
            raise DiffersError(f"{where}: shape {a.shape}, expected {b.shape}")
        wanted = np.dtype(dtype if dtype and b.dtype == np.float64 else b.dtype)
        if a.dtype != wanted and not a.dtype.kind == b.dtype.kind == "i" and not number:
            raise DiffersError(f"{where}: dtype {a.dtype}, expected {wanted}")
        wrong, only_theirs = a != b, np.zeros(b.shape, bool)
        if b.dtype.kind == "f":
            b = b.astype(wanted)
            # beside a large result, what rounding leaves of a small one is absolute
            scale = np.abs(b[np.isfinite(b)]).max(initial=0)
            wrong = ~np.isclose(
                a, b, rtol=rtol, atol=rtol * max(min(scale, 1e100), 0.01), equal_nan=True
            )
            only_theirs = np.isnan(b) & ~np.isnan(a)
        if wrong.any():
            at = tuple(int(k) for k in np.argwhere(wrong)[0])
            kind = f" {NAN}" if (wrong == only_theirs).all() else ""
            raise DiffersError(f"{where}{list(at)}: {a[at]!r}, expected {b[at]!r}{kind}")


def judge(theirs, face, sample):
    """Put one sample to one face."""
    floats = [
        t for t in leaves_of([sample.input, sample.args, sample.kwargs]) if t.is_floating_point()
    ]
    if not floats:
        return  # numbers and integers alone: whatever NumPy gives
    leaves, out = ours(face, sample)
    if len(out) < len(theirs.value) and not isinstance(theirs.value[len(out)], float):
        values = theirs.value[
            : len(out)
        ]  # where PyTorch gives (values, indices) we give the values
    else:
        values = theirs.value
    compare("value", out, values)
    active = [i for i in theirs.active if i < len(out)]
    raw = [i for i in active if not isinstance(out[i], Tensor)]
    if raw:
        raise DiffersError(f"output {raw[0]} is a raw array: no gradient flows")
    if active:
        derivatives(leaves, [out[i] for i in active], theirs)
    for layout in fortran, backwards:
        compare(f"value, {layout.__name__} inputs", ours(face, sample, layout=layout)[1], values)
    if all(torch.equal(t.float().double().nan_to_num(), t.nan_to_num()) for t in floats):
        leaves, out = ours(face, sample, dtype=np.float32)
        compare("float32 value", out, values, 1e-5, np.float32)
        if active:
            derivatives(leaves, [out[i] for i in active], theirs, 1e-4, np.float32)


def derivatives(leaves, ys, theirs, rtol=1e-10, dtype=None):
    gs = [noise(i, y.shape).astype(y.dtype) for i, y in enumerate(ys)]
    words = f"{dtype.__name__} " if dtype else ""
    compare(
        f"{words}gradient",
        zeros_for(grad(ys, leaves, gs, allow_unused=True), leaves),
        theirs.first,
        rtol,
        dtype,
    )
    if dtype:
        return
    cs = [Tensor(g) for g in gs]
    first = grad(ys, leaves, cs, create_graph=True, allow_unused=True)
    compare("recorded gradient", zeros_for(first, leaves), theirs.first)
    if theirs.second is not None:
        parts = [ops.sum(g * noise(i, g.shape)) for i, g in enumerate(first) if g is not None]
        slope = sum(parts, Tensor(np.zeros(())))
        second = grad(slope, [*leaves, *cs], allow_unused=True)
        compare("second derivative", zeros_for(second, [*leaves, *cs]), theirs.second)


PUBLIC = {name.lower().strip("_") for room in (ops, nn, nn.losses) for name in dir(room)}
PUBLIC |= {re.sub(r"[123]d$", "", name) for name in PUBLIC}  # InstanceNorm for the three of them
PUBLIC -= {"", "tensor"}


def outcome(full, face, theirs, sample):
    """One of KINDS, or missing, or theirs (PyTorch refuses); and the words."""
    if isinstance(theirs, str):
        return "theirs", theirs
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            judge(theirs, face, sample)
        return "equal", ""
    except MissingError as e:
        return "missing", str(e)
    except DiffersError as e:
        for operations, sign, reason in EXPLAINED:
            if full in operations.split() and sign in str(e):
                return "explained", reason
        return "differs", str(e)
    except Exception as e:
        text = "; ".join([f"{type(e).__name__}: {e}", *getattr(e, "__notes__", ())]).replace(
            "\n", " "
        )[:300]
        words = {word.strip("_") for word in re.findall(r"\w+", text.lower())}
        names = PUBLIC | {full.split(".")[-1].lower()}
        refused = isinstance(e, ValueError | TypeError | IndexError) and words & names
        return "refused" if refused else "crashed", text


# ---- the databases ----


def samples(info, reference, extremal):
    """The database's samples, rounded to float32 where that is finite."""
    makers = [info.reference_inputs if reference else info.sample_inputs]
    kinds = {core.UnaryUfuncInfo: "unary", core.BinaryUfuncInfo: "binary"}
    for kind in [word for cls, word in kinds.items() if extremal and isinstance(info, cls)]:
        for values in "extremal", "small", "large":
            maker = getattr(core, f"generate_elementwise_{kind}_{values}_value_tensors")
            makers.append(functools.partial(maker, info))
    for make in makers:
        late = False
        torch.manual_seed(0)
        options = {"device": "cpu", "dtype": torch.float64}
        try:
            made = list(make(**options, requires_grad=info.supports_autograd))
        except (RuntimeError, ValueError):  # it writes in place, or makes integers by the same call
            torch.manual_seed(0)
            made, late = list(make(**options, requires_grad=False)), info.supports_autograd
        for sample in made:
            for t in leaves_of([sample.input, sample.args, sample.kwargs]):
                if t.dtype == torch.float64:
                    rounded = t.detach().float().double()
                    with contextlib.suppress(RuntimeError):  # an expanded one
                        t.data.copy_(torch.where(rounded.isfinite(), rounded, t.detach()))
                    if late:
                        t.requires_grad_()
            yield sample


def show(thing):
    """An argument in few words."""
    if isinstance(thing, torch.Tensor):
        strides = "" if thing.is_contiguous() else f" strides {thing.stride()}"
        return f"{str(thing.dtype)[6:]}{tuple(thing.shape)}{strides}"
    if isinstance(thing, dict):
        return ", ".join(f"{key}={show(value)}" for key, value in thing.items())
    if isinstance(thing, list | tuple):
        return "(" + ", ".join(map(show, thing)) + ")"
    return repr(thing)


def inputs_of(*parts):
    return ", ".join(filter(None, (show(part) for part in parts)))


class Rows(list):
    """One row for each face: how many samples of each kind, and up to six of their words."""

    def __init__(self, progress):
        self.progress = progress

    def add(self, row, kind, text, sample):
        row[kind] = row.get(kind, 0) + 1
        told = row["told"].setdefault(kind, {})
        if text and len(told) < 6:
            told.setdefault(re.sub(r"[\d.-]+", "", text)[:60], f"({sample}) -> {text}")

    def close(self, *rows):
        self.extend(rows)
        for row in rows:
            self.progress(row)


def run(only=(), reference=False, extremal=False, limit=None, progress=lambda row: None):
    rows = Rows(progress)
    for info in op_db:
        full, found = faces(info)
        wanted = not only or full in only or info.name in only
        if not found or not wanted or not info.supports_dtype(torch.float64, "cpu"):
            continue
        own = {name: {"op": full, "face": name, "told": {}} for name in found}
        for sample in itertools.islice(samples(info, reference, extremal), limit):
            told = inputs_of(sample.input, *sample.args, sample.kwargs)
            theirs = answer(info.op, sample)
            for name, face in found.items():
                rows.add(own[name], *outcome(full, face, theirs, sample), told)
        rows.close(*own.values())
    return rows


def answer(op, sample):
    """PyTorch's answers, or the words with which it refuses its own sample."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Theirs(op, sample)
        except Exception as e:
            return f"{type(e).__name__}: {e}"[:200]


def run_modules(only=(), limit=None, progress=lambda row: None):
    rows = Rows(progress)
    for info in module_db:
        if only and info.name not in only:
            continue
        row = {"op": info.name, "face": info.name, "told": {}}
        for training in True, False:
            torch.manual_seed(0)
            all_of_them = info.module_inputs_func(info, "cpu", torch.float64, True, training)
            for given in itertools.islice(all_of_them, limit):
                made, fed = given.constructor_input, given.forward_input
                if fed is not None:
                    told = f"{inputs_of(*made.args, made.kwargs)}) in training={training} mode of ("
                    told += inputs_of(*fed.args, fed.kwargs)
                    rows.add(row, *module(info, given, training), told)
        rows.close(row)
    return rows


def module(info, given, training):
    """Parameters are handed over as further arguments, so that their gradients are compared too."""
    name, made, fed = info.name.removeprefix("nn."), given.constructor_input, given.forward_input
    if not hasattr(nn, name):
        return "missing", ""
    try:
        torch.manual_seed(1)
        theirs = info.module_cls(*made.args, **made.kwargs).double().train(training)
    except Exception:
        return "theirs", ""
    state = {key: value.clone() for key, value in theirs.state_dict().items()}
    names = [n for n, _ in theirs.named_parameters()]
    weights = [p.detach().clone().requires_grad_() for p in theirs.parameters()]
    sample = types.SimpleNamespace(input=list(fed.args), args=weights, kwargs=fed.kwargs)

    def op(inputs, *weights, **kwargs):
        fresh = {key: value.clone() for key, value in state.items()}
        return functional_call(theirs, fresh | dict(zip(names, weights)), tuple(inputs), kwargs)

    def face(inputs, *weights, **kwargs):
        args, options = mapped([list(made.args), made.kwargs], lambda t: t.detach().numpy())
        net = getattr(nn, name)(*args, **options).double().train(training)
        if list(net.state_dict()) != list(state):
            raise DiffersError(f"state_dict has {list(net.state_dict())}, expected {list(state)}")
        net.load_state_dict(state)
        if any(
            x.dtype == np.float32
            for x in (*inputs, *weights, *kwargs.values())
            if isinstance(x, Tensor)
        ):
            net.float()
        for path, weight in zip(names, weights):
            *way, last = path.split(".")
            home = net
            for step in way:
                home = getattr(home, step)
            vars(home)[last] = weight
        return net(*inputs, **kwargs)

    return outcome(info.name, face, answer(op, sample), sample)


def summary(rows):
    """The totals in two lines."""
    rows = [row for row in rows if any(row.get(kind) for kind in KINDS)]
    answered = {row["op"] for row in rows if row.get("equal", 0) + row.get("explained", 0)}
    counts = ", ".join(f"{sum(row.get(kind, 0) for row in rows)} {kind}" for kind in KINDS)
    here = len({row["op"] for row in rows})
    total = f"{len(answered)} answered of {here} that tinygan has, under {len(rows)} names"
    return f"{total}\nsamples: {counts}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reference", action="store_true", help="the larger sets of samples")
    parser.add_argument("--extremal", action="store_true", help="NaN, infinities, huge, tiny")
    parser.add_argument("--modules", action="store_true", help="the database of modules instead")
    parser.add_argument("--all", action="store_true", help="every row, not only the troubled")
    parser.add_argument("--only", default="", help="names of PyTorch's, with commas")
    parser.add_argument("--limit", type=int, help="so many samples of each operation at most")
    parser.add_argument("--out", help="a file for the rows, as JSON")
    args = parser.parse_args()

    def progress(row):
        if args.all or any(row.get(kind) for kind in ("differs", "refused", "crashed")):
            counts = " ".join(
                f"{row[kind]} {kind}" for kind in (*KINDS, "missing", "theirs") if row.get(kind)
            )
            print(f"{row['op']:36} {row['face']:24} {counts}", flush=True)
            for kind in "differs", "crashed", "refused":
                for line in row["told"].get(kind, {}).values():
                    print(f"      {kind}: {line}", flush=True)

    only = [name for name in args.only.split(",") if name]
    if args.modules:
        rows = run_modules(only, args.limit, progress)
    else:
        rows = run(only, args.reference, args.extremal, args.limit, progress)
    print(summary(rows))
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            json.dump({"torch": torch.__version__, "rows": rows}, f, indent=1)


if __name__ == "__main__":
    main()
