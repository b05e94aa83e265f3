"""The table of conventions in docs/, row by row: values, gradients, and PyTorch's if installed."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import tinygan as tg
from tinygan import Tensor, grad, ops

TABLE = (Path(__file__).parent.parent / "docs/conventions.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in TABLE.splitlines()
    if line.startswith("| `")
]


def evaluate(cell, **names):
    return eval(
        re.search("`(.*?)`", cell)[1], {"inf": np.inf, "nan": np.nan, "log": np.log} | names
    )


@pytest.mark.parametrize(
    "row", ROWS, ids=[f"{expression} at {x}".replace("`", "") for expression, x, *_ in ROWS]
)
def test_row(row):
    expression, x, value, slope, torchs = row
    names = {name: getattr(ops, name) for name in ops.__all__} | {
        "ones": np.ones(1),
        "array": lambda a: np.array(a, float),
    }
    x, slope = np.array(evaluate(x), float), np.array(evaluate(slope), float)
    for create_graph in False, True:
        t = Tensor(x.copy())
        with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
            out = evaluate(expression, **names, x=t)
            g = grad(ops.sum(out), t, create_graph=create_graph)
        np.testing.assert_allclose(out.data, evaluate(value), rtol=1e-15, atol=0)
        np.testing.assert_allclose(g.data if create_graph else g, slope, rtol=1e-14, atol=0)
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    others = {
        "max": lambda x, axis=None: torch.max(x) if axis is None else torch.max(x, axis)[0],
        "clip": torch.clamp,
        "softmax": lambda x: torch.softmax(x, 0), "log_softmax": lambda x: torch.log_softmax(x, 0),
        "power": torch.pow,
        "logsumexp": lambda x: torch.logsumexp(x, 0), "leaky_relu": torch.nn.functional.leaky_relu,
        "softplus": torch.nn.functional.softplus, "vector_norm": torch.linalg.vector_norm,
        "array": lambda a: torch.tensor(a, dtype=torch.float64),
        "ones": torch.ones(1, dtype=torch.float64),
    }  # fmt: skip
    t = torch.tensor(x, requires_grad=True)
    evaluate(
        expression, **{n: getattr(torch, n, getattr(F, n, None)) for n in ops.__all__} | others, x=t
    ).sum().backward()
    np.testing.assert_allclose(
        t.grad.numpy(), np.array(evaluate(torchs), float) if torchs else slope, rtol=1e-14, atol=0
    )


MEETINGS = [
    line.strip("| \n").rsplit(" | ", 1)
    for line in TABLE.partition("# What meets what")[2].splitlines()
]


@pytest.mark.parametrize("expression, result", [row for row in MEETINGS if len(row) == 2][1:])
def test_what_meets_what(expression, result):
    numbers = np.arange(1, 5).reshape(2, 2)
    a32, a64 = numbers.astype(np.float32), numbers.astype(np.float64)
    names = {
        "t32": Tensor(a32),
        "t64": Tensor(a64),
        "a32": a32,
        "a64": a64,
        "np": np,
        "ops": ops,
        "tg": tg,
    }
    names |= {"int64": numbers, "uint8": numbers.astype(np.uint8), "mask": numbers > 2}
    if result == "TypeError":
        with pytest.raises(TypeError, match="float"):
            eval(expression, names)
        return
    out = eval(expression, names)
    assert out.dtype == result
    if isinstance(out, Tensor) and out.op:
        leaves = names["t32"], names["t64"]
        found = grad(ops.sum(out), leaves, allow_unused=True)
        assert (
            [g.dtype for g in found if g is not None]
            == [t.dtype for t, g in zip(leaves, found) if g is not None]
            != []
        )


def test_the_table_names_what_has_a_kink_or_a_tie():
    assert len(ROWS) > 25
    for name in "relu abs clip max maximum where vector_norm sqrt prod xlogy logsumexp".split():
        assert any(re.search(rf"\b{name}\(", expression) for expression, *_ in ROWS), name
