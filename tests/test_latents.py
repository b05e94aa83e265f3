"""Latent tools: ways between points, truncation, directions, inversion and inpainting, on models
whose answers are known.
"""

import shutil

import cupy_standin as standin
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tinygan import Tensor, data, device, latents, models, nn, ops, random
from tinygan.latents import inversion

FORM = 3, 4, 2  # of the pictures of `linear`


def linear(latent=5, classes=0, names=(), size=0.1, dtype="float64"):
    """A GAN whose pictures are A z + b; of classes, b is another for each. Where size is small no
    picture leaves [-1, 1].
    """
    rng = np.random.default_rng(0)
    outputs = int(np.prod(FORM))
    network = nn.Sequential(nn.Linear(latent + classes, outputs), nn.Unflatten(1, FORM))
    network[0].weight.data[...] = rng.uniform(-size, size, (outputs, latent + classes))
    network[0].bias.data[...] = rng.uniform(-size, size, outputs)
    judge = nn.Sequential(nn.Flatten(), nn.Linear(outputs, classes or 1))
    gan = models.GAN(network, judge, latent, classes=classes, names=names)
    if dtype == "float64":
        gan.average.double()
    return gan


def matrix(gan):
    """A (outputs, latent) and b (outputs,) of a linear GAN without classes."""
    return gan.average[0].weight.data, gan.average[0].bias.data


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def length(x):
    return np.sqrt((x * x).sum(-1))


# ways


@given(
    st.integers(2, 6),
    st.integers(2, 9),
    st.sampled_from([(), (3,), (2, 0), (2, 3)]),
    st.sampled_from(["float32", "float64"]),
    st.integers(0, 99),
)
def test_slerp_turns_evenly_and_changes_length_evenly(k, steps, leading, dtype, seed):
    a, b = normal(2, *leading, k, seed=seed).astype(dtype)
    path = latents.slerp(a, b, steps)
    assert path.shape == (steps, *leading, k) and path.dtype == dtype
    assert np.array_equal(path[0], a) and np.array_equal(path[-1], b)
    t = np.linspace(0, 1, steps).reshape(-1, *[1] * len(leading))
    near = 1e-5 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(length(path), (1 - t) * length(a) + t * length(b), rtol=near)
    whole = np.arccos(np.clip((a * b).sum(-1) / length(a) / length(b), -1, 1))
    assume((np.minimum(whole, np.pi - whole) > 1e-3).all())  # arccos tells little there
    cosine = (a * path).sum(-1) / length(a) / length(path)
    np.testing.assert_allclose(cosine, np.cos(t * whole), atol=10 * near)
    there, back = latents.slerp(b, a, steps), path[::-1]
    np.testing.assert_allclose(there, back, atol=10 * near)


def test_slerp_of_known_points():
    path = latents.slerp(np.array([1.0, 0]), np.array([0, 3.0]), 3)
    np.testing.assert_allclose(path[1], [2**0.5, 2**0.5])
    assert path[2].tolist() == [0, 3]
    for k in range(2, 40):  # what rounding leaves of the difference is along the points themselves
        middle = latents.slerp(np.ones(k), -np.ones(k), 3)[1]
        np.testing.assert_allclose([length(middle) ** 2, middle.sum()], [k, 0], atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("turn", [0, 1e-16, 1e-12, 1e-8, 1e-4])
@pytest.mark.parametrize("k, sign", [(2, 1), (64, 1), (2, -1), (64, -1)])
def test_slerp_is_stable_where_points_are_nearly_parallel_or_opposite(dtype, turn, k, sign):
    a = normal(500, k).astype(dtype)
    b = (2 * sign * (a + turn * length(a)[:, None] * normal(500, k, seed=1))).astype(dtype)
    path = latents.slerp(a, b, 5)
    wanted = length(a) * np.array([1, 1.25, 1.5, 1.75, 2])[:, None]
    np.testing.assert_allclose(length(path), wanted, rtol=3e-3)
    u, v = (x / length(x)[..., None] for x in (path[:-1], path[1:]))
    turned = length(u - v)  # of each step: all are alike
    np.testing.assert_allclose(turned, turned[:1].repeat(4, 0), atol=3e-6)
    assert (turned < 2e-3).all() if sign == 1 else (turned > 0.75).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_slerp_from_or_to_zero_is_straight(dtype):
    a, zero = np.ones((1, 4), dtype), np.zeros((1, 4), dtype)
    for ends in ((a, zero), (zero, a), (zero, zero), (a, a)):
        path = latents.slerp(*ends, 5)
        np.testing.assert_allclose(path, latents.lerp(*ends, 5), atol=1e-7)
    assert np.isfinite(latents.slerp(np.ones(1), -np.ones(1), 3)).all()  # in one dimension


def test_slerp_stays_where_gaussian_points_are():
    a, b = normal(2, 500, 100)
    middles = [length(way(a, b, 3)[1]).mean() for way in (latents.lerp, latents.slerp)]
    np.testing.assert_allclose(middles, [50**0.5, 10], rtol=0.02)


def test_lerp():
    a, b = np.array([[0, 4]], "float32"), np.array([[2, 0]], "float32")
    path = latents.lerp(a, b, 5)
    assert path.dtype == np.float32 and path[:, 0].tolist() == [
        [0, 4], [0.5, 3], [1, 2], [1.5, 1], [2, 0],
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(3, 4), (4, 2, 5)])
@pytest.mark.parametrize("closed", [True, False])
def test_a_walk_goes_through_all_points(shape, closed):
    points = normal(*shape)
    path = latents.walk(points, 6, closed)
    m = len(points)
    assert path.shape == (m * 6 if closed else (m - 1) * 6 + 1, *shape[1:])
    assert np.array_equal(path[::6], points)
    np.testing.assert_allclose(path[6:13], latents.slerp(points[1], points[2], 7))
    if closed:
        np.testing.assert_allclose(path[-1], latents.slerp(points[-1], points[0], 7)[5])
    straight = latents.walk(points, 2, closed, way=latents.lerp)
    np.testing.assert_allclose(straight[1], (points[0] + points[1]) / 2)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: latents.slerp(normal(2, 3), normal(3), 3), "slerp: needs points of one shape"),
        (lambda: latents.lerp([1.0], [2.0], 3), "lerp: needs points of one shape"),
        (lambda: latents.lerp(np.arange(3), np.arange(3), 3), "arrays of floats"),
        (lambda: latents.slerp(normal(3), normal(3), 1), "at least 2 points"),
        (lambda: latents.walk(normal(1, 3), 3), "walk: needs 2 points"),
        (lambda: latents.walk(normal(2, 3), 0), "walk: needs 2 points"),
        (lambda: latents.walk(normal(3), 3), "walk: needs 2 points"),
        (lambda: latents.walk(np.eye(3, dtype=int), 3), "of floats"),
        (lambda: latents.walk(normal(2, 3), 2.5), "2.5"),
        (lambda: latents.lerp(normal(3), normal(3), 2.5), "at least 2 points, its ends, got 2.5"),
        (lambda: latents.directions(np.eye(4, dtype=int), np.arange(4) > 1), "finite floats"),
        (lambda: latents.directions(normal(4, 2) * np.nan, np.arange(4) > 1), "finite floats"),
        (lambda: latents.directions(normal(0, 2), np.ones(0, bool)), "finite floats, two or more"),
        (lambda: latents.directions(normal(4, 0), np.arange(4) > 1), "finite floats"),
        (lambda: latents.moved(np.ones(3, int), normal(3), [0.5]), "moved: .* arrays of floats"),
        (lambda: latents.moved(normal(3), np.eye(3, dtype=int)[0], [0.5]), "arrays of floats"),
        (lambda: latents.truncated(2, 3, psi=1.5), "psi must be from 0"),
        (lambda: latents.truncated(2, 3, psi=np.nan), "psi must be from 0"),
        (lambda: latents.truncated(2, 3, threshold=0), "threshold must be at least"),
        (lambda: latents.directions(normal(3), np.ones(3, bool)), "directions: points"),
        (lambda: latents.directions(normal(3, 2), np.arange(3)), "of bool"),
        (lambda: latents.directions(normal(3, 2), np.ones(2, bool)), "directions: points"),
        (lambda: latents.directions(normal(3, 2), np.eye(3) > 0, fit="svm"), "'svm'"),
        (
            lambda: latents.directions(normal(3, 2), np.arange(6).reshape(3, 2) % 2 > 0),
            "attribute 0 is the same at all 3",
        ),
        (lambda: latents.moved(normal(3, 2), normal(3), [1]), "moved: points"),
        (lambda: latents.moved(normal(3, 2), normal(2), 1.0), "moved: points"),
    ],
)
def test_what_is_no_way_and_no_direction(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# truncation


def test_truncation_draws_again_what_is_beyond_and_nothing_else():
    source = lambda: random.Generator(3)
    z = source().normal((400, 30))
    found = latents.truncated(400, 30, threshold=0.7, source=source())
    assert found.dtype == np.float32 and abs(found).max() <= 0.7
    within = abs(z) <= 0.7
    assert np.array_equal(found[within], z[within])
    # as a normal distribution cut at 0.7: the second moment, 1 - 2 t phi(t) / (2 Phi(t) - 1)
    assert abs((found[~within] ** 2).mean() - 0.1478) < 0.005
    assert abs(latents.truncated(9, 9, threshold=0.05, source=source())).max() <= 0.05
    assert np.array_equal(latents.truncated(400, 30, threshold=0.7, source=source()), found)
    half = latents.truncated(400, 30, psi=np.float64(0.5), source=source())
    assert np.array_equal(half, z / 2) and half.dtype == np.float32
    assert np.array_equal(latents.truncated(400, 30, psi=0, source=source()), 0 * z)
    random.manual_seed(3)
    assert np.array_equal(latents.truncated(400, 30), z)


# directions


@pytest.mark.parametrize("fit", ["linear", "means"])
@pytest.mark.parametrize("steepness", [1, 100])
def test_directions_of_attributes_that_are_likelier_along_them(fit, steepness):
    z = normal(5000, 8).astype("float32")
    wanted = normal(2, 8, seed=1)
    wanted /= length(wanted)[:, None]
    chance = 1 / (1 + np.exp(-steepness * (z @ wanted.T - 0.5)))
    attributes = np.random.default_rng(2).uniform(size=chance.shape) < chance
    found = latents.directions(z, attributes, fit)
    assert found.shape == (2, 8) and found.dtype == np.float32
    np.testing.assert_allclose(length(found), 1, rtol=1e-6)
    assert ((found * wanted).sum(1) > 0.98).all()
    np.testing.assert_allclose(latents.directions(z, attributes[:, 1], fit), found[1], rtol=1e-6)


def test_least_squares_knows_how_the_points_lie():
    wanted, stretched = np.array([0.6, 0.8]), np.array([[3, 0], [2, 0.5]])
    z = normal(5000, 2) @ stretched + [4, -1]
    has = z @ wanted > 1.5
    cosines = [latents.directions(z, has, fit) @ wanted for fit in ("linear", "means")]
    assert cosines[0] > 0.999 and cosines[1] < 0.95
    few = normal(60, 20, seed=5)  # and how few of N(0, 1) happen to
    wanted = np.eye(20)[0]
    cosines = [latents.directions(few, few[:, 0] > 0, fit) @ wanted for fit in ("linear", "means")]
    assert cosines[0] > cosines[1]


def test_more_samples_have_the_attribute_further_along():
    gan = linear(latent=6, dtype="float32")
    bright = lambda z: gan.sample(len(z), z)[:, 0].mean((1, 2)) > float(matrix(gan)[1][:8].mean())
    z, others = (gan.noise(n, random.Generator(1)) for n in (2000, 300))
    along = latents.directions(z, bright(z))
    shares = [bright(x).mean() for x in latents.moved(others, along, [-3, 0, 3])]
    assert shares[0] < 0.02 and 0.4 < shares[1] < 0.6 and shares[2] > 0.98
    two = latents.moved(others.reshape(30, 10, 6), along, [-3, 2])
    assert two.shape == (2, 30, 10, 6) and two.dtype == np.float32
    np.testing.assert_allclose(two[1] - two[0], np.broadcast_to(5 * along, two[0].shape), atol=1e-5)


# inversion


def answer(gan, image, known, deviation):
    """The point that `invert` looks for, by solving for it."""
    a, b = matrix(gan)
    rows = np.broadcast_to(known, FORM).reshape(-1)
    a, off = a[rows] / deviation, (image.reshape(-1) - b)[rows] / deviation
    return np.linalg.solve(a.T @ a + np.eye(a.shape[1]), a.T @ off)


@pytest.mark.parametrize("masked", [None, "one", "each"])
@pytest.mark.parametrize("deviation", [0.02, 0.2])
def test_a_linear_generator_is_inverted_as_by_solving(masked, deviation):
    gan = linear()
    images = np.clip(normal(3, *FORM) / 3, -1, 1)
    mask = {None: None, "one": normal(4, 2) > -0.5, "each": normal(3, 4, 2) > 0}[masked]
    found = latents.invert(gan, images, mask=mask, steps=400, deviation=deviation, starts=1)
    known = np.ones((3, 4, 2), bool) if mask is None else np.broadcast_to(mask, (3, 4, 2))
    wanted = [answer(gan, x, m, deviation) for x, m in zip(images, known)]
    assert found.z.dtype == np.float64 and found.labels is None
    np.testing.assert_allclose(found.z, wanted, atol=1e-3)
    np.testing.assert_allclose(found.samples, gan.sample(3, np.array(wanted)), atol=1e-3)
    squares = [((x - y)[:, m] ** 2).mean() for x, y, m in zip(found.samples, images, known)]
    np.testing.assert_allclose(found.mse, squares, rtol=1e-9)


def test_only_points_are_asked_about_and_nothing_else_changes(monkeypatch):
    asked, plain = [], inversion.grad
    monkeypatch.setattr(inversion, "grad", lambda y, x: asked.append(x.name) or plain(y, x))
    gan = linear(dtype="float32")
    before = {k: v.copy() for k, v in gan.average.state_dict().items()}
    points, images = normal(2, 5).astype("float32"), np.zeros((2, *FORM), "float32")
    given = points.copy()
    found = latents.invert(gan, images, steps=3, starts=points)
    assert asked == ["z"] * 3 and np.array_equal(points, given) and not images.any()
    assert found.z.dtype == found.samples.dtype == np.float32
    assert all(np.array_equal(v, before[k]) for k, v in gan.average.state_dict().items())
    assert all(p.grad is None for p in gan.average.parameters())


def test_batches_of_starts_change_nothing(monkeypatch):
    gan, images = linear(), np.clip(normal(5, *FORM) / 3, -1, 1)
    mask = normal(5, 4, 2) > 0
    ask = lambda: latents.invert(gan, images, mask=mask, steps=9, source=random.Generator(2))
    whole = ask()
    monkeypatch.setattr(inversion, "ROWS", 3)
    for a, b in zip(whole, ask()):
        np.testing.assert_allclose(a, b, rtol=1e-9) if a is not None else None
    again = latents.invert(gan, images, mask=mask, steps=9, source=random.Generator(3))
    assert not np.array_equal(again.z, whole.z)


class Valleys(models.latent.LatentModel):
    """A model of one dimension whose sample, sin(3 z) + z / 3, is not monotone."""

    latent, classes, names, device, sample_shape = 1, 0, (), "cpu", (1,)

    def draw(self, points):
        z = points * Tensor([1.0])
        return ops.sin(3 * z) + z / 3


def test_the_best_start_is_kept_and_the_nearest_samples_are_the_starts():
    model, wanted = Valleys(), np.array([[1.3]], "float32")
    cost = lambda z: (np.sin(3 * z) + z / 3 - 1.3) ** 2 / 0.08 + z * z / 2
    z = np.linspace(-4, 4, 4001)
    least = cost(z).min()
    for points in ([[[-3.0], [0.6], [3.1]]], [[[0.6], [-3.0], [-1.0]]]):
        found = latents.invert(model, wanted, starts=np.array(points, "float32"))
        assert cost(float(found.z[0, 0])) < least + 1e-3
    worse = latents.invert(model, wanted, starts=np.array([[-3.0]], "float32"))
    assert cost(float(worse.z[0, 0])) > least + 1
    found = latents.invert(model, wanted / 2, source=random.Generator(0), steps=1, lr=1e-6)
    assert found.mse < 1e-4  # of a thousand points one is there already


def test_classes_are_told_or_found():
    gan = linear(latent=3, classes=3, names=("cat", "dog", "emu"))
    z, labels = normal(9, 3), np.arange(9) % 3
    images = gan.sample(9, z, labels)
    options = {"steps": 150, "deviation": 0.01}
    found = latents.invert(gan, images, **options)
    assert found.labels.tolist() == labels.tolist() and found.mse.max() < 1e-5
    told = latents.invert(gan, images, ["cat", "dog", "emu"] * 3, **options)
    assert told.labels.tolist() == labels.tolist() and told.mse.max() < 1e-5
    wrong = latents.invert(gan, images, (labels + 1) % 3, **options)
    assert wrong.labels.tolist() == ((labels + 1) % 3).tolist()
    assert (wrong.mse > 10 * told.mse).all()
    given = latents.invert(gan, images, labels, starts=z, steps=1, lr=1e-9)
    assert given.mse.max() < 1e-12


def test_more_classes_than_random_points_have_their_starts(monkeypatch):
    monkeypatch.setattr(inversion, "POOL", 2)
    gan = linear(latent=2, classes=5)
    labels = np.array([4, 1, 3])
    found = latents.invert(gan, np.zeros((3, *FORM)), labels, steps=1, starts=3)
    assert found.labels.tolist() == [4, 1, 3]


@pytest.mark.parametrize("classes", [0, 3])
def test_a_vaes_encoder_gives_starts(classes):
    random.manual_seed(0)
    vae = models.VAES["mlp"](latent=4, side=8, classes=classes)
    images = data.scale(np.random.default_rng(0).integers(0, 256, (6, 8, 8), np.uint8))
    labels = np.arange(6) % 3 if classes else None
    means = vae.encode(vae.likelihood.target(images), labels, vae.average)[0].data
    of = lambda z: ((vae.sample(6, z, labels) - images) ** 2).mean((1, 2, 3))
    found = latents.invert(vae, images, labels, starts=means, steps=30)
    assert found.mse.mean() < of(means).mean()
    np.testing.assert_allclose(found.mse, of(found.z), rtol=1e-4)


@pytest.mark.parametrize("masked", ["one", "each"])
def test_inpainting_keeps_what_is_known(masked):
    gan, truth = linear(dtype="float32"), normal(3, 5).astype("float32")
    whole = gan.sample(3, truth)
    mask = normal(4, 2) > -0.5 if masked == "one" else normal(3, 4, 2) > -0.5
    known = np.broadcast_to(mask if masked == "each" else mask[None], (3, 4, 2))[:, None]
    images = np.where(known, whole, -1).astype("float32")
    filled = latents.inpaint(gan, images, mask, deviation=0.001, steps=300, starts=2)
    kept = np.broadcast_to(known, whole.shape)
    assert filled.dtype == np.float32 and np.array_equal(filled[kept], images[kept])
    np.testing.assert_allclose(filled, whole, atol=0.01)
    unchanged = latents.inpaint(gan, whole, np.ones((4, 2), bool), steps=1)
    assert np.array_equal(unchanged, whole)


def test_what_is_not_known_may_be_anything():
    gan, mask = linear(dtype="float32"), normal(4, 2) > -0.5
    whole = gan.sample(2, normal(2, 5).astype("float32"))
    fill = lambda rest: latents.inpaint(
        gan, np.where(mask, whole, np.float32(rest)), mask, steps=3, source=random.Generator(1)
    )
    wanted = fill(0)
    for rest in (np.nan, np.inf, 255):
        np.testing.assert_array_equal(fill(rest), wanted)
    with pytest.raises(ValueError, match="from nan to nan"):
        latents.inpaint(gan, np.where(mask, np.float32(np.nan), whole), mask)


def test_images_become_of_the_models_dtype():
    gan = linear(dtype="float32")
    images = gan.sample(2, normal(2, 5).astype("float32"))
    ask = lambda x, **options: latents.invert(
        gan, x, steps=3, source=random.Generator(1), **options
    )
    wanted = ask(images)
    for found in (ask(images.astype(float)), ask(images, lr=np.float64(0.1)),
                  ask(images, deviation=np.float64(0.2))):  # fmt: skip
        assert {a.dtype for a in (found.z, found.samples, found.mse)} == {np.dtype("float32")}
        np.testing.assert_array_equal(found.z, wanted.z)
    half = ask(images.astype(np.float16))
    assert half.z.dtype == half.mse.dtype == np.float32


ZEROS = np.zeros((2, *FORM))


@pytest.mark.parametrize(
    "images, options, words",
    [
        (np.zeros((2, 3, 2, 4)), {}, r"needs images \(n, 3, 4, 2\) of floats, got \(2, 3, 2, 4\)"),
        (np.zeros((2, *FORM), np.uint8), {}, "data.scale makes them of uint8"),
        (ZEROS.tolist(), {}, "needs images"),
        (ZEROS[:0], {}, "one or more"),
        (ZEROS + 1.01, {}, r"in \[-1, 1\], got .* from 1.01 to 1.01"),
        (ZEROS * np.nan, {}, "from nan to nan"),
        (ZEROS, {"steps": 0}, "steps must be at least 1"),
        (ZEROS, {"lr": 0.0}, "lr and deviation above 0"),
        (ZEROS, {"deviation": np.nan}, "lr and deviation above 0"),
        (ZEROS, {"starts": 0}, "starts must be at least 1"),
        (ZEROS, {"starts": 2.5}, "starts must be at least 1 and whole, or points, got 2.5"),
        (ZEROS, {"steps": 2.5}, "steps must be at least 1 and whole"),
        (ZEROS, {"starts": normal(2, 5) * np.nan}, "float64, finite, got"),
        (ZEROS, {"starts": normal(3, 5)}, r"starts must be points \(2, 5\)"),
        (ZEROS, {"starts": normal(2, 5).astype("f")}, "float64, finite, got"),
        (ZEROS, {"labels": [0, 1]}, "taught no classes"),
        (ZEROS, {"mask": np.ones((2, 4), bool)}, r"mask must be \(4, 2\) or \(2, 4, 2\)"),
        (ZEROS, {"mask": np.ones((3, 4, 2), bool)}, "mask must be"),
        (ZEROS, {"mask": np.ones((4, 2))}, "of bool"),
        (ZEROS, {"mask": np.arange(16).reshape(2, 4, 2) > 7}, "leaves nothing known"),
    ],
)
def test_what_cannot_be_inverted(images, options, words):
    with pytest.raises(ValueError, match=words):
        latents.invert(linear(), images, **options)


def test_classes_that_a_model_does_not_know():
    gan = linear(classes=3, names=("cat", "dog", "emu"))
    for labels, kind, words in (
        ([0, 3], IndexError, "label 3 is none of 3"),
        (["cat", "cow"], ValueError, "'cow' is no class"),
        ([0], ValueError, r"labels of shape \(2,\)"),
    ):
        with pytest.raises(kind, match=words):
            latents.invert(gan, ZEROS, labels)
    with pytest.raises(ValueError, match="need labels"):
        latents.invert(gan, ZEROS, starts=normal(2, 5))
    with pytest.raises(ValueError, match="invert: a mask is of pictures"):
        latents.invert(Valleys(), np.zeros((1, 1)), mask=np.ones((1, 1), bool))


# devices


@pytest.mark.skipif(not shutil.which("g++"), reason="g++ compiles the GPU's kernels for the host")
def test_the_same_on_a_gpu(gpu, monkeypatch):
    monkeypatch.setattr(inversion, "POOL", 10)
    to_gpu = lambda x: standin.ndarray(x.copy("K"))
    a, b = normal(2, 4, 6).astype("float32")
    has = normal(4) > 0
    calls = [
        lambda to: latents.slerp(to(a), to(b), 4),
        lambda to: latents.lerp(to(a), to(b), 4),
        lambda to: latents.walk(to(a), 3),
        lambda to: latents.directions(to(a), to(has)),
        lambda to: latents.moved(to(a), to(b[0]), [1, 2]),
        lambda to: latents.moved(to(a), to(b[0]), to(np.array([1.0, 2.0]))),
    ]
    for call in calls:
        found = call(to_gpu)
        assert device.of(found) == "gpu"
        np.testing.assert_allclose(device.to_host(found), call(np.asarray), atol=1e-5)
    options = {"threshold": 0.8, "psi": 0.5}
    ours, theirs = (
        latents.truncated(9, 6, source=random.Generator(1), device=where, **options)
        for where in ("cpu", "gpu")
    )
    np.testing.assert_allclose(theirs.a, ours, rtol=1e-5)

    images = data.scale(np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8))
    mask, found = np.arange(28 * 28).reshape(28, 28) % 3 > 0, []
    for where in ("cpu", "gpu"):
        random.manual_seed(0)
        gan = models.dcgan(width=1, latent=3, classes=2, device=where)
        own = {"starts": normal(3, 3).astype("float32"), "steps": 3}  # on the host
        own = latents.invert(gan, images, [1, 0, 1], **own)
        assert {device.of(a) for a in (own.z, own.samples, own.mse)} == {where}
        ask = {"steps": 3, "lr": 0.01, "starts": 2, "source": random.Generator(1)}
        found += [latents.invert(gan, images, [1, 0, 1], mask=mask, **ask)]
        found += [latents.inpaint(gan, device.to(images, where), device.to(mask, where), **ask)]
    (cpu, cpu_filled), (theirs, filled) = (found[:2], found[2:])
    for x, y in zip(cpu, theirs):
        np.testing.assert_allclose(device.to_host(y), x, atol=1e-3)
    np.testing.assert_allclose(filled.a, cpu_filled, atol=1e-3)
