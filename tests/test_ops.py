"""Every operation: values, derivatives to second order, every layout, float32.

The table of cases is in `grads.py`. Then what happens far out and where nothing is differentiable
(see also docs/conventions.md), and what the operators and methods of Tensors accept.
"""

import functools
import operator
import sys
import warnings

import numpy as np
import pytest
from grads import ALL, CASES, mask, positive, real

import tinygan
from tinygan import Tensor, grad, nn, ops, optim, primitive
from tinygan.nn import losses
from tinygan.testing import check_grads

every_case = pytest.mark.parametrize("f, arrays", ALL.values(), ids=ALL)


@every_case
def test_gradients_to_second_order(f, arrays):
    check_grads(f, *arrays)


def normal(x, axes, eps=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def logsumexp(x, axis, keepdims=False):
    return np.log(np.exp(x).sum(axis, keepdims=keepdims))


U, V, P, Q = real(2, 3, 4), real(3, 1), positive(3, 4), real(4)
v = V[:, 0]
EXPECTED = [
    (getattr(ops, f.__name__), f, (U, V))
    for f in (np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum)
]
EXPECTED += [
    (getattr(ops, f.__name__), f, (P,))
    for f in (np.negative, np.exp, np.log, np.sqrt, np.tanh, np.transpose)
]
for f in np.sum, np.mean, np.var, np.max, np.min, logsumexp:
    for options in {"axis": (0, 2)}, {"axis": (0, 2), "keepdims": True}, {"axis": 1}:
        EXPECTED.append(
            (
                functools.partial(getattr(ops, f.__name__), **options),
                functools.partial(f, **options),
                (U,),
            )
        )
EXPECTED += [
    (ops.power, np.power, (P, Q)),
    (ops.abs, np.abs, (U,)),
    (lambda x: ops.clip(x, -1, 0.5), lambda x: np.clip(x, -1, 0.5), (U,)),
    (lambda x: ops.where(x > 0, x, 3.0), lambda x: np.where(x > 0, x, 3), (U,)),
    (ops.relu, lambda x: np.where(x > 0, x, 0), (U,)),
    (ops.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x), (U,)),
    (ops.sigmoid, lambda x: 1 / (1 + np.exp(-x)), (U,)),
    (ops.softplus, lambda x: np.log(1 + np.exp(x)), (U,)),
    (lambda x: ops.softmax(x, 1), lambda x: np.exp(x - logsumexp(x, 1, True)), (U,)),
    (lambda x: ops.log_softmax(x, 1), lambda x: x - logsumexp(x, 1, True), (U,)),
    (lambda x: ops.swapaxes(x, 0, -1), lambda x: np.swapaxes(x, 0, -1), (U,)),
    (lambda x: ops.pad(x, ((1, 2), (0, 3))), lambda x: np.pad(x, ((1, 2), (0, 3))), (P,)),
    (
        lambda x, y: ops.concatenate([x, y, x], -1),
        lambda x, y: np.concatenate([x, y, x], -1),
        (P, V),
    ),
    (lambda x: ops.stack([x, -x, x], -2), lambda x: np.stack([x, -x, x], -2), (P,)),
    (lambda x: ops.flatten(x, 0, 1), lambda x: x.reshape(6, 4), (U,)),
    *((ops.matmul, np.matmul, (real(*a), real(*b))) for _, a, b in CASES["matmul"]),
    (ops.linear, lambda x, w, b: np.einsum("abi,oi->abo", x, w) + b, (U, P, v)),
    (lambda x, w: ops.layer_norm(x, (3, 4), w, w), lambda x, w: normal(x, (1, 2)) * w + w, (U, P)),
    (
        lambda x: ops.batch_norm(x, None, None, v, -v, True, eps=0.1),
        lambda x: (normal(x, (0, 2), 0.1) - 1) * V,
        (U,),
    ),
    (
        lambda x: ops.batch_norm(x, v, v * v, v, v, eps=0.1),
        lambda x: ((x - V) / np.sqrt(V * V + 0.1) + 1) * V,
        (U,),
    ),
]


@pytest.mark.parametrize("f, expected, arrays", EXPECTED)
def test_values(f, expected, arrays):
    out, value = f(*map(Tensor, arrays)), expected(*arrays)
    assert out.shape == np.shape(value)
    np.testing.assert_allclose(out.data, value, rtol=1e-13, atol=1e-14)


def test_running_statistics():
    mean, var = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])
    ops.batch_norm(Tensor(U), mean, var, training=True, momentum=0.25)
    np.testing.assert_allclose(mean, 0.75 * np.array([1, 2, 3]) + 0.25 * U.mean((0, 2)), rtol=1e-14)
    np.testing.assert_allclose(
        var, 0.75 * np.array([1, 2, 3]) + 0.25 * U.var((0, 2)) * 8 / 7, rtol=1e-14
    )


def test_the_table_names_every_operation_and_reaches_every_primitive():
    assert set(ops.__all__) - {"raw"} <= set(CASES)
    rooms = [room for name, room in sys.modules.items() if name.startswith("tinygan.ops.")]
    missing = {op for room in rooms for op in vars(room).values() if hasattr(op, "defvjp")}
    assert len(missing) > 30
    for f, arrays in ALL.values():
        xs = [Tensor(a) for a in arrays]
        out = f(*xs)
        todo = [out, *grad(ops.sum(out), xs, create_graph=True, allow_unused=True)]
        while todo:
            t = todo.pop()
            if isinstance(t, Tensor) and t.op:
                missing.discard(t.op)
                todo += t.args
    assert not missing, sorted(op.__name__ for op in missing)


@every_case
def test_float32_stays_float32_and_raw_stays_raw(f, arrays):
    raw = [np.asarray(a, np.float32) for a in arrays]
    xs = [Tensor(a) for a in raw]
    out = f(*xs)
    assert out.dtype == np.float32 and isinstance(out.data, np.ndarray)
    for g in grad(ops.sum(out), xs, allow_unused=True):
        assert g is None or g.dtype == np.float32
    assert all(
        g is None or g.dtype == np.float32
        for g in grad(ops.sum(out), xs, create_graph=True, allow_unused=True)
    )
    plain = f(*raw)
    assert not isinstance(plain, Tensor)
    np.testing.assert_array_equal(plain, out.data)


SCALARS = [
    2,
    2.0,
    True,
    np.sqrt(2),
    np.float64(3),
    np.float32(3),
    np.int64(2),
    np.array(2.0, np.float32),
]
BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.pow,
    ops.maximum,
    ops.minimum,
]
WITH_SCALAR = {f"x {f.__name__} s": f for f in BINARY} | {
    f"s {f.__name__} x": lambda x, s, f=f: f(s, x) for f in BINARY
}
WITH_SCALAR |= {
    "where(_, x, s)": lambda x, s: ops.where(mask, x, s),
    "where(_, s, x)": lambda x, s: ops.where(mask, s, x),
    "clip(x, s)": ops.clip,
    "clip(x, max=s)": lambda x, s: ops.clip(x, max=s),
    "leaky_relu(x, s)": ops.leaky_relu,
    "leaky_relu(x, negative_slope=s)": lambda x, s: ops.leaky_relu(x, negative_slope=s),
}


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", WITH_SCALAR)
def test_scalars_do_not_promote(name, scalar):
    f, value = WITH_SCALAR[name], positive(2, 3)
    for dtype in (np.float32, np.float64)[: 1 if isinstance(scalar, np.ndarray) else 2]:
        x = Tensor(value.astype(dtype))
        out = f(x, scalar)
        assert isinstance(out, Tensor) and out.dtype == dtype
        np.testing.assert_allclose(out.data, f(value, float(scalar)), rtol=1e-6)
        assert (
            grad(ops.sum(out), x).dtype == grad(ops.sum(out), x, create_graph=True).dtype == dtype
        )


INF, one, tie = np.inf, np.ones(1), [0.0, 1.0, 2.0]
some, far = np.array([True, False, False]), [-1000.0, 0.0, 1000.0]
# a function, its argument, its value (None: of no interest), the gradient of its sum
CONVENTIONS = {
    "relu of NaN": (lambda x: ops.relu(x)[1:], [np.nan, 1.0], [1], [0, 1]),
    "clip to one bound": (lambda x: ops.clip(x, min=1), tie, [1, 1, 2], [0, 1, 1]),
    "maximum of a tie, second": (lambda x: ops.maximum(one, x), tie, [1, 1, 2], [0, 0.5, 1]),
    "minimum of a tie, second": (lambda x: ops.minimum(1.0, x), tie, [0, 1, 1], [1, 0.5, 0]),
    "0 ** 2": (lambda x: x**2, [0.0, -3.0], [0, 9], [0, -6]),
    "tanh far out": (ops.tanh, far, [-1, 0, 1], [0, 1, 0]),
    "bce far out": (
        lambda x: losses.binary_cross_entropy_with_logits(x, 1.0, reduction="none"),
        far,
        [1000, np.log(2), 0],
        [-1, -0.5, 0],
    ),
    "logsumexp far out": (
        ops.logsumexp,
        [1000.0, -1000.0, 1000.0],
        1000 + np.log(2),
        [0.5, 0, 0.5],
    ),
    "NaN in the first branch not taken": (
        lambda x: ops.where(some, np.nan, x)[1:],
        tie,
        [1, 2],
        [0, 1, 1],
    ),
    "NaN in the second branch not taken": (
        lambda x: ops.where(some, x, np.nan)[:1],
        tie,
        [0],
        [1, 0, 0],
    ),
    "NaN from behind the first branch": (
        lambda x: ops.where(some, x, 0.0) * np.where(some, 1, np.nan),
        tie,
        None,
        [1, 0, 0],
    ),
    "NaN from behind the second branch": (
        lambda x: ops.where(some, 0.0, x) * np.where(some, np.nan, 1),
        tie,
        None,
        [0, 1, 1],
    ),
    "repeated index": (
        lambda x: x[[0, 0, 2]] * np.array([1.0, 2.0, 4.0]),
        tie,
        [0, 0, 8],
        [3, 0, 4],
    ),
    "unbiased variance": (lambda x: ops.var(x, correction=1), [1.0, 3.0], 2, [-2, 2]),
    "2 - x": (lambda x: 2 - x, [3.0], [-1], [-1]),
    "1 / x": (lambda x: 1 / x, [4.0], [0.25], [-1 / 16]),
    "2 ** x": (lambda x: 2.0**x, [3.0], [8], [8 * np.log(2)]),
    "array * x": (lambda x: np.array([1.0, 2.0]) * x, [3.0, 4.0], [3, 8], [1, 2]),
    "array @ x": (lambda x: np.array([[1.0, 2.0]]) @ x, [3.0, 4.0], [11], [1, 2]),
    "abs(-x)": (lambda x: abs(-x), [-1.0, 2.0], [1, 2], [-1, 1]),
}


@pytest.mark.parametrize("f, at, value, slope", CONVENTIONS.values(), ids=CONVENTIONS)
def test_conventions(f, at, value, slope):
    x = Tensor(np.array(at))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = f(x)
        gradients = grad(ops.sum(out), x), grad(ops.sum(f(x)), x, create_graph=True).data
    if value is not None:
        np.testing.assert_allclose(out.data, value, rtol=1e-15)
    for g in gradients:
        np.testing.assert_allclose(g, slope, rtol=1e-12, atol=0)


def test_tensor_methods():
    x = Tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
    for y in x.reshape(3, 2), x.reshape((3, 2)), x.reshape(-1, 2), x.reshape([3, 2]):
        np.testing.assert_array_equal(y.data, x.data.reshape(3, 2))
    for y in x.T, x.transpose(), x.transpose(1, 0), x.transpose((1, 0)), x.transpose(-1, -2):
        np.testing.assert_array_equal(y.data, x.data.T)
    for name in ("__lt__", "__le__", "__gt__", "__ge__"):
        for other in (2, np.float32(2), x.data[::-1], x[::-1]):
            answer, expected = getattr(x, name)(other), getattr(x.data, name)(ops.raw(other))
            assert (
                type(answer) is np.ndarray and answer.dtype == bool and (answer == expected).all()
            )
    for name in (
        "exp",
        "log",
        "sqrt",
        "tanh",
        "sigmoid",
        "abs",
        "sum",
        "mean",
        "max",
        "var",
        "flatten",
    ):
        with np.errstate(divide="ignore"):
            np.testing.assert_array_equal(getattr(x, name)().data, getattr(ops, name)(x.data))
    assert (
        len(x) == 2
        and x.ndim == 2
        and x.size == 6
        and x[1, 2].item() == 5
        and x.sum(axis=1, keepdims=True).shape == (2, 1)
    )


def test_what_porters_type():
    x = Tensor(U)
    same = [
        (x.view(6, 4), U.reshape(6, 4)), (x.view((6, -1)), U.reshape(6, 4)),
        (x.permute(2, 0, 1), U.transpose(2, 0, 1)),
        (x.permute((2, 0, 1)), U.transpose(2, 0, 1)), (x.transpose(1, 2), U.swapaxes(1, 2)),
        (x[0].transpose(0, 1), U[0].T),
        (x.transpose(0, -1), U.swapaxes(0, 2)), (x.transpose(2, 0, 1), U.transpose(2, 0, 1)),
        (x.pow(2), U**2),
        (x.unsqueeze(1).squeeze(1), U), (x.sum(dim=1), U.sum(1)), (x.max(1), U.max(1)),
        (x.sin(), np.sin(U)),
        (x.mean(dim=[0, 1], keepdim=True), U.mean((0, 1), keepdims=True)),
        (x.softmax(dim=0), ops.softmax(U, 0)),
        (ops.stack([x, x], dim=1), np.stack([U, U], 1)),
        (ops.concatenate([x, x], dim=-1), np.concatenate([U, U], -1)),
        (x.cumsum(dim=2), U.cumsum(2)), (ops.squeeze(x[:1], dim=0), U[0]),
        (ops.squeeze(x[:1], axis=1), U[:1]),
        (x.std(axis=1, correction=1), U.std(1, ddof=1)), (x.clip(), U), (x.flip(dim=0), U[::-1]),
    ]  # fmt: skip
    assert (x == None) is False and x != None  # noqa: E711 (they are asked, not `is`)
    assert x not in (None, "x") and x.var(axis=0, keepdim=True).ndim == 3
    for i, (ours, theirs) in enumerate(same):
        assert ours.shape == theirs.shape, i
        np.testing.assert_allclose(ours.data, theirs, rtol=1e-15, err_msg=str(i))
    assert (
        x.float().dtype == np.float32 and grad(ops.sum(x.float().double()), x).dtype == np.float64
    )
    assert (
        Tensor.__add__ is ops.add
        and Tensor.__radd__.__name__ == "__radd__"
        and Tensor.__eq__.__doc__
    )


@pytest.mark.parametrize("call, kind, words", [
    (lambda x: x.max(dim=1), ValueError, "values and indices"),
    (lambda x: ops.min(x, dim=1), ValueError, "values and indices"),
    (lambda x: x.var(dim=1), ValueError, "correction=1"),
    (lambda x: x.clone, AttributeError, "Tensor has no 'clone': x, since"),
    (lambda x: ops.cat, AttributeError, "ops has no 'cat': ops.concatenate"),
    (lambda x: x.add_, AttributeError, "no operation works in place"),
    (lambda x: x.nonsense, AttributeError, "Tensor has no 'nonsense'$"),
    (lambda x: nn.Linear(2, 2).cuda(), AttributeError, r"Linear has no 'cuda': .*to\('gpu'\)"),
    (lambda x: nn.Linear(2, 2).nonsense, AttributeError, "Linear has no 'nonsense'$"),
    (lambda x: nn.functional, AttributeError, "nn has no 'functional': .*nn.losses"),
    (lambda x: nn.Conv3d, AttributeError, "nn has no 'Conv3d'; near it are Conv2d, Conv1d"),
    (lambda x: nn.KLDivLoss, AttributeError, "nn has no 'KLDivLoss'; near it are .*Loss"),
    (lambda x: nn.HuberLoss, AttributeError, "nn has no 'HuberLoss'; near it are .*Loss"),
    (lambda x: tinygan.manual_seed, AttributeError, "no 'manual_seed': random.manual_seed"),
    (lambda x: losses.mse_loss, AttributeError, "losses has no 'mse_loss': nn.losses.mse$"),
    (lambda x: optim.lr_scheduler, AttributeError, "optim has no 'lr_scheduler': .*schedules"),
    (lambda x: tinygan.tensor, AttributeError, r"tinygan has no 'tensor': Tensor\(array\)"),
    (lambda x: tinygan.nonsense, AttributeError, "tinygan has no 'nonsense'$"),
    (lambda x: ops.flatten(x, 5), IndexError, "flatten: axis 5 is out of bounds"),
    (lambda x: ops.flatten(x, 2, 0), ValueError, r"start_dim 2 comes after end_dim 0 in x: \(2, 3"),
    (lambda x: ops.stack([x, x], 7), IndexError, "stack: axis 7 is out of bounds"),
    (lambda x: ops.swapaxes(x, 0, 3), IndexError, "axis 3 is out of bounds"),
    (lambda x: ops.squeeze(x, 3), IndexError, "axis 3 is out of bounds"),
    (lambda x: ops.einsum("ijk,jk", x), ValueError, r"einsum: 'ijk,jk' does not fit \(2, 3, 4\)"),
    (lambda x: ops.einsum("ij", x), ValueError, r"einsum: 'ij' does not fit \(2, 3, 4\)"),
    (lambda x: x.sum(dim=1, axis=0), TypeError, "sum: .*'dim', 'axis'"),
    (lambda x: ops.cumsum(x, None), TypeError, "integer"),
    (lambda x: ops.cumsum(x[0, 0, 0], 0), IndexError, "cumsum: axis 0 is out of bounds"),
    (lambda x: ops.leaky_relu(x, x), TypeError, r"leaky_relu: negative_slope must be a number"),
    (lambda x: ops.relu([1.0]), TypeError, "expected a NumPy or CuPy array, got list"),
    (lambda x: ops.einsum("iij->j", x), ValueError, r"einsum: 'iij->j' does not fit"),
    (lambda x: ops.einsum("ijk->l", x), ValueError, r"einsum: 'ijk->l' does not fit"),
    (lambda x: ops.einsum("ijk,ij->k", x, U[:1, :, 0]), ValueError, r"'ijk,ij->k' does not fit"),
    (lambda x: x.float() * [1.0, 2.0, 3.0, 4.0], TypeError, "gives .* float64 cpu for .* float32"),
    (lambda x: x * 3j, TypeError, "multiply: gives .* complex128"),
    (lambda x: ops.where(U > 0, x, None), TypeError, "where: gives .* object"),
    (lambda x: primitive(lambda x: 3.0)(x), TypeError, "gives 3.0 for Tensors of float64"),
    (lambda x: ops.exp(x=x), TypeError, "exp: x= is a Tensor"),
    (lambda x: ops.sum(U, axis=x), TypeError, "sum: axis= is a Tensor"),
    (lambda x: ops.concatenate([]), TypeError, r"concatenate: needs one array or more, got \[\]"),
    (lambda x: ops.concatenate([x, 1.0]), TypeError, "needs one array or more, got .*1.0"),
    (lambda x: ops.concatenate([x], None), TypeError, "integer"),
    (lambda x: ops.stack([x, x[0]]), ValueError, r"stack: needs .* of one shape, got .*\(3, 4\)"),
    (lambda x: ops.clip(x[0, 0], np.zeros((2, 1))), ValueError, r"clip: bounds .* \(2, 1\) .* x:"),
    (lambda x: x @ 3, ValueError, "matmul: x's last size"),
    (lambda x: ops.conv2d(x.reshape(1, 2, 3, 4), [1.0]), AttributeError, "ndim"),
    (lambda x: ops.reshape([1.0], (1, 1)), AttributeError, "size"),
    (lambda x: [1.0] @ x, ValueError, "matmul: x's last size"),
    (lambda x: x.reshape((6,), 4), TypeError, "integer"),
    (lambda x: Tensor(np.ma.masked_less(U, 0)), TypeError, "mask"),
    (lambda x: Tensor(U.astype(">f8")), TypeError, "floats, float32 or float64, got .* >f8"),
])  # fmt: skip
def test_what_is_spelled_otherwise_says_how(call, kind, words):
    with pytest.raises(kind, match=words):
        call(Tensor(U))


def test_edges():
    nan, x = np.nan, Tensor([])
    for empty, value in (ops.logsumexp(x), -np.inf), (ops.sum(x), 0), (ops.prod(x), 1):
        assert empty.item() == value and grad(empty, x).shape == (0,)
    with np.errstate(divide="ignore", invalid="ignore"):
        assert np.isnan(ops.var(Tensor([1.0]), correction=2).item()) and np.isnan(
            ops.var(Tensor([1.0]), correction=1).item()
        )
        for base in 0.0, np.zeros(3):
            y = Tensor(np.array([-1.0, 0.0, 2.0]))
            np.testing.assert_array_equal(grad(ops.sum(ops.power(base, y)), y), [-np.inf, 0, 0])
        x, y = Tensor(np.array([0.0, np.inf, nan, 2.0])), Tensor(np.zeros(4))
        (slope,) = grad(ops.sum(x**y), [x], create_graph=True)
        np.testing.assert_array_equal(slope.data, 0)
        assert grad(slope[3], y)[3] == 0.5  # d/dy of y * x**(y - 1)
    for f in ops.maximum, ops.minimum:
        x, y = Tensor([nan, 1.0, nan]), Tensor([0.0, nan, nan])
        assert [g.tolist() for g in grad(ops.sum(f(x, y)), [x, y])] == [[1, 1, 1], [1, 1, 1]]
    x = Tensor([[1.0, nan], [2.0, 3.0]])
    assert grad(ops.sum(ops.max(x, 1)), x).tolist() == [[0, 1], [0, 1]]
    assert grad(ops.sum(ops.max(x, 0)), x).tolist() == [[0, 1], [1, 0]]


def test_xlogy_is_0_where_x_is():
    y = np.array([-1.0, 0.0, np.inf, 2.0])
    assert ops.xlogy(Tensor(np.zeros(4)), y).data.tolist() == [0] * 4
    assert np.isnan(ops.xlogy(Tensor(np.zeros(1)), np.array([np.nan])).item())
    assert ops.xlogy(Tensor(np.ones(2, np.float32)), 2.1).dtype == np.float32


def test_long_sums_of_float32_keep_their_digits():
    x = np.full((1 << 20, 2), 0.1, np.float32)
    y = Tensor(x[0])
    for total in ops.sum(Tensor(x), 0).data, ops.sum(Tensor(x), (0,)).data, grad(ops.sum(y * x), y):
        np.testing.assert_allclose(total, (1 << 20) * np.float64(np.float32(0.1)), rtol=1e-7)
        assert total.dtype == np.float32


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint64, bool])
def test_integers_and_booleans_count_as_floats_element_by_element(kind):
    x = Tensor(np.array([2.0, 0.5], np.float32))
    a = np.array([0, 1]).astype(kind)
    e = np.array([2, 3]).astype(kind)
    for f in (
        lambda x, a, e: x**a, lambda x, a, e: ops.power(e, x), lambda x, a, e: ops.minimum(x, a),
        lambda x, a, e: x - a,
        lambda x, a, e: ops.maximum(a, x), lambda x, a, e: ops.xlogy(x, e),
        lambda x, a, e: losses.binary_cross_entropy_with_logits(x, a),
        lambda x, a,
        e: losses.binary_cross_entropy_with_logits(x, a, pos_weight=np.array([3, 3], np.float32)),
    ):  # fmt: skip
        floats = a.astype(np.float32), e.astype(np.float32)
        (g,), (h,) = (grad(ops.sum(f(x, *c)), [x], create_graph=True) for c in ((a, e), floats))
        assert g.dtype == np.float32
        np.testing.assert_array_equal(g.data, h.data)
        if g.op:
            both = [grad(ops.sum(d), x, allow_unused=True) for d in (g, h)]
            assert (both[0] is None) == (both[1] is None) and (
                both[0] is None or (both[0] == both[1]).all()
            )


def test_raw_integers_have_their_smallest_and_einsum_multiplies_them_as_floats():
    u8 = lambda *a: np.array(a, np.uint8)
    assert ops.min(u8(0, 200)) == 0 and ops.min(np.array([-128, 100], np.int8)) == -128
    assert ops.minimum(u8(0, 9), u8(3, 3)).tolist() == [0, 3]
    assert ops.einsum("i,i,i->", u8(200, 200), u8(200, 200), Tensor([1.0, 1.0])).item() == 80000


def test_a_matrix_counts_as_an_array():
    x = Tensor(U[0].view(np.matrix))
    assert type(x.data) is np.ndarray and (x * x).data.tolist() == (U[0] * U[0]).tolist()


def test_integers_beside_a_tensor_keep_its_dtype_to_any_order():
    x = Tensor(np.array([1.0, 2.0, 3.0], np.float32))
    y = ops.sum(x**3 * np.arange(3) + np.array([1, 2, 3], np.uint64) / x)
    (g,) = grad(y, [x], create_graph=True)
    assert y.dtype == g.dtype == grad(ops.sum(g), x).dtype == np.float32
    np.testing.assert_allclose(
        g.data, 3 * x.data**2 * [0, 1, 2] - np.array([1, 2, 3]) / x.data**2, rtol=1e-6
    )


def test_sizes_may_be_numpy_integers():
    assert Tensor(np.ones((2, 3))).reshape(np.int64(3), np.int64(2)).shape == (3, 2)


def test_gradients_of_0d_tensors_are_arrays():
    for f in (
        ops.relu,
        ops.sum,
        ops.exp,
        ops.abs,
        ops.max,
        lambda x: x * x,
        lambda x: x / 3,
        lambda x: x**2,
    ):
        x = Tensor(1.5)
        f(x).backward()
        assert isinstance(x.grad, np.ndarray) and x.grad.shape == () and x.grad.dtype == np.float32


def test_rules_of_arguments_that_nobody_asked_for_are_not_called():
    f = primitive(lambda x, y: x * y)
    f.defvjp(lambda g, out, x, y: g * y, lambda g, out, x, y: pytest.fail("called"))
    x, y = Tensor(np.ones(3)), Tensor(np.ones(3))
    assert grad(ops.sum(f(x, y)), x).tolist() == [1, 1, 1]


X = Tensor(np.ones((2, 3)))
BAD = [
    (lambda: ops.matmul(X, np.ones((2, 3))), r"matmul.*\(2, 3\) float64"),
    (lambda: ops.matmul(Tensor(1.0), np.ones(3)), "matmul"),
    (lambda: ops.linear(X, np.ones((4, 3)), np.ones(3)), r"linear.*bias.*\(4,\).*\(3,\)"),
    (lambda: ops.linear(X, np.ones((4, 2))), r"linear.*2.*\(2, 3\).*\(4, 2\)"),
    (lambda: ops.pad(X, ((-1, 0), (0, 0))), "pad: needs 2 pairs"),
    (lambda: ops.pad(X, ()), "pad: needs 2 pairs"),
    (lambda: ops.layer_norm(X, 4), r"layer_norm: x must end in \(4,\)"),
    (lambda: ops.batch_norm(X, np.ones(2), np.ones(2)), r"batch_norm.*2.*\(2, 3\)"),
    (lambda: ops.batch_norm(X[:1], None, None, training=True), "more than one value per channel"),
]


@pytest.mark.parametrize("call, message", BAD, ids=[message for _, message in BAD])
def test_errors_name_the_operation_and_the_shapes(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_silu_and_its_derivatives_of_large_numbers(dtype):
    """No overflow, no warning; a NaN goes through; elsewhere as its parts, to rounding."""
    x = np.array([-1e30, -800, -90, -20, -1.25, -0.0, 0, 1e-9, 3, 20, 90, 800, 1e30, np.nan], dtype)
    at = Tensor(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = ops.silu(at)
        first = grad(out, at, np.ones_like(x), create_graph=True)
        second = grad(first, at, np.ones_like(x))
    z, near = x.astype("float64"), 1e-6 if dtype == "float32" else 1e-14
    with np.errstate(over="ignore"):
        s = 1 / (1 + np.exp(-z))
    slope = s * (1 + z * (1 - s))
    curvature = s * (1 - s) * (2 + z * (1 - 2 * s))
    for ours, theirs in ((out.data, z * s), (first.data, slope), (second, curvature)):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, theirs, rtol=near, atol=near)
