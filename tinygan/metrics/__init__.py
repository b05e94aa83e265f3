"""How good are the digits? `Judge` holds real digits against samples; `distances` has its measures,
which know no image.

This room knows no model: it looks at images.
"""

from . import distances
from .judge import Classifier, Judge, frozen, histogram

__all__ = ["Classifier", "Judge", "distances", "frozen", "histogram"]
