"""What a run must share with the one that it resumes, as JSON, and where two runs differ."""

import inspect
import json
from pathlib import Path

import numpy as np

from .. import models

RATES = "lr", "d_lr"  # options of a model that a run may change as it goes on
OTHER = {"batches.data": "the data are others (files, side, colour, fit or background; text)"}
OTHER |= {"model.tokenizer": "the tokens are others (text, kind of tokens or vocabulary)"}


def differing(was, now, model):
    """In words where the settings of a run differ from those `now`, "" if nowhere, but for what it
    may change: `RATES`, and how samples are made. model: of now.
    """
    passing = [f"model.{name}" for name in (*RATES, *getattr(model, "how", ()))]
    apart = {k: v for k, v in _compared(was, now, model).items() if k not in passing}
    return "; ".join(OTHER.get(k, f"{k} was {a}, is {b}") for k, (a, b) in apart.items())


def resampled(was, now, model):
    """{option: what it is now} of how samples are made, the model's `how`, where that differs."""
    apart = _compared(was, now, model)
    return {k: apart[f"model.{k}"][1] for k in getattr(model, "how", ()) if f"model.{k}" in apart}


def _compared(was, now, model):
    """{setting: (what it was, what it is now)} where they differ.

    An option that a recipe does not name is as its builder has it where nothing is said, so that a
    run from before there was such an option goes on.
    """
    unsaid = {f"model.{name}": value for name, value in _defaults(model).items()}
    was, now = unsaid | flat(was), unsaid | flat(now)
    return {k: (was.get(k), now.get(k)) for k in was | now if was.get(k) != now.get(k)}


def _defaults(model):
    """{option: default}, as JSON has it, of what may be in the recipe of a model: options of its
    class, of the game, and of its builder, whose defaults hold.
    """
    recipe = getattr(model, "recipe", None) or {}
    builder = models.FAMILIES.get(recipe.get("family"), {}).get(recipe.get("model"))
    if builder is None:
        return {}
    classes = [kind.__init__ for kind in reversed(type(model).__mro__)]
    found = {}
    for maker in (*classes, models.adversarial, builder):
        found |= {p.name: p.default for p in inspect.signature(maker).parameters.values()}
    plain = bool, int, float, str, tuple
    held = {name: value for name, value in found.items() if isinstance(value, plain)}
    return json.loads(json.dumps(held))


def jsonable(name, given):
    """What JSON makes of a dict, with NumPy's numbers as Python's and paths as text."""

    def plain(value):
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Path):
            return str(value)
        raise TypeError(f"{value!r:.80} is neither number, text, list nor dict")

    try:
        return json.loads(json.dumps(given, default=plain, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(f"train: {name} must be what JSON can hold: {error}") from None


def flat(settings):
    """{"model.width": 16} of {"model": {"width": 16}}."""
    found = {}
    for name, value in settings.items():
        inner = value if isinstance(value, dict) else {}
        found |= {f"{name}.{k}": v for k, v in inner.items()}
        found |= {} if isinstance(value, dict) else {name: value}
    return found
