"""Models that remember how they were made, to be made again from a trained run's file.

A recipe in a file may come from anybody: an option must be of the kind of the builder's default.
"""

import contextlib
import functools
import inspect
import json
import math

from .. import random
from .labels import LONGEST
from .options import LARGEST

# options of models that are words, flags or whole numbers, which builders pass on
PASSED = {"augment": "", "loss": "", "spectral": False, "n_critic": 1, "d_lr": None}
PASSED |= {"method": "", "times": "", "coupling": "", "schedule": "", "predict": ""}
PASSED |= {"timesteps": 1, "steps": 1, "clip": True, "names": ()}
FAMILIES = {}  # family -> {name: what builds a model of that name}
LEAST = {"latent": 1, "width": 1, "classes": 0, "packing": 1, "n_critic": 1}
LEAST |= {"steps": 1, "timesteps": 1, "hidden": 0, "heads": 0, "depth": 1}
MOST = 1 << 20  # the largest whole number in a recipe, such as a width


def recipe(family, name):
    """Decorate build(...) -> model: the model gets `recipe`, a dict of its family, its name and all
    options but the device, if JSON can hold them (NumPy's numbers as Python's); else None.

    It is built of what JSON holds, so that a recipe makes the same again, and options that no
    recipe may have are refused here: ValueError.
    """

    def decorate(build):
        signature = inspect.signature(build)

        @functools.wraps(build)
        def built(*args, **options):
            given = signature.bind(*args, **options)
            given.apply_defaults()
            made = given.arguments | given.arguments.get("options", {})
            del made["options"]
            words = {option: _words(value) for option, value in made.items()}
            known = {option: value for option, value in words.items() if value is not OWN}
            # what is wrong with names, models tell with more words
            _check(name, build, {k: v for k, v in known.items() if k not in ("device", "names")})
            model = build(**made | known)
            known.pop("device", None)
            whole = OWN not in words.values()
            model.recipe = {"family": family, "model": name, **known} if whole else None
            return model

        FAMILIES.setdefault(family, {})[name] = built
        return built

    return decorate


OWN = object()  # an option that JSON cannot hold: an objective of the caller's own, say


def _words(value):
    """An option as JSON gives it back: NumPy's and sequences as Python's, a tokenizer's words."""

    def plain(value):
        if hasattr(value, "words"):
            return value.words()
        return value.tolist() if hasattr(value, "tolist") else list(value)

    try:
        return json.loads(json.dumps(value, default=plain))
    except TypeError:
        return OWN


def build(recipe, device="cpu", most=None):
    """The model that a `recipe` describes; ValueError or TypeError, in one line, for one that
    describes none.

    most: how many numbers its initial values may be, such as the bytes of the file that holds
    them; a larger model is refused before there is memory of its size.
    """
    options = dict(recipe)
    family, name = options.pop("family", None), options.pop("model", None)
    known = {f: ", ".join(models) for f, models in FAMILIES.items()}
    if not isinstance(name, str) or name not in FAMILIES.get(family, ()):
        raise ValueError(f"there is no model {name!r} of family {family!r}; there are {known}")
    make = FAMILIES[family][name]
    _check(name, make, options)
    try:
        with _drawing(most):
            return make(**options, device=device)
    except Exception as error:  # such options may meet any line of a builder, or fill the memory
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{name}: {why}") from error


def _check(name, make, options):
    """ValueError for an option of a model that is not of the kind of its default, or too small."""
    defaults = PASSED | {p.name: p.default for p in inspect.signature(make).parameters.values()}
    for option, value in options.items():
        default = defaults.get(option, inspect.Parameter.empty)
        if not _is_like(default, value):
            usual = "" if default is inspect.Parameter.empty else f"; its default is {default!r}"
            raise ValueError(f"{name}: {option} cannot be {value!r:.50}{usual}")
        if option in LEAST and value < LEAST[option]:
            least = LEAST[option]
            raise ValueError(f"{name}: {option} must be at least {least}, got {value}")


@contextlib.contextmanager
def _drawing(most):
    """Within, random.default draws at most so many numbers: ValueError, before it draws more."""
    default, left = random.default, most
    draw = default._fill

    def counted(name, shape, *options):
        nonlocal left
        left -= math.prod(shape)
        if left < 0:
            raise ValueError(f"it has more than the {most} initial values that it may have")
        return draw(name, shape, *options)

    if most is not None:
        default._fill = counted
    try:
        yield
    finally:
        vars(default).pop("_fill", None)


def _is_like(default, value):
    """Whether a value that JSON held may be meant for an option with that default, if it has one:
    numbers and short lists of them for all, but only whole ones for a whole one.
    """
    if isinstance(default, tuple):  # the names of classes
        return isinstance(value, list) and all(
            isinstance(v, str) and len(v) <= LONGEST for v in value
        )
    if isinstance(value, list):
        rows = not isinstance(default, int | float) and len(value) <= 8
        return rows and all(_is_like(inspect.Parameter.empty, v) for v in value)
    if isinstance(value, bool) or isinstance(default, bool):
        return type(value) is type(default)
    if isinstance(value, int):
        return abs(value) <= MOST
    if isinstance(value, float):
        return not isinstance(default, int) and abs(value) <= LARGEST
    return type(value) is type(default)
