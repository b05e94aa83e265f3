"""Files of text, eight plays that ship with the package, and who says what in a play. This file
knows strings, and no tokens.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

from .idx import MAX_BYTES, DataError, opened

BOOK = Path(__file__).parent / "books" / "shakespeare.txt.gz"  # ORIGIN.md is beside it


class Speech(NamedTuple):
    """What somebody says in a play: its name, "" if it has none, the speaker's, and the words."""

    play: str
    speaker: str
    words: str


def text(path: str | os.PathLike | None = None, limit: int = MAX_BYTES) -> str:
    """A file in UTF-8, or a .gz of one, as text: lines end in a newline, whatever the file has, and
    a byte order mark is left out. None: eight of Shakespeare's plays, 0.96 MB, which ship with the
    package. DataError for a file that is missing, empty, no text, or of more than `limit` bytes.
    """
    path = BOOK if path is None else path
    with opened(path) as stream:
        raw = stream.read(limit + 1)
    if not raw or len(raw) > limit:
        what = f"holds more than the {limit} bytes allowed" if raw else "is empty"
        raise DataError(f"{path}: {what}; pass another file")
    try:
        found = raw.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start}, 0x{raw[error.start]:02x}, is no UTF-8 text; pass a file "
            "of text, saved as UTF-8"
        ) from error
    if (place := raw.find(0)) >= 0:  # UTF-16, say, or numbers
        raise DataError(f"{path}: byte {place} is 0, as in no text; pass a file saved as UTF-8")
    if not (found := found.removeprefix("\ufeff")):
        raise DataError(f"{path}: is empty; pass another file")
    return re.sub("\r\n?", "\n", found)


def speeches(text: str) -> list[Speech]:
    """Who says what in plays as `text()` has them: `play` is that of the last heading "= Macbeth ="
    above, "" before any; the first line of a paragraph is "SPEAKER:", and all others are the words.

    A paragraph that names no speaker belongs to the one before. Who says nothing is left out.
    """
    play, found = "", []
    for paragraph in re.split("\n{2,}", text.strip("\n")):
        first, _, words = paragraph.partition("\n")
        if heading := re.fullmatch("= (.+) =", paragraph):
            play = heading[1]
        elif first.endswith(":"):
            found.append(Speech(play, first[:-1], words))
        elif found and found[-1].play == play:
            both = f"{found[-1].words}\n\n{paragraph}"
            found[-1] = found[-1]._replace(words=both.strip("\n"))
    return [speech for speech in found if speech.words]
