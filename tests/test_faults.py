"""What a run meets: kills and interrupts at every step of a save, full disks, read-only folders,
other runs, signals. Whatever happens, a file is the old one or the new one, whole.
"""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import settings

from tinygan import checkpoint, files

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
    save(tmp_path / "c.npz", 1)
    return tmp_path / "c.npz"


def at_line(number, act, work):
    """Call `act` before the given line of Python that `work` runs; how many lines it ran."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
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
    """The exit status of a child process that does `work`; killed by os._exit it flushes nothing."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def steps(work, times):
    """Numbers of lines of `work` spread over all of them, the last ones among them."""
    lines = at_line(-1, None, work)
    return sorted({*np.linspace(1, lines, min(times, lines), dtype=int), *range(lines - 20, lines)})


def test_a_kill_at_any_line_of_a_save_leaves_a_whole_file(path):
    seen = set()
    for line in steps(lambda: save(path, 1), TIMES):
        save(path, 1)
        forked(lambda: at_line(line, lambda: os._exit(9), lambda: save(path, 2)))
        seen.add(content(path))
        files.sweep(path.parent)
        assert list(path.parent.iterdir()) == [path]
    assert seen == {1, 2}


# zipfile's own destructor, met half-way
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_line_of_a_save_leaves_no_part(path):
    def interrupt():
        raise KeyboardInterrupt

    seen = set()
    for line in steps(lambda: save(path, 1), 2 * TIMES):
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
            with pytest.raises(ValueError, match="not a whole .npz .no file"):
                read(path)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    with pytest.raises(checkpoint.CheckpointError, match="there is no checkpoint"):
        checkpoint.read_meta(tmp_path / "none.npz")


def test_a_torn_checkpoint_is_one_line_at_any_length(path):
    whole = path.read_bytes()
    for length in {*range(0, len(whole), len(whole) // TIMES), *range(len(whole) - 30, len(whole))}:
        path.write_bytes(whole[:length] + bytes(len(whole) - length) * (length % 2))  # cut, zeros
        if path.read_bytes() == whole:
            continue
        with pytest.raises(checkpoint.CheckpointError, match="c.npz: no") as caught:
            content(path)
        assert len(str(caught.value).splitlines()) == 1
