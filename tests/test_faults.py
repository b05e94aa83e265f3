"""What a run meets: kills and interrupts at every step of a save, full disks, read-only folders,
other runs, signals. Whatever happens, a file is the old one or the new one, whole.
"""

import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image
from runs import ROOT

from tinygan import checkpoint, cli, data, files, plot, random
from tinygan.checkpoint import CheckpointError
from tinygan.train import AtEnd, Interrupted, RunExistsError, TrainingError, train

loop = sys.modules["tinygan.train.loop"]  # the room gives its function that name

TIMES = settings().max_examples  # 25, and under `intense` 1,000
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


class Array:
    """The smallest thing that a checkpoint saves: one array, full of one number."""

    def __init__(self, value):
        self.values = np.full(5000, value, np.float32)

    def state_dict(self):
        return {"values": self.values}

    def load_state_dict(self, state_dict):
        self.values[...] = state_dict["values"]


def save(path, value):
    checkpoint.save(path, {"part": Array(value)}, {"step": value})


def content(path):
    """The number of which a whole checkpoint is full."""
    array = Array(0)
    step = checkpoint.load(path, {"part": array})["step"]
    assert (array.values == step).all()
    return step


@pytest.fixture
def path(tmp_path):
    """A checkpoint full of ones."""
    save(tmp_path / "c.npz", 1)
    return tmp_path / "c.npz"


def at_line(number, act, work, within=""):
    """Call `act` before that line of Python that `work` runs in files so named; how many it ran."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        if within not in frame.f_code.co_filename:
            return None
        if event == "line":
            count += 1
            if count == number:
                act()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def forked(work):
    """The exit status of a child process that does `work`; after os._exit it flushes nothing."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def spread(work, times, within=""):
    """Numbers of lines of `work` spread over all of them, more densely over the last ones."""
    lines = at_line(-1, None, work, within)
    last = range(lines - 200, lines, max(1, 400 // times))
    return sorted({*np.linspace(1, lines, min(times, lines), dtype=int), *last})


def test_a_kill_at_any_line_of_a_save_leaves_a_whole_file(path, monkeypatch):
    monkeypatch.setattr(os, "fsync", os.fstat)  # no wait for a disk: the system outlives the kill
    seen = set()
    for line in spread(lambda: save(path, 1), TIMES):
        save(path, 1)
        forked(lambda: at_line(line, lambda: os._exit(9), lambda: save(path, 2)))
        seen.add(content(path))
        files.sweep(path.parent)
        assert list(path.parent.iterdir()) == [path]
    assert seen == {1, 2}


# zipfile's own destructor, met half-way
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_line_of_a_save_leaves_no_part(path, monkeypatch):
    monkeypatch.setattr(os, "fsync", os.fstat)

    def interrupt():
        raise KeyboardInterrupt

    seen = set()
    for line in spread(lambda: save(path, 1), 2 * TIMES):
        save(path, 1)
        with contextlib.suppress(BaseException):  # ValueError where zipfile was about to close
            at_line(line, interrupt, lambda: save(path, 2))
        seen.add(content(path))
        assert list(path.parent.iterdir()) == [path], line
    assert seen == {1, 2}


def test_a_disk_that_is_full_at_any_byte_leaves_the_old_file(path):
    size, limits = path.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    for most in {*range(0, size, size // TIMES), size - 1}:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
            with pytest.raises(OSError) as caught:
                save(path, 2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert caught.value.errno == errno.EFBIG and str(path) in str(caught.value)
        assert content(path) == 1 and list(path.parent.iterdir()) == [path]


def failing(number):
    """A function of the system that fails so, naming the file that it was given."""

    def fail(*args, **kwargs):
        names = [a if isinstance(a, str) else str(a) for a in args if not isinstance(a, int)]
        raise OSError(number, os.strerror(number), *names[:1])

    return fail


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO"])
@pytest.mark.parametrize("where", ["open", "write", "fsync", "replace"])
def test_a_system_that_refuses_is_named_and_changes_nothing(where, number, path, monkeypatch):
    number = getattr(errno, number)
    if where == "open":
        monkeypatch.setattr(checkpoint, "open", failing(number), raising=False)
    elif where == "write":
        monkeypatch.setattr(np, "savez", lambda *args, **arrays: failing(number)())
    else:
        monkeypatch.setattr(os, where, failing(number))
    with pytest.raises(OSError) as caught:
        save(path, 2)
    message = str(caught.value)
    assert caught.value.errno == number and str(path) in message and ".part" not in message
    monkeypatch.undo()
    assert content(path) == 1 and list(path.parent.iterdir()) == [path]


def test_a_folder_that_is_missing_or_no_folder_is_named(path):
    for wrong in (path.parent / "none" / "c.npz", path / "c.npz"):
        with pytest.raises(OSError, match=f"{wrong}'$"):
            save(wrong, 1)


def test_a_folder_that_is_read_only(tmp_path):
    """Root may write anywhere, so a child gives that up first."""
    folder = tmp_path / "run"
    folder.mkdir()
    save(folder / "c.npz", 1)

    def child():
        if os.geteuid() == 0:
            os.chdir(folder)  # whose parents are closed to others
            os.setuid(65534)
        with pytest.raises(PermissionError, match="c.npz"):
            save("c.npz" if os.getcwd() == str(folder) else folder / "c.npz", 2)
        os._exit(7)

    folder.chmod(0o555)
    assert forked(child) == 7
    folder.chmod(0o755)
    assert content(folder / "c.npz") == 1 and len(list(folder.iterdir())) == 1


def test_the_durable_order_of_a_save(path, monkeypatch):
    """The file's bytes, its name, the folder's record of the name."""
    calls, fsync, replace = [], os.fsync, os.replace
    kinds = {0o100000: "file", 0o040000: "folder"}
    kind = lambda descriptor: kinds[os.fstat(descriptor).st_mode & 0o170000]
    monkeypatch.setattr(os, "fsync", lambda d: (calls.append(kind(d)), fsync(d)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    save(path, 2)
    assert calls == ["file", "replace", "folder"] and content(path) == 2


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_a_new_file_has_the_mode_of_the_umask(mask, path):
    path.chmod(0o600)
    before = os.umask(mask)
    try:
        save(path, 2)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_symbolic_link_stays_one(path, tmp_path):
    (tmp_path / "else").mkdir()
    link, target = tmp_path / "link.npz", tmp_path / "else" / "real.npz"
    link.symlink_to("else/real.npz")
    for value in (2, 3):  # the first makes the file that the link points at
        save(link, value)
        assert link.is_symlink() and content(target) == content(link) == value
    assert list(target.parent.iterdir()) == [target] and content(path) == 1


def test_what_is_no_file_is_written_to(tmp_path):
    with files.replacing("/dev/null") as temporary:
        temporary.write_text("gone")
    assert not os.path.isfile("/dev/null")
    with pytest.raises(IsADirectoryError), files.replacing(tmp_path) as temporary:
        temporary.write_text("")


@pytest.mark.parametrize(
    "name", ["a.png", "a.b.npz", "a", ".a", "a" * 250 + ".npz", "\u00e4" * 120]
)
def test_a_temporary_file_has_the_suffix_and_room_in_its_name(name, tmp_path):
    path = tmp_path / name
    with files.replacing(path) as temporary:
        assert not temporary.exists() and temporary.suffix in (path.suffix, ".part")
        temporary.write_text("a")
        files.sweep(tmp_path)
        assert temporary.exists() and not path.exists()  # a living writer's stays
    assert path.read_text() == "a" and list(tmp_path.iterdir()) == [path]


def test_a_writer_that_writes_nothing_is_named(path):
    with pytest.raises(FileNotFoundError, match="c.npz'$"), files.replacing(path):
        pass
    assert content(path) == 1


def test_sweeping(path, tmp_path):
    stale = [tmp_path / name for name in (".c.0123abcd.part.npz", ".a b.89abcdef.part")]
    other = [".c.0123abcd.party", "c.0123abcd.part.npz", ".c.0123.part.npz", ".part", "log.jsonl"]
    other = [tmp_path / name for name in other]
    for name in stale + other:
        name.write_text("")
    (tmp_path / ".d.0123abcd.part").mkdir()
    files.sweep(tmp_path, age=100)
    assert all(name.exists() for name in stale)
    os.utime(stale[0], (0, 0))
    files.sweep(tmp_path, age=100)
    assert not stale[0].exists() and stale[1].exists()
    files.sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([path, *other, tmp_path / ".d.0123abcd.part"])


def test_one_run_at_a_time_in_a_folder(tmp_path):
    def attempt():
        try:
            with files.locked(tmp_path):
                return "free"
        except files.LockedError as e:
            assert str(tmp_path) in str(e)
            return "locked"

    words = f"import sys; from tinygan import files\nwith files.locked({str(tmp_path)!r}):\n"
    words += " print('mine', flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    for end in ("killed", "ended"):
        assert attempt() == "free"
        with subprocess.Popen([sys.executable, "-c", words], **pipes) as process:
            assert process.stdout.readline() == "mine\n"
            assert attempt() == "locked"
            if end == "killed":
                process.kill()
    with files.locked(tmp_path):
        found = []
        thread = threading.Thread(target=lambda: found.append(attempt()))
        thread.start()
        thread.join()
        assert found == ["locked"] and attempt() == "locked"
        with files.locked(tmp_path.parent):  # another folder
            pass
    with pytest.raises(RuntimeError), files.locked(tmp_path):
        raise RuntimeError
    assert attempt() == "free"


@pytest.mark.parametrize("how", ["missing", "refused"])
def test_where_there_are_no_locks_there_is_none(how, tmp_path, monkeypatch):
    if how == "missing":
        monkeypatch.setattr(files, "fcntl", None)
    else:
        monkeypatch.setattr(files.fcntl, "flock", failing(errno.ENOLCK))
    with files.locked(tmp_path), files.locked(tmp_path):
        pass


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "c.npz")
    before = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(20)
    for read in (files.read_npz, checkpoint.read_meta):
        for path in (tmp_path / "c.npz", tmp_path):
            with pytest.raises(ValueError, match=": is no file"):
                read(path)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        checkpoint.read_meta(tmp_path / "none.npz")


def test_a_torn_checkpoint_is_one_line_at_any_length(path):
    whole = path.read_bytes()
    for length in {*range(0, len(whole), len(whole) // TIMES), *range(len(whole) - 30, len(whole))}:
        path.write_bytes(whole[:length] + bytes(len(whole) - length) * (length % 2))  # cut, zeros
        if path.read_bytes() == whole:
            continue
        with pytest.raises(CheckpointError, match="c.npz: no") as caught:
            content(path)
        assert len(str(caught.value).splitlines()) == 1


class Toy:
    """A model of NumPy alone, so that it may be forked: numbers that follow the batches and the
    step, and of which it writes a line.
    """

    recipe = {"kind": "Toy", "lr": 1}

    def __init__(self, at=None, act=None):
        random.manual_seed(0)
        self.values, self.made = np.zeros(2, np.float64), 0
        self.at, self.act = at, act

    def parts(self):
        return {"toy": self}

    def state_dict(self):
        return {"values": self.values}

    load_state_dict = Array.load_state_dict

    def step(self, batch):
        if self.at == random.default.step:
            self.act(self)
        self.values *= 0.9
        self.values += batch.mean(0) + random.default.step
        self.made = random.default.step + 1
        return {"loss": self.values.mean()}

    def preview(self, path):
        path = path.with_suffix(".txt")
        path.write_text(str(self.values))
        return path


def fail(model):
    raise RuntimeError("as a bug would")


EPOCHS, STEPS = 3, 4


def batches(change=0):
    return data.Batches(np.arange(16.0).reshape(8, 2) + change, 2, transform=None)


def go(out, model=None, **options):
    """Start a run, or go on with it."""
    model = model or Toy()
    options = {"resume": (out / "checkpoint.npz").exists()} | options
    train(model, batches(), EPOCHS, out, **options)
    return model


@pytest.fixture
def quick(monkeypatch):
    """Nothing waits for a disk, and nothing is drawn."""
    monkeypatch.setattr(os, "fsync", os.fstat)
    monkeypatch.setattr(plot, "curves", lambda records, path: path.write_text(str(len(records))))


@pytest.fixture
def whole(tmp_path, quick):
    """The weights and the pictures of a run that nothing happened to."""
    model = go(tmp_path / "whole")
    return model.values.copy(), pictures(tmp_path / "whole")


def pictures(out):
    return {path.name: path.read_text() for path in (out / "samples").iterdir()}


def snapshot(out):
    return {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def assert_whole(out, model, whole, torn=()):
    """The run in `out` ended as one that nothing happened to, and left nothing else behind."""
    assert (model.values == whole[0]).all() and pictures(out) == whole[1]
    names = {"checkpoint.npz", "config.json", "log.jsonl", "losses.png", "samples"}
    assert {path.name for path in out.iterdir()} == names
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    steps = [r["step"] for r in records if "event" not in r]
    assert steps == [n for n in range(1, EPOCHS * STEPS + 1) if n not in torn]
    assert (out / "losses.png").exists() and json.loads((out / "config.json").read_text())


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("at", [0, 5, 7, 11])
def test_a_signal_is_a_whole_step_a_checkpoint_and_an_exit_code(name, at, whole, tmp_path, capsys):
    number = getattr(signal, name)
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    model = Toy(at, lambda model: os.kill(os.getpid(), number))
    with pytest.raises(SystemExit) as caught:
        cli.run(lambda: go(tmp_path / "run", model))
    assert caught.value.code == 128 + number
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"stopped after step {at + 1} of 12" in line and "--resume" in line
    assert checkpoint.read_meta(tmp_path / "run" / "checkpoint.npz")["step"] == at + 1
    assert before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert_whole(tmp_path / "run", go(tmp_path / "run"), whole)


def test_a_second_signal_does_what_it_always_did(whole, tmp_path):
    def twice(model):
        for _ in "ab":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        go(tmp_path / "run", Toy(6, twice))
    assert not isinstance(caught.value, Interrupted)
    assert_whole(tmp_path / "run", go(tmp_path / "run"), whole)


def test_an_ignored_signal_stays_ignored(whole, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        model = go(tmp_path / "run", Toy(6, lambda model: os.kill(os.getpid(), signal.SIGHUP)))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert_whole(tmp_path / "run", model, whole)


def test_ctrl_c_at_any_line_of_a_run_loses_no_step(whole, tmp_path):
    """Ahead of the first step and behind the last there is nothing to lose."""
    package, out, saved = "/tinygan/", tmp_path / "run", 0
    ctrl_c = lambda: os.kill(os.getpid(), signal.SIGINT)
    for line in spread(lambda: go(tmp_path / "counted"), TIMES, package):
        model = Toy()
        with contextlib.suppress(KeyboardInterrupt):
            at_line(line, ctrl_c, lambda: go(out, model), package)
        if model.made:
            assert checkpoint.read_meta(out / "checkpoint.npz")["step"] == model.made
            saved += 1
        assert_whole(out, go(out), whole)
        shutil.rmtree(out)
    assert saved > TIMES / 2


def test_a_kill_at_any_line_of_a_run_resumes_to_the_same_end(whole, tmp_path):
    out, package = tmp_path / "run", "/tinygan/"
    lines = spread(lambda: go(tmp_path / "counted"), TIMES, package)
    for line in lines:
        forked(lambda: at_line(line, lambda: os._exit(9), lambda: go(out), package))
        assert_whole(out, go(out), whole)
        shutil.rmtree(out)


def test_a_disk_that_is_full_is_named_and_the_run_goes_on_later(whole, tmp_path):
    out, limits = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    for most in (0, 100, 700, 900, 1200, 1500):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
            with contextlib.suppress(OSError):
                go(out)
                assert most > 1000
        except OSError as e:
            assert str(out) in str(e)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not [path for path in out.rglob("*") if ".part" in path.name]
    assert_whole(out, go(out), whole)


CUTS = {
    "log.jsonl": [None, b"", 100, -3, b"\0\xff\n[1]\n{}\n3\n", b"[" * 100_000],
    "config.json": [None, b"", 20, b"[1]", b'{"resumed": 3}', b"[" * 100_000],
    "samples": [None],
    "samples/epoch-001.txt": [None],
    "samples/epoch-002.txt": [None, b""],
    "losses.png": [None, b"?"],
}


@pytest.mark.parametrize("end", ["finished", "cut"])
@pytest.mark.parametrize("name, cut", [(name, cut) for name in CUTS for cut in CUTS[name]])
def test_what_is_missing_or_torn_beside_a_checkpoint_stops_no_run(name, cut, end, whole, tmp_path):
    out = tmp_path / "run"
    if end == "cut":
        with pytest.raises(RuntimeError):
            go(out, Toy(9, fail))
    else:
        go(out)
    path = out / name
    if name == "samples":
        for picture in path.iterdir():
            picture.unlink()
        path.rmdir()
    elif cut is None:
        path.unlink(missing_ok=True)
    elif path.exists():
        path.write_bytes(path.read_bytes()[:cut] if isinstance(cut, int) else cut)
    model = go(out)
    assert (model.values == whole[0]).all()
    for line in (out / "log.jsonl").read_text().splitlines():
        assert json.loads(line)["step"] >= 0
    assert json.loads((out / "config.json").read_text()) and pictures(out)["epoch-003.txt"]


class Painter(Toy):
    """A Toy whose previews are pictures."""

    def preview(self, path):
        path = path.with_suffix(".png")
        plot.grid(np.full((4, 8, 8), self.values[0], np.uint8), path)
        return path


@pytest.mark.parametrize("cut", [None, 0, 60, -4])
@pytest.mark.parametrize("name", ["samples/epoch-001.png", "samples/epoch-002.png", "samples.gif"])
def test_pictures_that_are_missing_or_torn_stop_no_run(name, cut, quick, tmp_path):
    out = tmp_path / "run"
    train(Painter(), batches(), 2, out)
    content = (out / name).read_bytes()
    (out / name).unlink()
    if cut is not None:
        (out / name).write_bytes(content[:cut])
    train(Painter(), batches(), 3, out, resume=True)
    with Image.open(out / "samples.gif") as animation:
        assert animation.n_frames in (2, 3)
    with Image.open(out / "samples" / "epoch-003.png") as picture:
        picture.load()


def test_a_log_of_other_things_stops_no_run(tmp_path):
    out = tmp_path / "run"
    train(Painter(), batches(), 2, out)
    words = [
        '{"step": 3, "loss": "x"}',
        '{"step": 8, "new": [1]}',
        '{"step": NaN}',
        '{"step": 1e999',
    ]
    (out / "log.jsonl").write_text("\n".join(words))
    train(Painter(), batches(), 3, out, resume=True)
    with Image.open(out / "losses.png") as picture:
        picture.load()


@pytest.mark.parametrize("at, part", [(7, "loss"), (11, "loss"), (7, "weights"), (11, "weights")])
def test_what_is_not_finite_never_replaces_the_last_good_checkpoint(
    at, part, quick, tmp_path, capsys
):
    class Bad(Toy):
        def step(self, batch):
            losses = super().step(batch)
            if random.default.step == at and part == "loss":
                return {"loss": np.float64(np.nan)}
            if random.default.step == at:
                self.values[1] = np.nan
            return losses

    out = tmp_path / "run"
    with pytest.raises(SystemExit) as caught:
        cli.run(lambda: go(out, Bad()))
    line = capsys.readouterr().err.splitlines()[-1]
    assert caught.value.code == 1 and f"step {at + 1}: " in line and str(out) in line
    assert (part == "loss") == ("the loss is not finite" in line)
    assert part == "loss" or "toy/values holds NaN" in line
    assert checkpoint.read_meta(out / "checkpoint.npz")["step"] == at + 1 - STEPS
    assert go(out).values.all()  # with a better model it goes on


def test_nothing_is_said_of_another_runs_checkpoint(tmp_path):
    def bad(model):
        model.values[...] = np.nan

    with pytest.raises(TrainingError, match="there is no checkpoint"):
        go(tmp_path / "run", Toy(0, bad))


def test_a_folder_that_holds_a_run_is_refused_and_untouched(whole, tmp_path, capsys):
    out = tmp_path / "run"
    go(out)
    (out / "best.npz").write_bytes(b"a")
    before = snapshot(out)
    with pytest.raises(RunExistsError, match=f"{out}: holds a run already"):
        go(out, resume=False)
    with pytest.raises(SystemExit) as caught:
        cli.run(lambda: go(out, resume=False))
    assert caught.value.code == 2 and "--resume, --overwrite" in capsys.readouterr().err
    assert snapshot(out) == before
    go(out, overwrite=True, resume=False)
    (out / "samples.gif").unlink(missing_ok=True)
    assert_whole(out, go(out), whole)


def test_two_runs_in_one_folder_or_process(quick, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(RuntimeError):
        go(out, Toy(5, fail))
    before, found = snapshot(out), []
    with files.locked(out):
        for options in ({"resume": True}, {"resume": False, "overwrite": True}):
            with pytest.raises(files.LockedError, match=f"{out}: "):
                go(out, **options)
    assert snapshot(out) == before

    def attempt():
        try:
            go(tmp_path / "other", Toy())
        except TrainingError as e:
            found.append(str(e))

    def beside(model):
        seed, step = random.default.seed, random.default.step
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
        random.default.manual_seed(seed)
        random.default.seek(step)

    go(out, Toy(6, beside))
    assert len(found) == 1 and "another run trains in this process" in found[0]
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_that_ends_while_another_waits_for_the_folder(resume, whole, tmp_path, monkeypatch):
    out, locked = tmp_path / "run", files.locked
    if resume:
        with pytest.raises(RuntimeError):
            go(out, Toy(5, fail))

    @contextlib.contextmanager
    def late(folder):
        monkeypatch.setattr(files, "locked", locked)
        loop._running.release()  # as if in another process
        go(out)
        loop._running.acquire()
        with locked(folder):
            yield

    monkeypatch.setattr(files, "locked", late)
    if resume:
        assert_whole(out, go(out, resume=True), whole)
    else:
        with pytest.raises(RunExistsError):
            go(out, resume=False)
        assert_whole(out, go(out), whole)


def test_other_data_or_settings_do_not_go_on_with_go(quick, tmp_path):
    out = tmp_path / "run"
    go(out)
    before = snapshot(out)
    model = Toy()
    for other, words in {
        batches(change=1): "the data are others .files, side",
        data.Batches(np.arange(16.0).reshape(8, 2), 4, transform=None): "batch_size was 2, is 4",
        data.Batches(np.arange(16.0).reshape(8, 2), 2, 1, transform=None): "order was 0, is 1",
        data.Batches(
            np.arange(16.0, dtype="f4").reshape(8, 2), 2, transform=None
        ): "the data are others",
    }.items():
        with pytest.raises(CheckpointError, match=f"made by another run: .*{words}"):
            train(model, other, 4 * EPOCHS, out, resume=True)
    with pytest.raises(CheckpointError, match="train for more epochs"):
        train(model, batches(), 1, out, resume=True)
    assert snapshot(out) == before and not model.values.any()
    same = data.Batches(np.arange(16.0).reshape(2, 8).T.copy().T.reshape(8, 2), 2, transform=None)
    train(model, same, EPOCHS, out, resume=True)


def started(out, **options):
    """A run of a Toy that takes a while, in a process of its own."""
    words = "import sys, time, pathlib, test_faults as t\n"
    words += "model = t.Toy(2, lambda model: (print('on', flush=True), time.sleep(3)))\n"
    words += "t.cli.run(lambda: t.go(pathlib.Path(sys.argv[1]), model))"
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    return subprocess.Popen([sys.executable, "-c", words, str(out)], env=env, text=True, **options)


def test_two_processes_that_start_at_once(whole, tmp_path):
    out, pipes = tmp_path / "run", {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [started(out, **pipes) for _ in "ab"]
    while all(process.poll() is None for process in processes):
        time.sleep(0.05)
    refused, runs = sorted(processes, key=lambda process: process.poll() is None)
    _, errors = refused.communicate()
    assert refused.returncode == 2 and errors == f"-c: {errors[4:].splitlines()[0]}\n", errors
    assert f"{out}: " in errors and runs.stdout.readline() == "on\n"
    runs.terminate()
    time.sleep(0.2)
    runs.kill()
    runs.communicate()
    assert_whole(out, go(out), whole)


def test_a_closed_terminal_saves_the_run(whole, tmp_path):
    """The signal comes with a terminal that can no longer be written to."""
    terminal, end = os.openpty()
    process = started(tmp_path / "run", stdout=end, stderr=end, start_new_session=True)
    os.close(end)
    seen = b""
    while b"on\r\n" not in seen:
        seen += os.read(terminal, 10_000)
    os.close(terminal)
    process.send_signal(signal.SIGHUP)
    assert process.wait(30) == 129
    assert checkpoint.read_meta(tmp_path / "run" / "checkpoint.npz")["step"] == 3
    assert_whole(tmp_path / "run", go(tmp_path / "run"), whole)


def command(out, *flags):
    """The real command, small."""
    small = ["--epochs", "2", "--width", "2", "--batch-size", "500", "--device", "cpu"]
    words = [sys.executable, str(ROOT / "examples/mnist_gan.py"), *small, "--out", str(out), *flags]
    return words + ["--samples", "20"]


def test_kill_9_of_the_real_command_at_random_moments(tmp_path):
    """Each run is killed some times, then resumed to its end; --hypothesis-profile intense: 50."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    quiet["env"] = os.environ | {"PYTHONPATH": str(ROOT)}
    start = time.monotonic()
    subprocess.run(command(tmp_path / "whole"), check=True, **quiet)
    seconds, rng = time.monotonic() - start, np.random.default_rng()
    wanted = np.load(tmp_path / "whole" / "samples.npz")["images"]
    for run in range(max(1, TIMES // 20)):
        out = tmp_path / f"run{run}"
        for kill in (True, False):
            flags = ["--resume"] if (out / "checkpoint.npz").exists() else []
            with subprocess.Popen(command(out, *flags), **quiet) as process:
                if kill:
                    time.sleep(rng.uniform(0.3, 1) * seconds)
                    process.kill()
                _, errors = process.communicate()
                assert kill or process.returncode == 0, errors
        assert np.array_equal(np.load(out / "samples.npz")["images"], wanted)
        names = sorted(path.relative_to(out) for path in out.rglob("*"))
        whole = tmp_path / "whole"
        assert names == sorted(path.relative_to(whole) for path in whole.rglob("*"))
        steps = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
        assert steps == [*range(1, 41)]


def test_what_is_no_file_in_a_runs_folder_is_not_waited_for(tmp_path):
    for name in ("config.json", "log.jsonl"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(RunExistsError, match=f"{name}: is no file; take another folder"):
            go(tmp_path)
        (tmp_path / name).unlink()


def test_a_signal_while_a_run_ends_is_not_lost(tmp_path):
    late = AtEnd(lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted, match="stopped after step 12 of 12") as stopped:
        go(tmp_path, callbacks=[late])
    assert stopped.value.signal == signal.SIGTERM
    assert (tmp_path / "losses.png").exists()


def test_a_run_needs_nobody_who_listens(tmp_path, monkeypatch):
    class Closed:
        encoding = "ascii"
        heard = ""

        def write(self, words):
            words.encode("ascii")
            Closed.heard += words
            if "epoch" in words:
                raise BrokenPipeError

        def flush(self):
            pass

    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "stdout", Closed())
    go(tmp_path / "gr\xf6\xdfe")
    assert "gr\\xf6\\xdfe" in Closed.heard


def test_a_picture_that_cannot_be_drawn_costs_no_run(tmp_path, monkeypatch):
    def broken(*args):
        raise ValueError("no such backend")

    monkeypatch.setattr(plot, "curves", broken)
    with pytest.warns(UserWarning, match="could not be summed up: no such backend"):
        go(tmp_path)
