"""The command line: what was said to a run that goes on, numbers, and one line for a mistake."""

import argparse
import io
import json
import os
import subprocess
import sys

import pytest
from runs import ROOT, example

from tinygan import cli, data


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


def test_a_number_of_epochs_that_no_float_holds_is_one_line(tmp_path):
    done = example("mnist_gan", "--epochs", 10**400, "--out", tmp_path / "run")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()
