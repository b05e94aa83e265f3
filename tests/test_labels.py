"""Class-conditional models: the label reaches every place it should and no other, and nothing else
about them is special.
"""

import functools

import numpy as np
import pytest
from PIL import Image
from runs import Narrow, example, resumed, same, weights

from tinygan import Tensor, checkpoint, data, models, nn, ops, plot, random, sample, train
from tinygan.models.latent import PREVIEW
from tinygan.models.labels import chosen, joined, one_hot, unpack
from tinygan.testing import check_grads

DIGITS = data.load("bundled")
MODELS = {
    f"{kind} {name}": m
    for kind, all in (("gan", models.MODELS), ("vae", models.VAES))
    for name, m in all.items()
}
TINY = {
    "gan": functools.partial(models.dcgan, width=2, latent=5),
    "vae": functools.partial(models.VAES["mlp"], latent=5),
}


def made(make, classes=10, n=160):
    random.manual_seed(0)
    return make(classes=classes), data.Batches((DIGITS.images[:n], DIGITS.labels[:n]), 32)


@pytest.mark.parametrize("name", MODELS)
def test_a_step_teaches_the_classes_of_its_batch_and_a_sample_obeys_its_label(name):
    random.manual_seed(0)
    model = MODELS[name](classes=10)
    gan = isinstance(model, models.GAN)
    to_images, to_answers = (
        (model.generator, model.discriminator) if gan else (model.decoder, model.encoder)
    )
    # a weight (out, latent + 10), a bias (10 * k,)
    first, last = to_images.parameters()[0], to_answers.parameters()[-1]
    before = [p.data.copy() for p in (first, last)]
    model.step((data.scale(DIGITS.images[:4]), np.array([3, 8, 3, 3], np.uint8)))
    columns = (first.data != before[0]).any(axis=0)
    assert columns[:-10].all() and columns[-10:].nonzero()[0].tolist() == [3, 8]
    assert (last.data != before[1]).reshape(10, -1).any(axis=1).nonzero()[0].tolist() == [3, 8]

    model.ema.decay = 0.0
    model.ema.update()
    noise = model.noise(12)
    by_turns = model.sample(12, noise)
    np.testing.assert_array_equal(by_turns, model.sample(12, noise, labels=[*range(10), 0, 1]))
    sevens = model.sample(12, noise, labels=np.full(12, 7))
    assert by_turns.shape == (12, 1, 28, 28) and by_turns.dtype == np.float32
    np.testing.assert_allclose(sevens[7], by_turns[7], atol=1e-5)
    assert all(np.abs(sevens[i] - by_turns[i]).max() > 1e-3 for i in range(12) if i != 7)


def test_joined_and_chosen_are_differentiable_and_pick_the_label():
    rows = one_hot(np.array([2, 0, 2, 1]), 3, np.zeros((4, 1)))
    assert (
        rows.tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 1, 0]] and rows.dtype == np.float64
    )
    out = np.random.default_rng(0).normal(size=(4, 6))
    np.testing.assert_array_equal(chosen(out, rows), out.reshape(4, 3, 2)[range(4), [2, 0, 2, 1]])
    check_grads(lambda out: chosen(out, rows), out)
    check_grads(lambda z: joined(z, rows), out)
    np.testing.assert_allclose((joined(out, rows)[:, 6:] ** 2).mean(), 1)
    none = np.empty((4, 0))
    x = Tensor(out)
    assert joined(x, none) is x and chosen(x, none) is x


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_label_that_is_no_class_is_named(wrong):
    with pytest.raises(IndexError, match=f"one_hot: label {wrong} is none of 3, 0 to 2"):
        one_hot(np.array([0, wrong]), 3, np.zeros((2, 1)))
    with pytest.raises(IndexError, match=f"label {wrong}"):
        TINY["gan"](classes=3).sample(2, labels=[wrong, 0])


@pytest.mark.parametrize("name", TINY)
def test_without_classes_labels_change_nothing(name):
    results = []
    for labelled in (True, False):
        model, batches = made(TINY[name], classes=0)
        for i in range(2):
            batch = batches.batch(0, i)
            model.step(batch if labelled else batch[0])
        results.append(weights(model))
    assert same(*results)
    with pytest.raises(ValueError, match="taught no classes: leave out labels"):
        model.sample(2, labels=[1, 2])


class Shifted(models.VAE):
    """p(x|z, y) is N(W z + s_y, 0.25) with orthogonal columns of W, so that q(z|x, y) can be, and
    is, the true posterior.
    """

    def __init__(self):
        encoder, decoder = nn.Linear(6, 3 * 4).double(), nn.Linear(2 + 3, 6).double()
        super().__init__(encoder, decoder, 2, classes=3, likelihood=Narrow())
        rng = np.random.default_rng(1)
        w, self.shift = (
            np.linalg.qr(rng.normal(size=(6, 2)))[0] * [2.0, 0.7],
            rng.normal(size=(3, 6)),
        )
        precision = 1 + (w**2).sum(axis=0) / 0.25
        self.covariance, to_mean = w @ w.T + 0.25 * np.eye(6), w.T / 0.25 / precision[:, None]
        decoder = np.concatenate([w, self.shift.T / 3**0.5], axis=1)
        self.average.decoder.load_state_dict({"weight": decoder, "bias": np.zeros(6)})
        weight = np.concatenate([np.concatenate([to_mean, np.zeros((2, 6))])] * 3)
        bias = np.concatenate(
            [np.concatenate([-to_mean @ s, -np.log(precision)]) for s in self.shift]
        )
        self.average.encoder.load_state_dict({"weight": weight, "bias": bias})


@pytest.mark.parametrize(("k", "rows"), [(1, 1000), (1, 1), (7, 5), (10, 25), (40, 1000)])
def test_the_bounds_are_on_p_of_x_given_its_label(k, rows):
    model, labels = Shifted(), np.array([2, 0, 1, 1, 0, 2, 2])
    x = np.random.default_rng(2).normal(size=(7, 6))
    d = x - model.shift[labels]
    distance = (d * np.linalg.solve(model.covariance, d.T).T).sum(axis=1)
    log_p = -0.5 * (distance + np.linalg.slogdet(2 * np.pi * model.covariance)[1])
    np.testing.assert_allclose(model.iwae((x, labels), k, rows), log_p, atol=1e-12)
    model.beta = 0.0  # without noise, the cut into pieces cannot matter
    assert model.elbo((x, labels), rows) == pytest.approx(model.elbo((x, labels)))
    assert (
        model.elbo((x, labels))["reconstruction"] < model.elbo((x, labels[::-1]))["reconstruction"]
    )


@pytest.mark.parametrize("name", TINY)
def test_a_resumed_run_ends_with_the_same_weights_and_its_pictures_have_a_class_to_a_column(
    name, tmp_path
):
    model, batches = made(TINY[name])
    train.train(model, batches, 2, tmp_path / "whole")
    picture, expected = tmp_path / "whole/samples/epoch-002.png", weights(model)
    latent = model.noise(80, random.Generator(0, PREVIEW))
    cells = plot.to_uint8(model.sample(80, latent, np.tile(np.arange(10), 8)))
    np.testing.assert_array_equal(np.asarray(Image.open(picture))[::2, ::2], plot.sheet(cells, 10))

    assert model.preview(tmp_path / "lr0.001").name == "lr0.001.png"
    assert same(weights(resumed(lambda: made(TINY[name]), 2, 7, tmp_path / "cut")), expected)
    with pytest.raises(checkpoint.CheckpointError, match="belongs to another model"):
        checkpoint.load(tmp_path / "cut/checkpoint.npz", made(TINY[name], classes=0)[0].parts())


def test_batches_keep_labels_beside_their_images():
    images = np.arange(20, dtype=np.uint8).repeat(4).reshape(20, 2, 2)
    for transform in (data.scale, data.binarised):
        x, y = data.Batches((images, np.arange(20) % 3), 8, transform=transform).batch(1, 1)
        assert x.shape == (8, 1, 2, 2) and y.shape == (8,)
        if transform is data.scale:
            np.testing.assert_array_equal(np.rint((x[:, 0, 0, 0] + 1) * 127.5) % 3, y)
    with pytest.raises(data.DataError, match=r"\(20, 2, 2\) and \(19,\)"):
        data.Batches((images, np.arange(19)), 8)


@pytest.mark.parametrize("name", TINY)
def test_errors(name):
    model, _ = made(TINY[name])
    with pytest.raises(ValueError, match=r"10 classes .* data.Batches\(\(images, labels\)"):
        model.step(data.scale(DIGITS.images[:4]))
    with pytest.raises(IndexError, match="label 12 is none of 10"):
        model.sample(1, labels=[12])
    with pytest.raises(ValueError, match="10 classes"):
        unpack(np.zeros((2, 3)), 10)
    with pytest.raises(ValueError, match=r"2 samples need labels of shape \(2,\), got \(3,\)"):
        model.sample(2, labels=[1, 2, 3])
    with pytest.raises(ValueError, match=r"2 samples need noise of shape \(2, 5\), got \(3, 5\)"):
        model.sample(2, model.noise(3))
    with pytest.raises(TypeError, match="labels must be integers, got float64"):
        model.sample(2, labels=[1.0, 2.5])


@pytest.mark.parametrize(
    "flags",
    [["mnist_gan", "--width", "4"], ["mnist_vae", "--latent", "2", "--iwae", "2"]],
    ids=" ".join,
)
def test_the_examples_make_digits_by_class(flags, tmp_path):
    name, *flags = flags
    flags += ["--conditional", "--epochs", 1, "--batch-size", 128, "--samples", 30]
    done = example(name, *flags, "--device", "cpu", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "samples/epoch-001.png") in done.stdout.splitlines()
    assert Image.open(tmp_path / "samples/epoch-001.png").size == (10 * 56, 8 * 56)
    samples = np.load(tmp_path / "samples.npz")
    assert samples["images"].shape == (30, 28, 28)
    assert samples["labels"].tolist() == [*range(10)] * 3


NAMES = ("cat", "dog", "7")


@pytest.mark.parametrize("name", TINY)
def test_classes_may_be_asked_for_by_name(name):
    model, _ = made(functools.partial(TINY[name], names=NAMES), 3)
    assert model.names == NAMES and model.recipe["names"] == [*NAMES]
    noise = model.noise(4)
    expected = model.sample(4, noise, [1, 0, 2, 1])
    for labels in (
        ["dog", "cat", "7", "dog"],
        np.array(["dog", "cat", "7", "dog"]),
        [1, "cat", 2, 1],
    ):
        np.testing.assert_array_equal(model.sample(4, noise, labels), expected)
    with pytest.raises(ValueError, match="'cow' is no class of this model: there are cat, dog, 7$"):
        model.sample(2, labels=["cat", "cow"])
    with pytest.raises(ValueError, match="'cat' is no class .* its classes have numbers, no names"):
        TINY[name](classes=3).sample(1, labels=["cat"])
    many = TINY[name](classes=100, names=[f"class {k}" for k in range(100)])
    with pytest.raises(ValueError, match="there are class 0, .* class 11 and 88 more$"):
        many.sample(1, labels=["class 100"])


def test_a_number_is_not_taken_for_another_class_than_the_one_that_it_names():
    """Labels from 1 to 3 have names '1' to '3': is 2 the third of those, or the one called '2'?"""
    model = TINY["gan"](classes=3, names=("1", "2", "3"))
    noise = model.noise(1)
    wanted = model.sample(1, noise, ["2"])
    for label in (2, np.int64(2)):
        with pytest.raises(ValueError, match="2 may be a name or a place.*by its name, '2'"):
            model.sample(1, noise, [label])
    assert np.array_equal(model.sample(1, noise, np.array([1])), wanted)  # places
    with pytest.raises(ValueError, match="3 may be a name or a place"):
        TINY["gan"](classes=3, names=("-1", "0", "3")).sample(2, labels=["3", 3])
    plain = TINY["gan"](classes=3, names=("0", "1", "2"))
    assert plain.sample(2, labels=[2, "1"]).shape == (2, 1, 28, 28)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "b"], "a model of 3 classes needs as many names, got 2"),
        (["a", "b", "a"], "must be distinct, and 'a' is there twice"),
        (["a", " ", "c"], "must be a str of 1 to 255 letters, got ' '"),
        (["a", "b", 3], "must be a str of 1 to 255 letters, got 3"),
        (["a", "b", "c" * 256], "must be a str of 1 to 255 letters, got 'ccc"),
    ],
    ids=str,
)
def test_names_that_name_no_classes(names, words):
    for make in TINY.values():
        with pytest.raises(ValueError, match=words):
            make(classes=3, names=names)
    recipe = TINY["gan"](classes=3).recipe
    with pytest.raises(ValueError, match=f"dcgan: (names cannot be|.*{words})"):
        models.build(recipe | {"names": names})


@pytest.mark.parametrize(
    "names",
    ["abc", {"a": 1}, [["a"], "b", "c"], ["a", "b", "c" * 256], 3, None],
    ids=str,
)
def test_a_recipe_with_names_that_are_none(names):
    with pytest.raises(ValueError, match="dcgan: names cannot be") as caught:
        models.build(TINY["gan"](classes=3).recipe | {"names": names})
    assert len(str(caught.value)) < 200


def test_a_preview_of_many_classes_has_sixteen_columns(tmp_path, monkeypatch):
    seen = []
    draw = lambda images, path, columns, names=None: seen.append((len(images), columns, names))
    monkeypatch.setattr(plot, "grid", draw)
    few = TINY["vae"](classes=3, names=NAMES)
    many = TINY["vae"](classes=100, names=[str(k) for k in range(100)])
    labels = []
    monkeypatch.setattr(
        many, "draw", lambda points: (labels.append(points[:, 5:]), few.draw(points[:, :8]))[1]
    )
    for model in (few, many, TINY["vae"](classes=100), TINY["vae"]()):
        model.preview(tmp_path / "p")
    shown = [0, 7, 13, 20, 26, 33, 40, 46, 53, 59, 66, 73, 79, 86, 92, 99]
    assert seen[0] == (24, 3, [*NAMES]) and seen[1] == (128, 16, [str(k) for k in shown])
    assert seen[2:] == [(128, 16, None), (64, 8, None)]
    # each column shows the class whose name stands above it
    assert (np.argmax(labels[-1], axis=1).reshape(8, 16) == shown).all()


def test_samples_by_name_from_the_command_line(tmp_path, monkeypatch, capsys):
    def call(*args):
        monkeypatch.setattr("sys.argv", ["sample", *map(str, args), "--device", "cpu"])
        with pytest.raises(SystemExit) as exit:
            sample.run(sample.main)
        return exit.value.code or 0, capsys.readouterr().err.splitlines()

    model, _ = made(functools.partial(TINY["gan"], names=NAMES), 3)
    batches = data.Batches((DIGITS.images[:64], DIGITS.labels[:64] % 3), 32)
    train.train(model, batches, 1, tmp_path / "run")
    run, made_npz = tmp_path / "run", tmp_path / "run/made.npz"
    heads = []
    draw = plot.grid
    monkeypatch.setattr(
        plot, "grid", lambda *args, names=None: (heads.append(names), draw(*args, names=names))
    )
    assert call(run, "--labels", "dog", "7", "-n", 5)[0] == 0
    with np.load(made_npz) as found:
        assert found["labels"].tolist() == [1, 2, 1, 2, 1] and found["names"].tolist() == [*NAMES]
    assert call(run, "-n", 12)[0] == 0 and np.load(made_npz)["labels"].tolist() == [0, 1, 2] * 4
    assert call(run, "--labels", *["cat"] * 17)[0] == 0
    assert heads == [["dog", "7"] * 4, [*NAMES] * 2, None]
    for label, words in (
        ("cow", "'cow' is no class of this model: there are cat, dog, 7"),
        ("1", "'1' is no class of this model: there are cat, dog, 7"),  # names, where there are any
        ("x\n" * 999, "'x\\nx\\nx"),
    ):
        code, said = call(run, "--labels", label)
        assert code == 2 and len(said) == 1 and words in said[0]


def test_each_sample_is_scored_and_made_by_its_own_label():
    gan, labels = models.mlp(classes=3), np.array([2, 0, 1, 1, 2])
    images = np.random.default_rng(0).uniform(-1, 1, (5, 1, 28, 28)).astype(np.float32)
    gan.generator.eval(), gan.discriminator.eval()
    scores = ops.raw(gan.discriminate(images, labels))
    np.testing.assert_allclose(
        scores[:, 0], ops.raw(gan.discriminator(images))[np.arange(5), labels], rtol=1e-5
    )
    points = gan.noise(5)
    made = ops.raw(gan.generate(points, labels))
    for i, label in enumerate(labels):
        alone = gan.generator(joined(points[i : i + 1], one_hot(np.array([label]), 3, images[:1])))
        np.testing.assert_allclose(made[i], ops.raw(alone)[0], atol=1e-5)


def test_a_model_prints_as_what_it_was_built_of():
    gan = models.dcgan(width=2, classes=2, names=("cat", "dog"))
    assert repr(gan).startswith("dcgan(width=2, latent=64, ")
    assert "classes=2, names=['cat', 'dog']" in repr(gan)
    gan.recipe = None  # of networks of one's own
    assert repr(gan) == "GAN()"


@pytest.mark.parametrize("labels", [[1], [0, 1, 2], [[0], [1], [2], [0]]])
def test_a_label_is_told_of_each_sample(labels):
    """One label, or a column, would be broadcast to all."""
    with pytest.raises(ValueError, match=r"one_hot: labels must be \(4,\), got"):
        one_hot(np.array(labels), 3, np.zeros((4, 1)))
