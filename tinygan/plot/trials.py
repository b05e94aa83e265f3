"""The trials of a search over settings. Matplotlib is imported when it is used."""

import math

import numpy as np

from .curves import save
from .plane import FAKE, INK, PALE, REAL

COLUMNS = 3  # panels beside each other


def trials(found, settings, path, name="figure", log=(), best=np.minimum):
    """Write a search as a picture: the figure of each trial and the best so far, and a panel a
    setting, the figure against its value.

    found: (number, figure, state) of each trial; state: "done" or another word, such as "pruned",
    and a figure of None is a trial that failed, a cross at the upper edge. settings: {setting: its
    value in each trial}, numbers, else words or booleans. log: the settings whose axis is
    logarithmic. best: np.maximum where more is better.
    """
    from matplotlib.figure import Figure

    count = 1 + len(settings)
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows), layout="constrained")
    panels = [*figure.subplots(rows, columns, squeeze=False, sharey=True).flat]
    numbers, figures, states = ([*column] for column in zip(*found))
    figures = np.array([math.nan if f is None else f for f in figures], np.float64)
    done = np.array([state == "done" for state in states])
    for axes, (words, values) in zip(panels, ({"trial": numbers} | settings).items()):
        if words in log:
            _logarithmic(axes.set_xscale, axes.xaxis, values)
        _dots(axes, _places(axes, values), figures, done)
        axes.set_xlabel(words.replace("_", " "))
        axes.grid(alpha=0.3)
    worst = -np.inf if best is np.maximum else np.inf
    so_far = best.accumulate(np.where(done, figures, worst))
    so_far[np.isinf(so_far)] = np.nan  # before the first that is done
    panels[0].step(numbers, so_far, where="post", color=FAKE, label="best")
    panels[0].xaxis.get_major_locator().set_params(integer=True)
    panels[0].legend()
    seen = figures[np.isfinite(figures)]
    if len(seen) and 0 < 20 * seen.min() < seen.max():  # or the best would all lie at the edge
        _logarithmic(panels[0].set_yscale, panels[0].yaxis, seen)
    for axes in panels[:count:columns]:
        axes.set_ylabel(name.replace("_", " "))
    for axes in panels[count:]:
        axes.axis("off")
    save(figure, path)


def _logarithmic(scale, axis, values):
    """Make the axis of these values logarithmic, with numbers as they are typed."""
    from matplotlib.ticker import LogLocator, NullFormatter

    scale("log")
    far = max(values) > 100 * min(values)
    axis.set_major_locator(LogLocator(subs=(1,) if far else (1, 2, 5)))
    axis.set_major_formatter(lambda value, place: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def _places(axes, values):
    """Where values stand along an axis: numbers where they are, words one after the other."""
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return np.array(values, np.float64)
    words = [{True: "yes", False: "no"}.get(v, v) for v in values]
    order = sorted({*words}, key=lambda word: (len(word), word))  # 64 before 128
    axes.set_xticks(range(len(order)), order)
    axes.set_xlim(-0.5, len(order) - 0.5)
    return np.array([order.index(word) for word in words], np.float64)


def _dots(axes, places, figures, done):
    """Full dots of the trials that came to their end, pale ones of those that were stopped, and
    crosses of those without a figure.
    """
    known = np.isfinite(figures)
    for chosen, colour, label in ((done, REAL, "done"), (~done & known, PALE[REAL], "pruned")):
        if chosen.any():
            axes.scatter(places[chosen], figures[chosen], s=22, color=colour, label=label)
    if not known.all():
        lost, options = places[~known], {"color": INK, "marker": "x", "label": "failed"}
        axes.scatter(lost, 0.96 + 0 * lost, transform=axes.get_xaxis_transform(), **options)
