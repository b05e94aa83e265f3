"""The tape behind a Tensor, drawn: as text in Graphviz's language DOT and, where its program `dot`
is installed, as a picture, which a notebook shows inline.

Calls of operations are boxes with the shape and dtype of their result, parameters and other leaves
are ovals, raw arrays are constants; arrows go the way the data went. This room knows Tensors, and
no operation or layer by name.
"""

import inspect
import shutil
import subprocess
import textwrap
from pathlib import Path

from . import files
from .autograd import Tensor, describe
from .device import is_array

SECONDS = 60  # that `dot` may take; its limits below keep a tangle of 200 calls within some
PAGE = 9  # inches: how wide a notebook is
HEAD = """digraph tape {
  ordering=in; nslimit=2; nslimit1=2; mclimit=0.3
  node [fontname="Helvetica,Arial,sans-serif", fontsize=11]"""
SUFFIXES = ".dot", ".pdf", ".png", ".svg"
KINDS = {  # what a node looks like
    "call": 'shape=box, style="rounded,filled", fillcolor="#f2f2f2"',
    "parameter": 'shape=oval, style=filled, fillcolor="#cfe3ff"',
    "leaf": 'shape=oval, style=filled, fillcolor="#d9f2d0"',
    "constant": 'shape=box, style=dashed, color="#888888"',
    "cut": 'shape=plaintext, fontcolor="#aa0000"',
}


def graph(outputs, modules=None, most=200):
    """The `Graph` of how a Tensor, or each of a list, was made.

    modules: a module whose parameters are shown by their names, or a dict of them, {"G":
    generator}, whose names come first, "G.0.weight"; other leaves have the `name` they were given.
    most: so many calls are drawn, the youngest; a word in the picture says how many are not.
    """
    outputs = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    for t in outputs:
        if not isinstance(t, Tensor):
            raise TypeError(f"graph: draws the tape of a Tensor, got {describe(t):.80}")
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ValueError(f"graph: most must be a whole number of 1 or more, got {most!r}")
    calls = sorted(_calls(outputs), key=lambda t: t.serial)
    drawing = _Drawing(_names(modules), {*outputs})
    if older := len(calls[:-most]):
        drawing.cut(f"{older} older calls are not drawn: most={most}")
    for t in outputs:
        if t.op is None:
            drawing.node(t)
    for t in calls[-most:]:  # older ones first: what a call is made of is drawn already, or cut off
        drawing.call(t)
    return Graph(drawing.text(), len(drawing.ids))


def _calls(outputs):
    """The Tensors that outputs are made of, themselves included, and that operations made."""
    seen, stack = {t for t in outputs if t.op}, [t for t in outputs if t.op]
    while stack:
        for a in stack.pop().args:
            if isinstance(a, Tensor) and a.op and a not in seen:
                seen.add(a)
                stack.append(a)
    return seen


def _names(modules):
    """{parameter: its name} of a module, of a dict of modules, or of none."""
    if modules is None:
        return {}
    prefixed = modules if isinstance(modules, dict) else {"": modules}
    found = {}
    for prefix, module in prefixed.items():
        if not hasattr(module, "named_parameters"):
            kind = type(module).__name__
            raise TypeError(f"graph: modules is a module or a dict of modules, got {kind}")
        for name, p in module.named_parameters():
            found.setdefault(p, f"{prefix}.{name}" if prefix else name)
    return found


class _Drawing:
    """Lines of DOT, with one node for each thing however often it is used."""

    def __init__(self, names, outputs):
        self.names, self.outputs, self.lines = names, outputs, []
        self.ids = {}  # of the things that have a node: Tensors, and arrays by their id()
        self.calls = set()  # of these the ids of calls

    def cut(self, words):
        """A node that stands for all calls which are left out."""
        self._write("cut", "cut", words)

    def call(self, t):
        """The node of a call, and an arrow from each array that it was handed, in their order."""
        sources, words = [], []
        for name, a in [*_by_name(t), *t.kwargs.items()]:
            if isinstance(a, Tensor) and a.op and a not in self.ids:
                sources.append("cut")
            elif isinstance(a, Tensor) or is_array(a):
                sources.append(self.node(a))
            elif hasattr(a, "_asdict"):  # a NamedTuple: what is in it
                words += [f"{field}={value!r}" for field, value in a._asdict().items()]
            elif a is not None:
                words.append(f"{name}={a!r}" if name else repr(a))
        # what is one value is not broken: its spaces are no spaces to textwrap
        options = ", ".join(word.replace(" ", "\N{NO-BREAK SPACE}") for word in words)
        options = textwrap.wrap(options, 36, max_lines=3, placeholder=" ...")
        options = [row.replace("\N{NO-BREAK SPACE}", " ") for row in options]
        made = f"{t.name} = " if t.name else ""
        rows = [made + t.op.__name__.strip("_"), *options]
        own = self._new(t, "call", *rows, _kind_of_array(t))
        # a heavy arrow is a straight one: from call to call, so that layers stand below each other
        weights = [" [weight=9]" if n in self.calls else "" for n in sources]
        self.lines += [f"  {n} -> {own}{weight}" for n, weight in zip(sources, weights)]
        self.calls.add(own)

    def node(self, a):
        """The id of the node of a Tensor or an array; a leaf gets it where it is met first."""
        key = a if isinstance(a, Tensor) else id(a)
        if key in self.ids:
            return self.ids[key]
        if not isinstance(a, Tensor):
            return self._new(key, "constant", "constant", _kind_of_array(a))
        name = self.names.get(a)
        kind = "leaf" if name is None else "parameter"
        return self._new(a, kind, name or a.name or "leaf", _kind_of_array(a))

    def _new(self, key, kind, *rows):
        own = self.ids[key] = f"n{len(self.ids)}"
        self._write(own, kind, *rows, bold=isinstance(key, Tensor) and key in self.outputs)
        return own

    def _write(self, own, kind, *rows, bold=False):
        label = r"\n".join(map(_escaped, rows))
        width = ", penwidth=3" if bold else ""
        self.lines.append(f'  {own} [label="{label}", {KINDS[kind]}{width}]')

    def text(self):
        """The whole; `ordering=in` keeps the arrows into a node in the order of its arguments."""
        return "\n".join([HEAD, *self.lines, "}"]) + "\n"


def _by_name(t):
    """(name, value) of a call's arguments; the name is "" where its operation tells none."""
    try:
        names = list(inspect.signature(t.op).bind_partial(*t.args).arguments)
    except (TypeError, ValueError):
        names = []
    names = names if len(names) == len(t.args) else [""] * len(t.args)
    return zip(names, t.args)


def _kind_of_array(a):
    return f"{a.shape} {a.dtype}"


def _escaped(words):
    """Words as they stand in a DOT string: `dot` reads backslashes, quotes and HTML's entities."""
    words = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(words))
    return words.replace("\\", r"\\").replace('"', r"\"").replace("&", "&amp;")


class Graph:
    """A drawing of a tape: `str(graph)` is its DOT text; a notebook shows the picture."""

    def __init__(self, dot, nodes):
        self.dot, self.nodes = dot, nodes

    def __str__(self):
        return self.dot

    def __repr__(self):
        return f"Graph({self.nodes} nodes; str() is its DOT text, .save('graph.svg') a picture)"

    def save(self, path):
        """Write the text, .dot, or a picture, .svg, .png or .pdf, which needs Graphviz's `dot`."""
        suffix = Path(path).suffix.lower()
        if suffix not in SUFFIXES:
            raise ValueError(f"graph: a file is one of {', '.join(SUFFIXES)}, got {str(path)!r}")
        written = self.dot.encode() if suffix == ".dot" else self.picture(suffix[1:])
        with files.replacing(path) as part:
            part.write_bytes(written)

    def picture(self, form="svg", width=None):
        """The bytes of a picture that `dot` made, made smaller if it is wider than `width` inches.

        RuntimeError, one line, where there is no `dot`, or it takes longer than a minute.
        """
        size = [f"-Gsize={width},1000"] if width else []
        program = shutil.which("dot")
        if program is None:
            ways = "apt install graphviz, brew install graphviz or conda install graphviz"
            raise RuntimeError(f"graph: a picture needs Graphviz's program dot: {ways}")
        try:
            done = subprocess.run(
                [program, f"-T{form}", *size],
                input=self.dot.encode(),
                capture_output=True,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(
                f"graph: dot took longer than {SECONDS} s for {self.nodes} nodes: a smaller most="
                " draws fewer calls, and .dot is the text for other programs"
            ) from None
        if done.returncode:
            why = " ".join(done.stderr.decode(errors="replace").split())[:200]
            raise RuntimeError(f"graph: dot failed: {why}")
        return done.stdout

    def _repr_mimebundle_(self, include=None, exclude=None):
        """What a notebook shows: the picture; without `dot` the text, and why."""
        try:
            picture = self.picture(width=PAGE).decode()
        except RuntimeError as error:
            return {"text/plain": f"// {error}\n{self.dot}"}
        return {"image/svg+xml": picture, "text/plain": repr(self)}
