"""What type checkers are told: they accept a program that uses every public door, refuse mistakes,
and what they know of Tensor and `ops`, which are made as the package loads, is what is there.
"""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tinygan
from tinygan import Tensor
from tinygan.ops.methods import Methods

ROOT = Path(__file__).parent.parent
# names in stubs that stand for kinds of arguments, or results
FOR_CHECKERS = "Array", "Number", "Operand", "Primitive", "Result"
STUBS = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "tinygan").rglob("*.pyi"))
}


@pytest.fixture
def errors(request):
    """check(*files): the lines that mypy finds an error in, and all that it says."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    cache = request.config.cache.mkdir("mypy")
    # as in a user's program: the package is a library that says only what it means to
    options = ["--config-file=", "--follow-imports=silent", "--no-implicit-reexport"]
    options += ["--check-untyped-defs", "--no-error-summary", f"--cache-dir={cache}"]

    def check(*files):
        command = [sys.executable, "-m", "mypy", *options, *map(str, files)]
        here = os.environ | {"MYPYPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=here)
        words = done.stdout + done.stderr
        found = {int(line) for line in re.findall(r":(\d+): error: ", words)}
        assert done.returncode == bool(found), words
        return found, words

    return check


def test_a_checker_accepts_every_public_door(errors):
    found, words = errors(ROOT / "tests/typed_use.py", *STUBS.values())
    assert not found, words


BEGINNING = """
import numpy as np
import tinygan as tg
from tinygan import Tensor, data, nn, ops, optim, train
from tinygan.testing import check_grads
x = Tensor(np.ones((2, 2), np.float32))
@tg.no_grad()
def doubled(x: Tensor) -> Tensor: return 2 * x
"""
WRONG = [
    'x + "a"',
    '"a" @ x',
    "x.sumn()",
    "x.sum(axes=0)",
    'x.reshape("2")',
    "x.data = 1.0",
    "x.shape = (2,)",
    "x.requires_grad = False",
    "Tensor(x, dtype=np.float32)",
    'tg.grad("loss", x)',
    "number: int = tg.grad(x, x)",
    "tg.Tenser",
    "doubled(1)",
    "ops.relux(x)",
    "ops.conv2d(x)",
    'ops.softmax(x, axis="last")',
    "tensor: Tensor = ops.exp(np.ones(2))",
    "nn.Lineer(3, 4)",
    "nn.Linear(3)",
    "nn.Linear(3, 4).eval().weights()",
    "nn.Conv2d(1, 2, kernel=3)",
    'nn.losses.mse(x, x, reduction="average")',
    "optim.Adamm",
    "optim.Adam(lr=1e-3)",
    "data.load(7)",
    "data.Batches([x.data])",
    "train.train(nn.Linear(3, 4))",
    "check_grads(ops.exp, x.data, ordr=1)",
    'check_grads(ops.exp, x.data, order="2")',
]


def test_a_checker_refuses_what_is_wrong(errors, tmp_path):
    file = tmp_path / "wrong.py"
    file.write_text(BEGINNING + "\n".join(WRONG))
    found, words = errors(file)
    first = BEGINNING.count("\n") + 1
    accepted = [line for i, line in enumerate(WRONG, first) if i not in found]
    assert not accepted and min(found) == first, words


def definitions(body):
    """Name -> definitions, more than one if overloaded, of the functions and classes of a stub; an
    attribute's is None.
    """
    found = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.AnnAssign):
            found[node.target.id] = [None]
    return found


def parameters(f):
    """(name, default) of what a function takes, a method without itself."""
    return [(p.name, p.default) for p in inspect.signature(f).parameters.values()]


def stub_parameters(node):
    """The same of a stub's function; PyTorch's names, which are keywords alone there, are left out
    where NumPy's stand beside them.
    """
    given, nothing = node.args, inspect.Parameter.empty
    known = [ast.literal_eval(d) for d in given.defaults]
    defaults = [nothing] * (len(given.args) - len(known)) + known
    found = [(a.arg, default) for a, default in zip(given.args, defaults)]
    found += [(a.arg, nothing) for a in (given.vararg, given.kwarg) if a]
    for a, default in zip(given.kwonlyargs, given.kw_defaults):
        if a.arg not in ("dim", "keepdim"):
            found.append((a.arg, nothing if default is None else ast.literal_eval(default)))
    return found


def assert_alike(nodes, thing, bound):
    """One of the definitions of a function takes what the function takes."""
    if inspect.isfunction(thing) and None not in nodes:
        named = lambda given: [p for p in given[bound:] if p[0] not in ("args", "kwargs")]
        told = [named(stub_parameters(node)) for node in nodes]
        assert named(parameters(thing)) in told, nodes[0].name


@pytest.mark.parametrize("name", STUBS)
def test_a_stub_says_what_is_there(name):
    room = importlib.import_module(name)
    stub = ast.parse(STUBS[name].read_text(encoding="utf-8"))
    defined = definitions(stub.body)
    for told, nodes in defined.items():
        if told in FOR_CHECKERS or told[0] == "_" != told[1]:
            continue
        thing = getattr(room, told)
        assert_alike(nodes, thing, bound=0)
        for method, overloads in definitions(getattr(nodes[0], "body", [])).items():
            if inspect.isclass(thing) and (None not in overloads):
                assert_alike(overloads, inspect.getattr_static(thing, method), bound=1)
    imported = {a.asname for n in stub.body if isinstance(n, ast.ImportFrom) for a in n.names}
    public = {n for n, x in vars(room).items() if n[0] != "_" and not inspect.ismodule(x)}
    own = {n for n in public if getattr(getattr(room, n), "__module__", "") == name}
    assert public & {*getattr(room, "__all__", own)} <= {*defined, *imported}


def test_the_stub_has_all_of_tensor():
    stub = ast.parse(STUBS["tinygan.autograd"].read_text(encoding="utf-8"))
    (tensor,) = definitions(stub.body)["Tensor"]
    told = set(definitions(tensor.body))
    operators = {n for n, f in vars(Methods).items() if n[:2] == "__" and callable(f)}
    assert operators - {"__getattr__", "__array__"} <= told
    assert {n for n in dir(Tensor) if n[0] != "_"} == {n for n in told if n[0] != "_"}


def test_the_stubs_ship():
    assert (Path(tinygan.__file__).parent / "py.typed").exists()
    assert '"": ["py.typed", "*.pyi"]' in (ROOT / "setup.py").read_text(encoding="utf-8")
