"""One file of a picture, read: whichever way it was turned, whatever it lies on, at most as much of
it as is needed.

A file is untrusted. Its header is looked at before memory is taken, only the formats named here are
tried, and any exception means that this one cannot be read. This file knows no folder.
"""

import contextlib
import threading

import numpy as np

from .resize import Wanted, square

# what Pillow calls what is read; of animations the first picture. TIFF is not: pixels there may
# have any type and range, and its library writes to the terminal
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}
UNREAD = {
    ".tif",
    ".tiff",
    ".heic",
    ".heif",
    ".avif",
    ".svg",
    ".jxl",
    ".jp2",
    ".psd",
}  # pictures, too
MAX_FILE = 1 << 28  # bytes of a file: WebP's reader takes it whole
MAX_PIXELS = 1 << 25  # that are decoded of one picture: 128 MiB, and thrice that on the way
MANY = 1 << 24  # pixels; of those with more, one is decoded at a time
LARGE = threading.Lock()
# EXIF's tag and what undoes each of its values, as Pillow's Transpose calls it (EXIF 2.3, 4.6.4)
ORIENTATION = 0x0112
UPRIGHT = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
UPRIGHT |= {6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}


def read(path, want: Wanted):
    """The picture in a file as (side, side, 3) uint8. Any exception: it cannot be read."""
    with _opened(path) as picture:
        w, h = picture.size
        # a JPEG is decoded at a half, a quarter or an eighth, still twice as large as is needed
        picture.draft(picture.mode, (2 * want.side, 2 * want.side))
        # what is skipped has its costs, the more of a JPEG that is stored in several passes
        skipped = w * h // (3 if picture.info.get("progressive") else 8)
        pixels = max(picture.width * picture.height, skipped)
        if pixels > MAX_PIXELS:
            raise ValueError(f"{w} x {h} pixels, more than {MAX_PIXELS} (a JPEG: 8 times those)")
        with LARGE if pixels > MANY else contextlib.nullcontext():
            picture.load()
            return np.asarray(square(flat(_upright(picture), want.background), want))


def size(path) -> tuple[int, int]:
    """The width and height that a picture's header says."""
    with _opened(path) as picture:
        return picture.size


def _opened(path):
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise ValueError(f"none of {known}, whatever its name says") from None


def _upright(picture):
    """It, turned as its EXIF says; where that is damaged, as it is."""
    from PIL import Image

    try:
        turn = UPRIGHT.get(picture.getexif().get(ORIENTATION))
    except Exception:  # damage may meet any line of a reader
        turn = None
    return picture.transpose(Image.Transpose[turn]) if turn else picture


def flat(picture, background):
    """A picture of any mode as RGB, laid on the background: before it is resized, so that the
    colours of what is transparent go nowhere. 16 bits are scaled to 8, not cut off.
    """
    from PIL import Image

    mode, clear = picture.mode, picture.info.get("transparency")
    if mode in ("I", "F"):
        raise ValueError("32 bits a pixel, whose range is not known; save it with 8")
    if mode.startswith("I;16"):
        values = np.asarray(picture)
        picture = Image.fromarray(np.rint(values / 257).astype(np.uint8))
        if isinstance(clear, int):  # that one value is transparent
            picture.putalpha(Image.fromarray((values != clear) * np.uint8(255)))
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    paper = Image.new("RGB", picture.size, background)
    paper.paste(picture, mask=picture)
    return paper
