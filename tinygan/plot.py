"""Pictures: a grid of samples, an animation of grids, curves of the losses. Pillow and matplotlib,
imported when used.
"""

from statistics import NormalDist

import numpy as np


def to_uint8(images):
    """(n, 1, h, w) in [-1, 1] -> (n, h, w) in 0..255."""
    return np.clip(np.rint((images[:, 0] + 1) * 127.5), 0, 255).astype(np.uint8)


def sheet(images, columns):
    """(n, h, w) uint8 images side by side, `columns` to a row, as one image."""
    n, h, w = images.shape
    rows = -(-n // columns)
    cells = np.zeros((rows * columns, h, w), np.uint8)
    cells[:n] = images
    return cells.reshape(rows, columns, h, w).transpose(0, 2, 1, 3).reshape(rows * h, columns * w)


def grid(images, path, columns=8, zoom=2):
    """Write (n, h, w) uint8 images side by side, `columns` to a row, as a picture."""
    from PIL import Image

    Image.fromarray(sheet(images, columns).repeat(zoom, 0).repeat(zoom, 1)).save(path)


def manifold(n):
    """The n * n points of the plane, row by row from the top, that stand for equal shares of N(0,
    1): (n*n, 2) float32.
    """
    at = [NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)]
    return np.array([(x, y) for y in at[::-1] for x in at], np.float32)


def animate(frames, path, milliseconds=250):
    """Write pictures, (h, w) uint8 or files, in their order as one GIF that rests on the last."""
    from PIL import Image

    frames = [Image.fromarray(f) if isinstance(f, np.ndarray) else Image.open(f) for f in frames]
    frames[0].save(
        path,
        save_all=True,
        append_images=frames[1:],
        duration=[milliseconds] * (len(frames) - 1) + [2000],
        loop=0,
    )


def curves(records, path, window=50):
    """Write the losses of a log, dicts of 'step', 'epoch', 'seconds' and any losses, as curves of
    their moving average.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    steps = [r["step"] for r in records]
    for name in [k for k in records[0] if k not in ("step", "epoch", "seconds", "fid", "coverage")]:
        values = np.array([r[name] for r in records])
        smooth = (
            np.convolve(values, np.ones(window) / window, "valid")
            if len(values) >= 2 * window
            else values
        )
        axes.plot(steps[len(steps) - len(smooth) :], smooth, label=name.replace("_", " "))
    axes.set(xlabel="step", ylabel="loss (nats)", ylim=(0, None))
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def report(path, title, table, images, pairs, classes):
    """Write one page on a model: its figures, samples, nearest training digits and classes.

    table: rows of words, the head first; images: (n, h, w) uint8; pairs: {caption: [samples,
    neighbours]}, two of them, with (k, h, w) uint8 each; classes: {whose: the share of each class
    (10,)}, two of them.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 10), layout="constrained")
    figure.suptitle(title, fontsize=14)
    figures, samples, neighbours, bars = figure.subplots(
        2, 2, width_ratios=[7, 5], height_ratios=[5, 3]
    ).flat
    widths = [0.42] + [0.58 / (len(table[0]) - 1)] * (len(table[0]) - 1)
    cells = figures.table(table, colWidths=widths, bbox=[0, 0, 1, 1], edges="B")
    cells.auto_set_font_size(False)
    for (row, column), cell in cells.get_celld().items():
        cell.set_edgecolor("0.85")
        cell.set_text_props(
            ha="right" if column else "left", weight="bold" if row == 0 or column == 1 else "normal"
        )
    samples.imshow(sheet(images, 10), cmap="gray_r")
    samples.set_title("samples")
    one, other = (sheet(np.concatenate(pair), len(pair[0])) for pair in pairs.values())
    neighbours.imshow(np.concatenate([one, np.zeros_like(one[:14]), other]), cmap="gray_r")
    neighbours.set_title("\n".join(pairs))
    for axes in (figures, samples, neighbours):
        axes.axis("off")
    for i, (whose, shares) in enumerate(classes.items()):
        bars.bar(np.arange(10) + 0.4 * i - 0.2, shares, 0.4, label=whose, color=("C0", "0.7")[i])
    bars.set(title="classes, as the judge sees them", xticks=range(10), ylabel="share")
    bars.legend()
    figure.savefig(path, dpi=110)
