"""What a failed check says: the errors, and a script that shows the failure again and runs on its own.

This room writes Python that makes a function and its arrays once more; it knows nothing of gradients.
"""

import ast
import base64
import functools
import inspect
import sys
import textwrap
import types
import zlib

import numpy as np


class GradientError(AssertionError):
    """A gradient is wrong: the message says where and by how much, and ends with a script that shows it again."""


class KinkError(GradientError):
    """At a kink, the gradient is outside of the one-sided derivatives; or no derivative can be told at this point."""


def index(i, shape):
    """'[1, 2]' for the place of number i in an array of that shape, '' for a single number."""
    return f"[{', '.join(str(n) for n in np.unravel_index(i, shape))}]" if shape else ""


def script(f, inputs, arrays, options):
    """Python source that calls check_grads again: imports, functions with the names they use, inputs to the last bit."""
    lines = ["import numpy as np", "from tinygan.testing import check_grads"]
    _define("f", f, lines)
    for i, (x, a) in enumerate(zip(inputs, arrays)):
        owner, value = type(x).__module__.partition(".")[0], _array(a)
        if owner == "torch":
            lines.insert(0, "import torch")
            value = f"torch.from_numpy({value})"
        elif owner in ("jax", "jaxlib"):
            lines[:0] = ["import jax", 'jax.config.update("jax_enable_x64", True)']
            value = f"jax.numpy.asarray({value})"
        lines.append(f"x{i} = {value}")
    if options.get("vjp"):
        _define("vjp", options["vjp"], lines)
        options = options | {"vjp": "vjp"}
    given = [f"{name}={value if name == 'vjp' else repr(value)}" for name, value in options.items() if value is not None]
    return "\n".join([*dict.fromkeys(lines), f"check_grads({', '.join(['f', *(f'x{i}' for i in range(len(arrays))), *given])})"])


def _array(a):
    if a.size <= 100:
        numbers = repr(a.tolist()).replace("nan", "np.nan").replace("inf", "np.inf")
        return f"np.array({numbers}, np.{a.dtype.name})" + (f".reshape({a.shape})" if a.size == 0 else "")
    packed = base64.b85encode(zlib.compress(a.tobytes())).decode()
    bytes_ = f'__import__("zlib").decompress(__import__("base64").b85decode("{packed}"))'
    return f"np.frombuffer({bytes_}, np.{a.dtype.name}).reshape({a.shape}).copy()"


def _define(name, value, lines):
    """Add the lines that give `name` its value."""
    if isinstance(value, types.ModuleType):
        lines.append(f"import {value.__name__} as {name}")
    elif isinstance(value, np.ndarray):
        lines.append(f"{name} = {_array(value)}")
    elif isinstance(value, functools.partial):
        lines.append("import functools")
        _define(f"{name}_", value.func, lines)
        lines.append(f"{name} = functools.partial({', '.join([f'{name}_', *map(repr, value.args)])}, **{value.keywords!r})")
    elif _literal(value):
        lines.append(f"{name} = {value!r}")
    elif _importable(value):
        lines += [f"import {value.__module__}", f"{name} = {value.__module__}.{value.__qualname__}"]
    elif isinstance(getattr(value, "__self__", None), type):  # a class method, such as apply of a torch.autograd.Function
        _define(value.__self__.__name__, value.__self__, lines)
        lines.append(f"{name} = {value.__self__.__name__}.{value.__name__}")
    elif node := _source(value):
        for used, thing in _used(value, node).items():
            _define(used, thing, lines)
        text = ast.unparse(node)
        made = getattr(node, "name", None)
        lines += [f"{name} = {text}"] if made is None else [text] if made == name else [text, f"{name} = {made}"]
        for i, rule in enumerate(getattr(value, "rules", ())):  # of a tinygan primitive
            _define(f"rule{i}", rule, lines)
        if hasattr(value, "rules"):
            lines.append(f"{name}.defvjp({', '.join(f'rule{i}' for i in range(len(value.rules)))})")
    else:
        lines.append(f"{name} = ...  # {' '.join(repr(value).split())[:100]}: to be written here")


def _used(value, node):
    """The names that the source of a function, or of a class's methods, takes from outside, and what they stand for."""
    parts = vars(value).values() if isinstance(value, type) else [value]
    functions = [f for f in (inspect.unwrap(getattr(p, "__func__", p)) for p in parts) if inspect.isfunction(f)]
    known, own = {}, set()
    for f in functions:
        known |= f.__globals__ | dict(zip(f.__code__.co_freevars, (c.cell_contents for c in f.__closure__ or ())))
        codes = [f.__code__]
        for code in codes:
            own |= {*code.co_varnames, *code.co_cellvars}
            codes += filter(inspect.iscode, code.co_consts)
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} - own - {getattr(node, "name", None)}
    return {name: known[name] for name in sorted(names) if name in known}


def _literal(value):
    """Whether the repr of a value makes it again."""
    if isinstance(value, (tuple, list, dict)):
        return all(map(_literal, (*value, *value.values()) if isinstance(value, dict) else value))
    return isinstance(value, (int, float, str, bool, slice, type(None), type(...)))


def _importable(value):
    """Whether a package and a name lead back to a value: modules outside of packages, of tests say, may not be on the path."""
    module = getattr(value, "__module__", None) or ""
    found = sys.modules.get(module)
    for part in getattr(value, "__qualname__", "").split("."):
        found = getattr(found, part, None)
    return found is value and hasattr(sys.modules.get(module.partition(".")[0]), "__path__")


def _source(f):
    """The syntax tree of a function, lambda or class, None if its source cannot be had."""
    try:
        f = inspect.unwrap(f)
        if isinstance(f, type):
            return ast.parse(textwrap.dedent(inspect.getsource(f))).body[0]
        tree = ast.parse("".join(inspect.findsource(f)[0]))
    except (OSError, TypeError, SyntaxError):
        return None
    places = [(p[0], p[2]) for p in f.__code__.co_positions() if p[3]]  # the first and the last have none
    around = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.Lambda))
              and all((n.lineno, n.col_offset) <= p <= (n.end_lineno, n.end_col_offset) for p in places)]
    return around[-1] if around else None  # ast.walk goes from the outside in
