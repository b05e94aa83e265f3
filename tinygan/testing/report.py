"""What a failed check says: the errors, and a script that runs on its own and shows it again.

This room knows nothing of gradients. It writes Python that makes a function and its arrays again.
"""

import ast
import base64
import functools
import inspect
import io
import pickle
import sys
import textwrap
import types
import zlib

import numpy as np

from .arrays import owner, to_numpy


class GradientError(AssertionError):
    """A gradient is wrong: the message says where and by how much, and ends with a script that
    shows it again."""


class KinkError(GradientError):
    """At a kink, the gradient is outside of the one-sided derivatives; or no derivative can be told
    at this point."""


def index(i, shape):
    """'[1, 2]' for the place of number i in an array of that shape, '' for a single number."""
    return f"[{', '.join(str(n) for n in np.unravel_index(i, shape))}]" if shape else ""


def script(f, inputs, options):
    """Python source that calls check_grads again: imports, functions with the names they use,
    inputs to the last bit."""
    lines = ["import numpy as np", "from tinygan.testing import check_grads"]
    _define("f", f, lines)
    names = [f"x{i}" for i in range(len(inputs))]
    for name, x in zip(names, inputs):
        _define(name, x, lines)
    given = ["f", *names]
    for name, value in options.items():
        named = callable(value) or isinstance(value, dict)
        if named:
            _define(name, value, lines)
        given.append(f"{name}={name if named else repr(value)}")
    # jax.config comes after all imports, and those of JAX's parts after JAX's own
    ranks = ("import jax.", 1), ("import ", 0), ("from ", 0), ("jax.config.", 2), ("", 3)
    rank = lambda line: next(rank for start, rank in ranks if line.startswith(start))
    lines = sorted(dict.fromkeys(lines), key=rank)
    return "\n".join([*lines, f"check_grads({', '.join(given)})"])


def _value(x, lines):
    """An expression for a value, None if there is none but its name."""
    if isinstance(x, tuple | list | dict) and not hasattr(x, "_fields"):
        parts = [_value(part, lines) for part in (x.values() if isinstance(x, dict) else x)]
        if None in parts:
            return None
        if isinstance(x, dict):
            return f"{{{', '.join(f'{k!r}: {v}' for k, v in zip(x, parts))}}}"
        if isinstance(x, list):
            return f"[{', '.join(parts)}]"
        return f"({', '.join(parts)}{',' * (len(parts) == 1)})"
    if isinstance(x, type) or not hasattr(x, "dtype") or not hasattr(x, "shape"):
        return repr(x) if _literal(x) else None
    a = to_numpy(x)
    kind = owner(x)
    brain = a.dtype.name == "bfloat16"
    text = _array(a.astype(np.float32) if brain else a)
    if kind == "torch":
        lines.append("import torch")
        return f"torch.from_numpy({text})" + ".bfloat16()" * brain
    if kind == "jax":
        lines += ["import jax", 'jax.config.update("jax_enable_x64", True)']
        return f"jax.numpy.asarray({text}{', jax.numpy.bfloat16' * brain})"
    if kind == "mygrad":
        lines.append("import mygrad")
        return f"mygrad.tensor({text})"
    return text


def _array(a):
    if a.size <= 100:
        numbers = repr(a.tolist()).replace("nan", "np.nan").replace("inf", "np.inf")
        shape = f".reshape({a.shape})" if a.size == 0 else ""
        return f"np.array({numbers}, np.{a.dtype.name}){shape}"
    packed = base64.b85encode(zlib.compress(a.tobytes())).decode()
    bytes_ = f'__import__("zlib").decompress(__import__("base64").b85decode("{packed}"))'
    return f"np.frombuffer({bytes_}, np.{a.dtype.name}).reshape({a.shape}).copy()"


def _define(name, value, lines):
    """Add the lines that give `name` its value."""
    if isinstance(value, types.ModuleType):
        lines.append(f"import {value.__name__} as {name}")
    elif (text := _value(value, lines)) is not None:
        lines.append(f"{name} = {text}")
    elif isinstance(value, functools.partial):
        lines.append("import functools")
        _define(f"{name}_", value.func, lines)
        _define(f"{name}_args", value.args, lines)
        _define(f"{name}_kwargs", value.keywords, lines)
        lines.append(f"{name} = functools.partial({name}_, *{name}_args, **{name}_kwargs)")
    elif _importable(value):
        lines += [f"import {value.__module__}", f"{name} = {value.__module__}.{value.__qualname__}"]
    elif isinstance(getattr(value, "__self__", None), type):
        # a class method, such as apply of a torch.autograd.Function
        _define(value.__self__.__name__, value.__self__, lines)
        lines.append(f"{name} = {value.__self__.__name__}.{value.__name__}")
    elif inspect.ismethod(value):
        _define(f"{name}_self", value.__self__, lines)
        lines.append(f"{name} = {name}_self.{value.__name__}")
    elif node := _source(value):
        for used, thing in _used(value, node).items():
            _define(used, thing, lines)
        text = ast.unparse(node)
        made = getattr(node, "name", None)
        lines.append(text if made else f"{name} = {text}")
        if made not in (None, name):
            lines.append(f"{name} = {made}")
        if hasattr(value, "rules"):
            decorated = getattr(node, "decorator_list", None)
            _define_rules(name, value.rules, lines, decorated)
    elif text := _pickled(value, lines):
        lines.append(f"{name} = {text}")
    elif _is_source(value):
        lines.append(f"{name} = ...  # to be written here: its source is in no file")
    else:
        lines.append(f"{name} = ...  # {' '.join(repr(value).split())[:100]}: to be written here")


def _is_source(x):
    """Whether x is what a source defines: a function or a class."""
    return inspect.isclass(x) or inspect.isfunction(x)


def _define_rules(name, rules, lines, decorated):
    """Add the lines that make `name` a tinygan primitive with these rules; where it is decorated,
    it is a primitive already."""
    if not decorated:
        lines += ["import tinygan", f"{name} = tinygan.primitive({name})"]
    names = [f"{name}_rule{i}" for i in range(len(rules))]
    for own, rule in zip(names, rules):
        _define(own, rule, lines)
    lines.append(f"{name}.defvjp({', '.join(names)})")


def _pickled(value, lines):
    """An expression that loads a pickled value; classes and functions that cannot be imported are
    defined before it."""
    named = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, x):
            if not _is_source(x) or _importable(x):
                return None
            package = x.__module__.partition(".")[0]
            if package in sys.stdlib_module_names and package != "__main__":
                return None
            if x is value:
                raise pickle.PicklingError("it would be defined by itself")
            named[x.__name__] = x
            return x.__name__

    packed = io.BytesIO()
    try:
        Pickler(packed).dump(value)
    except Exception:  # whatever an object may raise
        return None
    text = base64.b85encode(zlib.compress(packed.getvalue())).decode()
    if len(text) > 300_000:
        return None
    for name, x in named.items():
        _define(name, x, lines)
    lines += ["import base64, io, pickle, zlib", _UNPICKLER]
    return f'Unpickler(io.BytesIO(zlib.decompress(base64.b85decode("{text}")))).load()'


_UNPICKLER = """class Unpickler(pickle.Unpickler):
    persistent_load = lambda self, name: globals()[name]"""


def _used(value, node):
    """The names that the source of a function, or of a class's methods, takes from outside, and
    what they stand for."""
    parts = vars(value).values() if isinstance(value, type) else [value]
    functions = (inspect.unwrap(getattr(part, "__func__", part)) for part in parts)
    known = {}
    own = {getattr(node, "name", None)}
    for f in filter(inspect.isfunction, functions):
        cells = (cell.cell_contents for cell in f.__closure__ or ())
        known |= f.__globals__ | dict(zip(f.__code__.co_freevars, cells))
        codes = [f.__code__]
        for code in codes:
            own |= {*code.co_varnames, *code.co_cellvars}
            codes += filter(inspect.iscode, code.co_consts)
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} - own
    return {name: known[name] for name in sorted(names) if name in known}


def _literal(value):
    """Whether the repr of a value makes it again."""
    if isinstance(value, (tuple, list, dict)):
        return all(map(_literal, (*value, *value.values()) if isinstance(value, dict) else value))
    return isinstance(value, (int, float, str, bool, slice, type(None), type(...)))


def _importable(value):
    """Whether a package and a name lead back to a value: modules outside of packages, of tests say,
    may not be on the path."""
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
    # instructions that stand for nothing in the source have no place
    places = [(p[0], p[2]) for p in f.__code__.co_positions() if p[3]]
    around = None
    for n in ast.walk(tree) if places else ():  # from the outside in
        if isinstance(n, (ast.FunctionDef, ast.Lambda)):
            begins = (n.lineno, n.col_offset) <= min(places)
            if begins and max(places) <= (n.end_lineno, n.end_col_offset):
                around = n
    return around
