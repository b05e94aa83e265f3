"""The losses of a run as curves. Matplotlib is imported when it is used."""

from pathlib import Path

import numpy as np

from .. import files

LARGEST = 1e100  # loss that is drawn: of larger ones the axis might reach beyond float64
NO_LOSS = {"step", "epoch", "seconds", "lr", "fid", "coverage", "bits"}  # what else records hold


def curves(records, path, window=50):
    """Write the losses of a log as curves of their moving average over `window` records, and those
    that fewer than half of the records have, such as a held-out loss once an epoch, as dots.

    records: dicts of 'step' and any losses; those without, such as events, are left out, and so are
    figures that are no losses (step, epoch, seconds, lr, fid, coverage), not finite, or beyond
    1e100. Where there is no loss, no file is written.
    """
    from matplotlib.figure import Figure

    records = [r for r in records if "step" in r and "event" not in r]
    losses = _losses(records)
    if not losses:
        return
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, (steps, values) in losses.items():
        dots = 2 * len(values) < len(records)
        if not dots and len(values) >= 2 * window:
            values = np.convolve(values, np.ones(window) / window, "valid")
            steps = steps[window - 1 :]
        axes.plot(steps, values, "o" if dots else "-", label=name.replace("_", " "))
    axes.set(xlabel="step", ylabel="loss")
    if min(min(values) for _, values in losses.values()) >= 0:
        axes.set_ylim(0, None)
    axes.legend()
    axes.grid(alpha=0.3)
    save(figure, path)


def _losses(records):
    """{name: (its steps, its values)} of every loss in the records that can be drawn."""
    found = {}
    for record in records:
        for name, value in record.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if name in NO_LOSS or not number or not abs(value) <= LARGEST:
                continue
            steps, values = found.setdefault(name, ([], []))
            steps.append(record["step"])
            values.append(value)
    return found


def save(figure, path):
    """Write a figure of matplotlib's, whole."""
    for text in figure.findobj(lambda thing: hasattr(thing, "set_parse_math")):
        text.set_parse_math(False)  # titles hold paths, and losses have any name: a $ is a $
    with files.replacing(path) as part:
        figure.savefig(part, dpi=110, format=Path(path).suffix[1:] or "png")
