"""How pictures are wanted, a square of a side, in grey or RGB, on a background, and making them so.

Pillow resizes, imported when used. Colours are 8 bits a channel, as they are stored: nothing is
linearised, and colour profiles are ignored. This file knows no file and no folder.
"""

import math
import operator
from typing import NamedTuple

import numpy as np

from .idx import DataError
from .images import Pictures

MAX_SIDE = 1024
MAX_SET = 1 << 32  # bytes of all pictures of a set together
COLOURS = (None, "grey", "rgb")
FITS = ("crop", "pad")
# of red, green and blue in a grey, in 1/65536: ITU-R BT.601, as Pillow and JPEG have it
LUMA = np.array([19595, 38470, 7471], np.uint32)


class Wanted(NamedTuple):
    """How the pictures of a set are wanted."""

    side: int | None  # pixels; None: as they are
    colour: str | None  # "grey", "rgb"; None: as they are
    background: tuple[int, int, int]  # what is seen through them and around them
    fit: str  # "crop" to the middle square, or "pad" to one

    @property
    def paper(self) -> int:
        """The background as a grey."""
        return int(luma(np.array(self.background, np.uint8)))


def wanted(side=None, colour=None, background="white", fit="crop") -> Wanted:
    """These, checked; else DataError. background: what CSS calls a colour, or (r, g, b)."""
    if side is not None:
        try:
            whole = 0 if isinstance(side, bool) else operator.index(side)
        except TypeError:
            whole = 0
        if not 1 <= whole <= MAX_SIDE:
            raise DataError(
                f"pictures: side is {side!r:.50}; choose a whole number of pixels, 1 to {MAX_SIDE}"
            )
        side = whole
    for what, value, known in (("colour", colour, COLOURS), ("fit", fit, FITS)):
        if not (value is None or isinstance(value, str)) or value not in known:
            words = ", ".join(map(repr, known))
            raise DataError(f"pictures: {what} is {value!r:.50}; choose one of {words}")
    return Wanted(side, colour, _rgb(background), fit)


def _rgb(background) -> tuple[int, int, int]:
    """A colour's three numbers."""
    try:
        if isinstance(background, str):
            plain = {"white": (255, 255, 255), "black": (0, 0, 0)}  # these without Pillow
            background = plain.get(background) or _css(background)
        red, green, blue = map(operator.index, background)
        if min(red, green, blue) < 0 or max(red, green, blue) > 255:
            raise ValueError
    except (TypeError, ValueError):
        raise DataError(
            f"pictures: background is {background!r:.50}; choose an opaque colour as CSS calls it, "
            '"white" or "#ff8000", or three numbers from 0 to 255'
        ) from None
    return red, green, blue


def _css(name: str):
    from PIL import ImageColor

    return ImageColor.getrgb(name)


def luma(pixels):
    """RGB (..., 3) uint8 as grey (...) uint8; equal channels give that very value."""
    return ((pixels @ LUMA + (1 << 15)) >> 16).astype(np.uint8)


def square(picture, want: Wanted):
    """Pillow's L or RGB image as one of side by side pixels.

    The filter is Lanczos's, the sharpest of Pillow's; it widens with what is left out, so that
    nothing aliases, and what is much too large is averaged over whole pixels first. Smaller
    pictures are enlarged by it. One that has the size stays as it is, to the bit.
    """
    from PIL import Image

    options = {"resample": Image.Resampling.LANCZOS, "reducing_gap": 3.0}
    w, h = picture.size
    if want.fit == "crop":
        edge = min(w, h)
        left, top = (w - edge) // 2, (h - edge) // 2
        box = (left, top, left + edge, top + edge)
        return picture.resize((want.side, want.side), box=box, **options)
    size = [max(1, round(n * want.side / max(w, h))) for n in (w, h)]
    paper = want.paper if picture.mode == "L" else want.background
    whole = Image.new(picture.mode, (want.side, want.side), paper)
    whole.paste(picture.resize(size, **options), [(want.side - n) // 2 for n in size])
    return whole


def check_memory(where, n: int, *shape: int):
    """DataError where so many pictures of that shape are too much."""
    size = n * math.prod(shape)
    if size > MAX_SET:
        raise DataError(
            f"{where}: {n} pictures of {' x '.join(map(str, shape))} are {size} bytes, more than "
            f"the {MAX_SET} allowed; choose a smaller side, or fewer of them"
        )


def shaped(found: Pictures, want: Wanted, where) -> Pictures:
    """A set with the side and colour that are wanted; as it is where it has them."""
    images = found.images
    n, *size = images.shape[:3]
    wanted_size = [want.side, want.side] if want.side else size
    channels = (3,) if images.ndim == 4 or want.colour == "rgb" else ()
    check_memory(where, n, *wanted_size, *channels)
    if want.colour == "rgb" and images.ndim == 3:
        images = images[..., None].repeat(3, axis=3)  # first: it may be laid on a colour
    if wanted_size != size:
        from PIL import Image

        resized = np.empty((n, *wanted_size, *channels), np.uint8)
        for i, image in enumerate(images):
            resized[i] = square(Image.fromarray(image), want)
        images = resized
    if want.colour == "grey" and images.ndim == 4:
        images = in_grey(images)
    return found._replace(images=images)


def in_grey(images):
    """RGB (n, h, w, 3) as grey (n, h, w)."""
    grey = np.empty(images.shape[:3], np.uint8)
    for i, image in enumerate(images):  # one at a time: the products are wider than the bytes
        grey[i] = luma(image)
    return grey
