"""The README's Python, block by block: each runs on its own, as it is printed."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tinygan as tg
from tinygan import data, export, models, random, train
from tinygan.metrics import Judge

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random.manual_seed(0)
    names = {"__name__": "readme"}
    exec(compile(block, "README.md", "exec"), names)
    return names


def the(words):
    """The one block with these words in it."""
    (block,) = [block for block in BLOCKS if words in block]
    return block


def remaining():
    special = (
        "x**3).sum()",
        "slerp(",
        'load("runs',
        "VAE(",
        "models.flow(",
        "class Mean",
        "tokens",
        "models.gpt(",
        "onnx",
        "learn(",
    )
    return [block for block in BLOCKS if not any(words in block for words in special)]


@pytest.mark.parametrize("block", remaining(), ids=lambda block: block.split("\n")[-2][:40])
def test_a_block_runs(block, tmp_path, monkeypatch):
    if "import torch" in block and not importlib.util.find_spec("torch"):
        pytest.skip("needs torch")
    names = run(block, tmp_path, monkeypatch)
    assert {"cube", "Scale", "Slow", "Cube", "dense", "check_module"} & names.keys()
    if "Scale" in names:
        assert list(names["Scale"](3).state_dict()) == ["weight"]


def test_a_trained_model_is_not_the_end_of_it(tmp_path, monkeypatch):
    names = run(the("slerp("), tmp_path, monkeypatch)
    assert names["found"].z.shape == names["way"].shape == (8, 64)
    assert names["threes"].shape == names["digits"].shape == (8, 1, 28, 28)
    assert list(names["best"].labels) == list(range(8))


def test_the_engine_in_six_lines(tmp_path, monkeypatch):
    block = the("x**3).sum()")
    names = run(block, tmp_path, monkeypatch)
    results = re.findall(r"^(tg\.grad\(.*?\)) +# (array\(.*?\)),? ?", block, re.M)
    assert len(results) == 2
    for expression, shown in results:
        value = eval(expression, names)
        np.testing.assert_array_equal(value, eval(shown, {"array": np.array}))
    assert isinstance(names["g"], tg.Tensor)


def test_a_trained_model_makes_sevens(tmp_path, monkeypatch):
    block = the('load("runs')
    assert len([line for line in block.splitlines() if line]) == 4
    random.manual_seed(0)
    gan = models.dcgan(width=2, classes=10)
    digits = data.load()
    batches = data.Batches((digits.images[:64], digits.labels[:64]), 32)
    train.train(gan, batches, 1, tmp_path / "runs/mnist_gan")
    run(block, tmp_path, monkeypatch)
    assert Image.open(tmp_path / "sevens.png").size == (8 * 56, 8 * 56)


def test_an_exported_model_makes_the_same_digits(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    random.manual_seed(0)
    gan = models.dcgan(width=2, classes=10)
    digits = data.load().rows(slice(64))
    train.train(gan, data.Batches(digits, 32), 1, tmp_path / "run")
    monkeypatch.setattr(
        "sys.argv", ["export", str(tmp_path / "run"), str(tmp_path / "generator.onnx")]
    )
    export.main()
    names = run(the("onnxruntime"), tmp_path, monkeypatch)
    expected = gan.sample(10, names["noise"], np.arange(10))
    np.testing.assert_allclose(names["digits"], expected, atol=1e-5)


def test_own_pictures_are_learnt_from(tmp_path, monkeypatch):
    for i in range(40):
        Image.new("RGB", (40, 50), (6 * i, 0, 0)).save(tmp_path / f"{i}.png")
    names = run(the("learn(").replace("epochs=100", "epochs=1"), tmp_path, monkeypatch)
    names["learn"](tmp_path)
    assert train.load(tmp_path / "runs/photos").sample(2).shape == (2, 3, 32, 32)


def test_the_models_recipe_makes_digits(tmp_path, monkeypatch):
    names = run(the("VAE("), tmp_path, monkeypatch)
    judge = Judge(data.scale(data.load().images[:1000]))
    # noise has about 1000, an untrained network 600; digits in this blur 40
    assert judge(names["vae"].sample(1000))["fid"] < 60
    assert Image.open(tmp_path / "runs/mine/samples/epoch-005.png").size == (8 * 56, 8 * 56)


def test_an_algorithm_of_ones_own_draws_what_it_samples(tmp_path, monkeypatch):
    run(the("class Mean"), tmp_path, monkeypatch)
    picture = np.asarray(Image.open(tmp_path / "runs/mean/samples/epoch-001.png"))
    mean = data.load().images.mean(axis=0)
    assert np.abs(picture[:56:2, :56:2] - mean).mean() < 8


def test_a_data_set_of_ones_own(tmp_path, monkeypatch):
    names = run(the("tokens, labels"), tmp_path, monkeypatch)
    tokens, labels = names["batches"].batch(0, 0)
    assert tokens.shape == (32, 6) and ((tokens[:, 0] // 6) % 3 == labels).all()


def test_a_gpt_reads_a_play_and_goes_on(tmp_path, monkeypatch, capsys):
    names = run(the("models.gpt("), tmp_path, monkeypatch)
    assert capsys.readouterr().out.endswith("\n") and names["tokenizer"].words()["merges"]
    judged = names["data"].Windows(names["unseen"][:5_000], 32, 16)
    assert names["gpt"].held_out(judged) < 6.1  # log(512) is 6.24


def test_a_flow_makes_digits_and_says_how_probable_they_are(tmp_path, monkeypatch):
    names = run(the("models.flow("), tmp_path, monkeypatch)
    made = names["flow"].sample(10)
    assert made.shape == (10, 1, 28, 28) and 0.2 < made.std() < 1
    digits = names["data"].scale(names["digits"].images[:50])
    likely = [names["flow"].log_prob(x, probes=1, steps=10).mean() for x in (digits, -digits)]
    assert likely[0] > likely[1]  # ink on paper, not paper on ink
