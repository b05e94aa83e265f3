"""Points of the plane: over the density they should have, and the game that moves them there.
Matplotlib is imported when it is used. This file knows arrays and densities, and no model.

Two colours mean the same everywhere: blue is real, orange is generated.
"""

import functools

import numpy as np

from .curves import save

REAL, FAKE, INK = "#1f5f99", "#e8590c", "#222222"
DEPTH = 4.5  # nats below its peak, three deviations from it, where a density is paper
PALE = {REAL: "#7fb0dc", FAKE: "#f3a178"}  # behind points
FINE, COARSE = 240, 120  # places across the window, of a density and of a field
INCHES = 4.8  # the side of a panel: 480 pixels
DOTS = 1500  # points that are drawn: of more, the first
ARROWS = 200


def points(points, path, toy=None, title=""):
    """Write points (n, 2) as a scatter plot, over the density of a `data.Toy` if it is given one,
    in its window; else in a window around 0 that holds nearly all of them.
    """
    figure = _figure(1, title)
    axes = _panel(figure, 0, _extent(points) if toy is None else toy.extent)
    if toy is not None:
        _density(axes, toy)
    _dots(axes, points, color=FAKE, alpha=0.6)
    save(figure, path)


def panels(toy, shown, title="", trails=None):
    """Several models of one density side by side: (h, w, 3) uint8, a frame for `animate`.

    shown: {words above: points (n, 2), orange, over the density; or the log of a model's own
    density, places (m, 2) -> (m,), in the shades of orange that the real one has of blue}. trails:
    {the same words: (steps, k, 2), the ways that k points came}.
    """
    figure = _figure(len(shown), title)
    for i, (words, what) in enumerate(shown.items()):
        axes = _panel(figure, i, toy.extent)
        axes.set_title(words, fontsize=10)
        if callable(what):
            log = np.asarray(what(_places(toy.extent, COARSE))).reshape(COARSE, COARSE)
            _image(axes, _shades(log, _log(toy).max()), ["white", FAKE], vmin=0, vmax=1)
            continue
        _density(axes, toy)
        for way in np.swapaxes((trails or {}).get(words, np.empty((0, 0, 2))), 0, 1):
            axes.plot(*way.T, color=INK, linewidth=0.7, alpha=0.4)
        _dots(axes, what, color=FAKE, alpha=0.6)
    return _pixels(figure)


def plane(toy, points, scores, flow=None, title=""):
    """A picture of a GAN that learns the density of a `data.Toy`: (h, 960, 3) uint8, a frame for
    `animate`.

    On the left the density, blue, and G's points (n, 2), orange. On the right what D makes of every
    place, scores(places (m, 2)) -> (m,): blue where it is above 0, real, orange where it is below,
    the line where it is 0; and there where the points are to move, flow (n, 2), as arrows. Colours
    and arrows show proportions within the picture: half of the window is coloured fully, and the
    longest arrows are as long in each.
    """
    figure = _figure(2, title)
    left, right = (_panel(figure, i, toy.extent) for i in (0, 1))
    _density(left, toy)
    _dots(left, points, color=FAKE, alpha=0.6)
    words = "real density (blue) and G's points (orange)"
    if toy.centres is not None:  # which G's points may cover
        circles = {"s": 250, "facecolors": "none", "edgecolors": REAL, "linewidths": 1.2}
        left.scatter(*toy.centres.T, **circles)
        words = "real modes (blue circles) and G's points (orange)"
    left.set_title(words, fontsize=10)
    _field(right, scores)
    words = "D: real (blue), fake (orange), undecided (line); arrows: G's next"
    right.set_title(words, fontsize=10)
    if flow is None:
        _dots(right, points, color=INK, alpha=0.6)
    else:
        _arrows(right, points, flow)
    return _pixels(figure)


def _figure(panels, title):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(panels * INCHES, INCHES + 0.6), dpi=100)
    figure.suptitle(title, fontsize=14, y=0.99)
    return figure


def _panel(figure, i, extent):
    """The axes of panel i, which show the window of that extent."""
    width, height = figure.get_size_inches()
    side, edge = INCHES - 0.2, 0.1
    place = (i * INCHES + edge) / width, edge / height, side / width, side / height
    axes = figure.add_axes(place)
    axes.set(xlim=(-extent, extent), ylim=(-extent, extent), xticks=[], yticks=[])
    return axes


def _extent(points):
    """Half the side of a window that holds 99 of 100 points, and a margin."""
    reach = abs(points[np.isfinite(points).all(1)]).max(1, initial=0)
    return 1.15 * float(np.quantile(reach, 0.99)) if reach.any() else 1.0


def _places(extent, n):
    """n * n places, evenly spread in the window, row by row from below, (n * n, 2) float32."""
    along = ((np.arange(n) + 0.5) * (2 / n) - 1) * extent
    return np.stack(np.meshgrid(along, along), 2).reshape(-1, 2).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _log(toy):
    """The log of a density in the window, (FINE, FINE)."""
    return toy.log_density(_places(toy.extent, FINE)).reshape(FINE, FINE)


def _shades(log, peak):
    """How dark a density is, from 0 to 1: by its logarithm, so that a narrow peak is seen as wide
    as its points lie.
    """
    return np.clip((log - peak) / DEPTH + 1, 0, 1)


def _image(axes, values, colours, **options):
    """Values (n, n), from below, as colours from one to the next."""
    from matplotlib.colors import LinearSegmentedColormap

    window = (*axes.get_xlim(), *axes.get_ylim())
    colours = LinearSegmentedColormap.from_list("", colours)
    options |= {"origin": "lower", "extent": window, "interpolation": "bilinear"}
    axes.imshow(values, cmap=colours, **options)


def _density(axes, toy):
    log = _log(toy)
    _image(axes, _shades(log, log.max()), ["white", PALE[REAL]], vmin=0, vmax=1)


def _field(axes, scores):
    places = _places(axes.get_xlim()[1], COARSE)
    values = np.asarray(scores(places), np.float64).reshape(COARSE, COARSE)
    most = float(np.median(abs(values))) or 1.0
    _image(axes, values, [PALE[FAKE], "white", PALE[REAL]], vmin=-most, vmax=most)
    words = {"transform": axes.transAxes, "fontsize": 10, "color": INK}
    axes.text(0.02, 0.02, f"full colour: scores of {most:.2g}", **words)
    if values.min() < 0 < values.max():
        along = places[:COARSE, 0]
        axes.contour(along, along, values, [0], colors=INK, linewidths=1.2)


def _dots(axes, points, **options):
    """Points as dots, and in words how many are outside the window."""
    shown, extent = points[:DOTS], axes.get_xlim()[1]
    axes.scatter(*shown.T, s=7, linewidths=0, **options)
    outside = len(points) - int((abs(points) <= extent).all(1).sum())
    if outside:
        words = f"{max(0.01, outside / len(points)):.0%} outside"
        axes.text(0.98, 0.02, words, transform=axes.transAxes, ha="right", fontsize=10, color=FAKE)


def _arrows(axes, points, flow):
    """Arrows from the points; a tenth of them, the longest, are drawn as one length."""
    points, flow = points[:ARROWS], flow[:ARROWS]
    finite = np.isfinite(points).all(1) & np.isfinite(flow).all(1)
    points, flow = points[finite], flow[finite]
    lengths = np.hypot(*flow.T)[:, None]
    most = float(np.quantile(lengths, 0.9)) if lengths.any() else 1.0
    longest = axes.get_xlim()[1] / 6
    arrows = flow * (longest / np.maximum(np.maximum(lengths, most), 1e-30))
    options = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.0035}
    axes.quiver(*points.T, *arrows.T, color=INK, alpha=0.8, **options)


def _pixels(figure):
    """What a figure shows, (h, w, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
