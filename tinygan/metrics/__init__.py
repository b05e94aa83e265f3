"""How good are the pictures? `Judge` holds real ones against samples, `judge_of` makes the judge of
any set; `distances` has its measures, which know no image. `mode_figures` counts the modes that
points of the plane reach.

This room knows no model: it looks at samples.
"""

from . import distances
from .classifier import Classifier, frozen
from .judge import Judge, histogram, judge_of
from .modes import histogram_kl, mode_figures

__all__ = [
    "Classifier", "Judge", "distances", "frozen", "histogram", "histogram_kl", "judge_of",
    "mode_figures",
]  # fmt: skip
