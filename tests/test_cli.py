"""The command line: what was said to a run that goes on, numbers, and one line for a mistake."""

import argparse
import importlib
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from runs import ROOT, example

from tinygan import cli, data, models
from tinygan.checkpoint import CheckpointError


def parsed(monkeypatch, *args):
    """What the flags of a training run come to."""
    monkeypatch.setattr("sys.argv", ["train.py", *map(str, args)])
    parser = cli.Parser("Train.")
    parser.training(["mlp", "conv"], model="mlp", epochs=3, batch_size="8", out="nowhere")
    return parser.parse_args()


RIGHT = {"epochs": 7, "lr": 0.5, "data": "full", "conditional": True, "batch_size": None}


@pytest.mark.parametrize(
    "wrong",
    [
        {"data": None},
        {"data": 5},
        {"data": ["full"]},
        {"seed": None},
        {"seed": True},
        {"epochs": {}},
        {"evaluate": None},
        {"conditional": "no"},
        {"conditional": None},
        {"conditional": 1},
        {"no_capture": 0.0},
        {"model": None},
        {"model": ["conv"]},
        {"precision": "float16"},
        {"model": True},
    ],
    ids=str,
)
def test_what_was_never_said_to_a_run_is_not_said_again(wrong, tmp_path, monkeypatch):
    plain = vars(parsed(monkeypatch, "--out", tmp_path))
    monkeypatch.setattr(cli.parser, "check_folder", lambda *folder: None)
    (tmp_path / "checkpoint.npz").touch()
    for arguments, changed in ((RIGHT, RIGHT), (RIGHT | wrong, {})):
        meta = {"notes": json.loads(json.dumps({"arguments": arguments}))}
        monkeypatch.setattr(cli.parser, "read_meta", lambda path, meta=meta: meta)
        found = parsed(monkeypatch, "--out", tmp_path, "--resume")
        assert vars(found) == plain | changed | {"resume": True}


@pytest.mark.parametrize("text", ["1" + "0" * 400, "1" + "0" * 5000, "-1", "2147483648", "1.0", ""])
def test_whole_numbers_are_neither_negative_nor_too_large(text):
    with pytest.raises((ValueError, argparse.ArgumentTypeError)):
        cli.number(int, 0)(text)
    assert cli.number(int, 0)("2147483647") == 2**31 - 1


@pytest.mark.parametrize("text", ["nan", "inf", "-1e-9", "1e999"])
def test_other_numbers_are_finite(text):
    with pytest.raises(argparse.ArgumentTypeError, match="must be at (least 0|most 1.79.*), got"):
        cli.number(float, 0)(text)
    assert cli.number(float, 0)("1e308") == 1e308


def test_letters_that_the_terminal_has_not_are_spelled_out(monkeypatch):
    out, err = (
        io.TextIOWrapper(io.BytesIO(), "ascii", errors="strict", write_through=True) for _ in "oe"
    )
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)

    def main():
        print("made: caf\u00e9 \udcff")
        raise data.DataError("caf\u00e9 \udcff: is not there")

    with pytest.raises(SystemExit) as exit:
        cli.run(main)
    assert exit.value.code == 2
    assert out.buffer.getvalue() == b"made: caf\\xe9 \\udcff\n"
    assert err.buffer.getvalue().endswith(b": caf\\xe9 \\udcff: is not there\n")


@pytest.mark.parametrize("closed", ["1", "2"])
@pytest.mark.parametrize("args", [["nowhere"], ["--bad"]], ids=" ".join)
def test_without_a_terminal_a_mistake_still_ends_in_2(closed, args, tmp_path):
    command = f'exec "$@" {closed}>&-'
    run = ["sh", "-c", command, "sh", sys.executable, "-m", "tinygan.sample", *args]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=60)
    assert done.returncode == 2 and not done.stdout
    assert len(done.stderr.splitlines()) == (closed == "1")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of two classes of pictures, 24 x 24."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(20):
        name = folder / ("cat" if i % 2 else "dog")
        name.mkdir(exist_ok=True)
        Image.new("RGB", (24, 24), (10 * i, 0, 200)).save(name / f"{i}.png")
    return folder


def test_own_pictures_are_learnt_with_the_names_of_their_folders(photos, tmp_path):
    flags = ["--data", photos, "--width", 2, "--epochs", 1, "--augment", "flip,shift"]
    done = example("mnist_gan", *flags, "--samples", 30, "--out", tmp_path)
    assert "20 pictures of 24 x 24 in colour, 2 classes" in done.stdout
    with np.load(tmp_path / "samples.npz") as made:
        assert made["images"].shape == (30, 24, 24, 3) and list(made["names"]) == ["cat", "dog"]
        assert sorted(made["labels"]) == [0] * 15 + [1] * 15  # as often as there are real ones
    done = example("mnist_gan", "--resume", "--out", tmp_path, "--augment", "flip", "--epochs", 2)
    assert done.returncode == 2 and "model.augment was flip,shift, is flip" in done.stderr


def test_a_small_set_is_shown_changed_and_often(photos, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    example, asked = importlib.import_module("mnist_gan"), []
    run = lambda args, gan, batches, **other: asked.append((args.epochs, gan.augment))
    monkeypatch.setattr(cli, "run_training", run)
    for flags in (["--batch-size", 4], ["--batch-size", 20, "--augment", "none"], ["--epochs", 3]):
        words = ["mnist_gan", "--data", photos, "--width", 1, *flags, "--out", tmp_path]
        monkeypatch.setattr("sys.argv", [*map(str, words)])
        example.main()
    policy = "colour,shift,cutout"
    assert asked == [(1000, policy), (1000, ""), (3, policy)]
    monkeypatch.setattr(example, "SMALL", 20)  # as many as there are
    monkeypatch.setattr("sys.argv", [*map(str, words[:-4]), "--out", str(tmp_path)])
    example.main()
    assert asked[-1] == (1000, "")


def test_what_is_broken_is_told_on_one_line(photos, tmp_path):
    (photos / "cat" / "broken.png").write_text("no picture")
    done = example("mnist_gan", "--data", photos, "--width", 1, "--epochs", 1, "--out", tmp_path)
    (photos / "cat" / "broken.png").unlink()
    assert done.stderr.startswith("mnist_gan.py: ") and "left out 1: cat/broken.png" in done.stderr
    assert done.stderr.count("\n") == 1 and "epoch 1/1" in done.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--side", 30], "must be a multiple of 4, got 30: it is halved twice at least (--side)\n"),
        (["--augment", "flop"], "there is no 'flop'"),
        (["--background", "blurple"], "choose an opaque colour"),
        (["--batch-size", 64], "batch_size is 64 but there are 20 rows"),
        (["--model", "dcgan5x5", "--width", 8], "--width is for --model dcgan"),
        (["--n-critic", 9], "--n-critic 9: a step takes 9 batches of 20, and there are 20 samples"),
    ],
    ids=str,
)
def test_what_no_model_is_made_for_is_one_line(flags, words, photos, tmp_path):
    done = example("mnist_gan", "--data", photos, *flags, "--out", tmp_path / "run")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and words in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_learn_from_what_it_drew(photos):
    done = example("mnist_gan", "--data", photos, "--out", photos)
    assert done.returncode == 2 and "take another --out" in done.stderr
    flags = ["--data", photos, "--width", 2, "--epochs", 1, "--out", photos / "cat" / "run"]
    for again in ([], ["--overwrite"]):
        assert "20 pictures of 24 x 24 in colour, 2" in example("mnist_gan", *flags, *again).stdout
    shutil.rmtree(photos / "cat" / "run")


def test_colours_are_neither_ink_nor_paper(photos, tmp_path):
    flags = ["--data", photos, "--targets", "static", "--out", tmp_path]
    done = example("mnist_vae", *flags)
    assert done.returncode == 2 and "--colour grey" in done.stderr
    done = example("mnist_vae", *flags[:2], "--model", "conv", "--epochs", 1, "--out", tmp_path)
    assert "bits per dimension" in done.stdout


def test_a_number_of_epochs_that_no_float_holds_is_one_line(tmp_path):
    done = example("mnist_gan", "--epochs", 10**400, "--out", tmp_path / "run")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def trained(monkeypatch, args, step=lambda batch: {"loss": 0.0}):
    """A training run of 40 digits as those flags ask for it, whose steps do nothing."""
    args = parsed(monkeypatch, *args)
    few = data.load().rows(slice(40))
    model = models.dcgan(width=1, latent=2)
    batches = data.Batches(few.images, args.batch_size or 20)
    cli.run_training(args, model, batches, step=step, real=few)


def test_a_run_says_by_whom_its_samples_are_judged_once_it_may_go_on(tmp_path, monkeypatch, capsys):
    flags = ["--evaluate", 1, "--epochs", 2, "--out", tmp_path / "run"]
    trained(monkeypatch, flags)
    out = capsys.readouterr().out.splitlines()
    judge = "judge: the classifier of digits that ships, right on 99.48 % of MNIST's test digits"
    assert out.count(judge) == 1 and "fid" in out[out.index(judge) + 1]
    monkeypatch.setattr(cli.training, "judge_of", None)  # nothing is made before it is refused
    with pytest.raises(CheckpointError, match="was made by another run: batches.batch_size was 20"):
        trained(monkeypatch, [*flags, "--resume", "--batch-size", 10])


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ("checkpoint.npz", "holds a run already (--resume, --overwrite or another --out)"),
        (
            "losses.png",
            "losses.png: belongs to no run of ours; take another folder (another --out)",
        ),
    ],
)
def test_a_folder_that_is_taken_is_said_with_flags_only(made, words, tmp_path, monkeypatch, capsys):
    (tmp_path / made).touch()
    with pytest.raises(SystemExit):
        cli.run(lambda: parsed(monkeypatch, "--out", tmp_path))
    complaint = capsys.readouterr().err
    assert complaint.endswith(f"{words}\n") and "=True" not in complaint
    assert f"{tmp_path}" in complaint


def test_pictures_of_one_class_are_said_to_need_no_labels():
    few = data.load().rows(slice(40))
    assert cli.in_words(few) == "40 pictures of 28 x 28 in grey, 10 classes"
    one = few._replace(labels=few.labels * 0)
    assert cli.in_words(one).endswith("in grey, one class, which needs no labels")
    assert cli.in_words(few._replace(labels=None)).endswith("in grey")


def test_a_judge_that_learns_has_a_bar_on_a_terminal(monkeypatch, capsys):
    for watched in (False, True):
        monkeypatch.setattr(cli.training, "live", lambda watched=watched: watched)
        assert [*cli.bar(range(3))] == [0, 1, 2]
        assert ("judge: " in capsys.readouterr().err) == watched


@pytest.mark.parametrize(
    ("options", "end"),
    [
        ({"side": 30}, " (--side)"),
        ({"classes": 3, "packing": 2}, "leave out classes (--no-conditional)"),
        ({"loss": "hinge", "smoothing": 0.1}, "non_saturating and least_squares have"),
    ],
)
def test_what_cannot_be_built_names_the_flag_that_helps_or_none(options, end):
    with pytest.raises(data.DataError) as caught:
        cli.built(models.dcgan, **options)
    assert str(caught.value).endswith(end)


@pytest.fixture
def said(monkeypatch, capsys):
    """What an example says for some flags before it ends with a code, or loads anything."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.setenv("COLUMNS", "1000")

    def call(name, *flags):
        monkeypatch.setattr("sys.argv", [name, *flags])
        with pytest.raises(SystemExit):
            importlib.import_module(name).arguments()
        return "".join(capsys.readouterr())

    return call


def test_a_default_is_told_once_and_as_it_is(said):
    for name in ("mnist_gan", "mnist_vae", "stacked_mnist", "toy_gan", "upsample_gan"):
        for line in said(name, "--help").splitlines():
            assert line.count("(default") < 2, line
    stacked, toy = (said(name, "--help") for name in ("stacked_mnist", "toy_gan"))
    for words in ("play (default: r3gan)", "rate (default: 0.0002)", "data (default: 50)"):
        assert words in stacked
    assert toy.count("(default: 0; of r3gan, 0.05)") == 2
    assert "(default: 0.003 where mlp plays r3gan, else the model's own)" in toy


@pytest.mark.parametrize("model", ["mlp", "dcgan5x5"])
def test_a_width_is_of_models_that_have_one(said, model):
    words = said("stacked_mnist", "--model", model, "--width", "8")
    assert words == f"stacked_mnist: --width is for --model dcgan or upsample, not {model}\n"
