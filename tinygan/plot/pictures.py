"""Samples as pictures: a sheet, a grid with names above it, an animation. Pillow is imported when
it is used.
"""

import math
from statistics import NormalDist

import numpy as np

from .. import files

FRAMES = 250  # of an animation: more are thinned


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
