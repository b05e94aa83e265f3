"""Pictures: a grid of samples, an animation of grids, curves of the losses, a page of figures.
Pillow and matplotlib, imported when used. It knows arrays, and no model; `graph`, which draws the
tape behind a Tensor, has a file of its own.

Every file is written beside its place and moved there whole.
"""

import math
import textwrap
from pathlib import Path
from statistics import NormalDist

import numpy as np

from .. import files
from ..graph import Graph, graph  # noqa: F401

FRAMES = 250  # of an animation: more are thinned
LARGEST = 1e100  # loss that is drawn: of larger ones the axis might reach beyond float64
NO_LOSS = {"step", "epoch", "seconds", "lr", "fid", "coverage", "bits"}  # what else records hold


def to_uint8(images):
    """Images in [-1, 1] as 0..255: (n, 1, h, w) -> (n, h, w), and colours (n, 3, h, w) ->
    (n, h, w, 3); ValueError for anything else.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"to_uint8: images are (n, 1, h, w) or (n, 3, h, w), got {images.shape}; "
            "choose the channels to draw, images[:, :3]"
        )
    pixels = np.clip(np.rint((images + 1) * 127.5), 0, 255).astype(np.uint8)
    return pixels[:, 0] if images.shape[1] == 1 else pixels.transpose(0, 2, 3, 1)


def sheet(images, columns, empty=0):
    """(n, h, w) or (n, h, w, 3) uint8 images side by side, `columns` to a row, as one image; empty:
    what fills the cells that are left over, 0 to 255.
    """
    if not len(images) or images.ndim != 3 and images.shape[3:] != (3,):
        raise ValueError(
            f"sheet: images are (n, h, w) or (n, h, w, 3), n of 1 or more, got {images.shape}; "
            "to_uint8 makes them of (n, c, h, w)"
        )
    n, h, w, *colours = images.shape
    rows = -(-n // columns)
    cells = np.full((rows * columns, h, w, *colours), empty, np.uint8)
    cells[:n] = images
    cells = cells.reshape(rows, columns, h, w, *colours).swapaxes(1, 2)
    return cells.reshape(rows * h, columns * w, *colours)


def grid(images, path, columns=8, zoom=None, names=None):
    """Write (n, h, w) or (n, h, w, 3) uint8 images as a picture: a `sheet`, each pixel zoom times
    as wide (2, and of images of 64 pixels or more 1), and above it the `names` of its columns, if
    they have any.
    """
    from PIL import Image

    zoom = zoom or (2 if max(images.shape[1:3]) < 64 else 1)
    # ink on paper is stored as light on dark; names and colours are on white
    empty = 0 if names is None and images.ndim == 3 else 255
    picture = sheet(images, columns, empty).repeat(zoom, 0).repeat(zoom, 1)
    if names is not None:
        if len(names) != columns:
            raise ValueError(f"grid: {columns} columns need as many names, got {len(names)}")
        head = _heading(names, picture.shape[1] // columns)
        head = head if picture.ndim == 2 else head[:, :, None].repeat(3, axis=2)
        picture = np.concatenate([head, picture])
    with files.replacing(path) as part:
        Image.fromarray(picture).save(part)


def _heading(names, width):
    """Names above columns of that width, black on white, (h, columns * width) uint8: as they are
    read if each fits its column, else all turned, from the column upwards, and long ones cut.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(min(12, width))
    height = sum(font.getmetrics())
    names = [" ".join(name.split()) for name in names]  # no line breaks
    turned = max(map(font.getlength, names)) > width - 4
    if turned:
        names = [name if len(name) <= 20 else f"{name[:19]}…" for name in names]
    lengths = [math.ceil(font.getlength(name)) for name in names]
    strip = Image.new("L", (len(names) * width, 4 + (max(lengths) if turned else height)), 255)
    for i, (name, length) in enumerate(zip(names, lengths, strict=True)):
        word = Image.new("L", (length, height), 255)
        ImageDraw.Draw(word).text((0, 0), name, fill=0, font=font)
        word = word.rotate(90, expand=True) if turned else word
        middle = i * width + (width - word.width) // 2
        strip.paste(word, (middle, strip.height - 2 - word.height))
    return np.asarray(strip)


def manifold(n):
    """The n * n points of the plane, row by row from the top, that stand for equal shares of N(0,
    1): (n*n, 2) float32.
    """
    at = [NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)]
    return np.array([(x, y) for y in at[::-1] for x in at], np.float32)


def animate(frames, path, milliseconds=250):
    """Write pictures, (h, w) or (h, w, 3) uint8 or files, in their order as one GIF that rests on
    the last.

    Files that are missing or torn are left out; of more than 250 frames so many are taken, evenly,
    the first and the last among them. Where there is no picture, no file is written.
    """
    frames = list(frames)
    if len(frames) > FRAMES:
        kept = np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)
        frames = [frames[i] for i in kept]
    pictures = [picture for frame in frames if (picture := _picture(frame))]
    if not pictures:
        return
    with files.replacing(path) as part:
        pictures[0].save(
            part,
            save_all=True,
            append_images=pictures[1:],
            duration=[milliseconds] * (len(pictures) - 1) + [2000],
            loop=0,
        )


def _picture(frame):
    """Pillow's image of an array or a file, which is closed again; None if it cannot be read."""
    from PIL import Image

    if isinstance(frame, np.ndarray):
        return Image.fromarray(frame)
    try:
        with Image.open(frame) as picture:
            return picture.copy()  # reads it
    except Exception:  # damage may meet any line of a decoder
        return None


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
    _save(figure, path)


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


def _save(figure, path):
    for text in figure.findobj(lambda thing: hasattr(thing, "set_parse_math")):
        text.set_parse_math(False)  # titles hold paths, and losses have any name: a $ is a $
    with files.replacing(path) as part:
        figure.savefig(part, dpi=110, format=Path(path).suffix[1:] or "png")


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
            parse_math=False,  # `_save` does not find the texts of cells
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
    _save(figure, path)


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
