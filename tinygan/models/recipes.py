"""Models that remember how they were made, to be made again from a trained run's file."""

import functools
import inspect
import json

FAMILIES = {}  # family -> {name: what builds a model of that name}


def recipe(family, name):
    """Decorate build(...) -> model: the model gets `recipe`, a dict of its family, its name and all
    options but the device, if JSON can hold them; else None.
    """

    def decorate(build):
        signature = inspect.signature(build)

        @functools.wraps(build)
        def built(*args, **options):
            model = build(*args, **options)
            given = signature.bind(*args, **options)
            given.apply_defaults()
            made = given.arguments | given.arguments.get("options", {})
            made = {k: v for k, v in made.items() if k not in ("options", "device")}
            try:
                made = json.loads(json.dumps(made))
                model.recipe = {"family": family, "model": name, **made}
            except TypeError:  # an objective of the caller's own, say
                model.recipe = None
            return model

        FAMILIES.setdefault(family, {})[name] = built
        return built

    return decorate


def build(recipe, device="cpu"):
    """The model that a `recipe` describes; ValueError or TypeError for one that describes none."""
    options = dict(recipe)
    family, name = options.pop("family", None), options.pop("model", None)
    known = {f: ", ".join(models) for f, models in FAMILIES.items()}
    if not isinstance(name, str) or name not in FAMILIES.get(family, ()):
        raise ValueError(f"there is no model {name!r} of family {family!r}; there are {known}")
    return FAMILIES[family][name](**options, device=device)
