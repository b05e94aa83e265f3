"""The documentation: what its pages take from the source is there, its Python runs, every public
name has its place, it is built without a warning, and the notebook runs from end to end.
"""

import ast
import importlib
import importlib.util
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tinygan import random

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CHAPTERS = sorted(DOCS.glob("evening/*.md"))
PAGES = {path: path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
# rooms whose public names all stand in docs/api
ROOMS = ["", "data", "device", "io", "metrics", "metrics.distances", "models", "nn", "nn.init"]
ROOMS += ["latents", "nn.losses", "ops", "optim", "optim.schedules", "parallel", "plot", "random"]
ROOMS += ["refine", "testing", "train"]


def needs(*modules):
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def blocks():
    for path in [DOCS / "index.md", *CHAPTERS]:
        for i, block in enumerate(re.findall(r"```python\n(.*?)```", PAGES[path], re.S)):
            yield pytest.param(block, id=f"{path.stem}-{i}")


@pytest.mark.parametrize("block", [*blocks()])
def test_the_chapters_python_runs(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    random.manual_seed(0)
    exec(compile(block, "a chapter", "exec"), {"__name__": "chapter"})
    if expected := re.search(r"print\(.*\)  # (.*)\n", block):
        assert capsys.readouterr().out.strip() == expected[1]


def includes():
    """(page, file, {option: value}) of everything that pages take from other files."""
    for path, text in PAGES.items():
        for name, options in re.findall(r"```\{(?:literal)?include\} (\S+)\n(.*?)```", text, re.S):
            found = dict(re.findall(r":([\w-]+): (.*)", options))
            yield path, (path.parent / name).resolve(), found


def test_what_is_taken_from_the_source_is_there():
    found = list(includes())
    assert len(found) > 20
    for page, file, options in found:
        text = file.read_text(encoding="utf-8")
        assert "lines" not in options, f"{page}: a number of a line goes stale"
        if dotted := options.pop("pyobject", None):
            body = ast.parse(text).body
            for name in dotted.split("."):
                (node,) = [n for n in body if getattr(n, "name", None) == name]
                body = node.body
        markers = [marker.strip('"') for marker in options.values()]
        for marker in markers:
            assert text.count(marker) >= 1, f"{page}: {file.name} has no {marker!r}"
        if len(options) == 2:
            assert [*options] in (["start-at", "end-before"], ["start-after", "end-before"])
            assert text.index(markers[0]) < text.index(markers[1])


def test_every_row_of_the_reading_order_has_its_chapter():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.split("## Reading order")[1].split("\n\nThen a shelf")[0]
    named = re.compile(r"`([\w/]+\.py)`")
    rows = [named.findall(row.split("|")[1]) for row in table.splitlines() if "`" in row]
    index = PAGES[DOCS / "evening/index.md"]
    order = re.search(r"```\{toctree\}.*?\n\n(.*?)```", index, re.S)[1].split()
    assert len(order) == len(rows) + 1  # and tomorrow's
    for name, files in zip(order, rows):
        opening = PAGES[DOCS / f"evening/{name}.md"].split("\n")[2]
        assert named.findall(opening) == files, name


def test_the_shelf_is_the_readmes():
    """A copy of it fell behind."""
    (options,) = [o for page, file, o in includes() if file.name == "README.md"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shelf = text.split(options["start-after"].strip('"'))[1].split(options["end-before"])[0]
    assert shelf.strip().startswith("| shelf |") and shelf.strip().endswith("|")
    assert "](" not in shelf  # links would lead elsewhere from there


def test_a_line_of_100_characters_is_shown_whole():
    css = (DOCS / "static/extra.css").read_text(encoding="utf-8")
    (percent,) = re.findall(r"^body { --code-font-size: (\d+)%", css, re.M)
    # the theme's column and the paddings of a box; a wider column has no room beside the contents
    assert 46 - 1.75 >= 100 * 0.602 * float(percent) / 100
    assert ".content" not in css


def public(room):
    """The names of a room that a user may use: those of its stub, or of `__all__`, or its own."""
    module = importlib.import_module(f"tinygan.{room}".rstrip("."))
    stub = Path(module.__file__).with_suffix(".pyi")
    own = [n for n, x in vars(module).items() if getattr(x, "__module__", "") == module.__name__]
    names = getattr(module, "__all__", own)
    if not hasattr(module, "__all__") and stub.exists():
        body = ast.parse(stub.read_text(encoding="utf-8")).body
        names = [n.name for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        names += [a.asname for n in body if isinstance(n, ast.ImportFrom) for a in n.names]
    things = {n: getattr(module, n, None) for n in names if n and n[0] != "_"}
    return {n for n, x in things.items() if callable(x)}


def documented(room):
    """The names that the pages ask for, of a room."""
    text = "\n".join(PAGES[path] for path in DOCS.glob("api/*.md"))
    dotted = f"tinygan.{room}".rstrip(".")
    single = re.search(rf"currentmodule:: {re.escape(dotted)}\n(.*?)```", text, re.S)
    names = set(re.findall(r"auto(?:class|function):: (\w+)", single[1])) if single else set()
    for listed in re.findall(rf"automodule:: {re.escape(dotted)}\n +:members:(.*)\n", text):
        names |= set(listed.replace(",", " ").split()) or public(room)
    return names


def test_every_room_has_an_api_page():
    folders = {path.parent.name for path in (ROOT / "tinygan").glob("*/__init__.py")}
    assert folders - {"cli", "kernels"} <= {*ROOMS}


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_on_an_api_page(room):
    names = public(room)
    assert names and names == documented(room)
    module = importlib.import_module(f"tinygan.{room}".rstrip("."))
    assert not [n for n in names if not getattr(module, n).__doc__]


def as_rst(text, thing=None):
    lines = text.split("\n")
    runpy.run_path(str(DOCS / "conf.py"))["as_rst"](None, "function", "f", thing, {}, lines)
    return "\n".join(lines).strip()


def test_docstrings_mean_what_they_say():
    def f(x, y):
        """A function of two."""

    shapes = as_rst(
        "(n, c, h*w) of load_state_dict_ and |x|, `c`s of `a\n b`.\n\nx, y: two. z: not.", f
    )
    assert shapes.split("\n\n") == [
        r"\ (n, c, h\*w) of load\_state\_dict\_ and \|x\|, ``c``\ s of ``a b``\ .",
        r"\ **x, y**: two. z: not.",
    ]
    code = as_rst("Do\n\n    a*b  # (n, c)\n\n    c\n\nThen.")
    assert code.split("\n\n") == [r"\ Do", "::", "    a*b  # (n, c)", "    c", r"\ Then."]
    assert as_rst("x: one\n  more\ny: two", f) == "* \\ **x**: one more\n* \\ **y**: two"


@needs("sphinx", "myst_parser", "furo")
def test_the_pages_are_built_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    command += ["-d", str(tmp_path / "doctrees"), str(DOCS), str(tmp_path / "html")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = "".join(p.read_text(encoding="utf-8") for p in tmp_path.glob("html/api/*.html"))
    shown = set(re.findall(r'id="(tinygan[\w.]*)"', pages))
    for room in ROOMS:
        missing = {f"tinygan.{room}.{name}".replace("..", ".") for name in public(room)} - shown
        assert not missing
    for page in tmp_path.glob("html/_modules/**/*.html"):  # from the source back to the page
        for link in re.findall('viewcode-back" href="([^"]*)"', page.read_text(encoding="utf-8")):
            path, anchor = link.split("#")
            assert f'id="{anchor}"' in (page.parent / path).read_text(encoding="utf-8"), link
    for page in tmp_path.rglob("html/**/*.html"):
        # what a page loads comes with it
        loaded = re.findall(
            r'(?:src|<link[^>]* href)="(\w+:[^"]*)"', page.read_text(encoding="utf-8")
        )
        assert not loaded, page


@needs("jupytext", "nbclient", "ipykernel")
def test_the_notebook_runs(tmp_path, monkeypatch):
    """On a tenth of its digits, for one epoch."""
    import jupytext
    import nbclient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = jupytext.read(ROOT / "examples/notebook.py")
    shorter = {"EPOCHS = 8\n": "EPOCHS = 1\n", "((digits.images, ": "((digits.images[:1000], "}
    shorter |= {"digits.labels), batch": "digits.labels[:1000]), batch"}
    (training,) = [cell for cell in notebook.cells if "EPOCHS = " in cell.source]
    for words, others in shorter.items():
        assert words in training.source
        training.source = training.source.replace(words, others)
    place = {"metadata": {"path": str(tmp_path)}}
    client = nbclient.NotebookClient(
        notebook, kernel_name="python3", timeout=120, resources=place, coalesce_streams=True
    )
    client.execute()
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source[:2] == "# "
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    pictures = [out for out in outputs if "image/png" in out.get("data", {})]
    graphs = [out for out in outputs if "digraph" in str(out) or "image/svg+xml" in str(out)]
    assert len(pictures) == 4 and len(graphs) == 3
    # one bar, and nothing in red: a widget, or text on stdout
    assert not [out for out in outputs if out.get("name") == "stderr"]
    bars = [out for out in training.outputs if "31/31" in str(out)]
    assert len(bars) == 1 and (tmp_path / "runs/notebook/losses.png").exists()
    printed = "".join(out.get("text", "") for out in outputs)
    assert "[ 6. 12.]" in printed and "analytic 3.000001, numeric 3.0" in printed
