"""The example that sets three ways to learn a density side by side: its step is the flow's, its
figures are what they say, its run goes on; and pictures of several models.
"""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runs import resumed, same, weights

from tinygan import cli, data, models, plot, random, train

TOYS = data.TOYS
PLANE = importlib.import_module("tinygan.plot.plane")


@pytest.fixture
def example(monkeypatch):
    """The example, small."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "examples")
    module = importlib.import_module("toy_density")
    for name, small in {"POINTS": 512, "SAMPLES": 60, "STEPS": 2}.items():
        monkeypatch.setattr(module, name, small)
    monkeypatch.setattr(PLANE, "COARSE", 6)
    return module


def test_the_step_spelled_out_is_the_flows(example):
    made = []
    for step in example.flow_step, models.Flow.step:
        random.manual_seed(0)
        flow = models.point_flow(width=8, scale=2.0)
        for _ in range(3):
            step(flow, TOYS["moons"].sample(32, random.Generator(1)))
            random.default.next_step()
        made.append(weights(flow))
    assert same(*made) and made[0]


def test_the_example_ends_with_pictures_and_figures(example, tmp_path, monkeypatch, capsys):
    flags = "--batch-size", "256", "--epochs", "2", "--density", "checkerboard"
    monkeypatch.setattr("sys.argv", ["toy_density", "--out", str(tmp_path), *flags])
    example.main()
    lines = capsys.readouterr().out.splitlines()[-4:]
    heads = [line.split(";")[0].rsplit(" ", 1)[0] for line in lines]
    assert heads == [
        f"{name}: sliced Wasserstein" for name in ("GAN", "flow", "diffusion", "real points")
    ]
    assert "KL from the real density " in lines[1] and "at most" not in lines[1]
    assert "KL from the real density at most " in lines[2] and "KL" not in lines[0] + lines[3]
    frames = {"samples.gif": (2, (1440, 540)), "paths.gif": (3, (960, 540))}
    for name, (count, size) in {**frames, "density.png": (1, (960, 540))}.items():
        with Image.open(tmp_path / name) as picture:
            assert (getattr(picture, "n_frames", 1), picture.size) == (count, size)


def test_a_run_goes_on_as_if_it_had_not_been_cut(example, tmp_path, monkeypatch):
    toy = TOYS["checkerboard"]
    draws = lambda three, path: path.with_suffix(".txt").write_text("drawn")
    monkeypatch.setattr(example.Three, "preview", draws)

    def make():
        random.manual_seed(3)
        batches = data.Batches(toy.sample(64, random.Generator(3)), 32, 3, transform=None)
        return example.Three(toy, 2.0, "cpu"), batches

    three, batches = make()
    train.train(three, batches, 2)
    assert same(weights(resumed(make, 2, 3, tmp_path)), weights(three))
    assert len(three.parts()) == 6 + 4 + 4 and len(three.optimizers) == 4


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--density", "square"], "invalid choice: 'square'"),
        (["--epochs", "0"], "argument --epochs: must be at least 1, got 0"),
        (["--batch-size", "1000"], "batch"),
        (["--resume"], "holds no checkpoint: leave out --resume to begin"),
    ],
)
def test_a_users_mistake_is_one_line(example, tmp_path, monkeypatch, capsys, flags, words):
    monkeypatch.setattr(sys, "argv", ["toy_density", "--out", str(tmp_path / "run"), *flags])
    with pytest.raises(SystemExit, match="2"):
        cli.run(example.main)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and words in err


def test_the_figures(example, monkeypatch):
    """Of models whose densities are the real one and half of it; and modes, where there are."""
    random.manual_seed(0)
    three = example.Three(TOYS["ring"], 0.7, "cpu")
    half = lambda self, x, **how: TOYS["ring"].log_density(x) - np.log(2) * (len(how) > 1)
    monkeypatch.setattr(models.Flow, "log_prob", lambda self, x, **how: half(self, x))
    monkeypatch.setattr(models.DDPM, "bound", lambda self, x, **how: half(self, x, a=0, b=0))
    gan, flow, diffusion, real = example.in_words(three)
    assert "KL from the real density 0.0000 +- 0.0000 nats" in flow
    assert "KL from the real density at most 0.6931 +- 0.0000 nats" in diffusion
    assert "8 modes, 9" in real or "8 modes, 100" in real
    assert " modes, " in gan and "KL" not in gan


def test_panels_show_points_densities_and_ways(monkeypatch):
    toy, drawn = TOYS["ring"], []
    points = toy.sample(50, random.Generator(0))
    blue = plot.panels(toy, {"none": points[:0]})
    assert blue.shape == (540, 480, 3) and blue.dtype == np.uint8
    keep = lambda figure: drawn.append(figure) or np.zeros((2, 2, 3), np.uint8)
    monkeypatch.setattr(PLANE, "_pixels", keep)
    ways = np.stack([points[:7], points[7:14], points[14:21]])
    shown = {"a": points, "b": toy.log_density, "c": points}
    plot.panels(toy, shown, "a title", {"c": ways})
    axes = drawn[0].axes
    assert [axis.get_title() for axis in axes] == ["a", "b", "c"]
    assert [len(axis.collections) for axis in axes] == [1, 0, 1]  # dots
    assert [len(axis.lines) for axis in axes] == [0, 0, 7]
    np.testing.assert_array_equal(axes[2].lines[3].get_xydata(), ways[:, 3])
    own, real = (axes[i].images[0].get_array() for i in (1, 0))
    assert own.shape == (PLANE.COARSE,) * 2 and real.shape == (PLANE.FINE,) * 2
    np.testing.assert_allclose(own.max(), 1, atol=0.1)  # of the real one's peak


def test_ways_go_from_noise_to_the_samples(example, monkeypatch):
    random.manual_seed(0)
    three, frames = example.Three(TOYS["ring"], 0.5, "cpu"), []
    monkeypatch.setattr(plot, "panels", lambda *things: frames.append(things))
    monkeypatch.setattr(plot, "animate", lambda *things, **how: None)
    example.paths(three, None)
    noise = three.flow.noise(60, random.Generator(0, example.SEEN))
    assert [title for _, _, title, _ in frames] == ["t = 0.00", "t = 0.50", "t = 1.00"]
    for name, model in ("flow", three.flow), ("diffusion", three.ddpm):
        np.testing.assert_array_equal(frames[0][1][name], 0.5 * noise)
        np.testing.assert_allclose(frames[2][1][name], model.sample(60, noise), rtol=1e-6)
        ways = [trails[name] for *_, trails in frames]
        assert [way.shape for way in ways] == [(i, 40, 2) for i in (1, 2, 3)]
        np.testing.assert_array_equal(ways[2][1], frames[1][1][name][:40])
