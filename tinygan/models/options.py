"""What options of models may be, in one table, and how samples of a flow or diffusion are made.

A wrong one is refused where it is given, under the name of what it was given to. This room knows
numbers and words only.
"""

import math
from numbers import Integral, Real

from .solvers import SOLVERS

LARGEST = 1e30  # the largest number, which float32 still holds
SHARE = Real, 0, 1
# option -> the kind of number, the least and the most; or the words that there are
OPTIONS = dict.fromkeys(("n", "steps", "timesteps"), (Integral, 1, math.inf))
OPTIONS |= {"probes": (Integral, 0, math.inf), "guidance": (Real, -LARGEST, LARGEST)}
OPTIONS |= {"scale": (Real, 1e-30, LARGEST), "drop": SHARE, "eta": SHARE}
OPTIONS |= {"start": SHARE, "strength": SHARE}
OPTIONS |= {"method": tuple(SOLVERS), "times": ("uniform", "logit-normal")}
OPTIONS |= {"coupling": ("independent", "optimal"), "schedule": ("linear", "cosine")}
OPTIONS |= {"predict": ("eps", "v"), "variance": ("posterior", "step")}
# of Transformers, and of how they write
OPTIONS |= dict.fromkeys(("context", "width", "depth", "heads", "top_k"), (Integral, 1, math.inf))
OPTIONS |= {"dropout": SHARE, "share": (Real, 1e-6, 1), "max_norm": (Real, 0, LARGEST)}
OPTIONS |= {
    "length": (Integral, 0, math.inf),
    "positions": ("learnt", "rotary"),
    "activation": ("relu", "gelu", "gelu_tanh"),
}
OPTIONS |= {"temperature": (Real, 0, LARGEST), "top_p": (Real, 1e-6, 1)}
FIXED = "timesteps", "schedule", "predict", "context"  # what the network was made for, or taught
PLACES = "start", "seen"  # of `Diffusion.path`: where it begins, and what it goes by


def checked_options(name, **given):
    """The options, NumPy's numbers as Python's; ValueError, which `name` heads, for a wrong one."""
    return {option: _checked(f"{name}: {option}", option, v) for option, v in given.items()}


def _checked(what, option, value):
    kind = OPTIONS[option]
    if isinstance(kind[0], str):
        if not isinstance(value, str) or value not in kind:
            raise ValueError(f"{what} must be one of {', '.join(kind)}, got {value!r:.50}")
        return value
    number, least, most = kind
    if not isinstance(value, number) or isinstance(value, bool) or not least <= value <= most:
        whole = f"at least {least} and whole"
        wanted = whole if number is Integral else f"from {least} to {most}"
        raise ValueError(f"{what} must be {wanted}, got {value!r:.50}")
    return value.item() if hasattr(value, "item") else value


def sampling(name, model, how, told=True, places=PLACES):
    """How samples of a flow or diffusion are to be made: the options `how` where given, and not
    None, else the model's own.

    told: whether the samples are of classes that they were told; if not, there is nothing that
    guidance could enlarge, and the model's own is none. places: what `how` may hold beside.
    TypeError for an option that there is not, ValueError for a wrong one.
    """
    told, own = told and model.classes, {option: getattr(model, option) for option in model.how}
    if other := [option for option in how if option not in (*own, *places)]:
        kind = f"{type(model).__name__} takes {', '.join(own)}"
        raise TypeError(f"{name}: there is no option {other[0]} here: {kind}")
    own |= {} if told else {"guidance": 1.0}
    found = {"start": 0.0, "seen": None} | own
    found |= {option: value for option, value in how.items() if value is not None}
    seen = found.pop("seen")
    found = checked_options(name, **found)
    if found["guidance"] != 1 and not told:
        why = "enlarges what a label says, and none is told: leave it out"
        raise ValueError(f"{name}: guidance {found['guidance']} {why}")
    check_taught(name, found["guidance"], model.classes, model.drop)
    return found | {"seen": seen}


def check_taught(name, guidance, classes, drop):
    """ValueError where a network of classes would never hear a label, or is to be guided away from
    what it was never taught.
    """
    if classes and drop == 1:
        why = "which are never taught then: make it less, or the model one of no classes"
        raise ValueError(f"{name}: drop {drop} keeps back all labels of {classes} classes, {why}")
    if guidance != 1 and classes and not drop:
        raise ValueError(
            f"{name}: guidance {guidance} needs a network that was taught samples without labels, "
            "too: drop above 0, or guidance 1"
        )


def change(self, name, value):
    """A model's `__setattr__`: an option that it has is checked as it is changed, as it was when
    the model was made. AttributeError for one of `FIXED`.
    """
    if name in OPTIONS and name in vars(self):
        kind, own = type(self).__name__, vars(self)
        value = checked_options(kind, **{name: value})[name]
        if name in FIXED:
            raise AttributeError(f"{kind}: {name} is {own[name]!r} for good: make another model")
        after = own | {name: value}
        if "drop" in own:
            check_taught(kind, after["guidance"], after["classes"], after["drop"])
    object.__setattr__(self, name, value)
