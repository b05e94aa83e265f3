"""Arrays of other libraries, both ways by DLPack: the same memory, values and gradients, errors."""

import numpy as np
import pytest

import tinygan as tg
from tinygan import Tensor, data, grad, nn, ops
from tinygan.arrays import adopted
from tinygan.nn import losses


class Foreign:
    """An array of a library that nobody knows: a shape, a dtype of its own, and DLPack."""

    def __init__(self, array, device=(1, 0)):
        self.array, self.device = array, device
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, f"foreign.{array.dtype}"

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("another way than DLPack")


def torchs(array):
    return pytest.importorskip("torch").from_numpy(np.array(array))


def jaxs(array):
    return pytest.importorskip("jax").numpy.asarray(array)


libraries = pytest.mark.parametrize("foreign", [Foreign, torchs, jaxs])
A = np.arange(6, dtype=np.float32).reshape(2, 3) - 2.5


@libraries
def test_a_tensor_is_of_the_very_memory(foreign):
    a = foreign(A.copy())
    t = Tensor(a)
    assert type(t.data) is np.ndarray and t.dtype == np.float32
    np.testing.assert_array_equal(t.data, A)
    if foreign is jaxs:
        assert np.shares_memory(t.data, np.asarray(a)) and not t.data.flags.writeable
        return
    t.data[0, 0] = 7  # either way
    assert np.from_dlpack(a)[0, 0] == 7
    np.from_dlpack(a)[1] = 8
    assert (t.data[1] == 8).all()


@libraries
def test_an_operation_takes_it_beside_a_tensor_on_either_side(foreign):
    x, a = Tensor(A.copy()), foreign(A)
    for f in (
        ops.add, ops.maximum, lambda x, y: x * y, lambda x, y: x @ ops.transpose(y),
        lambda x, y: ops.concatenate([x, y]), lambda x, y: ops.where(A > 0, x, y),
        losses.mse, lambda x, y: ops.linear(x, y),
    ):  # fmt: skip
        for pair, plain in (((x, a), (x, A)), ((a, x), (A, x))):
            got, want = f(*pair), f(*plain)
            assert isinstance(got, Tensor) and type(got.data) is np.ndarray
            np.testing.assert_array_equal(got.data, want.data)
            np.testing.assert_array_equal(grad(ops.sum(got), x), grad(ops.sum(want), x))
    got = ops.sum(x * a * x)
    (first,) = grad(got, [x], create_graph=True)
    np.testing.assert_array_equal(grad(ops.sum(first), x), 2 * A)
    assert all(type(b) is np.ndarray for b in (x * a).raw_args)  # what is recorded is NumPy's


@libraries
def test_raw_calls_comparisons_and_labels(foreign):
    a = foreign(A)
    for f in (ops.relu, ops.exp, lambda a: ops.max(a, axis=1), lambda a: ops.reshape(a, (3, 2))):
        assert isinstance(f(a), np.ndarray)
        np.testing.assert_array_equal(f(a), f(A))
    x = Tensor(A + 1)
    for got in (x == a, x != a, x < a, x <= a, x > a, x >= a):
        assert type(got) is np.ndarray and got.dtype == bool
    assert (x > a).all()
    labels, mask, index = np.array([2, 0]), A > 0, np.array([1, 1, 0])
    for plain in (labels, labels.astype(np.int32)):
        want = losses.cross_entropy(x, plain).item()
        assert losses.cross_entropy(x, foreign(plain)).item() == want
    np.testing.assert_array_equal((x * foreign(mask)).data, (A + 1) * mask)
    np.testing.assert_array_equal(x[foreign(index)].data, (A + 1)[index])
    assert (x * foreign(np.arange(3))).dtype == np.float32


@libraries
def test_networks_batches_and_state(foreign):
    images = np.random.default_rng(0).uniform(size=(4, 1, 8, 8)).astype(np.float32)
    nets = (
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)),
        nn.Sequential(nn.Flatten(), nn.Linear(64, 3)),
        nn.Sequential(nn.BatchNorm2d(1), nn.AvgPool2d(2)),
        nn.Sequential(nn.GroupNorm(1, 1), nn.MaxPool2d(2)),
    )
    for net in nets:
        np.testing.assert_allclose(net(foreign(images)).data, net(images).data, atol=1e-6)
        state = {k: np.asarray(a + 1) for k, a in net.state_dict().items()}
        net.load_state_dict({k: foreign(a) for k, a in state.items()})
        for k, a in net.state_dict().items():
            np.testing.assert_array_equal(a, state[k])
            assert a.flags.writeable and not np.shares_memory(a, state[k])
    made = data.Batches((foreign(images), foreign(np.arange(4))), 2, transform=None)
    for array in made.arrays:
        assert type(array) is np.ndarray
    got, rows = made.batch(0, 0)
    np.testing.assert_array_equal(got, images[rows])


def test_what_jax_holds_is_read_only_to_an_optimizer():
    p = Tensor(jaxs(A))
    optimizer = tg.optim.SGD([p], lr=1)
    ops.sum(p * p).backward()
    with pytest.raises(ValueError, match="read-only; nothing is updated"):
        optimizer.step()


def test_a_tensor_is_given_by_dlpack_too():
    t = Tensor(A.copy())
    shared = np.from_dlpack(t)
    assert np.shares_memory(shared, t.data) and t.__dlpack_device__() == (1, 0)
    assert not np.shares_memory(np.from_dlpack(t, copy=True), t.data)
    assert np.shares_memory(np.from_dlpack(t, device="cpu", copy=False), t.data)
    assert np.asarray(t) is t.data and np.shares_memory(np.from_dlpack(t * 1 + 1).base, A) is False
    np.testing.assert_array_equal(np.from_dlpack(t[:, ::-1].T), A[:, ::-1].T)
    with pytest.raises(BufferError, match="readonly|read-only"):
        frozen = A.copy()
        frozen.flags.writeable = False
        Tensor(frozen).__dlpack__()


def test_torch_and_jax_take_a_tensor():
    torch = pytest.importorskip("torch")
    t = Tensor(A.copy())
    for taken in (torch.from_dlpack(t), torch.asarray(t), torch.as_tensor(t.numpy())):
        assert taken.dtype == torch.float32 and (taken.numpy() == A).all()
    torch.from_dlpack(t)[0, 0] = 9
    assert t.data[0, 0] == 9
    jax = pytest.importorskip("jax")
    assert (np.asarray(jax.numpy.from_dlpack(t)) == t.data).all()


def test_a_graph_of_torch_is_cut_only_in_so_many_words():
    torch = pytest.importorskip("torch")
    p = torch.nn.Parameter(torch.ones(2, 3))
    layer = nn.Linear(3, 2)
    before = {k: a.copy() for k, a in layer.state_dict().items()}
    for f in (Tensor, layer, lambda p: Tensor(A) * p, lambda p: p * Tensor(A),
              lambda p: layer.load_state_dict({"weight": p, "bias": torch.ones(2)}),
              lambda p: ops.relu(p)):  # fmt: skip
        with pytest.raises(TypeError, match=r"x\.detach\(\)"):
            f(p)
    assert all((a == before[k]).all() for k, a in layer.state_dict().items())
    np.testing.assert_array_equal(Tensor(p.detach()).data, np.ones((2, 3)))
    with pytest.raises(data.DataError, match=r"x\.detach\(\)"):
        data.Batches(p, 1, transform=None)


def test_what_numpy_cannot_hold_is_one_line_with_a_remedy():
    torch = pytest.importorskip("torch")
    jnp = pytest.importorskip("jax").numpy
    ones = torch.ones(2, 3)
    for wrong, words in (
        (ones.bfloat16(), "bfloat16: cast it to float32"),
        (jnp.ones(3, jnp.bfloat16), "bfloat16: cast it to float32"),
        (ones.to_sparse(), "dense"),
        (ones.to("meta"), "meta.*on the CPU or, where CuPy is, a CUDA device"),
    ):
        for f in (Tensor, lambda a: Tensor(A) * a):
            with pytest.raises(TypeError, match=words) as caught:
                f(wrong)
            assert len(str(caught.value).splitlines()) == 1
    for wrong in (ones.half(), ones.long(), ones > 0):
        with pytest.raises(TypeError, match="needs floats, float32 or float64"):
            Tensor(wrong)
    with pytest.raises(TypeError, match="float32 and float64 do not mix"):
        Tensor(A) * ones.double()


def test_a_dtype_that_does_not_mix_is_named():
    torch = pytest.importorskip("torch")
    for half in (A.astype(np.float16), torch.from_numpy(A).half()):
        with pytest.raises(TypeError, match="add: float16 and float32 do not mix"):
            Tensor(A) + half


def test_tensors_of_two_dtypes_do_not_mix_whatever_stands_between_them():
    x, y = Tensor(A), Tensor(A.astype(np.float64))
    for args in ((x, y, A), (x, A, y), (x, y, x), (y, x, y)):
        with pytest.raises(TypeError, match="concatenate: float32 and float64 do not mix"):
            ops.concatenate(args)


class Labelled:
    """An array as pandas has it: of NumPy's dtypes, and with arithmetic of its own."""

    dtype = A.dtype
    __array_ufunc__ = None

    def __array__(self, dtype=None, copy=None):
        return A

    def __add__(self, other):
        return self

    __radd__ = __mul__ = __rmul__ = __add__


class Subclass(np.ndarray):
    pass


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("make", [np.matrix, lambda a: a.view(Subclass), lambda a: Labelled()])
def test_what_has_another_arithmetic_is_an_array_like_any_other(make):
    x, a = Tensor(A + 1), make(A)
    assert type((x + a).data) is type((x * a).data) is np.ndarray
    for f in (ops.add, ops.multiply, ops.maximum):
        for pair, plain in (((x, a), (x, A)), ((a, x), (A, x))):
            y, want = f(*pair), f(*plain)
            assert type(y.data) is np.ndarray and all(type(b) is np.ndarray for b in y.raw_args)
            np.testing.assert_array_equal((y * y).data, (want * want).data)
            np.testing.assert_array_equal(grad(ops.sum(y), x), grad(ops.sum(want), x))
    for own in (Tensor(a), nn.Parameter(a)):
        assert type(own.data) is np.ndarray and (own.data == A).all()
    assert type(ops.multiply(a, a)) is np.ndarray and (ops.multiply(a, a) == A * A).all()


def test_a_mask_is_refused_and_not_lost():
    x, masked = Tensor(A), np.ma.masked_array(A, A > 0)
    layer = nn.Linear(3, 2)
    for f in (Tensor, layer, lambda a: x * a, lambda a: a + x, lambda a: ops.sum(a),
              lambda a: layer.load_state_dict({"weight": a}, strict=False)):  # fmt: skip
        with pytest.raises(TypeError, match=r"lose its mask: x\.filled\(value\) has none"):
            f(masked)


@libraries
def test_layers_that_look_at_what_they_are_given(foreign):
    for layer in (nn.Dropout(), nn.Dropout2d(), nn.PReLU()):
        tg.random.manual_seed(0)
        got = layer(foreign(A + 1))
        tg.random.manual_seed(0)
        np.testing.assert_array_equal(ops.raw(got), ops.raw(layer(A + 1)))
        assert type(ops.raw(got)) is np.ndarray
    labels = np.array([2, 0, 1])
    for layer in (nn.Embedding(3, 2), nn.Embedding(3, 2, padding_idx=0)):
        np.testing.assert_array_equal(layer(foreign(labels)).data, layer(labels).data)


@libraries
def test_gradients_that_are_given(foreign):
    x, g = Tensor(A), foreign(A + 1)
    np.testing.assert_array_equal(grad(x * 2, x, g), 2 * A + 2)
    (first,) = grad([x * x], [x], [g], create_graph=True)
    np.testing.assert_array_equal(first.data, 2 * A * (A + 1))
    (x * 2).backward(g)
    assert type(x.grad) is np.ndarray and (x.grad == 2 * A + 2).all()


def test_without_cupy_an_array_on_a_gpu_is_one_line():
    gpu = Foreign(A, device=(2, 0))
    try:
        import cupy  # noqa: F401
    except ImportError:
        with pytest.raises(TypeError, match="the GPU needs CuPy, which is not installed"):
            Tensor(gpu)
        with pytest.raises(TypeError, match="the GPU needs CuPy"):
            Tensor(A) * gpu


def test_what_is_ours_stays_itself():
    t, scalar = Tensor(A), np.float32(2)
    for a in (A, t, scalar, 2.0, None, (1, 2), [A], "name", np.float32, A.dtype):
        assert adopted(a) is a
    assert (t * scalar).dtype == (scalar * t).dtype == np.float32
    for pair in ((t, A), (A, t)):
        assert ops.multiply(*pair).raw_args[0] is A


def test_whose_memory_is_whose():
    """What docs/conventions.md says below its tables."""
    a = A.copy()
    t = Tensor(a)
    for same in (t.data, t.numpy(), np.asarray(t), t.detach().data, Tensor(t).data):
        assert same is a
    for view in (t.reshape(3, 2), t.T, t[:1], ops.broadcast_to(t, (2, 2, 3)), np.from_dlpack(t)):
        assert np.shares_memory(ops.raw(view), a)
    for new in (t + 0, t.float(), t[[0, 1]], grad(ops.sum(t), t), Tensor([1, 2])):
        assert not np.shares_memory(ops.raw(new), a)
    layer = nn.Linear(3, 2)
    optimizer = tg.optim.Adam(layer.parameters(), lr=0.1)
    assert layer.state_dict()["weight"] is layer.weight.data
    assert all(optimizer.state[k] is b for k, b in optimizer.state_dict().items())
    layer.load_state_dict({"weight": a, "bias": a[:, 0]})
    assert (layer.weight.data == a).all() and not np.shares_memory(layer.weight.data, a)
    batches = data.Batches(a, 1, transform=None)
    assert batches.arrays[0] is a and not np.shares_memory(batches.batch(0, 0), a)
