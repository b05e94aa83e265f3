"""How good are the pictures? `Judge` holds real ones against samples, `judge_of` makes the judge of
any set; `distances` has its measures, which know no image.

This room knows no model: it looks at images.
"""

from . import distances
from .classifier import Classifier, frozen
from .judge import Judge, histogram, judge_of

__all__ = ["Classifier", "Judge", "distances", "frozen", "histogram", "judge_of"]
