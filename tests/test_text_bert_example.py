"""`examples/text_bert.py`, from the command line and in steps."""

import re
import runpy

import numpy as np
import pytest
from runs import ROOT, assert_spelled_out, example

from tinygan import data, models
from tinygan.data.text import Speech
from tinygan.train import load

EXAMPLE = "examples/text_bert.py"
TINY = ("--vocabulary", 260, "--width", 8, "--heads", 2, "--depth", 1, "--context", 8)
TINY += ("--device", "cpu", "--labels", "20,5000", "--seeds", 1, "--epochs", 2)


@pytest.fixture(scope="module")
def own():
    return runpy.run_path(str(ROOT / EXAMPLE))


def test_the_step_in_plain_sight_is_the_models(own):
    step = own["bert_step"]
    make = lambda: models.bert(data.Bytes(), context=8, width=8, depth=1, heads=2)
    batches = np.random.default_rng(0).integers(0, 256, (3, 4, 8)).astype(np.int32)
    assert_spelled_out(step, make, batches)


@pytest.fixture(scope="module")
def plays(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "plays.txt"
    path.write_text(data.text()[:60_000])
    return path


def test_a_run_its_table_and_the_same_when_resumed(tmp_path, plays):
    out = "--out", tmp_path / "run"
    done = example("text_bert", *TINY, "--data", plays, *out)
    assert done.returncode == 0, done.stderr
    again = example("text_bert", "--resume", "--device", "cpu", *out)
    for said in (done.stdout, again.stdout):
        table = said.split("labels: verse, prose")[1].split("(by chance 50.0%):\n")[1]
        head, few, all_of_them = table.splitlines()
        assert head.split() == "labels from scratch pre-trained frozen, prompt".split()
        assert few.split()[0] == "20" and 20 < int(all_of_them.split()[0]) < 5000
        assert len(re.findall(r"\d+\.\d% \+- \d+\.\d%", table)) == 6
    assert table in done.stdout  # of the same weights, by the same random numbers
    model = load(tmp_path / "run")
    assert isinstance(model, models.BERT) and model.context == 16 and model.share == 0.3


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--labels", "10,x"), "--labels"),
        (("--labels", "0"), "--labels"),
        (("--context", 4000), "too little text to tell apart"),
        (("--task", "play"), "too little text to tell apart"),
    ],
)
def test_what_it_refuses(flags, words, tmp_path, plays):
    done = example("text_bert", *TINY, "--data", plays, "--out", tmp_path / "run", *flags)
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_what_is_verse(own):
    form = lambda words: own["form"](Speech("", "", words))
    verse, prose = "x" * 40, "y" * 70
    assert form(f"{verse}\n{verse}\nend") == "verse" and form(f"{prose}\n{prose}\nend") == "prose"
    assert form(f"{prose}\nend") is None and form(prose) is None


def test_passages_are_of_what_is_said_and_as_many_of_each(own):
    part = [Speech("A", "HE", "ab\ncd " * 9), Speech("B", "HE", "x\ny " * 99)]
    rows, labels = own["labelled"](part, lambda s: s.play, ["B", "A"], data.Bytes(), 10)
    assert labels.tolist() == [0] * 5 + [1] * 5 and rows.shape == (10, 10)
    assert bytes(rows[5].tolist()) == b"ab cd ab c"
