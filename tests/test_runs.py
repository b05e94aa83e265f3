"""A run's folder: who may write there, how it goes on, and the model that is rebuilt from it."""

import json
import tracemalloc
from functools import partial

import numpy as np
import pytest
from PIL import Image
from runs import example, same, weights

from tinygan import checkpoint, cli, data, models, nn, plot, random, sample, train
from tinygan.checkpoint import CheckpointError
from tinygan.train.settings import differing

DIGITS = data.load()


def tiny(seed=0, images=DIGITS.images[:160], batch_size=32, **options):
    random.manual_seed(seed)
    options = {"width": 2, "latent": 5} | options
    return models.dcgan(**options), data.Batches(images, batch_size, seed)


def state(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_that_holds_a_run_is_refused(tmp_path):
    train.train(*tiny(), 1, tmp_path)
    (tmp_path / "best.npz").write_bytes(b"of the first run")
    before = state(tmp_path)
    with pytest.raises(train.RunExistsError, match="holds a run already: resume=True goes on"):
        train.train(*tiny(), 1, tmp_path)
    assert state(tmp_path) == before
    (tmp_path / "checkpoint.npz").unlink()  # what is left of the run is not to be lost either
    with pytest.raises(
        train.RunExistsError, match="best.npz: belongs to no run of ours|holds a run already"
    ):
        train.train(*tiny(), 1, tmp_path)
    train.train(*tiny(seed=1), 1, tmp_path, overwrite=True)
    assert not (tmp_path / "best.npz").exists()
    assert checkpoint.read_meta(tmp_path / "checkpoint.npz")["seed"] == 1


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    for words in ('{"name": "a project"}', "[]"):
        (tmp_path / "config.json").write_text(words)
        for how in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises(
                train.RunExistsError, match="config.json: belongs to no run of ours"
            ):
                train.train(*tiny(), 1, tmp_path, **how)
        assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


OWN = ["losses.png", "log.jsonl", "samples.gif", "samples/epoch-001.png", "best.npz", "samples.npz"]


@pytest.mark.parametrize("name", [*OWN, "samples/epoch-1.txt", "samples/x.drawing/f", "notes.txt"])
def test_files_of_somebody_else_are_left_alone(name, tmp_path):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    for overwrite in (True, False):
        if name in OWN:
            with pytest.raises(train.RunExistsError, match=f"{name}: belongs to no run of ours"):
                train.train(*tiny(), 1, tmp_path, overwrite=overwrite)
        else:
            train.train(*tiny(), 1, tmp_path, overwrite=True)
        assert (tmp_path / name).read_text() == "mine"


def test_a_mistake_is_seen_before_the_old_run_is_overwritten(tmp_path):
    model, batches = tiny()
    train.train(model, batches, 1, tmp_path)
    before = state(tmp_path)
    for wrong, words in (
        ({"notes": {"p": object()}}, "notes must be what JSON can hold"),
        ({"config": {"p": float("nan")}}, "config must be what JSON can hold"),
        ({"resume": True}, "resume or overwrite, one of them"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            train.train(model, batches, 1, tmp_path, **{"overwrite": True} | wrong)
    with pytest.raises(TypeError, match="batches must be a data.Batches, got list"):
        train.train(model, [1, 2], 1, tmp_path, overwrite=True)
    assert state(tmp_path) == before
    picture = tmp_path / "losses.png"
    picture.unlink()
    picture.mkdir()
    with pytest.raises(train.RunExistsError, match="losses.png: is no file"):
        train.train(model, batches, 1, tmp_path, overwrite=True)
    assert state(tmp_path) == {path: b for path, b in before.items() if path != picture}


def test_what_a_run_must_share_cannot_be_said_away(tmp_path):
    said = {"data": "mine", "seed": 0, "width": np.int64(2), "where": tmp_path}
    train.train(*tiny(), np.int64(1), tmp_path, config=said)
    with pytest.raises(CheckpointError, match="seed was 0, is 1"):
        train.train(*tiny(seed=1), 2, tmp_path, config=said, resume=True)
    train.train(*tiny(), 2, tmp_path, config=said, resume=True)


def test_a_model_without_parts_does_not_resume_from_nothing(tmp_path):
    class Counts:
        count = 0

        def step(self, batch):
            self.count += 1
            return {"count": self.count}

    train.train(Counts(), tiny()[1], 1, tmp_path)
    with pytest.raises(CheckpointError, match=r"holds nothing of a model that has no parts\(\)"):
        train.train(Counts(), tiny()[1], 2, tmp_path, resume=True)


def test_a_figure_that_seeds_changes_no_step():
    def seeded():
        random.manual_seed(7)
        probe = models.dcgan(width=2, latent=3)
        for _ in train.loop(probe, tiny()[1], 1):
            pass
        return {"figure": float(random.default.uniform((1,))[0])}

    trained = []
    for callbacks in ([], [train.Evaluate(seeded)]):
        model, batches = tiny()
        train.train(model, batches, 3, callbacks=callbacks)
        trained.append(weights(model))
    assert same(*trained)


def test_a_run_that_follows_another_in_its_process_resumes_too(tmp_path):
    constant = {"schedule": train.constant}
    trained = []
    for epochs in (2, 1):
        model, batches = tiny()
        random.default.seek(31)  # the other one's steps
        train.train(model, batches, epochs, tmp_path / str(epochs), **constant)
        trained.append(weights(model))
    model, batches = tiny()
    train.train(model, batches, 2, tmp_path / "1", resume=True, **constant)
    assert same(weights(model), trained[0])


def test_a_loaded_model_learns_at_the_rate_that_the_run_began_with(tmp_path):
    train.train(*tiny(lr=0.003), 2, tmp_path)
    assert [o.lr for o in train.load(tmp_path).optimizers] == [0.003, 0.003]


def test_what_has_no_folder_cannot_be_resumed():
    with pytest.raises(ValueError, match="train: resume or overwrite, one of them, is of a folder"):
        train.train(*tiny(), 1, resume=True)


def test_config_says_what_made_the_run(tmp_path):
    train.train(*tiny(), 1, tmp_path, config={"targets": "grey"}, notes={"why": "to see"})
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model"]["model"] == "dcgan" and config["model"]["width"] == 2
    assert config["settings"]["config"]["targets"] == "grey" and config["why"] == "to see"
    assert config["settings"]["batches"]["batch_size"] == 32 and config["lr"] == [2e-3, 2e-3]
    assert {"python", "numpy", "numba", "tinygan", "processor"} <= config["versions"].keys()


def test_resuming_with_other_epochs_and_rates_says_so_in_the_log(tmp_path):
    train.train(*tiny(), 2, tmp_path)
    model, batches = tiny(lr=1e-4)
    rates = []

    def step(batch):
        rates.append(model.g_optimizer.lr)
        return model.step(batch)

    records = train.train(model, batches, 4, tmp_path, resume=True, step=step)
    event = {"step": 10, "event": "resumed", "epochs": 4, "lr": [1e-4, 1e-4]}
    assert [r["step"] for r in records] == [*range(1, 21)]
    np.testing.assert_allclose(rates, 1e-4 * np.minimum(1, 2 * (1 - np.arange(10, 20) / 20)))
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[10]) == event and len(lines) == 21
    assert json.loads((tmp_path / "config.json").read_text())["resumed"][0]["epochs"] == 2
    with pytest.raises(CheckpointError, match="at step 20 already, and 3 epochs have 15"):
        train.train(*tiny(), 3, tmp_path, resume=True)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"width": 3}, "width was 2, is 3"),
        ({"images": DIGITS.images[1:161]}, "the data are others .files, side"),
        ({"batch_size": 40}, "batch_size was 32, is 40"),
    ],
    ids=["seed", "width", "data", "batch_size"],
)
def test_another_run_does_not_go_on(other, words, tmp_path):
    train.train(*tiny(), 1, tmp_path)
    before, (model, batches) = state(tmp_path), tiny(**other)
    untouched = weights(model)
    with pytest.raises(CheckpointError, match=f"another run: .*{words}"):
        train.train(model, batches, 2, tmp_path, resume=True)
    assert state(tmp_path) == before and same(weights(model), untouched)


PLAIN = {"packing": 1, "minibatch_std": False, "loss": "non-saturating", "n_critic": 1, "r1": 0.0}


def test_a_run_from_before_an_option_goes_on(tmp_path):
    """As by default, and not otherwise."""
    train.train(*tiny(**PLAIN), 1, tmp_path)
    path = tmp_path / "checkpoint.npz"
    meta, model = checkpoint.read_meta(path), train.load(path)
    for option in PLAIN:
        del meta["model"][option], meta["config"]["model"][option]
    checkpoint.save(path, model.parts(), meta)
    with pytest.raises(CheckpointError, match="another run: model.loss was non-saturating, is hin"):
        train.train(*tiny(loss="hinge"), 2, tmp_path, resume=True)
    train.train(*tiny(**PLAIN), 2, tmp_path, resume=True)


@pytest.mark.parametrize(
    ("make", "same", "other"),
    [
        (partial(models.dcgan, 2), PLAIN, {"minibatch_std": True}),
        (models.points, {"betas": [0.5, 0.999], "spectral": False}, {"betas": [0.5, 0.9]}),
        (partial(models.points, loss="r3gan"), {"r1": 1.0, "r2": 1.0}, {"r1": 0.0}),
        (partial(models.points, loss="wgan"), {"clip": 0.01}, {"clip": 0.1}),
        (models.VAES["mlp"], {"beta": 1.0, "names": [], "likelihood": "auto"}, {"beta": 0.5}),
    ],
)
def test_what_a_recipe_does_not_say_is_as_by_default(make, same, other):
    model = make()
    said = {"model": {k: v for k, v in model.recipe.items() if k not in same}}
    for more in ({}, same, {"d_lr": 1e-3}):
        told = {"model": said["model"] | more}
        assert not differing(said, told, model) and not differing(told, said, model)
    ((name, value),) = other.items()
    told = {"model": said["model"] | other}
    usual = (model.recipe | same)[name]
    assert differing(said, told, model) == f"model.{name} was {usual}, is {value}"
    assert differing(told, said, model) == f"model.{name} was {value}, is {usual}"
    of_another = {"model": said["model"] | {"model": "conv"}}
    assert differing(said, of_another, model).startswith("model.model was ")


def test_both_rates_may_be_others_as_a_run_goes_on(tmp_path):
    train.train(*tiny(), 1, tmp_path)
    model, batches = tiny(lr=1e-4, d_lr=4e-4)
    train.train(model, batches, 2, tmp_path, resume=True, schedule=train.constant)
    assert [o.lr for o in model.optimizers] == [1e-4, 4e-4]


def test_the_same_data_spelt_otherwise_goes_on(tmp_path):
    train.train(*tiny(), 1, tmp_path)
    copied = np.asfortranarray(DIGITS.images[:160])
    train.train(*tiny(images=copied), 2, tmp_path, resume=True)


def test_a_run_cut_before_its_picture_draws_it_when_it_goes_on(tmp_path):
    train.train(*tiny(), 2, tmp_path)
    whole = state(tmp_path / "samples")
    for name in ("samples/epoch-002.png", "samples.gif", "losses.png", "log.jsonl"):
        (tmp_path / name).unlink()
    train.train(*tiny(), 2, tmp_path, resume=True)
    assert state(tmp_path / "samples") == whole and (tmp_path / "samples.gif").exists()


def test_pictures_are_in_the_order_of_their_epochs(tmp_path):
    (tmp_path / "samples").mkdir()
    for epoch in (998, 1000, 2):
        (tmp_path / f"samples/epoch-{epoch:03}.png").touch()
    run = train.run.Run(*tiny(), 1, tmp_path)
    names = [path.stem for path in run.drawn()]
    assert names == ["epoch-002", "epoch-998", "epoch-1000"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: models.dcgan(width=2, latent=5, classes=10),
        lambda: models.mlp(latent=3),
        lambda: models.VAES["mlp"](latent=2, beta=0.5),
        lambda: models.VAES["conv"](2, classes=10),
    ],
)
def test_a_trained_model_is_rebuilt_from_its_run(make, tmp_path):
    random.manual_seed(0)
    model = make()
    labels = DIGITS.labels[:64]
    arrays = (DIGITS.images[:64], labels) if model.classes else DIGITS.images[:64]
    train.train(model, data.Batches(arrays, 32), 1, tmp_path)
    for path in (tmp_path, str(tmp_path), tmp_path / "checkpoint.npz"):
        loaded = train.load(path)
        assert type(loaded) is type(model) and same(weights(loaded), weights(model))
    noise = model.noise(4)
    np.testing.assert_array_equal(loaded.sample(4, noise), model.sample(4, noise))


def test_a_model_of_ones_own_is_not_rebuilt_but_loaded(tmp_path):
    def make():
        random.manual_seed(0)
        score = nn.Sequential(nn.Flatten(), nn.Linear(784, 1))
        return models.GAN(nn.Sequential(nn.Linear(4, 784), nn.Unflatten(1, (1, 28, 28))), score, 4)

    model = make()
    train.train(model, data.Batches(DIGITS.images[:64], 32), 1, tmp_path)
    with pytest.raises(CheckpointError, match=r"make the model, then checkpoint.load\(path, model"):
        train.load(tmp_path)
    other = make()
    checkpoint.load(tmp_path / "checkpoint.npz", other.parts())
    assert same(weights(other), weights(model))
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        train.load(tmp_path / "nowhere")


def test_numpys_numbers_are_pythons_in_a_recipe(tmp_path):
    model, batches = tiny(width=np.int64(2), latent=np.int32(5), lr=np.float32(0.5))
    assert model.recipe["width"] == 2 and model.recipe["lr"] == 0.5
    assert {type(value) for value in model.recipe.values()} == {str, int, float, bool, list}
    train.train(model, batches, 1, tmp_path)
    assert train.load(tmp_path).recipe == model.recipe
    assert tiny(objective=lambda *scores: scores[0].mean())[0].recipe is None


@pytest.mark.parametrize(
    "options",
    [
        {"betas": (0.5, 0.9)},
        {"betas": np.array([0.5, 0.9])},
        {"classes": 2, "names": np.array(["a", "b"])},
        {"classes": 2, "names": {"a": 1, "b": 2}.keys()},
        {"classes": 2, "names": (name for name in "ab")},
        {"latent": 5000},
        {"classes": 5000},
        {"side": np.int64(8), "channels": np.uint8(3)},
        {"decay": 0, "lr": 1},
    ],
)
def test_what_can_be_built_can_be_loaded(options, tmp_path):
    model, _ = tiny(**options)
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(path, model.parts(), {"step": 1, "model": model.recipe})
    again = train.load(path)
    assert same(weights(again), weights(model))
    assert again.recipe == model.recipe and again.names == model.names
    rates = [o.param_groups[0]["betas"] for o in (again.g_optimizer, model.g_optimizer)]
    assert rates[0] == rates[1] and type(rates[0]) is tuple


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"side": 16.0}, "dcgan: side cannot be 16.0; its default is 28"),
        ({"side": True}, "dcgan: side cannot be True"),
        ({"side": "16"}, "dcgan: side cannot be '16'"),
        ({"side": 2048}, "dcgan: side must be at most 1024, got 2048"),
        ({"side": 16.0, "objective": lambda *scores: scores[0].mean()}, "side cannot be 16.0"),
        ({"latent": 0}, "dcgan: latent must be at least 1, got 0"),
        ({"width": -1}, "dcgan: width must be at least 1, got -1"),
        ({"classes": -1}, "dcgan: classes must be at least 0, got -1"),
        ({"latent": 1 << 21}, "dcgan: latent cannot be 2097152"),
        ({"lr": np.nan}, "dcgan: lr cannot be nan"),
        ({"augment": None}, "dcgan: augment cannot be None; its default is ''"),
        ({"augment": ["flip"]}, "dcgan: augment cannot be ['flip']"),
        ({"names": None}, "names must be one str a class, or () for none, got None"),
        ({"classes": 2, "names": "ab"}, "names must be one str a class, or () for none, got 'ab'"),
    ],
)
def test_what_could_not_be_loaded_is_not_built(options, words):
    before = random.default.draw
    with pytest.raises(ValueError) as caught:
        models.dcgan(**options)
    assert str(caught.value).startswith(words) or words in str(caught.value)
    assert random.default.draw == before or "names" in options
    with pytest.raises(ValueError):
        models.build(DCGAN | options)


@pytest.mark.parametrize("name", ["dcgan", "dcgan5x5"])
def test_a_recipe_of_few_draws_takes_no_memory(name):
    """What begins as ones is not drawn."""
    tracemalloc.start()
    for small in ({"latent": 0}, {"latent": 1, "classes": -1}, {"latent": 1, "side": 4092}):
        with pytest.raises(ValueError):
            models.build({"family": "gan", "model": name, "side": 1020} | small, most=5000)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


DCGAN = {"family": "gan", "model": "dcgan"}


@pytest.mark.parametrize(
    "recipe",
    [
        [],
        "dcgan",
        {"family": "gan"},
        {"family": "gan", "model": "os.system"},
        {"family": ["gan"], "model": "dcgan"},
        {"family": "gan", "model": "dcgan", "width": "two"},
        {"family": "gan", "model": "dcgan", "colour": 3},
        {"family": "gan", "model": "dcgan", "width": 1500},
        {"family": "gan", "model": "dcgan", "device": "cpu"},
        DCGAN | {"classes": 1.5},
        DCGAN | {"classes": 1e308},
        DCGAN | {"latent": 1e308},
        DCGAN | {"latent": True},
        DCGAN | {"latent": 0, "width": -1},
        DCGAN | {"side": 1e308},
        DCGAN | {"side": [28]},
        DCGAN | {"width": 10**10},
        DCGAN | {"width": 4096, "side": 4096, "latent": 4096},
        DCGAN | {"lr": 10**400},
        DCGAN | {"lr": 1e308},
        DCGAN | {"lr": -1.0},
        DCGAN | {"betas": [0.5, "x"]},
        DCGAN | {"betas": [0.5] * 10_000},
        DCGAN | {"objective": "hinge\nor another"},
        DCGAN | {"\n": 1},
        {"family": "vae", "model": "mlp", "latent": 4096, "classes": 10**9},
        {"family": "vae", "model": "mlp", "latent": None},
    ],
    ids=str,
)
def test_a_recipe_for_no_model_is_one_line(recipe, tmp_path):
    model, _ = tiny()
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(path, model.parts(), {"step": 1, "model": recipe})
    with pytest.raises(CheckpointError) as caught:
        train.load(path)
    line = str(caught.value)
    assert f"{path}: its model cannot be made" in line or f"{path}: does not say" in line
    assert len(line.splitlines()) == 1 and len(line) < 500


def sampled(monkeypatch, capsys, *args):
    """Exit code and output of python -m tinygan.sample."""
    monkeypatch.setattr("sys.argv", ["sample", *map(str, args)])
    with pytest.raises(SystemExit) as exit:
        sample.run(sample.main)
    return exit.value.code, capsys.readouterr()


def test_a_recipe_for_a_model_larger_than_its_file_costs_no_memory(tmp_path):
    model, batches = tiny()
    train.train(model, batches, 1, tmp_path)
    size = (tmp_path / "checkpoint.npz").stat().st_size
    for seed in range(2):  # what it draws is what it draws without a limit
        random.manual_seed(seed)
        drawn = [weights(models.build(model.recipe, most=most)) for most in (size // 4, None)]
        random.manual_seed(seed)
        assert same(weights(models.build(model.recipe)), drawn[0])
        assert same(weights(models.build(model.recipe)), drawn[1])
    for large in ({"width": 1500}, {"latent": 4000}, {"classes": 4000}, {"side": 1020}):
        tracemalloc.start()
        with pytest.raises(ValueError, match=f"more than the {size} initial values"):
            models.build(model.recipe | large, most=size)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 * size
    assert "_fill" not in vars(random.default)


def test_samples_replace_samples_and_nothing_else(tmp_path, capsys, monkeypatch):
    run = tmp_path / "q1.lr0.001"
    train.train(*tiny(), 1, run)
    (run / "photo.png").write_bytes(b"of a cat")
    (run / "torn.npz").write_bytes(b"PK")
    before = state(tmp_path)
    for out, words in {
        run / "checkpoint": "holds no samples",
        run / "checkpoint.npz": "holds no samples",
        run / "torn": "not a whole .npz",
        run / "photo": "was not made here",
        run / "losses": "was not made here",
        ".": "is no name for two files",
        "": "is no name for two files",
        "/": "is no name for two files",
        run / "..": "is no name for two files",
    }.items():
        code, said = sampled(monkeypatch, capsys, run, "--out", out)
        assert code == 2 and len(said.err.splitlines()) == 1 and words in said.err
        assert state(tmp_path) == before
    for out in (run, tmp_path / "q1.lr0.001.npz"):
        code, said = sampled(monkeypatch, capsys, run, "-n", 8, "--out", out)
        assert not code, said.err
        new = {path.name for path in state(tmp_path).keys() - before.keys()}
        assert new == {"q1.lr0.001.npz", "q1.lr0.001.png"}


@pytest.mark.parametrize("classes", [0, 3])
def test_many_samples_are_those_of_one_call_and_floats_only_in_pieces(classes, tmp_path):
    model, _ = tiny(classes=classes)
    random.manual_seed(1)
    tracemalloc.start()
    images = cli.save_samples(model, 5_100, tmp_path / "made.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * images.nbytes
    random.manual_seed(1)
    np.testing.assert_array_equal(images, plot.to_uint8(model.sample(5_100)))


def test_samples_from_the_command_line(tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    flags = ["--epochs", 1, "--width", 4, "--batch-size", 200, "--device", "cpu", "--out", out]
    done = example("mnist_gan", *flags)
    assert done.returncode == 0, done.stderr
    (line,) = example("mnist_gan", *flags).stderr.splitlines()
    assert "holds a run already" in line and "--resume, --overwrite" in line

    def call(*args):
        return sampled(monkeypatch, capsys, *args)

    code, _ = call(out, "--labels", 7, "-n", 12, "--seed", 3)
    made = np.load(out / "made.npz")
    assert not code and made["labels"].tolist() == [7] * 12 and made["images"].shape == (12, 28, 28)
    assert Image.open(out / "made.png").size == (8 * 56, 2 * 56)
    gan = train.load(out)
    random.manual_seed(3)
    expected = np.rint((gan.sample(12, labels=[7] * 12)[:, 0] + 1) * 127.5)
    np.testing.assert_array_equal(made["images"], expected)

    call(out / "checkpoint.npz", "--labels", 3, 1, "-n", 5, "--out", tmp_path / "some")
    assert np.load(tmp_path / "some.npz")["labels"].tolist() == [3, 1, 3, 1, 3]
    for args, words in (
        (
            (out, "--labels", 10),
            "'10' is no class of this model: there are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        ),
        ((tmp_path / "none",), "there is no checkpoint"),
        ((out, "-n", 0), "must be from 1"),
        ((out, "-n", 10**9), "must be from 1 to 1000000"),
    ):
        code, said = call(*args)
        assert code == 2 and len(said.err.splitlines()) == 1 and words in said.err


def test_a_resumed_command_needs_no_flag_twice(tmp_path):
    out = tmp_path / "run"
    flags = ["--epochs", 2, "--width", 2, "--batch-size", 500, "--seed", 4, "--device", "cpu"]
    assert example("mnist_gan", *flags, "--out", out).returncode == 0
    done = example("mnist_gan", "--resume", "--epochs", 3, "--lr", 1e-3, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "epoch 3/3" in done.stdout and "epoch 2/3" not in done.stdout
    (out / "config.json").write_text("{")  # it is for people: the checkpoint decides
    again = example("mnist_gan", "--epochs", 4, "--resume", "--out", out)
    assert again.returncode == 0 and "epoch 4/4" in again.stdout, again.stderr
    assert checkpoint.read_meta(out / "checkpoint.npz")["lr"] == [1e-3, 1e-3]
    config = json.loads((out / "config.json").read_text())
    assert config["arguments"]["lr"] == 1e-3 and config["settings"]["seed"] == 4
