"""One sample of an operation, answered by PyTorch and by tinygan: values and derivatives,
compared.
"""

import re
import warnings

import numpy as np
import torch
from torch_faces import MissingError

from tinygan import Tensor, grad, nn, ops

KINDS = "equal explained differs refused crashed".split()
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
    ("nn.functional.scaled_dot_product_attention", "float32", "scores of hundreds: as PyTorch's"),
    ("nn.functional.binary_cross_entropy", "second", "PyTorch adds 1e-12 to x (1 - x)"),
]


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
    values = theirs.value
    if len(out) < len(values) and not isinstance(values[len(out)], float):
        values = values[: len(out)]  # where PyTorch gives (values, indices) we give the values
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
