"""How good are the digits? `distances` has the measures, which know no image."""

from . import distances

__all__ = ["distances"]
