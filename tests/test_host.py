"""Under the kernels: memory that is used again and goes back, tables, a team of threads."""

import ast
import gc
import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
import weakref
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.caching import IndexDataCacheFile, NullCache

from tinygan.kernels.cpu import board, compiler, conv_direct, conv_fft, memory, threads


@pytest.fixture
def pool(monkeypatch):
    """The pool of `memory.empty`, empty, for as long as a test lasts; its watcher is the test."""
    monkeypatch.setattr(memory, "_buffers", {})
    monkeypatch.setattr(memory, "_peak", 0)
    monkeypatch.setattr(memory, "_watching", True)
    return memory


def held(pool):
    return sum(b.memory.nbytes for buffers in pool._buffers.values() for b in buffers)


def test_memory_serves_arrays_of_about_its_size(pool):
    first = pool.empty((1000, 1000), "f4")
    here = first.ctypes.data
    del first
    for shape, dtype in (((1010, 1000), "f4"), ((500, 1001), "f8"), ((4_000_001,), "u1")):
        x = pool.empty(shape, dtype)
        assert x.ctypes.data == here and x.shape == shape and x.dtype == dtype and x.flags.writeable
        del x
    smaller = pool.empty((1000, 900), "f4")  # more than an eighth would lie idle
    assert smaller.ctypes.data != here


def test_thousands_of_sizes_keep_no_more_than_a_share_of_what_was_in_use(pool):
    for n in range(70_000, 1_270_000, 400):
        pool.empty((n,), "f4")
    assert 0 < held(pool) <= 1_270_000 * 4 * 9 / 8 + pool.SPARE
    several = [pool.empty((n,), "f4") for n in (6_000_000, 7_000_000, 5_000_000)]
    del several
    for n in range(70_000, 6_000_000, 70_000):
        pool.empty((n,), "f4")
    assert held(pool) <= 18_000_000 * 4 * 9 / 8 * 1.5


def test_work_that_repeats_itself_makes_new_memory_only_at_first(pool, monkeypatch):
    made, make = [], pool._Buffer
    monkeypatch.setattr(pool, "_Buffer", lambda size: made.append(size) or make(size))
    for step in range(5):
        kept = [pool.empty((n,), "f8") for n in (300_000, 900_000, 900_000, 2_000_000)]
        for n in (100_000, 110_000, 3_000_000, 300_000):
            pool.empty((n,), "f8")
        del kept
        if step == 0:
            made.clear()
    assert not made


def test_what_lies_idle_goes_back(monkeypatch, pool):
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(pool, "_watching", False)
    used, idle = pool.empty((1 << 20,), "f4"), pool.empty((1 << 22,), "f4")
    used[:], idle[:] = 1, 2
    del idle
    end = time.monotonic() + 20
    while held(pool) > used.nbytes and time.monotonic() < end:
        time.sleep(0.01)
    assert held(pool) == used.nbytes and pool._watching and (used == 1).all()
    del used
    while pool._watching and time.monotonic() < end:
        time.sleep(0.01)
    assert not pool._buffers and not pool._watching


@pytest.mark.skipif(
    not hasattr(memory.mmap, "MAP_ANONYMOUS"), reason="memory comes from NumPy here"
)
def test_idle_memory_goes_before_an_array_is_refused(pool, monkeypatch):
    idle, used = pool.empty((1 << 20,), "f4"), pool.empty((1 << 21,), "f4")
    del idle

    def full(*args, make=memory.mmap.mmap, **options):
        if held(pool) > used.nbytes:
            raise OSError(12, "Cannot allocate memory")
        return make(*args, **options)

    monkeypatch.setattr(memory.mmap, "mmap", full)
    more = pool.empty((1 << 22,), "f4")
    assert held(pool) == used.nbytes + more.nbytes
    with pytest.raises(MemoryError, match="array of 8388608 bytes: .*Cannot allocate memory"):
        pool.empty((1 << 21,), "f4")
    assert held(pool) == used.nbytes + more.nbytes


def test_memory_of_objects_is_not_shared(pool):
    assert pool.empty((70_000,), object)[-1] is None and not pool._buffers


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_writes_to_memory_of_its_own_whatever_another_thread_held(pool):
    x, y = pool.empty((1 << 18,), "f4"), pool.empty((1 << 20,), "f4")
    x[:], y[:] = 1, 1
    with pool._lock:  # as by another thread
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            x[:] = 2
            del y
            fresh = pool.empty((1 << 20,), "f4")
            fresh[:] = 3
            os._exit(0 if (x == 2).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (x == 1).all() and (y == 1).all()


def test_tables_are_kept_by_their_bytes(monkeypatch):
    monkeypatch.setattr(memory, "TABLE_BYTES", 8 * 1000)
    calls = []

    @memory.kept
    def table(n, part=0):
        calls.append(n)
        return np.arange(n), [(np.arange(part),)], "no array"

    assert table(400) is table(400) and table(300, 300) is table(300, 300)
    assert calls == [400, 300]
    table(400)
    table(200)  # what was not asked for the longest has to go
    table(400)
    assert calls == [400, 300, 200]
    table(300, 300)
    assert calls == [400, 300, 200, 300]
    table(5000)  # more than all together: kept alone
    table(5000)
    table(1)
    assert calls[4:] == [5000, 1]


def test_no_table_of_the_kernels_outlives_its_bound(monkeypatch):
    monkeypatch.setattr(memory, "TABLE_BYTES", 1 << 16)
    for f in (conv_direct.offsets, conv_direct.patches, conv_direct.phases, conv_fft._matrices):
        results = next(c.cell_contents for c in f.__closure__ if isinstance(c.cell_contents, dict))
        results.clear()
        for n in range(20, 40):
            geometry = conv_direct.Geometry((3, 3), (1, 1), (0, 0), (1, 1))
            args = {
                conv_direct.offsets: (100 * n, 1),
                conv_direct.patches: ((2, n, n, 3), (n - 2, n - 2), geometry, 4),
                conv_direct.phases: ((2, n, n, 3), (2, n + 2, n + 2, 3), geometry, 4),
                conv_fft._matrices: ((n // 4, 5), (3, 3), (n // 4 - 2, 3), (0, 0)),
            }[f]
            latest = f(*args)
            assert f(*args) is latest
        assert (
            memory._nbytes(list(results.values())) <= max(memory._nbytes(latest), 1 << 16)
            and len(results) < 20
        )
        results.clear()


@pytest.fixture
def no_more_threads(monkeypatch):
    monkeypatch.setattr(threads, "CORES", 3)
    monkeypatch.setattr(threads, "_team", threads._Team())

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads.threading.Thread, "start", refuse)
        yield patch


def add(start, stop, out):
    out[start:stop] += np.arange(start, stop)


def test_a_caller_works_alone_while_no_thread_can_start(no_more_threads, pool, monkeypatch):
    monkeypatch.setattr(pool, "_watching", False)
    assert pool.empty((1 << 20,), "f4").size == 1 << 20 and not pool._watching
    for _ in range(3):
        out = np.zeros(100)
        threads.split(add, 100, threads.SHARED, out)
        np.testing.assert_array_equal(out, np.arange(100))
    assert not threads._team.workers
    no_more_threads.undo()
    out = np.zeros(100)
    threads.split(add, 100, threads.SHARED, out)
    np.testing.assert_array_equal(out, np.arange(100))
    assert len(threads._team.workers) == 2


@numba.njit(nogil=True)
def _meet(start, stop, here, met):
    """A part that waits until all have begun, as they never have if one thread does them all."""
    board._write(here + 8 * start, 1)
    for _ in range(10_000_000):
        if board._read(here) and board._read(here + 8):
            met[start] = 1
            return


def test_two_parts_of_a_compiled_loop_run_at_once(monkeypatch):
    monkeypatch.setattr(threads, "CORES", 2)
    monkeypatch.setattr(threads, "LONG_WAIT", float("inf"))
    monkeypatch.setattr(threads._team, "alone", 0)
    for _ in range(20):
        here, met = np.zeros((2, 4), np.int64)
        threads.split(_meet, 2, threads.SHARED, here.ctypes.data, met)
        if met[:2].all():
            return
    raise AssertionError("no worker ever took a part")


def test_a_loop_in_python_leaves_its_arrays_to_be_freed(monkeypatch):
    monkeypatch.setattr(threads, "CORES", 2)
    monkeypatch.setattr(threads._team, "alone", 0)
    out = np.zeros(100)
    ours = weakref.ref(out)
    gc.disable()
    try:
        threads.split(add, 100, threads.SHARED, out)
        del out
        assert ours() is None
    finally:
        gc.enable()


@numba.njit(nogil=True)
def _greedy(start, stop, size, out):
    out[start] = len(np.empty(size))


@pytest.mark.parametrize("size", [0, threads.SHARED])
def test_a_compiled_part_without_memory_is_an_error_and_the_team_goes_on(size, monkeypatch):
    monkeypatch.setattr(threads, "CORES", 3)
    out = np.zeros(100)
    with pytest.raises(MemoryError, match="_greedy: no memory"):
        threads.split(_greedy, 6, size, 1 << 60, out)
    threads.split(add, 100, threads.SHARED, out)
    np.testing.assert_array_equal(out, np.arange(100))


LOOP = """
from .inner import FACTOR
from ..outer import START

def loop(x, n):
    total = x[0] + START
    for i in range(1, n):
        total += x[i] * FACTOR
    return total
"""


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """A function that compiles LOOP anew, as a process of its own would, with what it warns of."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "looping" / "deep"
    folder.mkdir(parents=True)

    def compile(factor=0.1, start=0.0):
        (folder / "loops.py").write_text(LOOP)
        (folder / "inner.py").write_text(f"FACTOR = {factor}")
        (folder.parent / "outer.py").write_text(f"START = {start}")
        importlib.invalidate_caches()
        for name in [name for name in sys.modules if name.split(".")[0] == "looping"]:
            del sys.modules[name]
        compiler._digest.cache_clear()
        compiler._warned.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            f = compiler.jit(importlib.import_module("looping.deep.loops").loop)
            results = [f(np.arange(9, dtype=t), 9) for t in ("f4", "f8")]
        return f, results, [str(w.message) for w in caught]

    yield compile
    compiler._warned.clear()


def test_compiled_loops_are_kept_on_disk(compiled):
    for hits in (0, 2):
        f, results, said = compiled()
        assert sum(f.stats.cache_hits.values()) == hits and not said
        assert results == [pytest.approx(3.6, rel=1e-6), pytest.approx(3.6, rel=1e-15)]


def test_constants_from_other_files_are_compiled_anew(compiled):
    assert compiled()[1][1] == pytest.approx(3.6)
    assert compiled(factor=0.2)[1] == [pytest.approx(7.2, rel=1e-6), pytest.approx(7.2)]
    assert compiled(factor=0.2, start=5.0)[1][1] == pytest.approx(12.2)


def test_a_loop_outside_a_package_is_not_kept():
    compiler._warned.clear()
    with pytest.warns(UserWarning, match="cannot be kept .* is in no package"):
        assert isinstance(compiler.jit(add)._cache, NullCache)
    compiler._warned.clear()


def test_compiled_loops_take_nothing_from_beyond_the_folders_that_count():
    for path in Path(compiler.__file__).parent.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        if "@jit" not in source and "@intrinsic" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom):
                far = node.level > 2 or (node.module or "").startswith("tinygan")
                assert not far, f"{path.name}: a constant from there could change unnoticed"


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def exchange(path, other):
    a, b = path.read_bytes(), other.read_bytes()
    path.write_bytes(b), other.write_bytes(a)


@pytest.mark.parametrize(
    "damage",
    [
        lambda index, data: cut(index, 0),
        lambda index, data: cut(index, 20),
        lambda index, data: cut(index, -1),
        lambda index, data: [cut(path, 0) for path in data],
        lambda index, data: [cut(path, path.stat().st_size // 2) for path in data],
        lambda index, data: exchange(*data),
        lambda index, data: [path.unlink() for path in data] and data[0].mkdir(),
    ],
    ids=["empty index", "index", "end of index", "empty code", "code", "another's code", "folder"],
)
def test_a_damaged_cache_costs_time_alone(damage, compiled, tmp_path):
    _, expected, _ = compiled()
    cache = tmp_path / "looping" / "deep" / "__pycache__"
    damage(*cache.glob("*.nbi"), sorted(cache.glob("*.nbc")))
    _, results, said = compiled()
    assert results == expected
    assert len(said) <= 1 and all(str(cache) in text and "NUMBA_CACHE_DIR" in text for text in said)
    if not any(path.is_dir() for path in cache.iterdir()):
        f, results, said = compiled()  # it has mended itself
        assert results == expected and len(f.stats.cache_hits) == 2 and not said


def test_without_a_place_for_a_cache_the_bits_are_the_same(compiled, tmp_path, monkeypatch):
    _, expected, _ = compiled()
    (tmp_path / "file").touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file" / "folder"))
    assert compiled()[1:] == (expected, [])  # another place serves
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "home"))
    cache = tmp_path / "looping" / "deep" / "__pycache__"
    shutil.rmtree(cache)
    cache.touch()
    f, results, said = compiled()
    assert results == expected and not f.stats.cache_hits
    assert len(said) == 1 and "no locator available" in said[0]


def test_a_cache_that_can_no_longer_be_written_to(compiled, tmp_path, monkeypatch):
    def full(self, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(IndexDataCacheFile, "_open_for_write", full)
    f, results, said = compiled()
    assert results[1] == pytest.approx(3.6) and len(said) == 1 and "No space left" in said[0]


USE = """
import importlib, pkgutil, sys, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import numpy as np, tinygan
    from tinygan import kernels, nn
    from tinygan.kernels import reference
    own = "cpu", "gpu"
    for m in pkgutil.walk_packages(tinygan.__path__, "tinygan."):
        if m.name.split(".")[-1] not in own:
            for name in getattr(importlib.import_module(m.name), "__all__", ()):
                getattr(sys.modules[m.name], name)
    net = nn.Sequential(nn.Conv2d(3, 40, 3), nn.BatchNorm2d(40), nn.ReLU())
    net(np.ones((8, 3, 30, 30), "f4")).sum().backward()
    assert kernels.of(np.ones(1)) is reference and net[0].weight.grad.shape == (40, 3, 3, 3)
print(*(w.message for w in caught), sep="\\n")
"""


@pytest.mark.parametrize(
    ("numba_says", "words"),
    [
        (None, "Numba cannot be used (NUMBA_DISABLE_JIT is set)"),
        ("Numba needs NumPy 2.3 or less.", "Numba cannot be used (Numba needs NumPy 2.3 or less.)"),
    ],
)
def test_where_numba_does_not_work_numpy_does(numba_says, words, tmp_path):
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "NUMBA_DISABLE_JIT": "1"}
    if numba_says:
        (tmp_path / "numba.py").write_text(f"raise ImportError({numba_says!r})")
        env["PYTHONPATH"] += os.pathsep + str(tmp_path)
        del env["NUMBA_DISABLE_JIT"]
    run = [sys.executable, "-c", USE]
    done = subprocess.run(run, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == 1 and said[0].startswith(f"tinygan: {words}; plain NumPy does its work")


def test_memory_asked_for_while_it_is_handed_out_is_plain():
    with memory._lock:  # as where a signal's handler, or a finalizer, computes
        assert memory.empty((1 << 18,), np.float32).shape == (1 << 18,)
