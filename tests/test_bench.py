"""The benches' own parts that print no time: what counts a step's work, who imports whom, and
whether PyTorch's steps are ours.
"""

import ast
import graphlib
import functools
import importlib
import os
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygan import Tensor, checkpoint, data, grad, models, nn, random
from tinygan.models.solvers import SOLVERS

BENCH = Path(__file__).parent.parent / "bench"
FILES = {path.relative_to(BENCH).with_suffix("").parts: path for path in BENCH.rglob("*.py")}
NAMED = {".".join(p for p in parts if p != "__init__"): path for parts, path in FILES.items()}


@pytest.fixture
def work(monkeypatch):
    """bench/work.py."""
    monkeypatch.syspath_prepend(BENCH)
    yield importlib.import_module("work")
    sys.modules.pop("work")


@pytest.fixture
def modes(monkeypatch):
    """bench/modes.py."""
    monkeypatch.syspath_prepend(BENCH)
    yield importlib.import_module("modes")
    for name in ("modes", "common"):
        sys.modules.pop(name)


def test_a_torn_line_costs_its_own_run_alone(modes, tmp_path):
    path = tmp_path / "runs.jsonl"
    for seed in (0, 1):
        modes.note(path, ("ring", seed), {"kl": seed})
    for torn in ('[["ring", 2], {"k', "7\n", '[["ring", 2], {"kl": 2}'):
        with path.open("a") as file:
            file.write(torn)
    modes.note(path, ("ring", 3), {"kl": 3})
    assert modes.noted(path) == {("ring", seed): {"kl": seed} for seed in (0, 1, 3)}
    assert modes.noted(None) == modes.noted(tmp_path / "none") == {}


@pytest.fixture
def likelihood(monkeypatch):
    """bench/likelihood.py."""
    monkeypatch.syspath_prepend(BENCH)
    yield importlib.import_module("likelihood")
    for name in ("likelihood", "ways", "common"):
        sys.modules.pop(name, None)


def test_a_divergence_is_what_the_points_miss(likelihood, monkeypatch, tmp_path, capsys):
    """Of densities that are too low by e^-0.3, and what was noted is not made again."""
    low = lambda self, x, **how: data.TOYS["moons"].log_density(x) - 0.3
    monkeypatch.setattr(models.Flow, "log_prob", low)
    flags = "--densities", "moons", "--steps", "2", "--points", "20", "--out"
    monkeypatch.setattr(sys, "argv", ["likelihood.py", *flags, str(tmp_path / "runs.jsonl")])
    for _ in range(2):
        likelihood.main()
        monkeypatch.delattr(models.Flow, "log_prob", raising=False)
        assert "moons 2 20 0 " in (said := capsys.readouterr().out)
        assert "0.3000 +- 0.0000 nats" in said


def test_bits_are_of_unseen_digits_by_every_solver(likelihood, monkeypatch, tmp_path, capsys):
    random.manual_seed(0)
    model, asked = models.flow(width=8, hidden=8), []
    checkpoint.save(tmp_path / "run.npz", model.parts(), {"step": 0, "model": model.recipe})
    bits = lambda self, x, **how: asked.append((x.shape, *how.values())) or (3.5, 0.1)
    monkeypatch.setattr(models.Flow, "bits_per_dim", bits)
    flags = "--run", str(tmp_path / "run.npz"), "--data", "bundled", "--digits", "7"
    monkeypatch.setattr(sys, "argv", ["likelihood.py", *flags])
    likelihood.main()
    ways = [(n, method) for method in SOLVERS for n in (20, 50, 100, 200)]
    assert asked == [((7, 1, 28, 28), *way) for way in ways]
    assert capsys.readouterr().out.count("3.5000 +- 0.1000 bits per dimension") == len(ways)


def test_a_flow_learns_for_some_seconds(likelihood, monkeypatch, capsys):
    taught, bits = [], lambda self, x, **how: (3.5, 0.1)
    monkeypatch.setattr(models.Flow, "bits_per_dim", bits)
    monkeypatch.setattr(models.Flow, "step", lambda self, batch: taught.append(batch))
    flags = "--minutes", "0.01", "--data", "bundled", "--digits", "7"
    monkeypatch.setattr(sys, "argv", ["likelihood.py", *flags])
    likelihood.main()
    assert "0.01 bundled 7 euler 20" in capsys.readouterr().out
    assert len(taught) > 10 and taught[0][0].shape == (64, 1, 28, 28)
    assert not any(np.array_equal(taught[0][0], images) for images, _ in taught[1:])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--run {tmp}/none", "there is no checkpoint"),
        ("--run {tmp}/run.npz --data {tmp}/none", "none"),
        ("--run {tmp}/run.npz --data bundled", "run.npz: needs a flow of samples (1, 28, 28), got"),
        ("--minutes -1", "argument --minutes: must be at least 0.01, got -1"),
        ("--minutes nan", "argument --minutes: must be at least 0.01, got nan"),
        ("--points 1", "argument --points: must be at least 2, got 1"),
    ],
)
def test_what_likelihood_cannot_do_is_a_line(flags, words, monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(BENCH)
    model = models.ddpm(width=8, hidden=8)
    checkpoint.save(tmp_path / "run.npz", model.parts(), {"step": 0, "model": model.recipe})
    flags = flags.format(tmp=tmp_path).split()
    monkeypatch.setattr(sys, "argv", ["likelihood.py", *flags])
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(BENCH / "likelihood.py"), run_name="__main__")
    err = capsys.readouterr().err
    assert exit.value.code == 2 and err.count("\n") == 1 and words in err


def test_no_runs_have_no_mean(modes, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["modes.py", "--runs", "0"])
    with pytest.raises(SystemExit, match="2"):
        modes.main()
    assert "must be at least 1" in capsys.readouterr().err


def test_quality_trains_both_sides(monkeypatch):
    """In as many steps, with a rate that falls."""
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(BENCH)
    before = {*sys.modules}
    try:
        quality = importlib.import_module("quality")
        monkeypatch.setitem(quality.RECIPES, "mlp", (4, 3))
        digits = np.zeros((8, 28, 28), np.uint8)
        plain, rates = models.GAN.step, []

        def step(self, batch):
            rates.append(self.optimizers[0].param_groups[0]["lr"])
            return plain(self, batch)

        monkeypatch.setattr(models.GAN, "step", step)
        for samples, seconds in quality.train_both("mlp", 0, digits, 1):
            assert samples.shape == (10_000, 1, 28, 28) and seconds > 0
        assert len(rates) == 3 and rates[0] == rates[1] > rates[2] > 0
    finally:
        for name in {*sys.modules} - before:
            if str(BENCH) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


@pytest.mark.parametrize("task", ["r3gan", "hinge-sn", "flow", "ddpm", "gpt"])
def test_pytorchs_step_is_ours(task, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(BENCH)
    before = {*sys.modules}
    try:
        agree, tasks, peers = map(importlib.import_module, ("agree", "tasks", "peers"))
        make = functools.partial(tasks.model, task, **tasks.sized(task, 4))
        batch = functools.partial(tasks.batch, task)
        peer = {"torch tuned": peers.PEERS["torch tuned"]()}
        assert agree.agree(make, peer, batch, n=4) == [*peer]
    finally:
        for name in {*sys.modules} - before:
            if str(BENCH) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


@pytest.fixture
def together(monkeypatch):
    """bench/parallel.py and bench/scaling.py."""
    monkeypatch.syspath_prepend(BENCH)
    before = {*sys.modules}
    yield importlib.import_module("parallel"), importlib.import_module("scaling")
    for name in {*sys.modules} - before:
        if str(BENCH) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize("task", ["mlp-gan", "dcgan5x5", "gpt"])
def test_the_bytes_that_processes_send_are_the_models(task, together, monkeypatch):
    """And each bucket of gradients is complete after it was begun, and before the step ends."""
    pytest.importorskip("mpi4py")
    if not shutil.which("mpirun", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"):
        pytest.skip("there is no mpirun")
    for name in ("", "_CONFIRM"):
        monkeypatch.setenv(f"OMPI_ALLOW_RUN_AS_ROOT{name}", "1")
    monkeypatch.setenv("PYTHONPATH", str(BENCH.parent))
    parallel, _ = together
    words = parallel.mpirun(2)
    options = {"what": "trace", "task": task, "batch_size": 4}
    found = parallel.ask(parallel.__file__, before=words, **options)
    for step in found["steps"]:
        for kind, size in found["expected"].items():
            assert sum(e["bytes"] for e in step["sent"] if e["kind"] == kind) == size
        assert all(e["begun"] < e["done"] < step["seconds"] for e in step["sent"])
        assert 0 <= step["hidden"] <= 1


def test_a_line_through_times(together):
    parallel, _ = together
    alpha, beta = parallel.fitted({size: 2e-6 + size / 5e9 for size in parallel.SIZES})
    assert np.allclose([alpha, beta], [2e-6, 1 / 5e9])


def test_what_many_gpus_wait_for(together):
    """Large sums take what their bytes take, small ones their hops; more samples hide more."""
    _, scaling = together
    assert scaling.allreduce(1 << 20, 1) == 0
    assert scaling.allreduce(1 << 34, 8) == pytest.approx(2 * 7 / 8 * 2**34 / scaling.NVLINK, 0.01)
    small = [scaling.allreduce(4, n) for n in scaling.COUNTS]
    assert small == sorted(small) and small[-1] < 1e-4
    cost = scaling.cost("mlp-gan", n=4)
    assert cost.parameters == 2 * cost.gradients // 8 and not cost.channels
    assert cost.efficiency(128, 1) == 1 and 0 < cost.efficiency(128, 1024, window=0) < 1
    assert cost.efficiency(128, 64, window=0) <= cost.efficiency(128, 64)
    assert cost.efficiency(64, 64) <= cost.efficiency(4096, 64)
    least = cost.hides(1024)
    assert cost.efficiency(least, 1024) >= 0.9 and least in [1 << i for i in range(17)]


def imported(name, path):
    """The files of bench/ that one imports, late imports included."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield ".".join(filter(None, [package if node.level else "", node.module]))


def test_no_file_imports_in_a_circle():
    uses = {name: {*imported(name, path)} & NAMED.keys() for name, path in NAMED.items()}
    assert [*graphlib.TopologicalSorter(uses).static_order()]


def test_files_and_functions_are_short():
    for path in FILES.values():
        source = path.read_text(encoding="utf-8")
        assert len(source.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno <= 60, f"{path}: {node.name}"


@pytest.mark.parametrize(
    "layer, x, forward",
    [
        (nn.Linear(5, 7), (3, 5), 3 * 5 * 7),
        (nn.Conv2d(2, 4, 3, padding=1), (3, 2, 6, 6), 3 * 36 * 9 * 2 * 4),
        (nn.ConvTranspose2d(2, 4, 4, stride=2, padding=1), (3, 2, 5, 5), 3 * 25 * 16 * 2 * 4),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_the_work_of_a_layer_is_counted(work, layer, x, forward):
    """Forward, and as much for each gradient: to the input, to the weight."""
    x = Tensor(np.ones(x, np.float32))
    assert work.operations(lambda: layer(x)) == 2 * forward
    both = work.operations(lambda: grad(layer(x).sum(), [x, *layer.parameters()]))
    assert both == 3 * 2 * forward
