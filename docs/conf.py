"""The documentation's settings, and how docstrings, which are plain text here, become pages.

    pip install ".[docs]" && sphinx-build -W --keep-going -b html docs docs/_build

Nothing is fetched: the pages are made of this folder and of the package beside it.
"""

import inspect
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import tinygan  # noqa: E402

project = "tinygan"
release = version = tinygan.__version__
copyright = "the authors of tinygan"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.viewcode", "myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True  # schedule=second_half, as the source says
viewcode_line_numbers = True
smartquotes = False
add_module_names = False
toc_object_entries_show_parents = "hide"
html_theme = "furo"
html_title = f"tinygan {release}"
html_static_path = ["static"]
html_css_files = ["extra.css"]
html_copy_source = html_show_sourcelink = False
pygments_dark_style = "monokai"

CODE = re.compile(r"``(.+?)``|`([^`]+)`", re.S)
ENTRY = re.compile(r"(?:^|(?<=[.;)] )|(?<=\n))(\w+(?:, \w+)*): ")


def as_rst(app, what, name, thing, options, lines):
    """Replace the lines of a docstring, which are plain text, by the same in reStructuredText.

    There `code` stands between single backticks, a paragraph that is indented as a whole is code,
    one with hanging lines a list, and all else means what it says: asterisks and underscores are
    shapes and names. "name: " is printed bold where a parameter of that name is explained.
    """
    parameters = _parameters(thing)
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    lines[:], code = [], False
    if paragraphs[0].startswith("Alias for field number"):  # what NamedTuple says of its fields
        return
    for paragraph in paragraphs:
        rows = paragraph.split("\n")
        hanging = [row.startswith("  ") for row in rows]
        if all(hanging):
            lines += [*([] if code else ["::", ""]), *rows, ""]
        elif any(hanging):
            items = re.split(r"\n(?=\S)", paragraph)
            lines += [f"* {_prose(' '.join(item.split()), parameters)}" for item in items] + [""]
        else:
            lines += [*_prose(paragraph, parameters).split("\n"), ""]
        code = all(hanging)


def _parameters(thing):
    """The names that a function, or a class, takes or has."""
    names = {*dir(thing)} if inspect.isclass(thing) else set()
    try:
        return names.union(inspect.signature(thing).parameters)
    except (TypeError, ValueError):
        return names


def _prose(text, parameters):
    """Words in reStructuredText, in which nothing is markup but code and the names explained."""
    parts, end = [r"\ "], 0  # nothing, so that "(n) ..." or "- ..." begins no list
    for found in CODE.finditer(text):
        parts.append(_plain(text[end : found.start()], parameters))
        code = " ".join((found[1] or found[2]).split())
        before, after = text[: found.start()][-1:], text[found.end() :][:1]
        # markup begins and ends at a space, or at this one, which is not seen
        parts += ["" if before.isspace() else r"\ ", f"``{code}``"]
        parts += [r"\ " if after.strip() else ""]
        end = found.end()
    parts.append(_plain(text[end:], parameters))
    return "".join(parts)


def _plain(text, parameters):
    """Words without code: every mark of reStructuredText is escaped."""
    bold = lambda found: f"\1{found[1]}\1: " if _known(found[1], parameters) else found[0]
    return re.sub(r"[\\*_|`]", r"\\\g<0>", ENTRY.sub(bold, text)).replace("\1", "**")


def _known(names, parameters):
    return parameters.issuperset(names.split(", "))


def without_blank_ends(app, doctree):
    """An excerpt that ends before a definition ends with the blank lines above it: cut them."""
    from docutils import nodes  # a test of `as_rst` has none

    for node in doctree.findall(nodes.literal_block):
        node.rawsource = node.astext().rstrip()
        node.children = [nodes.Text(node.rawsource)]


def with_real_anchors(app, pagename, templatename, context, doctree):
    """The way back from the source leads to the page and the module that showed something of the
    file first: mend it for what others show.
    """
    shown = app.env.get_domain("py").objects

    def mended(found):
        page, name = found.groups()
        if name not in shown:  # but as a name of another module on that page
            last = "." + name.rpartition(".")[2]
            there = [other for other in shown if other.endswith(last)]
            name = next(n for n in there if page.endswith(f"{shown[n].docname}.html"))
        page = app.builder.get_relative_uri(pagename, shown[name].docname)
        return f'class="viewcode-back" href="{page}#{shown[name].node_id}"'

    if pagename.startswith("_modules/tinygan/"):
        pattern = r'class="viewcode-back" href="([^"#]*)#([^"]*)"'
        context["body"] = re.sub(pattern, mended, context["body"])


def setup(app):
    app.connect("html-page-context", with_real_anchors)
    app.connect("autodoc-process-docstring", as_rst)
    app.connect("doctree-read", without_blank_ends)
