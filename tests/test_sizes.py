"""Models for pictures of any side and colour: their shapes, a step, a sample, and the way back from
a file; and that 28x28 in grey is what it always was.
"""

import functools

import numpy as np
import pytest

from runs import same, weights
from tinygan import checkpoint, models, nn, ops, random, train
from tinygan.data import resize
from tinygan.models import sizes
from tinygan.models.sizes import halved

SIDES = {16: 4, 20: 5, 28: 7, 32: 4, 48: 6, 64: 4, 128: 4}  # and their smallest maps
SMALL = {
    "dcgan": functools.partial(models.dcgan, width=2, latent=3),
    "conv": functools.partial(models.VAES["conv"], width=2, latent=3),
}
OTHERS = {
    "mlp": functools.partial(models.mlp, latent=3),
    "dcgan5x5": functools.partial(models.dcgan5x5, latent=3),
    "vae mlp": functools.partial(models.VAES["mlp"], latent=3),
}


def check(make, side, channels, tmp_path):
    """What holds of every model for pictures, the model."""
    random.manual_seed(side)
    model = make(side=side, channels=channels)
    batch = np.random.default_rng(0).uniform(-1, 1, (2, channels, side, side)).astype(np.float32)
    losses = model.step(batch)
    assert all(np.isfinite(value) for value in losses.values())
    assert all(np.isfinite(a).all() for a in weights(model).values())
    before = random.default.draw
    assert (model.side, model.channels) == (side, channels) and random.default.draw == before

    noise = model.noise(3)
    images = model.sample(3, noise)
    assert images.shape == (3, channels, side, side) and images.dtype == np.float32
    assert np.abs(images).max() <= 1 and images.std() > 0
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(path, model.parts(), {"step": 1, "model": model.recipe})
    loaded = train.load(path)
    assert same(weights(loaded), weights(model))
    np.testing.assert_array_equal(loaded.sample(3, noise), images)
    return model


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", SMALL)
def test_convolutional_models_are_as_deep_as_their_pictures_are_large(
    name, side, channels, tmp_path
):
    model = check(SMALL[name], side, channels, tmp_path)
    gan = name == "dcgan"
    down, up = (model.discriminator, model.generator) if gan else (model.encoder, model.decoder)
    halvings = int(np.log2(side / SIDES[side]))
    conv, back = (
        [layer for layer in network if isinstance(layer, kind)]
        for network, kind in ((down, nn.Conv2d), (up, nn.ConvTranspose2d))
    )
    assert len(conv) == len(back) == halvings
    # the channels double where the side halves, and G has twice as many
    widths = [layer.weight.shape[0] for layer in conv]
    assert widths == [2 * 2**i for i in range(halvings)]
    assert [layer.weight.shape[0] for layer in back] == [(1 + gan) * w for w in widths[::-1]]
    # one number, or a mean and log variance in each of three directions
    x = np.zeros((5, channels, side, side), np.float32)
    assert ops.raw(down(x)).shape == (5, 1 if gan else 6)
    maps = channels if gan or channels == 1 else 2 * channels  # means, and scales
    assert ops.raw(up(model.noise(5))).shape == (5, maps, side, side)


@pytest.mark.parametrize(("name", "side"), [("mlp", 5), ("dcgan5x5", 12), ("vae mlp", 21)])
def test_the_other_models_have_sides_and_colours(name, side, tmp_path):
    check(OTHERS[name], side, 3, tmp_path)


def test_classes_and_names_go_with_sides_and_colours(tmp_path):
    batch = np.zeros((4, 3, 16, 16), np.float32), np.array([0, 1, 1, 0])
    for make in [*SMALL.values(), *OTHERS.values()]:
        model = make(side=16, channels=3, classes=2, names=("cat", "dog"))
        assert all(np.isfinite(value) for value in model.step(batch).values())
        assert model.sample(4, labels=["dog", "cat", "cat", "dog"]).shape == batch[0].shape
        again = models.build(model.recipe)
        assert again.names == ("cat", "dog") and again.recipe == model.recipe
        assert again.sample_shape == (3, 16, 16)


def test_the_learning_rate_falls_for_large_pictures_unless_it_is_given():
    for side, lr, rate in (
        (28, None, 2e-3),
        (64, None, 2e-3),
        (128, None, 5e-4),
        (128, 1e-4, 1e-4),
    ):
        model = SMALL["dcgan"](side=side, lr=lr)
        for made in (model, models.build(model.recipe)):
            assert [o.param_groups[0]["lr"] for o in made.optimizers] == [rate, rate]


def test_the_largest_side_is_that_of_pictures():
    assert sizes.MAX_SIDE == resize.MAX_SIDE


def test_halved():
    assert {side: halved("x", side, 1)[-1] for side in SIDES} == SIDES
    assert halved("x", 28, 1) == [28, 14, 7] and halved("x", 4, 3) == [4, 2, 1]
    assert halved("x", 128, 3) == [128, 64, 32, 16, 8, 4] and halved("x", 12, 1) == [12, 6, 3]


@pytest.mark.parametrize("name", [*SMALL, *OTHERS])
def test_what_is_no_picture_is_refused_before_anything_is_drawn(name):
    make = (SMALL | OTHERS)[name]
    before = random.default.draw
    for wrong in (0, 2, 4, -1):
        with pytest.raises(ValueError, match=f"channels must be 1 .grey. or 3 .RGB., got {wrong}"):
            make(channels=wrong)
    for wrong in (0, -28) if "mlp" in name else (0, -28, 1, 27, 30, 126):
        with pytest.raises(ValueError, match=f"{name[-3:]}.*: side must be .*, got {wrong}"):
            make(side=wrong)
    assert random.default.draw == before


# The default commands train what they always trained, and write the same picture


def dcgan_28(classes):
    """The networks of `dcgan` for digits, spelled out."""
    generator = nn.Sequential(
        nn.Linear(64 + classes, 4 * 16 * 49),
        nn.BatchNorm1d(4 * 16 * 49),
        nn.ReLU(),
        nn.Unflatten(1, (64, 7, 7)),
        nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(32 * 49, classes or 1),
    )
    networks = map(nn.init.dcgan, (generator, discriminator))
    return models.GAN(*networks, 64, 2e-3, classes=classes)


def conv_28(classes):
    """The networks of the VAE `conv` for digits, spelled out."""
    encoder = nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 49, (classes or 1) * 40),
    )
    decoder = nn.Sequential(
        nn.Linear(20 + classes, 64 * 49),
        nn.ReLU(),
        nn.Unflatten(1, (64, 7, 7)),
        nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
    )
    return models.VAE(encoder, decoder, 20, 3e-3, classes=classes)


@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize(
    ("make", "spelled_out"), [(models.dcgan, dcgan_28), (models.VAES["conv"], conv_28)]
)
def test_digits_have_the_networks_that_they_had(make, spelled_out, classes):
    batch = np.random.default_rng(0).uniform(-1, 1, (4, 1, 28, 28)).astype(np.float32)
    batch = (batch, np.array([3, 8, 3, 1])) if classes else batch
    results = []
    for build in (make, spelled_out):
        random.manual_seed(0)
        model = build(classes=classes)
        results.append([weights(model)])
        model.step(batch)
        results[-1].append(weights(model))
    assert same(results[0][0], results[1][0]) and same(results[0][1], results[1][1])
