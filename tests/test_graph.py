"""The drawing of a tape: every call, leaf and constant once, arrows in the order of the arguments,
names that say what they are; the text is DOT, and a picture comes where `dot` is.
"""

import re
import shutil

import numpy as np
import pytest

import tinygan as tg
from tinygan import nn, ops, plot

HAS_DOT = shutil.which("dot") is not None
needs_dot = pytest.mark.skipif(not HAS_DOT, reason="Graphviz's dot is not installed")


def parsed(graph):
    """({id: the rows of its label}, [(from, to)]) of a drawing's text."""
    nodes, arrows = {}, []
    for line in str(graph).splitlines():
        if found := re.fullmatch(r'  (\w+) \[label="((?:[^"\\]|\\.)*)", .*\]', line):
            nodes[found[1]] = re.split(r"(?<!\\)\\n", found[2])
        elif found := re.fullmatch(r"  (\w+) -> (\w+)(?: \[weight=9\])?", line):
            arrows.append((found[1], found[2]))
    return nodes, arrows


def words(graph):
    """[(what flows, into what)] by the first rows of their labels."""
    nodes, arrows = parsed(graph)
    return [(nodes[a][0], nodes[b][0]) for a, b in arrows]


def leaf(*shape, name=None):
    return tg.Tensor(np.ones(shape), name=name)


def test_a_small_expression():
    x, y = leaf(2, name="x"), leaf(3, 1, name="y")
    graph = plot.graph((x**3 - y).sum(axis=1))
    assert (
        list(parsed(graph)[0].values())
        == [
            ["x", "(2,) float64"],
            ["power", "y=3", "(2,) float64"],
            ["y", "(3, 1) float64"],
            ["subtract", "(3, 2) float64"],
            ["sum", "axis=1", "keepdims=False", "(3,) float64"],
        ]
        or list(parsed(graph)[0].values())[-1][0] == "sum"
    )
    assert words(graph) == [
        ("x", "power"), ("power", "subtract"), ("y", "subtract"), ("subtract", "sum"),
    ]  # fmt: skip
    assert str(graph).startswith("digraph") and "5 nodes" in repr(graph)


def test_arrows_stand_in_the_order_of_the_arguments():
    x, y = leaf(2, name="x"), leaf(2, name="y")
    assert words(plot.graph(y / x)) == [("y", "divide"), ("x", "divide")]
    assert words(plot.graph(ops.concatenate([y, x, y])))[0][0] == "y"
    assert "ordering=in" in str(plot.graph(y / x))


def test_what_is_shared_is_drawn_once():
    x, a = leaf(2, name="x"), np.ones(2)
    y = x * a
    nodes, arrows = parsed(plot.graph([y * y + a, y]))
    assert sorted(row[0] for row in nodes.values()) == [
        "add",
        "constant",
        "multiply",
        "multiply",
        "x",
    ]
    assert len(arrows) == 6 and len(set(arrows)) == 5  # y * y has two arrows from y
    for _ in range(100):  # 2**100 ways lead through
        y = y * y
    assert len(parsed(plot.graph(y))[0]) == 103


def test_outputs_are_marked_and_may_be_leaves():
    x = leaf(2, name="x")
    y = x + 1
    marked = [line for line in str(plot.graph([y * 2, y, x])).splitlines() if "penwidth" in line]
    assert len(marked) == 3
    assert list(parsed(plot.graph(leaf(2)))[0].values()) == [["leaf", "(2,) float64"]]


def test_parameters_have_their_names():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(32, 1))
    out = net(np.zeros((5, 1, 4, 4), np.float32))
    nodes, arrows = parsed(plot.graph(out, net))
    conv = next(own for own, rows in nodes.items() if rows[0] == "conv")
    assert [nodes[a] for a, b in arrows if b == conv] == [
        ["constant", "(5, 1, 4, 4) float32"],
        ["0.weight", "(2, 1, 3, 3) float32"],
        ["0.bias", "(2,) float32"],
    ]
    assert "stride=(1, 1)" in " ".join(nodes[conv])
    assert nodes[conv][-1] == "(5, 2, 4, 4) float32"
    named = words(plot.graph(out, {"D": net}))
    assert {a for a, _ in named} > {"D.0.weight", "D.3.bias"}
    # without the module: parameters that nobody has named yet
    net = nn.Linear(2, 1)
    assert words(plot.graph(net(np.ones((1, 2), np.float32)))) == [
        ("constant", "linear"), ("leaf", "linear"), ("leaf", "linear"),
    ]  # fmt: skip


def test_options_are_wrapped_between_values():
    @tg.primitive
    def f(x, first, *, second):
        return x * 1.0

    call = plot.graph(f(leaf(1), (1,) * 5, second=(2,) * 4))
    rows = parsed(call)[0]["n1"]
    assert rows == ["f", "first=(1, 1, 1, 1, 1),", "second=(2, 2, 2, 2)", "(1,) float64"]
    rows = parsed(plot.graph(f(leaf(1), list(range(99)), second=0)))[0]["n1"]
    assert len(rows) == 5 and rows[-2].endswith("...") and max(map(len, rows)) <= 36


def test_a_gradient_has_a_tape_too():
    x = leaf(2, name="x")
    (g,) = tg.grad((x**3).sum(), [x], create_graph=True)
    assert ("x", "power") in words(plot.graph(g))


ODD = [
    'a"b',
    "back\\slash",
    r"\N\l",
    "<b>&amp;</b>",
    "two\nlines",
    "ünïcode →",
    "\x00\ud800",
    "]; x",
]


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_odd_names(name):
    t = leaf(1, name=name) * 2
    t.name = name
    (first, call), arrows = parsed(plot.graph(t))[0].values(), parsed(plot.graph(t))[1]
    assert arrows == [("n0", "n1")] and call[0] == f"{first[0]} = multiply"
    unescaped = re.sub(r"\\(.)", r"\1", first[0]).replace("&amp;", "&")
    assert unescaped == name if name.isprintable() else "\\" in unescaped
    if HAS_DOT:
        assert "multiply" in plot.graph(t).picture().decode()


def test_a_deep_tape_is_cut_and_says_so():
    x = leaf(1, name="x")
    y = x
    for _ in range(10_000):
        y = y + x
    nodes, arrows = parsed(plot.graph(y, most=50))
    assert nodes["cut"] == ["9950 older calls are not drawn: most=50"] and len(nodes) == 52
    assert arrows[0] == ("cut", next(iter([b for a, b in arrows if a == "cut"])))
    assert [a for a, _ in arrows].count("cut") == 1
    assert "cut" not in parsed(plot.graph(x + x, most=1))[0]
    assert len(parsed(plot.graph(y, most=20_000))[0]) == 10_001


def test_what_is_no_tape_is_refused():
    with pytest.raises(TypeError, match=r"graph: draws the tape of a Tensor, got \(3,\) float64"):
        plot.graph([np.ones(3)])
    with pytest.raises(TypeError, match="graph: draws the tape of a Tensor, got None"):
        plot.graph(None)
    with pytest.raises(
        TypeError, match="graph: modules is a module or a dict of modules, got list"
    ):
        plot.graph(leaf(1), [nn.Linear(1, 1)])
    for most in (0, 1.5, True):
        with pytest.raises(ValueError, match="graph: most must be a whole number"):
            plot.graph(leaf(1), most=most)
    with pytest.raises(ValueError, match=r"graph: a file is one of .dot, .* got 'a.jpg'"):
        plot.graph(leaf(1)).save("a.jpg")


def test_without_dot_there_is_the_text_and_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    graph = plot.graph(leaf(1) * 2)
    graph.save(tmp_path / "tape.dot")
    assert (tmp_path / "tape.dot").read_text() == str(graph)
    with pytest.raises(RuntimeError, match="graph: a picture needs Graphviz's program dot: apt"):
        graph.save(tmp_path / "tape.svg")
    assert [p.name for p in tmp_path.iterdir()] == ["tape.dot"]
    shown = graph._repr_mimebundle_()
    assert list(shown) == ["text/plain"] and "apt install graphviz" in shown["text/plain"]
    assert str(graph) in shown["text/plain"]


@needs_dot
def test_pictures(tmp_path):
    graph = plot.graph(leaf(1, name="x") * 2)
    for suffix, start in {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}.items():
        graph.save(tmp_path / f"tape{suffix}")
        assert (tmp_path / f"tape{suffix}").read_bytes().startswith(start)
    shown = graph._repr_mimebundle_()["image/svg+xml"]
    assert ">x</text>" in shown and ">multiply</text>" in shown
    wide = plot.graph(ops.concatenate([leaf(1) for _ in range(30)]))
    points = lambda picture: int(re.search(r'<svg width="(\d+)pt"', picture)[1])
    shown = wide._repr_mimebundle_()["image/svg+xml"]
    assert points(shown) <= 9 * 72 < points(wide.picture().decode())


@needs_dot
def test_dot_that_fails_or_hangs_is_one_line(tmp_path, monkeypatch):
    graph = plot.graph(leaf(1) * 2)
    graph.dot = "digraph {"
    with pytest.raises(RuntimeError, match="graph: dot failed: .*syntax error"):
        graph.picture()
    monkeypatch.setattr("tinygan.graph.SECONDS", 0)
    with pytest.raises(RuntimeError, match="graph: dot took longer than 0 s for 2 nodes"):
        graph.picture()
