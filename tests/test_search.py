"""`python -m tinygan.search`: over a script of a fifth of a second whose figure is known, with
trials that are pruned, fail, run beside each other, or are killed with the search.
"""

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import time

import optuna
import pytest
from runs import ROOT

from tinygan import cli, search, trials
from tinygan.data import DataError

# a run: its figure falls with its epochs, and is least at a rate of 1e-3 and a width of 16
SCRIPT = """
import argparse, json, math, os, pathlib, sys, time
parser = argparse.ArgumentParser()
for name, usual in {"lr": 1e-3, "width": 16.0, "epochs": 3, "seconds": 0.0, "bad": 1.0}.items():
    parser.add_argument(f"--{name}", type=type(usual), default=usual)
parser.add_argument("--out", type=pathlib.Path)
parser.add_argument("--twice", action="store_true")
args = parser.parse_args()
with open("begun", "a") as begun:
    print(os.getpid(), time.time(), *sorted(os.sched_getaffinity(0)), file=begun)
if args.lr > args.bad:
    sys.exit("first line\\nstep 7: the loss is not finite\\n")
with open(args.out / "log.jsonl", "w", buffering=1) as log:
    for epoch in range(1, args.epochs + 1):
        fid = 10 * math.log10(args.lr / 1e-3) ** 2 + abs(args.width - 16) + 10 / epoch
        for place in ({"loss": 1 / epoch}, {"loss": 3 / epoch, "fid": fid, "coverage": -fid}):
            time.sleep(args.seconds)
            log.write(json.dumps({"step": 1, "epoch": epoch} | place) + "\\n")
"""
LR = ["--vary", "lr=1e-5:1e-1:log"]


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def searched(script, monkeypatch, capsys):
    """A search of that script with flags, in this process; its exit code, words and rows."""
    monkeypatch.setattr(search, "LOOK", 0.01)
    monkeypatch.chdir(script.parent)

    def run(*args):
        monkeypatch.setattr("sys.argv", ["search.py", *map(str, args)])
        with pytest.raises(SystemExit) as exit:
            cli.run(search.main)
        out, err = capsys.readouterr()
        return exit.value.code or 0, out + err, table(script.parent / "runs/search")

    return run


def table(out):
    if not (out / "search.csv").exists():
        return []
    with open(out / "search.csv", newline="") as file:
        return list(csv.DictReader(file))


def begun(folder):
    """What the script noted of each process: its number, when it began, its cores."""
    path = folder / "begun"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(pid), float(at), [*map(int, cores)]) for pid, at, *cores in map(str.split, lines)]


# ------------------------------------------------------------------ settings


KINDS = optuna.distributions


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("lr=1e-5:1e-2:log", KINDS.FloatDistribution(1e-5, 1e-2, log=True)),
        ("drop=-1:0.5", KINDS.FloatDistribution(-1, 0.5)),
        ("width=8:32", KINDS.IntDistribution(8, 32)),
        ("width=8:32:8", KINDS.IntDistribution(8, 32, step=8)),
        ("width=8:35:8", KINDS.IntDistribution(8, 32, step=8)),
        ("batch-size=16:256:log", KINDS.IntDistribution(16, 256, log=True)),
        ("loss=hinge,wgan-gp", KINDS.CategoricalDistribution(["hinge", "wgan-gp"])),
        ("data=a:b,c:d", KINDS.CategoricalDistribution(["a:b", "c:d"])),
        ("spectral", KINDS.CategoricalDistribution([False, True])),
    ],
)
def test_what_varies(text, kind):
    assert trials.space(optuna, text) == (text.split("=")[0], kind)


@pytest.mark.parametrize(
    "text",
    ["", "loss=a,a", "loss=a,", "loss=hinge", "examples/mnist_gan.py", "out=a,b", "resume"]
    + ["lr=", "=1:2", "--lr=1:2", "a b=1:2", "lr=1", "lr=1:", "lr=1:x", "lr=2:1", "lr=1:1"]
    + ["lr=0:1:log", "lr=nan:1", "lr=1:inf", "lr=0.1:1:0.1", "n=1:9:0", "n=1:9:x", "n=1:9:log:2"]
    + ["n=1:2:3:4", "n=1:9:9", "n=1:99999999999999999999999", "n=1:9007199254740993"]
    + ["n=-1e308:1e308"],
)  # fmt: skip
def test_what_varies_over_nothing_is_one_line(text):
    with pytest.raises(DataError, match=f"^--vary {re.escape(text)}: .+") as error:
        trials.space(optuna, text)
    assert "\n" not in str(error.value)


def test_where_it_starts():
    texts = ["lr=1e-5:1e-2:log", "width=8:32:8", "loss=a,b", "fast"]
    spaces = dict(trials.space(optuna, text) for text in texts)
    start = {"lr": 1e-5, "width": 24, "loss": "b", "fast": True}
    assert trials.start(spaces, ["lr=1e-5", "width=24", "loss=b", "fast"]) == start
    for wrong in ("lr=1", "lr=x", "lr", "width=25", "width=40", "loss=c", "fast=a", "slow=1"):
        with pytest.raises(DataError, match=f"^--start {wrong}: "):
            trials.start(spaces, [wrong])
    assert trials.words(start) == ["--lr=1e-05", "--width=24", "--loss=b", "--fast"]
    assert trials.words({"lr": -1 / 3, "fast": False}) == ["--lr=-0.333333"]


# ------------------------------------------------------------------ trials


class Told:
    """Optuna's trial, as far as ours needs one."""

    number, params = 0, {}

    def __init__(self):
        self.reported = []

    def report(self, figure, epoch):
        self.reported.append((epoch, figure))


def test_an_epochs_figure_is_told_once_it_is_over_and_is_the_mean_of_it(tmp_path):
    told, idle = Told(), [sys.executable, "-c", ""]
    trial = trials.Trial(told, "loss", tmp_path / "trial-000", idle, trials.share(0, 1))
    log = open(tmp_path / "trial-000/log.jsonl", "w", buffering=1)
    assert not trial.follow(ended=False) or told.reported == []
    for line in ('{"epoch": 1, "loss": 2}\n', '{"epoch": 1, "loss": 4}\n{"epoch": 2, "lo'):
        log.write(line)
        log.flush()
        assert not trial.follow(ended=False)
    log.write('ss": null}\n{"event": "resumed"}\n{"epoch": 2, "other": 1}\n')
    assert trial.follow(ended=False) and told.reported == [(1, 3.0)]
    log.write('{"epoch": 2, "loss": 5}\n')
    assert not trial.follow(ended=False)
    assert trial.follow(ended=True) and told.reported == [(1, 3.0), (2, 5.0)]
    assert trial.figure() == 5 and trial.process.wait() == 0
    log.close()


@pytest.mark.parametrize(
    ("lines", "reported", "last"),
    [
        (['{"epoch": 1, "fid": 0.5}', '{"epoch": 2, "fid": null}'], [(1, 0.5)], None),
        (['{"epoch": 1, "fid": 1}', '{"epoch": 1, "fid": NaN}'], [], None),
        (['{"epoch": 1, "fid": 1}', '{"epoch": 1, "fid": true}', '{"epoch": 2}'], [], None),
        (['{"epoch": 1, "fid": null}', '{"epoch": 1, "fid": 3}'], [(1, 3)], 3),
        (['{"epoch": 1, "fid": 2}', '{"epoch": "last", "fid": 1}'], [(1, 2)], 2),
        (['{"epoch": -1, "fid": 2}', '{"epoch": 1e99, "fid": 1}'], [], None),
        (["epoch 1", "", "[1]", "[" * 9999, '"', '{"fid": 4}', "\xff", '{"fid"'], [(0, 4)], 4),
        (["{" + f'"fid": {"9" * n}' + "}" for n in (400, 5000)], [], None),
    ],
)
def test_what_is_no_figure_and_no_record_is_left_out(lines, reported, last, tmp_path):
    told, idle = Told(), [sys.executable, "-c", ""]
    trial = trials.Trial(told, "fid", tmp_path / "trial-000", idle, trials.share(0, 1))
    trial.process.wait()
    (tmp_path / "trial-000/log.jsonl").write_text("\n".join(lines) + "\n", encoding="latin-1")
    trial.follow(ended=True)
    assert told.reported == reported
    if last is None:
        assert math.isnan(trial.figure()) and trial.complaint().startswith("log.jsonl: ")
    else:
        assert trial.figure() == last and trial.complaint() == ""


def test_a_log_that_was_begun_anew_is_what_counts(tmp_path):
    told, idle = Told(), [sys.executable, "-c", ""]
    trial = trials.Trial(told, "fid", tmp_path / "trial-000", idle, trials.share(0, 1))
    log = tmp_path / "trial-000/log.jsonl"
    log.write_text('{"epoch": 1, "fid": 1}\n{"epoch": 2, "fid": 1}\n')
    assert trial.follow(ended=False) and trial.process.wait() == 0
    log.write_text('{"epoch": 1, "fid": 7}\n')
    assert not trial.follow(ended=False) and not trial.follow(ended=True)
    assert told.reported == [(1, 1)] and trial.figure() == 7


def test_cores_are_shared_out(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 1, 2, 7, 5})
    for jobs in (1, 2, 3, 5):
        shares = [trials.share(slot, jobs) for slot in range(jobs)]
        assert sorted(sum(shares, [])) == [1, 2, 3, 5, 7] and min(map(len, shares)) >= 5 // jobs
    assert [trials.share(slot, 7) for slot in range(7)] == [[k] for k in (1, 1, 2, 3, 3, 5, 7)]


# ------------------------------------------------------------------ searches


def test_a_search_leaves_a_bad_start_behind(searched, tmp_path):
    flags = [*LR, "width=8:32", "twice", "--start", "lr=1e-5", "--trials", 15, "--", "--epochs", 2]
    code, words, rows = searched("script.py", *flags)
    assert code == 0 and len(rows) == 15
    assert {int(row["trial"]) for row in rows} == {*range(15)}
    assert len({row["lr"] for row in rows}) == 15  # none is asked for twice
    done = [row for row in rows if row["state"] == "done"]
    assert rows[: len(done)] == done and len(done) >= 5
    figures = [float(row["fid"]) for row in done]
    for row, figure in zip(done, figures):  # of the last epoch, for the settings that were run
        known = 10 * math.log10(float(f"{float(row['lr']):.6g}") / 1e-3) ** 2 + 5
        assert figure == pytest.approx(known + abs(int(row["width"]) - 16))
    (first,) = [row for row in rows if row["trial"] == "0"]
    assert first["lr"] == "1e-05" and figures == sorted(figures)
    assert figures[0] < 15 < float(first["fid"])
    best = f"--lr={float(done[0]['lr']):.6g} --width={done[0]['width']}"
    best += " --twice" * (done[0]["twice"] == "True")
    assert words.endswith(f"\npython script.py --epochs 2 {best}\n")
    assert (tmp_path / "runs/search/search.png").stat().st_size > 10_000
    assert words.count("\ntrial ") + words.startswith("trial ") == 15


def starts(*rates):
    return [word for rate in rates for word in ("--start", f"lr={rate}")]


@pytest.mark.parametrize("figure", ["fid", "coverage"])
def test_a_trial_behind_the_median_is_stopped(figure, searched, tmp_path):
    """Of five rates, then a bad one, then a good one; each epoch of theirs takes 0.2 s."""
    rates = starts(1e-3, 2e-3, 3e-3, 4e-3, 5e-3)
    flags = [*LR, "--figure", figure, "--out", "runs/search"]
    flags += ["--maximise"] if figure == "coverage" else []
    longer = ["--", "--epochs", 4, "--seconds", 0.02]
    code, words, rows = searched("script.py", *flags, *rates, "--trials", 5, *longer)
    assert code == 0 and [row["state"] for row in rows] == ["done"] * 5
    again = ["--resume", *starts(1e-5, 1.1e-3), "--trials", 7]
    code, words, rows = searched(*again)
    found = {row["trial"]: row for row in rows}
    assert code == 0 and found["5"]["state"] == "pruned" and found["6"]["state"] == "done"
    assert rows[-1] is found["5"]  # below all that came to their end
    epochs = (tmp_path / "runs/search/trial-005/log.jsonl").read_text().splitlines()
    assert 3 <= len(epochs) < 8 and "trial 5 pruned" in words


def test_without_pruning_all_come_to_their_end(searched):
    flags = [*LR, *starts(1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 1e-5), "--trials", 6, "--no-prune"]
    rows = searched("script.py", *flags, "--", "--seconds", 0.02)[2]
    assert {row["state"] for row in rows} == {"done"}
    rows = searched("--resume", "--trials", 7, *starts(1.1e-5))[2]  # as it was begun
    assert {row["state"] for row in rows} == {"done"} and len(rows) == 7
    rows = searched("--resume", "--trials", 8, "--prune", *starts(1.2e-5))[2]
    assert rows[-1]["state"] == "pruned" and len(rows) == 8


def test_a_trial_that_fails_is_no_end(searched):
    flags = [*LR, *starts(0.02, 0.03, 1e-3, 0.05), "--trials", 7]
    code, words, rows = searched("script.py", *flags, "--", "--bad", 0.01)
    assert code == 0 and len(rows) == 7
    failed = [row for row in rows if row["state"] == "failed"]
    assert {row["trial"] for row in failed} >= {"0", "1", "3"} and rows[-len(failed) :] == failed
    assert all(row["failed"] == "step 7: the loss is not finite" for row in failed)
    assert not any(row["fid"] for row in failed) and not any(row["failed"] for row in rows[:2])
    assert "trial 1 failed: lr 0.03: step 7: the loss is not finite, " in words


def test_a_trial_without_a_figure_at_its_end_fails_and_is_no_end(searched, script):
    """Those below a rate of 1e-3 are the best of all, but for what they end with."""
    lost = "None if epoch > 1 and args.lr < 1e-3 else 10"
    text = SCRIPT.replace("fid = 10", f"fid = {lost}").replace("-fid", "1")
    script.write_text(text)
    flags = [*LR, *starts(1e-4, 1e-2, 1e-5), "--trials", 3]
    code, words, rows = searched("script.py", *flags)
    lost = "log.jsonl: fid is no finite number in the last epoch"
    assert code == 0 and [row["trial"] for row in rows] == ["1", "0", "2"]
    assert [row["failed"] for row in rows] == ["", lost, lost] and words.endswith("--lr=0.01\n")
    assert searched("--resume")[2] == rows  # none is run again


@pytest.mark.parametrize(
    ("flags", "ends"),
    [
        (["--vary", "lrr=1:2"], "the first 3 trials failed: script.py: error: unrecognized "),
        ([*LR, "--", "--bad", 0], "the first 3 trials failed: step 7: the loss is not finite\n"),
        ([*LR, "--trials", 2, "--", "--bad", 0], "no trial came to its end; search.csv there "),
        ([*LR, "--figure", "fib"], "failed: log.jsonl: no record has fib (--figure; fid needs "),
    ],
    ids=["unknown flag", "all fail", "both fail", "no figure"],
)
def test_a_search_in_which_nothing_goes_well_ends(flags, ends, searched):
    code, words, rows = searched("script.py", *flags)
    line = words.splitlines(keepends=True)[-1]
    assert code == 2 and line.startswith("search.py: ") and ends in line
    assert len(rows) <= 3


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "a new search needs SCRIPT and --vary\n"),
        (["script.py"], "a new search needs SCRIPT and --vary\n"),
        (["nowhere.py", *LR], "nowhere.py: there is no such script\n"),
        (["script.py", *LR, "lr=1:2"], "--vary, --figure: lr would be two columns of the table\n"),
        (
            ["script.py", *LR, "--", "--lr", 1],
            "--vary lr: --lr stands behind the lone -- as well\n",
        ),
        (["script.py", *LR, "seconds=1:2"], "--vary, --figure: seconds would be two columns"),
        (["script.py", *LR, "fid=1:2"], "--vary, --figure: fid would be two columns"),
        (["script.py", *LR, "--figure", "state"], "--vary, --figure: state would be two columns"),
        (["script.py", "--vary", "w=1:8:2", "--start", "w=9"], "--start w=9: is not among"),
        (["script.py", *LR, "--start", "lr=1"], "--start lr=1: is not among what --vary lr"),
        (["script.py", *LR, "--jobs", 0], "argument --jobs: must be from 1 to 1000, got 0\n"),
        (["script.py", *LR, "--resume"], "runs/search: holds no search; leave out --resume"),
        (["script.py", *LR, "--out", "."], "begun: was not made by a search; take another --out"),
    ],
    ids=str,
)
def test_what_is_no_search_is_one_line(flags, words, searched, tmp_path):
    (tmp_path / "begun").touch()
    code, said, _ = searched(*flags)
    assert code == 2 and said.count("\n") == 1 and f"search.py: {words}" in said
    assert not (tmp_path / "runs").exists()


def test_without_optuna_it_says_how_to_get_it(searched, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, words, _ = searched("script.py", *LR)
    assert code == 2 and words.count("\n") == 1 and 'pip install "tinygan[search]"' in words


def test_a_search_goes_on_as_it_was_begun(searched, tmp_path):
    flags = [*LR, "--trials", 2, "--seed", 5, "--", "--epochs", 1]
    code, _, first = searched("script.py", *flags)
    for wrong, words in (
        (["script.py", *LR], "holds a search already (--resume, --overwrite or another --out)"),
        (["--resume", "--vary", "lr=1:2"], "another search: its vary is lr=1e-5:1e-1:log"),
        (["--resume", "--figure", "loss"], "another search: its figure is fid"),
        (["--resume", "--maximise"], "another search: its maximise is False"),
        (["--resume", "--seed", 0], "another search: its seed is 5"),
        (["--resume", "--", "--epochs", 2], "another search: its flags is --epochs 1"),
        (["--resume", "--overwrite"], "not allowed with"),
    ):
        code, said, rows = searched(*wrong)
        assert code == 2 and said.count("\n") == 1 and words in said and rows == first
    code, words, same = searched("--resume")  # all of them are done
    assert code == 0 and same == first and "trial 2" not in words and len(begun(tmp_path)) == 2
    code, _, more = searched("script.py", "--resume", *LR, "--trials", 4, "--", "--epochs", 1)
    assert code == 0 and len(more) == 4 and all(row in more for row in first)
    code, _, fewer = searched("script.py", "--overwrite", *LR, "--trials", 1)
    assert code == 0 and len(fewer) == 1
    folders = [path.name for path in (tmp_path / "runs/search").glob("trial-*")]
    assert folders == ["trial-000"]


@pytest.mark.parametrize("content", [b"no database", b""], ids=["words", "empty"])
def test_a_file_that_holds_no_search(content, searched, tmp_path):
    (tmp_path / "runs/search").mkdir(parents=True)
    (tmp_path / "runs/search/search.db").write_bytes(content)
    code, words, _ = searched("--resume")
    ends = "search.db: " + ("no search, or a broken" if content else "holds no search yet; begin")
    assert code == 2 and words.count("\n") == 1 and ends in words


def test_two_searches_do_not_share_a_folder(searched, tmp_path):
    searched("script.py", *LR, "--trials", 1)
    with search.files.locked(tmp_path / "runs/search"):
        code, words, _ = searched("--resume", "--trials", 2)
    assert code == 2 and "another run is writing there" in words and words.endswith("--out)\n")


def test_trials_run_beside_each_other(searched, tmp_path):
    flags = [*LR, "--trials", 4, "--jobs", 2, "--no-prune", "--", "--seconds", 0.1]
    code, _, rows = searched("script.py", *flags)
    assert code == 0 and len(rows) == 4 and {row["state"] for row in rows} == {"done"}
    first = (tmp_path / "runs/search/trial-000/log.jsonl").stat().st_mtime
    assert sum(at < first for _, at, _ in begun(tmp_path)) == 2
    shares = [trials.share(slot, 2) for slot in range(2)]
    cores = [cores for _, _, cores in begun(tmp_path)]
    assert all(shared in shares for shared in cores) and all(share in cores for share in shares)


# ------------------------------------------------------------------ ends


def alive(pid):
    """Whether a process is there and is none that has ended, and that nobody has asked for."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def interrupted(folder, number, at, *args):
    """Exit code and words of a search that gets that signal while its trial `at` is under way."""
    command = [sys.executable, "-m", "tinygan.search", *map(str, args)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=folder, env=env, **options)
    log, ends = folder / f"runs/search/trial-{at:03}/log.jsonl", time.monotonic() + 300
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        assert time.monotonic() < ends
        time.sleep(0.01)
    process.send_signal(number)
    words, _ = process.communicate(timeout=300)
    pids = [pid for pid, *_ in begun(folder)]
    while any(map(alive, pids)) and time.monotonic() < ends:
        time.sleep(0.01)
    assert not any(map(alive, pids))  # a search leaves no trial behind
    return process.returncode, words


@pytest.mark.skipif(sys.platform != "linux", reason="a killed search takes its trials along there")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT", "SIGTERM"])
def test_a_search_that_was_stopped_ends_as_if_it_never_was(name, searched, tmp_path):
    flags = [*starts(0.02, 3e-4, 3e-3, 0.05), "--trials", 7, "--no-prune", "--", "--epochs", 2]
    flags, number = ["script.py", *LR, *flags], getattr(signal, name)
    code, words = interrupted(tmp_path, number, 3, *flags, "--seconds", 0.1)
    assert len(table(tmp_path / "runs/search")) == 3 == len(begun(tmp_path)) - 1
    # its process, the last of these, did not go on to the end
    assert len((tmp_path / "runs/search/trial-003/log.jsonl").read_text().splitlines()) < 4
    if name == "SIGKILL":
        assert code == -number
    else:
        assert code == 128 + number
        assert words.endswith("search.py: stopped; runs/search holds the search (--resume)\n")
    code, _, rows = searched("--resume")
    assert code == 0 and len(rows) == 7 and len(begun(tmp_path)) == 8
    code, *_ = searched("--out", "whole", *flags)
    columns = "lr", "fid", "state"
    found, never = (
        [[row[c] for c in columns] for row in r] for r in (rows, table(tmp_path / "whole"))
    )
    assert code == 0 and found == never


def test_an_examples_rate_is_found(searched, tmp_path):
    """The example itself, as narrow as it can be."""
    script, flags = ROOT / "examples/mnist_gan.py", ["--start", "lr=1e-6", "--trials", 2]
    short = ["--epochs", 1, "--width", 1, "--batch-size", 500, "--evaluate", 1]
    code, words, rows = searched(script, "--vary", "lr=1e-6:1e-2:log", *flags, "--", *short)
    assert code == 0 and [row["trial"] for row in rows] == ["1", "0"]
    with open(tmp_path / "runs/search/trial-001/log.jsonl") as file:
        assert float(rows[0]["fid"]) == json.loads(file.readlines()[-1])["fid"]
