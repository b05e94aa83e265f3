"""Pictures: a grid of samples, an animation of grids, curves of the losses, a page of figures, the
trials of a search, and models of points in the plane. Pillow and matplotlib, imported when used. It
knows arrays, and no model; `graph`, which draws the tape behind a Tensor, has a file of its own.

Every file is written beside its place and moved there whole.
"""

from ..graph import Graph, graph
from .curves import curves
from .pictures import animate, grid, manifold, sheet, to_uint8
from .plane import panels, plane, points
from .report import report
from .trials import trials

__all__ = [
    "Graph", "animate", "curves", "graph", "grid", "manifold", "panels", "plane",
    "points", "report", "sheet", "to_uint8", "trials",
]  # fmt: skip
