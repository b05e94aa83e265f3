"""One page on a model. Matplotlib is imported when it is used."""

import textwrap

import numpy as np

from .curves import save
from .pictures import sheet


def report(path, title, table, images, pairs, classes, names=()):
    """Write one page on a model: its figures, samples, nearest training pictures and classes.

    title: lines, of which long ones are wrapped; table: rows of words, the head first; images: (n,
    h, w) or (n, h, w, 3) uint8; pairs: {caption: [samples, neighbours]}, two of them, with k such
    images each; classes: {whose: the share of each class (k,)}, two of them, or none; names: of the
    classes, if they have any.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 10), layout="constrained")
    lines = [row for line in title.split("\n") for row in textwrap.wrap(line, 145)]
    figure.suptitle("\n".join(lines), fontsize=14 if len(lines) == 1 else 11)
    figures, samples, neighbours, bars = figure.subplots(
        2, 2, width_ratios=[7, 5], height_ratios=[5, 3]
    ).flat
    columns = len(table[0]) - 1
    widths = [0.42] + [0.58 / columns] * columns
    cells = figures.table(table, colWidths=widths, bbox=[0, 0, 1, 1], edges="B")
    cells.auto_set_font_size(False)
    for (row, column), cell in cells.get_celld().items():
        cell.set_edgecolor("0.85")
        cell.set_text_props(
            ha="right" if column else "left",
            weight="bold" if row == 0 or column == 1 else "normal",
            parse_math=False,  # `save` does not find the texts of cells
        )
    # ink on paper is stored as light on dark
    colours = "gray_r" if np.median(images) < 64 else "gray"
    empty = 0 if colours == "gray_r" else 255
    samples.imshow(sheet(images, 10, empty), cmap=colours, vmin=0, vmax=255)
    samples.set_title("samples")
    above, below = (sheet(np.concatenate(pair), len(pair[0])) for pair in pairs.values())
    gap = np.full_like(above[: images.shape[1] // 2], empty)
    both = np.concatenate([above, gap, below])
    neighbours.imshow(both, cmap=colours, vmin=0, vmax=255)
    neighbours.set_title("\n".join(pairs))
    for axes in (figures, samples, neighbours):
        axes.axis("off")
    _bars(bars, classes, names)
    save(figure, path)


def _bars(axes, classes, names):
    """Two bars a class, or nothing where there are no classes."""
    if not classes:
        axes.axis("off")
        return
    for shift, colour, whose in zip((-0.2, 0.2), ("C0", "0.7"), classes, strict=True):
        shares = classes[whose]
        axes.bar(np.arange(len(shares)) + shift, shares, width=0.4, label=whose, color=colour)
    shown = range(0, len(shares), -(-len(shares) // 50))  # of very many classes not each is named
    words = [names[i][:20] if names else str(i) for i in shown]
    slanted = {"rotation": 45, "ha": "right"} if names else {}
    axes.set(title="classes, as the judge sees them", ylabel="share")
    axes.set_xticks(shown, words, fontsize=10 if len(shown) <= 20 else 6, **slanted)
    axes.legend()
