"""Layers of discriminators: what each gives, its derivatives, what it keeps, what it refuses."""

import copy
import pickle

import numpy as np
import pytest

from tinygan import Tensor, grad, nn, no_grad, ops, optim, random
from tinygan.testing import check_grads, check_module

rng = np.random.default_rng(0)


def real(*shape):
    return rng.standard_normal(shape)


LAYERS = {  # a layer, the axis of its weight that is its outputs, an input's shape
    "Linear": (lambda: nn.Linear(4, 3), 0, (2, 4)),
    "Conv1d": (lambda: nn.Conv1d(2, 3, 2), 0, (1, 2, 4)),
    "Conv2d": (lambda: nn.Conv2d(4, 2, (1, 2), groups=2), 0, (2, 4, 1, 3)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(2, 3, 2, bias=False), 1, (1, 2, 3)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(2, 3, (1, 2)), 1, (1, 2, 1, 2)),
}


def wrapped(name):
    """A wrapped layer in float64, what it was, its weight as a matrix, and an input."""
    make, axis, shape = LAYERS[name]
    random.manual_seed(1)
    layer = make()
    plain = copy.deepcopy(layer).double()
    matrix = np.moveaxis(plain.weight.data, axis, 0).reshape(plain.weight.shape[axis], -1)
    return nn.spectral_norm(layer).double(), plain, matrix, real(*shape)


@pytest.mark.parametrize("name", LAYERS)
def test_the_weight_is_divided_by_its_largest_singular_value(name):
    layer, plain, matrix, x = wrapped(name)
    sigma = np.linalg.norm(matrix, 2)
    # roughly so when it is made, as a network in eval mode needs
    np.testing.assert_allclose(layer.weight.data, plain.weight.data / sigma, rtol=0.02)
    for _ in range(400):
        layer(x)
    plain.weight.data /= sigma
    np.testing.assert_allclose(layer.weight.data, plain.weight.data, rtol=1e-10)
    for mode in (True, False):
        np.testing.assert_allclose(layer.train(mode)(x).data, plain(x).data, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
def test_a_call_in_training_is_one_power_iteration_in_place(name):
    layer, plain, w, x = wrapped(name)
    buffers = layer.weight_u, layer.weight_v
    u = layer.weight_u.copy()
    for call in (layer, no_grad()(layer), layer):
        call(x)
        v = w.T @ u / np.linalg.norm(w.T @ u)
        u = w @ v / np.linalg.norm(w @ v)
        np.testing.assert_allclose(layer.weight_u, u, rtol=1e-12)
        np.testing.assert_allclose(layer.weight_v, v, rtol=1e-12)
    layer.eval()(x)
    np.testing.assert_allclose(layer.weight.data * (u @ w @ v), plain.weight.data, rtol=1e-12)
    assert layer.weight_u is buffers[0] and layer.weight_v is buffers[1]
    assert layer.layer.weight is layer.weight_orig  # and no graph stays in it
    np.testing.assert_allclose(layer.weight_u, u, rtol=1e-12)
    often = nn.spectral_norm(plain, n_power_iterations=3)
    often.weight_u[...] = u
    often(x), [layer.train()(x) for _ in range(3)]
    np.testing.assert_allclose(often.weight_v, layer.weight_v, rtol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
def test_spectral_norms_gradients(name):
    layer, _, _, x = wrapped(name)
    check_module(layer.eval(), x, order=2)


def test_sigma_has_a_gradient_and_its_vectors_have_none():
    """d(W / sigma) for constant u and v, by the quotient's rule (Miyato 2018, equation 12)."""
    layer, _, w, x = wrapped("Linear")
    g = real(2, 3)
    out = layer(x)
    found = grad(out, layer.weight_orig, g)
    u, v = layer.weight_u, layer.weight_v
    sigma, slope = u @ w @ v, g.T @ x
    expected = (slope - np.sum(slope * w) / sigma * np.outer(u, v)) / sigma
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    # a graph keeps the vectors it was made with, whatever calls come between
    for _ in range(3):
        layer(2 * x)
    np.testing.assert_array_equal(grad(out, layer.weight_orig, g), found)


def test_a_wrapped_layer_is_a_module_like_others():
    random.manual_seed(0)
    net = nn.Sequential(nn.spectral_norm(nn.Conv2d(1, 4, 3)), nn.Flatten(), nn.Linear(16, 1))
    names = "0.bias 0.weight_orig 0.weight_u 0.weight_v 2.weight 2.bias".split()
    assert [*net.state_dict()] == names
    assert [name for name, _ in net.named_parameters()] == [names[i] for i in (0, 1, 4, 5)]
    assert "(0): SpectralNorm(Conv2d(weight (4, 1, 3, 3)" in repr(net)
    x = real(5, 1, 4, 4)
    for again in (copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))):
        other = again(net).double()
        assert other[0].weight_orig.dtype == other[0].weight_u.dtype == np.float64
        assert other(x).dtype == np.float64 and net[0].weight_u.dtype == np.float32
        other[0].weight_orig.data[...] *= 2
        other[0].bias.data[...] = 100
        assert (other(x).data > net.double()(x).data + 1).any()
        net.float()
    trained = copy.deepcopy(net)
    optimizer = optim.SGD(trained.parameters(), 0.1)
    for _ in range(3):
        optimizer.step(grad(ops.sum(trained(x.astype(np.float32)) ** 2), optimizer.params))
    moved = [k for k, a in trained.state_dict().items() if (a != net.state_dict()[k]).any()]
    assert moved == names
    net.load_state_dict(trained.state_dict())
    x = x.astype(np.float32)
    np.testing.assert_array_equal(net.eval()(x).data, trained.eval()(x).data)


def test_a_moving_average_of_a_wrapped_layer_is_divided_as_if_u_and_v_were_of_length_1():
    """The average of unit vectors that turn is shorter."""
    layer, _, _, x = wrapped("Linear")
    average = copy.deepcopy(layer).eval()
    ema = optim.EMA(average, layer, 0.9)
    for _ in range(9):
        layer.weight_orig.data[...] = real(3, 4)
        layer(x)
        ema.update()
    u, v = average.weight_u, average.weight_v
    lengths = np.linalg.norm(u) * np.linalg.norm(v)
    assert lengths < 0.8
    sigma = u @ average.weight_orig.data @ v / lengths
    np.testing.assert_allclose(average.weight.data, average.weight_orig.data / sigma, rtol=1e-12)


def test_dcgans_first_weights_of_wrapped_layers():
    net = nn.init.dcgan(nn.Sequential(nn.spectral_norm(nn.Conv2d(8, 64, 5))))
    np.testing.assert_allclose(net[0].weight_orig.data.std(), 0.02, rtol=0.05)
    assert not net[0].bias.data.any()


def gained():
    """A layer with a parameter of its own."""
    layer = nn.Linear(2, 2)
    layer.gain = nn.Parameter(np.ones(1, np.float32))
    return layer


@pytest.mark.parametrize(
    "layer, words",
    [
        (nn.Tanh, "weight of two axes or more.* Tanh holds nothing: .*wrap each layer"),
        (lambda: nn.Sequential(nn.Linear(2, 1)), "Sequential holds 0: in a network, wrap each"),
        (lambda: nn.BatchNorm2d(3), "BatchNorm2d holds weight, bias, running_mean"),
        (nn.PReLU, "PReLU holds weight"),
        (gained, "Linear holds weight, bias, gain"),
        (lambda: ops.relu, "function holds nothing"),
        (lambda: nn.spectral_norm(nn.Linear(2, 1)), r"SpectralNorm\(Linear.* is wrapped already"),
    ],
)
def test_what_spectral_norm_does_not_take(layer, words):
    with pytest.raises(TypeError, match=f"spectral_norm: takes a layer .*{words}"):
        nn.spectral_norm(layer())


def test_what_spectral_norm_cannot_do():
    layer = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="n_power_iterations must be 1 or more, got 0"):
        nn.spectral_norm(layer, 0)
    layer.weight.data[...] = 0
    with pytest.raises(ValueError, match=r"the weight of Linear\(2, 1, bias=True\) is 0"):
        nn.spectral_norm(layer)
    assert isinstance(layer.weight, nn.Parameter)


def deviation(x, size):
    """Karras 2018, section 3, over groups of samples i, i + m, i + 2m, ... as loops."""
    m = len(x) // size
    groups = [x[i::m] for i in range(m)]
    return np.array([np.mean([np.sqrt(a.var() + 1e-8) for a in g.reshape(size, -1).T])
                     for g in groups])  # fmt: skip


@pytest.mark.parametrize("shape", [(6, 5), (6, 3, 4), (6, 3, 2, 4)], ids=str)
@pytest.mark.parametrize("size", [None, 1, 3, 6, 8])
def test_minibatch_deviation(shape, size):
    x = real(*shape)
    out = nn.MinibatchStdDev(size)(Tensor(x)).data
    assert out.shape == (6, shape[1] + 1, *shape[2:])
    np.testing.assert_array_equal(out[:, :-1], x)
    own = deviation(x, min(size or 6, 6))
    expected = np.tile(own, 6 // len(own)).reshape(6, *[1] * (len(shape) - 1))
    np.testing.assert_allclose(out[:, -1:], np.broadcast_to(expected, out[:, -1:].shape))


def test_minibatch_deviations_gradients():
    for size in (None, 2):
        check_grads(nn.MinibatchStdDev(size), real(4, 2, 1, 2), order=2)
    check_grads(nn.MinibatchStdDev(), real(3, 2), order=3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_minibatch_deviation_of_equal_samples_has_all_derivatives(dtype):
    x = Tensor(np.ones((4, 2, 3, 3), dtype))
    y = nn.MinibatchStdDev()(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.data[:, 2], 1e-4, rtol=1e-3)
    y = ops.sum(y[:, 2])
    for _ in range(3):
        slope = grad(y, x, create_graph=True)
        assert np.isfinite(slope.data).all()
        y = ops.sum(slope * np.arange(72, dtype=dtype).reshape(x.shape))
    assert nn.MinibatchStdDev()(Tensor(np.ones((1, 3), dtype))).shape == (1, 4)
    assert nn.MinibatchStdDev()(Tensor(np.ones((0, 3), dtype))).shape == (0, 4)


def test_groups_must_fill_the_batch():
    for size in (4, 0):
        with pytest.raises(ValueError, match=f"group_size={size} must divide the batch of 6; None"):
            nn.MinibatchStdDev(size)(real(6, 3))


@pytest.mark.parametrize("shape", [(2, 8), (1, 4, 2), (1, 4, 1, 3)], ids=str)
@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_maxout(shape, pieces):
    x = real(*shape)
    k = shape[1] // pieces
    expected = np.stack([x[:, i::k].max(1) for i in range(k)], 1)
    np.testing.assert_array_equal(nn.Maxout(pieces)(Tensor(x)).data, expected)
    check_grads(nn.Maxout(pieces), x, order=2)


def test_equal_pieces_share_the_gradient():
    x = Tensor(np.array([[1.0, 2.0, 1.0, 0.0]]))
    np.testing.assert_array_equal(grad(ops.sum(nn.Maxout(2)(x)), x), [[0.5, 1.0, 0.5, 0.0]])


def test_pieces_must_divide_the_features():
    for pieces in (3, 0):
        with pytest.raises(ValueError, match=f"pieces={pieces} must divide the 8 features of x"):
            nn.Maxout(pieces)(real(2, 8))
