"""`examples/latent.py`: what it draws, and what it refuses."""

import re
import runpy

import numpy as np
import pytest
from PIL import Image
from runs import ROOT

from tinygan import cli, data, models, random, train
from tinygan.latents import inversion

SIZES = {"interpolation": (16, 12), "truncation": (16, 10), "inversion": (5, 2)}
SIZES |= {"inpainting": (5, 3), "directions": (5, 8)}  # columns and rows


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A set of 50 pictures of 8x8 in colour, in three classes that have names."""
    path = tmp_path_factory.mktemp("set") / "set.npz"
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), np.uint8)
    np.savez(path, images=images, labels=np.arange(50) % 3, names=np.array(["a", "b", "c"]))
    return path


def trained(out, pictures, build, noted=True, **options):
    """The folder of a run of an epoch, which notes what it learnt from or does not."""
    random.manual_seed(0)
    images = data.load(pictures).images
    batches = data.Batches((images, np.arange(50) % 3) if "classes" in options else images, 25)
    notes = {"arguments": {"data": str(pictures)} if noted else {}}
    model = build(latent=3, side=8, channels=3, **options)
    train.train(model, batches, 1, out, notes=notes, callbacks=[])
    return out


def called(monkeypatch, *args):
    """The exit code of the example."""
    monkeypatch.setattr("sys.argv", ["latent.py", *map(str, args), "--device", "cpu"])
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(ROOT / "examples/latent.py"), run_name="__main__")
    return exit.value.code or 0


def test_the_example_draws_all_pictures(tmp_path, pictures, monkeypatch, capsys):
    names = {"classes": 3, "names": ["a", "b", "c"]}
    run = trained(tmp_path / "run", pictures, models.VAES["mlp"], **names)
    monkeypatch.setattr(inversion, "POOL", 20)
    plain = inversion.descend
    monkeypatch.setattr(inversion, "descend", lambda *args, steps, lr: plain(*args, steps=2, lr=lr))
    assert called(monkeypatch, run) == 0
    out = capsys.readouterr().out
    assert (
        "mean squared error of 5 held-out pictures: samples 0." in out
        and str(run / "latent") in out
    )
    for name, (columns, rows) in SIZES.items():
        with Image.open(run / f"latent/{name}.png") as picture:
            cell = 8 * round(900 / (8 * columns))
            assert picture.mode == "RGB" and picture.width == columns * cell
            assert rows * cell < picture.height < (rows + 4) * cell  # a title, and white between
    with Image.open(run / "latent/walk.gif") as gif:
        assert gif.size == (8 * 24, 2 * 24) and 36 < gif.n_frames <= 72  # equal ones are one

    kept = {path: path.read_bytes() for path in (run / "latent").iterdir()}
    assert called(monkeypatch, run, "--only", "truncation", "--seed", "1") == 0  # its own folder
    changed = [path.name for path in kept if path.read_bytes() != kept[path]]
    assert changed == ["truncation.png"]
    assert called(monkeypatch, run / "checkpoint.npz", "--only", "truncation", "interpolation") == 0
    assert all(path.read_bytes() == kept[path] for path in kept)


@pytest.mark.parametrize("there", ["mine.txt", "walk.gif"])
def test_the_example_replaces_nothing_of_others(there, tmp_path, pictures, monkeypatch, capsys):
    run = trained(tmp_path / "run", pictures, models.VAES["mlp"])
    out = tmp_path / "out"
    out.mkdir()
    (out / there).write_text("mine")
    assert called(monkeypatch, run, "--out", out, "--only", "walk") == 2
    assert f"{there}: was not made here; --out names another" in capsys.readouterr().err
    assert [(p.name, p.read_text()) for p in out.iterdir()] == [(there, "mine")]


@pytest.mark.parametrize(
    "mine", ["mine", "[]", '{"made": []}', '{"made": "walk.gif"}', '{"made": ["a.o", "walk.gif"]}']
)
def test_a_mark_of_others_is_no_mark(mine, tmp_path):
    names, ours, theirs = ["walk.gif", "walk.png"], tmp_path / "ours", tmp_path / "theirs"
    cli.own_folder(ours, names)
    (ours / "walk.gif").write_text("made")
    cli.own_folder(ours, [*names, "more.png"])  # a command may learn to make more
    theirs.mkdir()
    (theirs / "made.json").write_text(mine)
    with pytest.raises(data.DataError, match=r"made\.json: was not made here"):
        cli.own_folder(theirs, names)
    assert (theirs / "made.json").read_text() == mine


def test_the_examples_mistakes_are_one_line(tmp_path, pictures, monkeypatch, capsys):
    run = trained(tmp_path / "run", pictures, models.VAES["mlp"])
    for args, words in (
        ([tmp_path], "there is no checkpoint"),
        ([run, "--data", tmp_path / "none"], "no such data"),
        ([run, "--only", "nothing"], "invalid choice"),
        ([run, "--n", 0], "must be"),
    ):
        assert called(monkeypatch, *args) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert words in err, err
    assert not (run / "latent").exists()
    unsaid = trained(tmp_path / "unsaid", pictures, models.VAES["mlp"], noted=False)
    assert called(monkeypatch, unsaid, "--only", "inversion") == 2
    assert "does not say what its model learnt from: give --data" in capsys.readouterr().err
    assert called(monkeypatch, unsaid, "--only", "interpolation") == 0  # which needs none
    assert called(monkeypatch, unsaid, "--only", "inpainting", "--data", pictures) == 0


def test_it_says_that_labels_of_other_classes_are_not_told(tmp_path, pictures, capsys):
    names = {"classes": 3, "names": ["a", "b", "x"]}
    model = models.VAES["mlp"](latent=3, side=8, channels=3, **names)
    assert cli.held_out(model, 5, str(pictures), {})[2] is None
    assert "its classes are not the model's" in capsys.readouterr().out
    model.names = ("a", "b", "c")
    assert len(cli.held_out(model, 5, str(pictures), {})[2]) == 5 and not capsys.readouterr().out


def test_the_judge_names_directions_where_a_model_knows_no_classes(
    tmp_path, pictures, monkeypatch, capsys
):
    """Here of pictures that are bright or dark."""

    class Judge:
        def look(self, images):
            means = images.mean((1, 2, 3))
            self.level = getattr(self, "level", np.median(means))
            bright = means > self.level
            return None, np.stack([bright, ~bright, 0 * bright], 1)

    monkeypatch.setattr("tinygan.metrics.judge_of", lambda *args, **options: Judge())
    run = trained(tmp_path / "run", pictures, models.VAES["mlp"])
    assert called(monkeypatch, run, "--only", "directions") == 0
    out = capsys.readouterr().out
    shares = [
        [int(n) for n in re.findall(r"(\d+)%", line)]
        for line in out.splitlines()
        if line[:5] == "class"
    ]
    assert len(shares) == 2 and all(after > before + 20 for before, after in shares)
    Judge.look = lambda self, images: (None, None)
    assert called(monkeypatch, run, "--only", "directions") == 0
    assert "the judge knows no classes" in capsys.readouterr().out
    Judge.look = lambda self, images: (None, np.ones((len(images), 1)))
    assert called(monkeypatch, run, "--only", "directions") == 0
    assert "all samples are of one class" in capsys.readouterr().out
