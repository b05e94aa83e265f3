"""The house: who may import whom, what loads when, how long it may be, and that the README's
commands are what CI runs.
"""

import ast
import functools
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tinygan"
FILES = sorted(PACKAGE.rglob("*.py"))
EXAMPLES = sorted(ROOT.glob("examples/*.py"))
RANKS = {"__version__": 0, "device": 0, "files": 0, "arrays": 1, "kernels": 1, "random": 1}
RANKS |= {
    "recording": 1,
    "autograd": 2,
    "ops": 3,
    "nn": 4,
    "optim": 4,
    "data": 4,
    "plot": 4,
    "capture": 4,
}
RANKS |= {"extras": 0, "graph": 3}
RANKS |= {"models": 5, "parallel": 5, "train": 6, "checkpoint": 6, "metrics": 6, "testing": 6}
RANKS |= {"io": 6, "latents": 6, "refine": 6, "cli": 7, "evaluate": 8, "export": 8, "sample": 8}
RANKS |= {"trials": 7, "search": 8}
NEIGHBOURS = {("random", "kernels"), ("train", "checkpoint")}
FLAGS = (
    "cli",
    "evaluate",
    "export",
    "sample",
    "search",
    "trials",
)  # the rooms that know the command line


def named(path):
    return str(path.relative_to(ROOT))


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [node for node in ast.walk(parsed(path)) if isinstance(node, kinds)]


def imports(path, nodes):
    """The files of the package that some of a file's nodes import from, as dotted names."""
    here = path.relative_to(PACKAGE.parent).with_suffix("").parts
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*here[: -node.level], *(node.module or "").split(".")]
            base = ".".join(part for part in base if part)
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield whole if _is_file(whole) or base == "tinygan" else base


def _is_file(dotted):
    path = PACKAGE.parent / Path(*dotted.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@pytest.mark.parametrize("path", [f for f in FILES if f != PACKAGE / "__init__.py"], ids=named)
def test_a_file_imports_only_from_rooms_below(path):
    own = room(path)
    for dotted in imports(path, ast.walk(parsed(path))):
        other = dotted.split(".")[1]
        assert own == other or RANKS[other] < RANKS[own] or (own, other) in NEIGHBOURS, (
            f"{own} may not import {other}"
        )


def test_no_file_imports_itself_through_others():
    """Of what is imported as a file loads; an import inside a function waits until it is called."""
    arrows = {}
    for path in FILES:
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        reached = imports(path, parsed(path).body)
        # a package that lists what its files hold is reached with each of them
        arrows[name] = {other for other in reached if not other.startswith(f"{name}.")}

    def visit(name, above):
        assert name not in above, " -> ".join([*above, name])
        for other in arrows.get(name, ()):
            visit(other, [*above, name])

    for name in arrows:
        visit(name, [])


def test_every_room_has_a_rank():
    assert {room(f) for f in FILES} - {"__init__"} <= set(RANKS)


def test_only_kernels_and_device_know_numba_and_cupy():
    for path in FILES:
        nodes = list(ast.walk(parsed(path)))
        plain = [n for n in nodes if isinstance(n, ast.Import)]
        names = [alias.name for node in plain for alias in node.names]
        names += [n.module for n in nodes if isinstance(n, ast.ImportFrom) and not n.level]
        known = {n.split(".")[0] for n in names} & {"numba", "cupy", "torch", "jax"}
        own = room(path) in ("kernels", "device") or path.name == "engines.py"
        own |= room(path) == "io" and known == {"torch"}  # which reads its own files
        assert not known or own, f"{path} imports {known}"


def test_only_the_command_line_knows_flags():
    for path in FILES:
        words = [n.value for n in ast.walk(parsed(path)) if isinstance(n, ast.Constant)]
        flags = [w for w in words if isinstance(w, str) and " --" in f" {w}" and " -- " not in w]
        doc = [ast.get_docstring(n, clean=False) for n in [parsed(path), *functions(path)]]
        flags = [w for w in flags if w not in doc and not w.startswith("--hypothesis")]
        assert not flags or room(path) in FLAGS, f"{path} names a flag: {flags}"


@functools.cache
def code(path):
    """The tokens of a file's code; comments, docstrings and line ends are free, so that neither
    packing lines nor leaving out an explanation pays anything.
    """
    doc, kinds = set(), ast.Module | ast.ClassDef | ast.FunctionDef
    for node in ast.walk(parsed(path)):
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            doc |= {*range(node.body[0].lineno, node.body[0].end_lineno + 1)}
    layout = ("COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT", "ENDMARKER")
    free = {getattr(tokenize, name) for name in layout}
    found = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    return [t for t in found if t.type not in free and t.start[0] not in doc]


def code_lines(path, node=None):
    """How many lines of code a file has, or a function or class in it."""
    first, last = (node.lineno, node.end_lineno) if node else (0, 10**9)
    lines = {n for t in code(path) for n in range(t.start[0], t.end[0] + 1)}
    return sum(first <= n <= last for n in lines)


CORE = "device random recording arrays autograd ops nn optim".split()
# of the core, what a reader takes down who came for it
SHELVES = "ops/attention.py ops/augment.py ops/derived.py ops/dropout.py ops/einsum.py".split()
SHELVES += "ops/groups.py ops/image.py ops/methods.py ops/rectifiers.py ops/signals.py".split()
SHELVES += "nn/adversarial.py nn/attention.py nn/critics.py nn/functions.py nn/groups.py".split()
SHELVES += "nn/supervised.py nn/transformer.py".split()
SHELVES += "optim/clip.py optim/ema.py optim/more.py optim/schedules.py".split()


def test_the_core_is_read_in_an_evening():
    core = [PACKAGE / "kernels/__init__.py", PACKAGE / "kernels/reference.py"]
    core += [f for f in FILES if room(f) in CORE]
    shelves = {PACKAGE / name for name in SHELVES}
    assert shelves <= set(core)
    assert sum(len(code(f)) for f in core if f not in shelves) <= 20_000
    assert sum(len(code(f)) for f in core) <= 11 * sum(map(code_lines, core))


def test_no_file_and_no_function_is_long():
    lines = {named(f): len(f.read_text(encoding="utf-8").splitlines()) for f in FILES + EXAMPLES}
    assert not {name: n for name, n in lines.items() if n > 300}
    books = {
        name: n for name, n in lines.items() if "tinygan/models/" in name or "examples" in name
    }
    assert not {name: n for name, n in books.items() if n > 150}
    assert lines["examples/mnist_classifier.py"] < 60
    sizes = {f"{named(f)} {n.name}": code_lines(f, n) for f in FILES for n in functions(f)}
    assert not {name: n for name, n in sizes.items() if n > 50}


def test_the_loop_is_short_and_each_callback_shorter():
    loop = PACKAGE / "train/loop.py"
    (own,) = [n for n in functions(loop) if n.name == "loop"]
    (read,) = [n for n in functions(loop) if n.name == "_read"]
    assert code_lines(loop, own) + code_lines(loop, read) <= 60
    for path in (PACKAGE / f"train/{name}.py" for name in ("callbacks", "pictures", "trackers")):
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef):
                assert code_lines(path, node) <= 20, node.name


def test_no_function_has_more_than_six_positional_parameters():
    long = {}
    for path in FILES:
        for node in functions(path):
            given = [*node.args.posonlyargs, *node.args.args]
            required = len(given) - len(node.args.defaults)
            # a compiled loop takes what it reads; an optimizer's update, its state and options
            if required > 6 and room(path) not in ("kernels", "optim"):
                long[f"{named(path)} {node.name}"] = required
    assert not long


def test_every_file_opens_with_what_the_room_holds_and_no_assert_stands_in_the_package():
    for path in FILES + EXAMPLES:
        assert ast.get_docstring(parsed(path)), f"{path} has no docstring"
    for path in FILES:
        found = [n for n in ast.walk(parsed(path)) if isinstance(n, ast.Assert)]
        assert not found, f"{path} asserts"


def test_public_things_have_docstrings():
    for path in FILES:
        for node in parsed(path).body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
            if public and room(path) != "kernels":
                assert ast.get_docstring(node), f"{path}: {node.name} has no docstring"


def test_import_is_light():
    heavy = ("numba", "cupy", "matplotlib", "PIL", "tqdm", "onnx", "torch")
    script = "import sys, tinygan, tinygan.io, tinygan.models; "
    script += f"print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_ci_runs_the_readmes_commands():
    for name in ("README.md", ".ci/run"):
        words = (ROOT / name).read_text(encoding="utf-8")
        assert 'pip install -e ".[test]" && pytest -n 2\n' in words
        assert "pip install . && python examples/mnist_gan.py" in words
