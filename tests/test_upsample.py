"""The GAN in two stages: what is doubled keeps its means, both judges see what they should, real
pictures are doubled too, and it is a GAN like the others.
"""

import re

import numpy as np
import pytest
from PIL import Image
from runs import example, folder, resumed, same, weights

from tinygan import Tensor, checkpoint, data, models, nn, ops, random, train
from tinygan.models.upsample import Doubler
from tinygan.testing import check_grads
from tinygan.testing.modules import OfTinygan

DIGITS = data.load("bundled")
REAL = data.scale(DIGITS.images[:12])


def small(**options):
    random.manual_seed(0)
    return models.upsample(**{"width": 2, "latent": 3} | options)


def halves(x):
    """The means over 2x2 pixels, by NumPy."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).mean(axis=(3, 5))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_doubled_picture_has_the_means_of_the_picture_whatever_the_weights(channels):
    random.manual_seed(0)
    double, rng = Doubler(channels, 4, 2), np.random.default_rng(0)
    for p in double.parameters():
        p.data[...] = rng.normal(size=p.shape)
    low, z = rng.uniform(-1, 1, (3, channels, 4, 6)), rng.normal(size=(3, 2))
    x = double.double().uncut(low, z).data
    assert x.shape == (3, channels, 8, 12)
    np.testing.assert_allclose(halves(x), low, atol=1e-12)
    assert np.abs(x).max() > 2
    np.testing.assert_array_equal(double(low, z).data, x.clip(-1, 1))


def test_a_sample_is_a_doubled_small_picture_from_the_same_noise():
    gan = small(classes=3)
    points = np.concatenate(
        [gan.noise(5), np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]] * 3**0.5], 1
    )
    first = gan.average.first(points).data
    assert first.shape == (5, 1, 14, 14)
    expected = gan.average.second(first, points[:, :3]).data
    np.testing.assert_array_equal(gan.sample(5, points[:, :3]), expected)
    np.testing.assert_allclose(gan.upscale(first, points[:, :3]), expected, atol=1e-6)
    assert np.abs(expected - first.repeat(2, 2).repeat(2, 3)).max() > 1e-3


def test_one_judge_sees_the_small_picture_and_the_other_both_and_their_logits_add_up():
    D = small().discriminator
    low = halves(REAL)
    beside = np.concatenate([REAL, low.repeat(2, 2).repeat(2, 3)], 1)
    np.testing.assert_allclose(
        D(REAL).data, D.small(low).data + D.large(beside).data, rtol=1e-5, atol=1e-6
    )
    assert np.ptp(D.small(low).data) > 0 < np.ptp(D.large(beside).data)


def test_the_step_is_that_of_all_gans_and_content_is_added_to_gs_loss():
    assert models.Upsample.step is models.GAN.step
    gan = small(content=7.0)
    fake = gan.generate(gan.noise(12))
    random.manual_seed(5)
    found = gan.g_loss(gan.discriminate, fake, REAL).data
    random.manual_seed(5)
    doubled = gan.generator.second.uncut(halves(REAL), gan.noise(12)).data
    plain = models.GAN.g_loss(gan, gan.discriminate, fake, REAL).data
    np.testing.assert_allclose(found, plain + 7 * np.mean((doubled - REAL) ** 2), rtol=1e-5)


class Losses(nn.Module):
    """Both losses of a step, as a function of the noise, the real pictures and all weights."""

    def __init__(self, gan):
        self.generator, self.discriminator, self.gan = gan.generator, gan.discriminator, gan

    def forward(self, z, real):
        fake = self.gan.generate(z)
        both = self.gan.d_loss, self.gan.g_loss
        return [loss(self.gan.discriminate, fake, real) for loss in both]


def test_the_gradients_of_both_losses_by_all_weights(monkeypatch):
    """Along two directions in which all weights move: one by one they would take a minute."""
    gan, rng = small(width=1, latent=2, side=4), np.random.default_rng(1)
    net = Losses(gan).double()
    for p in net.parameters():  # their own start is small: every ReLU is near its kink
        p.data += 0.3 * rng.standard_normal(p.shape)
    z, noise = rng.standard_normal((2, 3, 2))
    monkeypatch.setattr(gan, "noise", lambda n: noise)
    real, losses = rng.uniform(-1, 1, (3, 1, 4, 4)), OfTinygan(net, 2)
    start = {name: p.data.copy() for name, p in net.named_parameters()}
    moves = {name: rng.standard_normal((2, a.size)) for name, a in start.items()}

    def along(t):
        moved = {k: a + ops.reshape(ops.matmul(t, moves[k]), a.shape) for k, a in start.items()}
        return losses(moved, z, real)

    check_grads(along, np.zeros(2), order=1)


@pytest.mark.parametrize("loss", models.LOSSES)
def test_every_game_is_played_with_two_stages(loss):
    gan = small(loss=loss, side=16, channels=3, spectral=True, minibatch_std=True, n_critic=2)
    assert isinstance(gan, models.Upsample) and gan.recipe["loss"] == loss
    assert gan.g_optimizer.param_groups[0]["lr"] == 1e-3  # dcgan's own for colour
    kind = getattr(models.LOSSES[loss], "func", models.LOSSES[loss])
    assert isinstance(gan, kind)
    wrapped = [m for m in gan.discriminator.modules() if type(m).__name__ == "SpectralNorm"]
    assert len(wrapped) == 6  # two convolutions and a dense layer, twice
    real = np.random.default_rng(0).uniform(-1, 1, (8, 3, 16, 16)).astype(np.float32)
    before = weights(gan)
    losses = gan.step(real)
    assert all(np.isfinite(value) for value in losses.values())
    after = weights(gan)
    moved = {k for k in after if not np.array_equal(after[k], before[k])}
    names = [f"{part}/{name}" for part in ("generator", "discriminator")
             for name, _ in gan.parts()[part].named_parameters()]  # fmt: skip
    # a bias of all logits is no matter of games that compare real with fake
    assert {name for name in names if "weight" in name} <= moved


def test_packed_pictures_are_judged_at_both_sizes():
    gan = small(packing=2)
    assert gan.discriminate(REAL).shape == (6, 1)
    gan.step(REAL)


def test_real_pictures_of_any_size_are_doubled(tmp_path):
    gan = small(classes=10)
    low, noise = halves(REAL), gan.noise(12)
    one = gan.upscale(low, noise)
    assert one.shape == REAL.shape and one.dtype == np.float32 and isinstance(one, np.ndarray)
    np.testing.assert_array_equal(one, gan.upscale(low, noise))
    assert np.abs(one - gan.upscale(low)).max() > 0  # other noise, other details
    assert gan.upscale(REAL[:, :, :10]).shape == (12, 1, 20, 56)
    many = np.concatenate([low] * 22)  # more than are doubled at a time
    np.testing.assert_allclose(gan.upscale(many, np.tile(noise, (22, 1)))[252:], one, atol=1e-6)
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(path, gan.parts(), {"step": 1, "model": gan.recipe})
    loaded = train.load(path)
    np.testing.assert_array_equal(loaded.upscale(low, noise), one)
    assert loaded.content == 10.0 and loaded.side == 28


@pytest.mark.parametrize(
    ("images", "noise", "words"),
    [
        (np.zeros((2, 3, 14, 14), np.float32), None, r"needs images \(n, 1, h, w\) of floats"),
        (np.zeros((2, 1, 14, 14), np.uint8), None, r"got \(2, 1, 14, 14\) uint8"),
        (np.zeros((14, 14), np.float32), None, r"got \(14, 14\)"),
        (np.zeros((0, 1, 14, 14), np.float32), None, r"got \(0, 1, 14, 14\)"),
        (np.zeros((2, 1, 14, 14), np.float32), np.zeros((3, 3)), r"noise of shape \(2, 3\), got"),
    ],
)  # fmt: skip
def test_what_cannot_be_doubled_is_refused(images, noise, words):
    with pytest.raises(ValueError, match=words):
        small().upscale(images, noise)


def test_sides_and_options_that_it_cannot_have_are_refused():
    with pytest.raises(ValueError, match="upsample: side must be a multiple of 4, got 30"):
        small(side=30)
    with pytest.raises(ValueError, match="upsample: content cannot be 'much'"):
        small(content="much")
    with pytest.raises(ValueError, match="loss: there is no 'mse'"):
        small(loss="mse")


def test_a_run_that_was_cut_goes_on_to_the_bit(tmp_path):
    arrays = (DIGITS.images[:96], DIGITS.labels[:96])
    made = lambda: (small(classes=10), data.Batches(arrays, 32))
    whole, batches = made()
    train.train(whole, batches, 2, tmp_path / "whole")
    assert same(weights(whole), weights(resumed(made, 2, 4, tmp_path / "cut")))


def test_it_learns_to_double():
    """In thirty steps the details of unseen digits are nearer than none."""
    gan = small(width=4)
    batches = data.Batches(DIGITS.images[:2000], 32)
    unseen = data.scale(DIGITS.images[2000:2200])
    low = halves(unseen)
    error = lambda x: float(np.mean((x - unseen) ** 2))
    for i in range(30):
        gan.step(batches.batch(0, i))
        random.default.next_step()
    z = gan.noise(200)
    np.testing.assert_allclose(gan.upscale(low, z), gan.average.second(low, z).data, atol=1e-6)
    gan.average.load_state_dict(gan.generator.state_dict())
    assert error(gan.upscale(low)) < 0.8 * error(low.repeat(2, 2).repeat(2, 3))


def test_the_example_doubles_what_it_has_not_seen(tmp_path):
    folder(tmp_path / "few", 300)
    flags = ["--data", tmp_path / "few", "--width", 2, "--epochs", 1, "--batch-size", 90]
    done = example("upsample_gan", *flags, "--samples", 30, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if "%" in line}
    assert list(rows) == ["nearest", "bicubic", "ours", "real"]
    assert rows["real"][:2] == ["0.00000", "infinite"]
    for error, psnr, _ in (rows[way] for way in ("nearest", "bicubic", "ours")):
        np.testing.assert_allclose(float(psnr), -10 * np.log10(float(error)), atol=0.02)
    assert float(rows["bicubic"][1]) > float(rows["nearest"][1])
    assert "30 held-out pictures" in done.stdout
    width, height = Image.open(tmp_path / "run/doubled.png").size
    assert width == 4 * 56 and 8 * 56 < height < 9 * 56
    assert np.load(tmp_path / "run/samples.npz")["images"].shape == (30, 28, 28)
    assert re.search(r"270 pictures .* in two stages on the CPU", done.stdout)


def test_points_and_pictures_may_be_tensors():
    gan = small()
    z = Tensor(gan.noise(2))
    assert ops.raw(gan.generate(z)).shape == (2, 1, 28, 28)
