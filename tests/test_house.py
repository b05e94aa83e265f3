"""The house: who may import whom, what loads when, how long it may be, and that the README's
commands are what CI runs.
"""

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tinygan"
FILES = sorted(PACKAGE.rglob("*.py"))
RANKS = {
    "__version__": 0,
    "device": 0,
    "files": 0,
    "kernels": 1,
    "random": 1,
    "recording": 1,
    "arrays": 1,
    "autograd": 2,
}
RANKS |= {"ops": 3, "nn": 4, "optim": 4, "data": 4, "plot": 4, "models": 5}
RANKS |= dict.fromkeys(["train", "checkpoint", "capture", "metrics", "testing"], 6)
RANKS |= {"cli": 7, "evaluate": 8, "sample": 8}
NEIGHBOURS = {("random", "kernels"), ("train", "capture"), ("train", "checkpoint")}


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """The rooms of the package that a file imports from."""
    here = path.relative_to(PACKAGE.parent).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*here[: -node.level], *(node.module or "").split(".")]
            base = [part for part in base if part]
            yield from [base[1]] if len(base) > 1 else [alias.name for alias in node.names]


@pytest.mark.parametrize(
    "path", [f for f in FILES if f.parent != PACKAGE or f.stem != "__init__"], ids=lambda p: p.stem
)
def test_a_file_imports_only_from_rooms_below(path):
    own = room(path)
    for other in imports(path):
        assert own == other or RANKS[other] < RANKS[own] or (own, other) in NEIGHBOURS, (
            f"{own} may not import {other}"
        )


def test_every_room_has_a_rank():
    assert {room(f) for f in FILES} - {"__init__"} <= set(RANKS)


def test_only_kernels_and_device_know_numba_and_cupy():
    for path in FILES:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        names = [
            alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
        ]
        names += [
            node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level
        ]
        known = {n.split(".")[0] for n in names} & {"numba", "cupy", "torch", "jax"}
        assert not known or room(path) in ("kernels", "device") or path.name == "engines.py", (
            f"{path} imports {known}"
        )


def tokens(path):
    """How many tokens of code a file has; comments, docstrings and line ends are free, so that
    packing lines pays nothing.
    """
    source = path.read_text(encoding="utf-8")
    doc = set()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            doc |= {*range(node.body[0].lineno, node.body[0].end_lineno + 1)}
    layout = ("COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT", "ENDMARKER")
    free = {getattr(tokenize, name) for name in layout}
    found = tokenize.generate_tokens(io.StringIO(source).readline)
    return sum(t.type not in free and t.start[0] not in doc for t in found)


CORE = "device random recording arrays autograd ops nn optim".split()
SHELVES = "ops/derived.py ops/einsum.py ops/groups.py ops/image.py ops/methods.py ops/rectifiers.py ops/signals.py".split()
SHELVES += "nn/functions.py nn/supervised.py".split()
# what a reader takes down who came for it
SHELVES += "optim/clip.py optim/ema.py optim/more.py optim/schedules.py".split()


def test_budgets():
    lines = {f: len(f.read_text(encoding="utf-8").splitlines()) for f in FILES}
    named = {f: str(f.relative_to(PACKAGE)) for f in FILES}
    core = [
        f
        for f in FILES
        if room(f) in CORE or named[f] in ("kernels/__init__.py", "kernels/reference.py")
    ]
    assert set(SHELVES) <= set(named.values())
    # what is read in an evening
    assert sum(tokens(f) for f in core if named[f] not in SHELVES) <= 20_000
    assert not {f.name: n for f, n in lines.items() if n > 300}
    assert all(
        len(f.read_text(encoding="utf-8").splitlines()) < 120 for f in ROOT.glob("examples/*.py")
    )


def test_every_file_opens_with_what_the_room_holds_and_no_assert_stands_in_the_package():
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{path} has no docstring"
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.Assert)], f"{path} asserts"


def test_public_things_have_docstrings():
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if (
                isinstance(node, ast.FunctionDef | ast.ClassDef)
                and node.name[0] != "_"
                and room(path) != "kernels"
            ):
                assert ast.get_docstring(node), f"{path}: {node.name} has no docstring"


def test_import_is_light():
    code = "import sys, time; t = time.perf_counter(); import numpy; u = time.perf_counter(); import tinygan, tinygan.models; "
    code += "print([m for m in ('numba', 'cupy', 'matplotlib', 'PIL', 'tqdm') if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_ci_runs_the_readmes_commands():
    readme, ci = (
        (ROOT / "README.md").read_text(encoding="utf-8"),
        (ROOT / ".ci/run").read_text(encoding="utf-8"),
    )
    assert (
        'pip install -e ".[test]" && pytest' in readme
        and "pip install . && python examples/mnist_gan.py" in readme
    )
    assert (
        'pip install -e ".[test]" && pytest' in ci
        and "pip install . && python examples/mnist_gan.py" in ci
    )
