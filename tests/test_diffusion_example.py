"""`examples/mnist_diffusion.py`, from the command line and in steps, and what flows and diffusions
make of pictures that are there.
"""

import json
import runpy

import numpy as np
import pytest
from PIL import Image
from runs import ROOT, same, weights

from tinygan import cli, data, export, models, ops, random, sample, train
from tinygan.models import editing
from tinygan.models.diffusion import Diffusion

TINY = {"width": 4, "hidden": 8, "side": 8}
EXAMPLE = "examples/mnist_diffusion.py"
SHEETS = (("inpainting", 4, 4), ("variations", 4, 5), ("interpolation", 16, 8))  # columns, rows


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A set of 40 pictures of 8x8 in colour, in three classes that have names."""
    path = tmp_path_factory.mktemp("set") / "set.npz"
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    np.savez(path, images=images, labels=np.arange(40) % 3, names=np.array(["a", "b", "c"]))
    return path


def called(monkeypatch, name, *args):
    """The exit code of a file, run as a program on the CPU."""
    monkeypatch.setattr("sys.argv", [name, *map(str, args), "--device", "cpu"])
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(ROOT / name), run_name="__main__")
    return exit.value.code or 0


def trained(monkeypatch, pictures, out, *args):
    small = ("--width", 4, "--hidden", 8, "--batch-size", 16, "--data", pictures)
    return called(monkeypatch, EXAMPLE, *small, "--out", out, *args)


def images(n, channels=1, seed=0):
    """n pictures of 8x8 in [-1, 1]."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n, channels, 8, 8)).astype("float32")


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("name", ["flow", "ddpm"])
def test_the_step_in_plain_sight_is_the_models(name, classes):
    own = runpy.run_path(str(ROOT / EXAMPLE))[f"{name}_step"]
    found = []
    for step in (own, lambda model, batch: model.step(batch)):
        random.manual_seed(3)
        model = models.DIFFUSIONS[name](**TINY, classes=classes)
        batches = [(images(6, seed=i), np.arange(6) % 3) for i in range(3)]
        losses = [step(model, b if classes else b[0])["loss"].item() for b in batches]
        found.append((losses, weights(model)))
    assert found[0][0] == found[1][0] and same(found[0][1], found[1][1])
    assert len(set(found[0][0])) == 3


def test_a_run_and_its_pictures_and_the_same_when_resumed(tmp_path, monkeypatch, capsys):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    digits = tmp_path / "digits.npz"  # without names, and of which a tenth is kept
    np.savez(digits, images=data.load().images[:40, 6:22, 6:22], labels=np.arange(40) % 3)
    # few calls of the network, and each of them fast
    flags = ("--epochs", 2, "--samples", 24, "--method", "euler", "--guidance", 1, "--steps", 2)
    assert trained(monkeypatch, digits, whole, *flags, "--side", 8) == 0
    said = capsys.readouterr()
    (line,) = [line for line in (said.out + said.err).splitlines() if "noise.gif" in line]
    assert all(str(whole / f"{path}.png") in line for path, *_ in SHEETS)
    for path, columns, rows in SHEETS:
        with Image.open(whole / f"{path}.png") as picture:
            zoom = round(900 / (8 * columns))
            assert picture.mode == "L" and picture.width == 8 * columns * zoom
            assert 8 * rows * zoom < picture.height < (8 * rows + 8) * zoom  # a title
    with Image.open(whole / "noise.gif") as gif:
        assert gif.size == (24 * 9, 64 * 9) and 20 < gif.n_frames <= 33
    with np.load(whole / "samples.npz") as samples:
        assert samples["images"].shape == (24, 8, 8) and [*samples["labels"][:4]] == [0, 1, 2, 0]

    count, plain = iter(range(9)), Diffusion.told

    def stopped(self, batch):  # in the second epoch, as Ctrl-C does it
        if next(count) == 3:
            raise KeyboardInterrupt
        return plain(self, batch)

    monkeypatch.setattr(Diffusion, "told", stopped)
    assert trained(monkeypatch, digits, cut, *flags, "--side", 8) == 130
    monkeypatch.setattr(Diffusion, "told", plain)
    assert called(monkeypatch, EXAMPLE, "--out", cut, "--resume") == 0  # all flags are known
    made = [f"{path}.png" for path, *_ in SHEETS] + ["noise.gif"]
    assert all((whole / path).read_bytes() == (cut / path).read_bytes() for path in made)
    for path in ("samples.npz", "checkpoint.npz"):
        with np.load(whole / path) as one, np.load(cut / path) as other:
            assert all(np.array_equal(one[k], other[k]) for k in one if k != "meta")


@pytest.mark.parametrize(
    ("flags", "own"),
    [
        ("", True),
        ("--model ddpm --schedule linear --eta 1", True),
        ("--times uniform", False),
        ("--coupling optimal", False),
        ("--model ddpm --predict eps", False),
    ],
)
def test_how_it_is_trained(flags, own, tmp_path, pictures, monkeypatch):
    asked = {}

    def run_training(args, model, batches, **options):
        asked.update(options, args=args, model=model, batches=batches)

    monkeypatch.setattr(cli, "run_training", run_training)
    assert trained(monkeypatch, pictures, tmp_path, *flags.split()) == 0
    assert (asked["step"] == asked["model"].step) != own
    kept = set(range(40)) - {
        i for i, x in enumerate(data.load(pictures).images) for y in asked["real"].images
        if np.array_equal(x, y)
    }  # fmt: skip
    assert kept == {0, 13, 26, 39} and asked["batches"].arrays[0].shape == (36, 8, 8, 3)
    assert asked["args"].epochs == 1000 and asked["model"].classes == 3
    rate = asked["schedule"]
    steps = 1000 * len(asked["batches"])
    assert rate(0) == 0.01 and rate(50 / steps) == pytest.approx(0.505)
    assert rate(100 / steps) == rate(0.5) == 1 > rate(0.6) > rate(0.99) > rate(1) == 0


def test_a_diffusion_of_named_colours_and_its_samples(tmp_path, pictures, monkeypatch, capsys):
    run = tmp_path / "run"
    flags = ("--model", "ddpm", "--predict", "eps", "--schedule", "linear", "--guidance", 1)
    assert trained(monkeypatch, pictures, run, *flags, "--epochs", 1, "--steps", 8) == 0
    recipe = json.loads((run / "config.json").read_text())["model"]
    said = {"model": "ddpm", "predict": "eps", "schedule": "linear", "width": 4, "steps": 8}
    assert said.items() <= recipe.items() and recipe["names"] == ["a", "b", "c"]
    with Image.open(run / "inpainting.png") as picture:
        assert picture.mode == "RGB"

    found = []
    for i, how in enumerate(((), ("--steps", 50), ("--steps", 50), ("--eta", 1))):
        made = (run, "-n", 6, "--labels", "c", "a", "--out", tmp_path / f"{i}")
        assert sampled(monkeypatch, *made, *how) == 0
        with np.load(tmp_path / f"{i}.npz") as samples:
            found.append(samples["images"])
            assert samples["images"].shape == (6, 8, 8, 3) and [*samples["labels"][:2]] == [2, 0]
    assert np.array_equal(found[1], found[2])
    assert not np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[3])

    capsys.readouterr()
    for args, words in (
        ([run, "--method", "euler"], "knows no method; leave out --method"),
        ([run, "--steps", 0], "must be from 1"),
        ([run, "--eta", 2], "must be from 0 to 1"),
        ([run, "--steps", 1001], "this model's noise has 1000 steps, not 1001 (--steps)"),
    ):
        assert sampled(monkeypatch, *args) == 2
        assert_line(capsys, words)
    again = (EXAMPLE, "--out", run, "--resume")
    assert called(monkeypatch, *again, "--model", "flow") == 2
    assert_line(capsys, "is a run of --model ddpm: leave out --model")
    assert called(monkeypatch, *again, "--steps", 4) == 0  # all is learnt, and drawn once more
    assert train.load(run).steps == 4
    assert json.loads((run / "config.json").read_text())["model"]["steps"] == 4
    capsys.readouterr()
    assert not (run / "made.npz").exists()
    assert called(monkeypatch, "examples/refine.py", run, "-n", 20) == 2
    assert_line(capsys, "DDPM has no discriminator")
    monkeypatch.setattr("sys.argv", ["export.py", str(run), str(tmp_path / "a.onnx")])
    with pytest.raises(SystemExit) as exit:
        cli.run(export.main)
    assert exit.value.code == 2
    assert_line(capsys, "samples take many calls of its network")


def sampled(monkeypatch, *args):
    """The exit code of `python -m tinygan.sample`."""
    monkeypatch.setattr("sys.argv", ["sample.py", *map(str, args), "--device", "cpu"])
    with pytest.raises(SystemExit) as exit:
        cli.run(sample.main)
    return exit.value.code or 0


def assert_line(capsys, words):
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and words in err, err


def test_guidance_needs_classes_and_a_gan_takes_none_of_it(tmp_path, monkeypatch, capsys):
    for build, flags, words in (
        (models.DIFFUSIONS["flow"], ("--guidance", 2), "was taught no classes; leave out --gui"),
        (models.VAES["mlp"], ("--steps", 2), "knows no steps; leave out --steps"),
    ):
        options = TINY if build is models.DIFFUSIONS["flow"] else {"side": 8}
        batches = data.Batches(images(4), 4, transform=None)
        train.train(build(**options), batches, 1, tmp_path, callbacks=[], overwrite=True)
        assert sampled(monkeypatch, tmp_path, *flags) == 2
        assert_line(capsys, words)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--model ddpm --method euler", "--method is for --model flow, not ddpm"),
        ("--model ddpm --times uniform", "--times is for --model flow, not ddpm"),
        ("--model ddpm --coupling optimal", "--coupling is for --model flow, not ddpm"),
        ("--eta 0", "--eta is for --model ddpm, not flow"),
        ("--schedule linear", "--schedule is for --model ddpm, not flow"),
        ("--predict v", "--predict is for --model ddpm, not flow"),
        ("--timesteps 10", "--timesteps is for --model ddpm, not flow"),
        ("--side 10", "side must be a multiple of 4, got 10: it is halved twice at least (--side)"),
        ("--no-conditional --guidance 3", "was taught no classes; leave out --guidance"),
        ("--no-conditional --drop 0.5", "was taught no classes; leave out --drop"),
        ("--drop 1", "drop 1.0 keeps back all labels of 3 classes, which are never taught"),
        ("--drop 1", "or the model one of no classes (--drop)"),
        ("--model ddpm --timesteps 10 --steps 11", "noise has 10 steps, not 11 (--steps)"),
        ("--model ddpm --schedule linear --timesteps 1", "make them 2 or more (--timesteps)"),
        ("--resume --overwrite", "--overwrite: not allowed with argument --resume"),
        ("--heads 5", "5 heads cannot share"),
        ("--guidance -1", "argument --guidance"),
        ("--model dcgan", "invalid choice"),
    ],
)
def test_flags_that_are_refused(flags, words, tmp_path, pictures, monkeypatch, capsys):
    out = tmp_path / "out"
    args = [EXAMPLE, "--data", pictures, "--out", out, *flags.split()]
    assert called(monkeypatch, *args) == 2
    assert_line(capsys, words)
    assert not out.exists()


def flow(**options):
    """A flow whose velocity is not 0, as it is at first."""
    random.manual_seed(0)
    model = models.DIFFUSIONS[options.pop("name", "flow")](**TINY | options)
    for p in model.average.parameters():
        p.data += 0.1 * random.default.normal(p.shape)
    return model


@pytest.mark.parametrize("name", ["flow", "ddpm"])
def test_inpainting_keeps_what_is_known(name, monkeypatch):
    model, x = flow(name=name, channels=3, classes=3), images(5, 3)
    known = np.zeros((5, 8, 8), bool)
    known[np.arange(5), np.arange(5)] = True
    mask = np.broadcast_to(known[:, None], x.shape)
    holes = np.where(mask, x, np.nan).astype("float32")
    made = model.inpaint(holes, known, labels=[0, 1, 2, 0, 1], steps=3)
    assert made.dtype == np.float32 and np.array_equal(made[mask], x[mask])
    assert np.isfinite(made).all() and not np.isclose(made, x)[~mask].any(axis=-1).all()
    one = model.inpaint(x, known[0], steps=3)
    assert np.array_equal(one[:, :, 0], x[:, :, 0])
    # what is known is heard: other pixels known, others made
    other = holes.copy()
    other[mask] *= -1
    random.manual_seed(1)
    first = model.inpaint(holes, known, steps=3)
    random.manual_seed(1)
    assert not np.allclose(model.inpaint(other, known, steps=3)[~mask], first[~mask], atol=1e-3)
    # a few at a time are the same as all
    random.manual_seed(1)
    monkeypatch.setattr(editing, "ROWS", 2)
    np.testing.assert_allclose(model.inpaint(holes, known, steps=3), first, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["flow", "ddpm"])
def test_pictures_are_within_their_range_and_may_go_in_again(name):
    model, x = flow(name=name), images(2)
    model.average.parameters()[-1].data[...] = 3.0  # it overshoots
    points = model.noise(4)
    *_, last = model.path(points, 3)
    made = model.sample(4, points, steps=3)
    assert np.array_equal(made, np.clip(ops.raw(last), -1, 1)) and abs(made).max() == 1
    assert abs(model.vary(model.vary(x, 0.9), 0.9)).max() <= 1
    assert abs(model.inpaint(x, images(1)[0, 0] > 0)).max() <= 1
    plane = models.PLANES[name]()
    assert abs(plane.sample(9, 9 * plane.noise(9))).max() > 1


@pytest.mark.parametrize("name", ["flow", "ddpm"])
def test_variations_are_nearer_the_less_is_lost(name):
    model, x = flow(name=name), images(6)
    np.testing.assert_allclose(model.vary(x, 0.0), x, rtol=0, atol=1e-6)
    far = []
    for strength in (0.1, 0.5, 1.0):
        random.manual_seed(1)
        far.append(abs(model.vary(x, strength, steps=3) - x).mean())
    assert far == sorted(far) and far[0] < 0.6 * far[-1]


@pytest.mark.parametrize("options", [{}, {"name": "ddpm"}, {"name": "ddpm", "timesteps": 2}])
def test_of_all_noise_variations_are_samples(options):
    """Of the same noise, whatever the pictures were: of which a diffusion's x_T still has some."""
    model, x = flow(**options), images(6)
    random.manual_seed(1)
    noise = model.noise(6)
    random.manual_seed(1)
    assert np.array_equal(model.vary(x, 1.0, steps=3), model.sample(6, noise, steps=3))


def test_a_strength_of_less_than_half_a_step_changes_nothing():
    """Of a diffusion, whose steps are as many as there are."""
    model, x = flow(name="ddpm", timesteps=10), images(6)
    np.testing.assert_allclose(model.vary(x, 0.04), x, rtol=0, atol=1e-6)
    assert abs(model.vary(x, 0.06) - x).max() > 0.01


def test_what_is_told_of_a_picture_is_heard():
    model, x = flow(classes=3, names=("a", "b", "c")), images(2)

    def made(*args, **how):
        random.manual_seed(1)
        return model.vary(x, 0.9, *args, **how)

    assert np.array_equal(made(["c", "a"]), made(np.array([2, 0])))
    assert not np.allclose(made(["c", "a"]), made(["a", "c"]), atol=1e-4)
    assert not np.allclose(made(["c", "a"], guidance=3.0), made(["c", "a"]), atol=1e-4)
    # nothing is told, and nothing guided
    assert not np.allclose(made(), made(["c", "a"]), atol=1e-4)
    assert np.array_equal(made(guidance=1), made())
    with pytest.raises(ValueError, match="vary: guidance 3.0 enlarges .* none is told"):
        made(guidance=3.0)


def test_pictures_that_do_not_fit_are_refused():
    model, x, known = flow(), images(2), np.ones((8, 8), bool)
    for wrong, words in (
        (lambda: model.inpaint(x * 9, known), r"inpaint: needs images .* in \[-1, 1\]"),
        (lambda: model.inpaint(images(2, 3), known), r"inpaint: needs images \(n, 1, 8, 8\)"),
        (lambda: model.inpaint(x, known[:4]), r"mask must be \(8, 8\) or \(2, 8, 8\) of bool"),
        (lambda: model.inpaint(x, known * 1.0), "mask must be"),
        (lambda: model.inpaint(x, ~known), "leaves nothing known"),
        (lambda: model.inpaint(x, known, [0, 0]), "inpaint: this model was taught no classes"),
        (lambda: model.inpaint(x, known, steps=0), "inpaint: steps must be at least 1 and whole"),
        (lambda: model.inpaint(x, known, method="no"), "inpaint: method must be one of"),
        (lambda: model.vary(x, 1.1), "vary: strength must be from 0 to 1, got 1.1"),
        (lambda: model.vary(x, np.nan), "vary: strength must be from 0 to 1, got nan"),
        (lambda: model.vary(x * np.nan, 0.5), "vary: needs images"),
        (lambda: flow(classes=3).vary(x, 0.5, [0]), r"vary: 2 samples need labels of shape \(2,\)"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()
    for own in {"start": 0.9}, {"seen": 1}:
        with pytest.raises(TypeError, match="inpaint: there is no option s.* here: Flow takes"):
            model.inpaint(x, known, **own)
