"""Random changes of images against loops over images and pixels that are told the same draws; as a
transform of batches, and in a GAN's step.
"""

import numpy as np
import pytest
from runs import resumed, same, weights

from tinygan import Tensor, data, grad, models, nn, ops, random, train
from tinygan.checkpoint import CheckpointError
from tinygan.ops.augment import POLICY
from tinygan.testing import check_grads

ALL = ",".join(POLICY)
SIDES = (9, 12)  # an odd and an even one


def images(n=6, c=3, sides=SIDES, dtype=np.float64):
    return np.random.default_rng(0).uniform(-1, 1, (n, c, *sides)).astype(dtype)


def draws(seed, count, n):
    """What the first change of a policy draws: for each image a row of `count` numbers."""
    return random.Generator(seed).uniform((n, count)).astype(np.float64)


def flipped(x, coin):
    return x[:, :, ::-1] if coin < 0.5 else x


def shifted(x, *draw):
    out, size = np.zeros_like(x), x.shape[1:]
    reach = [round(n / 8 + 1e-9) for n in size]
    down, right = (int(d * (2 * r + 1)) - r for d, r in zip(draw, reach))
    for i, j in np.ndindex(*size):
        if 0 <= i + down < size[0] and 0 <= j + right < size[1]:
            out[:, i + down, j + right] = x[:, i, j]
    return out


def coloured(x, brightness, saturation, contrast):
    x = x + brightness - 0.5
    out = np.empty_like(x)
    for i, j in np.ndindex(*x.shape[1:]):
        grey = sum(x[:, i, j]) / len(x)
        out[:, i, j] = 2 * saturation * x[:, i, j] + (1 - 2 * saturation) * grey
    middle = out.sum() / out.size
    return (contrast + 0.5) * out + (0.5 - contrast) * middle


def cut(x, *draw):
    out = x.copy()
    sizes = [(n + 1) // 2 for n in x.shape[1:]]
    corner = [int(d * (n + 1 - s % 2)) - s // 2 for d, n, s in zip(draw, x.shape[1:], sizes)]
    for i, j in np.ndindex(*sizes):
        row, column = corner[0] + i, corner[1] + j
        if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
            out[:, row, column] = 0
    return out


LOOPS = {"flip": (flipped, 1), "shift": (shifted, 2), "colour": (coloured, 3), "cutout": (cut, 2)}


def by_loop(name, x, seed):
    loop, count = LOOPS[name]
    return np.stack([loop(image, *draw) for image, draw in zip(x, draws(seed, count, len(x)))])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", POLICY)
def test_a_change_is_a_loop_over_images(name, dtype):
    x = images(40, dtype=dtype)
    out = ops.augment(x, name, random.Generator(3))
    assert out.dtype == dtype and out.shape == x.shape
    exact = {"rtol": 0, "atol": {"float32": 1e-6, "float64": 4e-15}[dtype] * (name == "colour")}
    np.testing.assert_allclose(out, by_loop(name, x.astype(np.float64), 3), **exact)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for same_images in (last, x.repeat(2, 3)[..., ::2], Tensor(x)):
        again = ops.augment(same_images, name, random.Generator(3))
        assert isinstance(again, Tensor) == isinstance(same_images, Tensor)
        np.testing.assert_allclose(ops.raw(again), out, **exact)


def test_a_policy_is_its_changes_in_turn():
    x, source = images(), random.Generator(5)
    out = ops.augment(x, "cutout, flip,colour", source)
    assert source.draw == 3
    again = random.Generator(5)
    for name in ("cutout", "flip", "colour"):
        x = ops.augment(x, name, again)
    np.testing.assert_array_equal(out, x)
    random.manual_seed(5)
    np.testing.assert_array_equal(ops.augment(images(), "cutout,flip,colour"), out)


def test_no_policy_is_the_very_same_array_and_draws_nothing():
    source = random.Generator(0)
    for x in (images(), Tensor(images()), np.ones(3, np.uint8)):
        assert ops.augment(x, "", source) is x
    assert source.draw == 0


@pytest.mark.parametrize(
    "policy, shape",
    [*((name, (2, 2, 4, 3)) for name in POLICY), (ALL, (1, 3, 2, 3)), (ALL, (1, 1, 1, 2))],
    ids=str,
)
def test_derivatives(policy, shape):
    n, c, *sides = shape
    check_grads(lambda x: ops.augment(x * x, policy, random.Generator(2)), images(n, c, sides))


def test_what_is_cut_or_pushed_out_has_no_gradient_and_all_else_has_its_own():
    x = Tensor(images(30))
    cut = ops.augment(x, "cutout", random.Generator(1))
    np.testing.assert_array_equal(grad(ops.sum(cut), x), cut.data != 0)
    moved = ops.augment(x, "flip,shift", random.Generator(1))
    slope = grad(ops.sum(moved * moved), x)
    for i in range(len(x)):
        kept = slope[i] != 0
        np.testing.assert_array_equal(slope[i][kept], 2 * x.data[i][kept])
        assert (
            np.sort(x.data[i][kept]).tolist() == np.sort(moved.data[i][moved.data[i] != 0]).tolist()
        )


def test_each_image_is_changed_by_its_own_draws():
    x, other = images(), images()
    other[1:] = 0.5
    one, two = (ops.augment(a, ALL, random.Generator(4)) for a in (x, other))
    np.testing.assert_array_equal(one[0], two[0])
    alike = ops.augment(np.repeat(x[:1], 64, 0), ALL, random.Generator(4))
    assert len({a.tobytes() for a in alike}) == 64


def counts(values, expected):
    """Each value comes about as often as all others: chi square within five deviations."""
    found, times = np.unique(values, return_counts=True)
    assert found.tolist() == expected
    each = len(values) / len(expected)
    freedom = len(expected) - 1
    assert ((times - each) ** 2 / each).sum() < freedom + 5 * (2 * freedom) ** 0.5


def test_flips_and_shifts_are_equally_likely():
    n, source = 20_000, random.Generator(7)
    x = np.zeros((n, 1, 1, 2), np.float32)
    x[..., 0] = 1
    counts(ops.augment(x, "flip", source)[:, 0, 0].argmax(1), [0, 1])
    x = np.zeros((n, 1, 16, 8), np.float32)
    x[:, :, 8, 4] = 1
    place = ops.augment(x, "shift", source).reshape(n, -1).argmax(1)
    counts(place, [8 * i + j for i in range(6, 11) for j in (3, 4, 5)])
    x = np.ones((n, 1, 1, 8), np.float32)  # a square of 4, of which up to half lies outside
    inside = ops.augment(x, "cutout", source)[:, 0, 0] == 0
    runs = 10 * inside.argmax(1) + inside.sum(1)
    counts(runs, [2, 3, 4, 14, 24, 34, 44, 53, 62])


def test_a_colour_has_the_papers_ranges():
    n = 20_000
    x = np.zeros((n, 3, 1, 2), np.float32)
    x[:, 0, 0, 0], x[:, 1, 0, 1] = 0.6, -0.3
    bright = ops.mean(ops.augment(x, "colour", random.Generator(1)), (1, 2, 3)) - 0.05
    np.testing.assert_allclose([bright.min(), bright.max()], [-0.5, 0.5], atol=1e-3)
    np.testing.assert_allclose(bright.mean(), 0, atol=0.01)
    ratio = (
        ops.augment(x, "colour", random.Generator(1))[:, 0]
        - ops.augment(x, "colour", random.Generator(1))[:, 1]
    )
    times = ratio[:, 0, 0] / 0.6  # saturation times contrast
    assert -1e-6 <= times.min() < 0.01 and 2.8 < times.max() <= 3
    np.testing.assert_allclose(times.mean(), 1, atol=0.02)


def test_images_of_one_channel_have_no_saturation():
    x = images(50, c=1)
    brightness, _, contrast = draws(6, 3, 50).T[:, :, None, None, None]
    expected = x + brightness - 0.5
    middle = expected.mean((1, 2, 3), keepdims=True)
    expected = middle + (expected - middle) * (contrast + 0.5)
    np.testing.assert_allclose(ops.augment(x, "colour", random.Generator(6)), expected, atol=1e-15)


@pytest.mark.parametrize("policy", ["flop", "flip,", ",", " ", "flip;shift", "flip,Colour"])
def test_an_unknown_part_of_a_policy_is_named(policy):
    for call in (
        lambda: ops.augment(images(), policy),
        lambda: data.Augmented(policy),
        lambda: models.GAN(nn.Linear(1, 1), nn.Linear(1, 1), 1, augment=policy),
    ):
        with pytest.raises(ValueError, match="augment: there is no '.*'; there are flip, shift"):
            call()


@pytest.mark.parametrize(
    "x", [images()[0], images(dtype=np.float32).astype(np.uint8), np.zeros((2, 9))], ids=str
)
def test_what_are_no_images_is_refused(x):
    with pytest.raises(ValueError, match=r"augment: needs images \(n, c, h, w\) of floats"):
        ops.augment(x, "flip")


# as a transform of batches

PICTURES = np.random.default_rng(1).integers(0, 256, (24, 8, 8, 3)).astype(np.uint8)


def test_a_transform_changes_what_another_made_and_keeps_its_range():
    batches = data.Batches(PICTURES, 8, transform=data.Augmented(ALL))
    random.manual_seed(2)
    batch = batches.batch(0, 1)
    random.manual_seed(2)
    plain = data.scale(PICTURES[batches.rows(0, 1)])
    changed = ops.augment(plain, ALL)
    assert abs(changed).max() > 1
    np.testing.assert_array_equal(batch, np.clip(changed, -1, 1))
    assert batch.dtype == np.float32 and batch.shape == (8, 3, 8, 8)
    assert not np.array_equal(batches.batch(0, 1), batch)  # drawn anew
    halves = data.Augmented("flip", lambda images: images[..., :4, 0][:, None] / 255)
    assert halves(PICTURES).shape == (24, 1, 8, 4)


def test_a_transform_checks_as_the_one_before_it():
    with pytest.raises(data.DataError, match="scale: pictures are"):
        data.Batches(PICTURES[:, 0, 0], 8, transform=data.Augmented("flip"))
    with pytest.raises(data.DataError, match="binarise: pixels are uint8"):
        data.Augmented("flip", data.binarised)(PICTURES / 255)
    with pytest.raises(data.DataError, match="Augmented: transform is None; give a function"):
        data.Augmented("flip", None)


def test_a_transform_says_all_that_it_does():
    transforms = [data.scale, data.Augmented("flip"), data.Augmented("flip,shift")]
    transforms += [data.Augmented("flip", data.Scale(0, 1)), data.Augmented("flip", data.binarised)]
    names = {data.Batches(PICTURES, 8, transform=t).identity()["transform"] for t in transforms}
    assert len(names) == 5 and "Augmented('flip,shift', Scale(-1, 1))" in names
    assert repr(transforms[1]) == "Augmented('flip', Scale(-1, 1))"


# in a GAN's step


def gan(kind=models.GAN, **options):
    random.manual_seed(0)
    generator = nn.Sequential(nn.Linear(4, 3 * 64), nn.Tanh(), nn.Unflatten(1, (3, 8, 8)))
    discriminator = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 8), nn.Tanh(), nn.Linear(8, 1))
    return kind(generator, discriminator, 4, **options)


@pytest.mark.parametrize("kind", [models.GAN, models.WGANGP])
def test_all_that_the_discriminator_sees_is_changed_and_the_generator_learns_through_it(kind):
    model, seen, changed = gan(kind, augment=ALL), [], []
    plain, augment = model.discriminator.forward, ops.augment

    def noted(x, policy):
        changed.append(augment(x, policy))
        assert policy == ALL and not np.array_equal(ops.raw(changed[-1]), ops.raw(x))
        return changed[-1]

    model.discriminator.forward = lambda x: (seen.append(x), plain(x))[1]
    before = weights(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "augment", noted)
        model.step(data.scale(PICTURES))
    # fake and real ones, those of the penalty if there is one, and the fake ones again
    assert len(seen) == (4 if kind is models.WGANGP else 3)
    assert all(a is b for a, b in zip(seen, changed, strict=True))
    assert isinstance(seen[-1], Tensor)
    after = weights(model)
    for name in ("generator/0.weight", "discriminator/1.weight"):
        assert not np.array_equal(before[name], after[name])


def test_no_policy_changes_no_step():
    class Plain(models.GAN):
        def discriminate(self, x, labels=None):
            return self.discriminator(x)

    models_ = gan(), gan(Plain)
    for model in models_:
        random.default.seek(1)
        model.step(data.scale(PICTURES))
    assert same(*map(weights, models_))


def run(policy="flip,colour", transform=None):
    random.manual_seed(0)
    options = {"width": 2, "latent": 3, "augment": policy}
    images = PICTURES[..., 0].repeat(2, 1).repeat(2, 2)[:, :12, :12]
    transform = transform or data.Augmented("shift,cutout")
    return models.dcgan(side=12, **options), data.Batches(images, 8, 0, transform)


def test_a_run_resumes_to_the_bit_and_by_its_own_policies_only(tmp_path):
    cut = resumed(run, 2, 4, tmp_path / "cut")
    whole, batches = run()
    train.train(whole, batches, 2, tmp_path / "whole")
    assert same(weights(cut), weights(whole))
    assert train.load(tmp_path / "whole/checkpoint.npz").augment == "flip,colour"
    words = {"model.augment was flip,colour, is flip": {"policy": "flip"}}
    words["batches.transform was Augmented.* is Augmented.'flip'"] = {
        "transform": data.Augmented("flip")
    }
    for reason, other in words.items():
        with pytest.raises(CheckpointError, match=reason):
            train.train(*run(**other), 3, tmp_path / "cut", resume=True)
