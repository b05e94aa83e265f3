"""`examples/text_gpt.py` and `python -m tinygan.sample` on its runs, from the command line."""

import json
import runpy
import sys

import numpy as np
import pytest
from runs import ROOT, assert_spelled_out, example

from tinygan import cli, data, models, random, sample
from tinygan.train import load

TINY = ("--width", 8, "--heads", 2, "--depth", 1, "--context", 8, "--device", "cpu")
TINY += ("--epochs", 2, "--tokens", "characters", "--length", 30)


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "song.txt"
    path.write_text("la la la\nlu lu lu\n" * 200)
    return path


@pytest.fixture(scope="module")
def run(song, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    done = example("text_gpt", *TINY, "--data", song, "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_the_step_in_plain_sight_is_the_models():
    step = runpy.run_path(str(ROOT / "examples/text_gpt.py"))["gpt_step"]
    make = lambda: models.gpt(data.Bytes(), context=8, width=8, depth=1, heads=2)
    batches = np.random.default_rng(0).integers(0, 256, (3, 4, 9)).astype(np.int32)
    assert_spelled_out(step, make, batches)


def test_a_run_shows_what_it_writes_and_says_how_good_it_is(run):
    out, said = run
    model, lines = load(out), said.splitlines()
    assert lines[0] == "3,600 characters, 3,600 tokens of 5 kinds"
    assert "held_out_loss" in said and "bits_per_character" in said
    shown = [line for line in lines if line.startswith("  '") or line.startswith('  "')]
    assert len(shown) == 1  # after the first of two epochs: the second's is longer, at the end
    last = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    assert last["bits_per_character"] == pytest.approx(last["held_out_loss"] / np.log(2))
    assert model.tokenizer.characters == "\n alu" and model.context == 8
    texts = sorted(path.name for path in (out / "samples").iterdir())
    assert texts == ["epoch-001.txt", "epoch-002.txt"]


def test_a_run_goes_on_and_refuses_another_text(run, song, tmp_path):
    out, _ = run
    other = tmp_path / "other.txt"
    other.write_text("di da do\n" * 300)
    done = example("text_gpt", "--resume", "--data", other, "--out", out)
    assert done.returncode == 2 and "the tokens are others" in done.stderr
    assert len(done.stderr) < 400
    done = example("text_gpt", "--resume", "--epochs", 3, "--out", out, "--device", "cpu")
    assert done.returncode == 0 and "epoch 3/3" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--heads", 3), "--heads"),
        (("--prompt", "é"), "none of the 5 known"),
        (("--prompt", ""), "the prompt is empty"),
        (("--context", 4000), "need"),
        (("--data", "nothing.txt"), "nothing.txt"),
        (("--temperature", -1), "--temperature"),
        (("--top-p", 2), "--top-p"),
    ],
)
def test_what_it_refuses(flags, words, tmp_path, song):
    done = example("text_gpt", *TINY, "--data", song, "--out", tmp_path / "run", *flags)
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def sampled(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["sample.py", *map(str, args), "--device", "cpu"])
    try:
        cli.run(sample.main)
    except SystemExit as error:
        return error.code
    return 0


def test_samples_of_a_run_are_texts(run, monkeypatch, capsys):
    out, _ = run
    assert not sampled(monkeypatch, out, "--prompt", "lu", "--length", 20, "-n", 3)
    texts = capsys.readouterr().out.split("-" * 80 + "\n")
    assert len(texts) == 3 and all(text.startswith("lu") for text in texts)
    model = load(out)
    random.manual_seed(0)
    assert texts[0].rstrip("\n") == model.sample(3, "lu", 20)[0].rstrip("\n")
    cold = ("--length", 8, "--temperature", 0, "--seed")
    said = [sampled(monkeypatch, out, *cold, i) or capsys.readouterr().out for i in (1, 2)]
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--steps", 3), "knows no steps"),
        (("--labels", 1), "no classes"),
        (("--prompt", "x"), "none of the 5"),
        (("--prompt", ""), "the prompt is empty"),
        (("--out", "x"), "leave out --out"),
    ],
)
def test_what_sample_refuses_of_a_text(flags, words, run, monkeypatch, capsys):
    assert sampled(monkeypatch, run[0], *flags) == 2
    assert words in capsys.readouterr().err


def test_a_text_without_lines_begins_with_its_first_character(tmp_path):
    path = tmp_path / "line.txt"
    path.write_text("abcab " * 300)
    done = example("text_gpt", *TINY, "--data", path, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/samples/epoch-001.txt").read_text().startswith(" ")


def test_a_run_that_makes_no_texts_says_so(tmp_path, monkeypatch, capsys):
    from tinygan.train import train

    bert = models.bert(data.Bytes(), context=8, width=8, depth=1, heads=2)
    train(bert, data.Windows(np.arange(200) % 250, 7, 4), 1, tmp_path / "run")
    assert sampled(monkeypatch, tmp_path / "run") == 2
    assert "BERT makes no samples" in capsys.readouterr().err
