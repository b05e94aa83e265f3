"""Fetching what does not ship here: from the first mirror that delivers the very bytes that were
published, into the user's cache.

Nothing is fetched unless its name was asked for. This file knows addresses and checksums that it is
handed, and no data set.
"""

import hashlib
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

from .. import files
from .idx import PIECE, DataError, opened

TIMEOUT = 20  # seconds without an answer
PATIENCE = 600  # seconds for a file from one mirror, however it trickles,
SLOWEST = 100_000  # and a second more for each so many bytes
AGENT = {"User-Agent": "tinygan"}  # some servers turn away the name that Python gives


class Remote(NamedTuple):
    """A file as it was published.

    inflated: if it is not 0 then the checksum is of the content, whichever gzip packed it, and the
    content has at most so many bytes; else it is of the file as it is.
    """

    name: str
    sha256: str
    size: int  # bytes; no more are downloaded
    inflated: int = 0


def cache_folder() -> Path:
    """Where this platform keeps a user's caches (XDG base directories outside Windows and macOS);
    DataError where a user has no home.
    """
    try:
        if sys.platform == "win32":
            base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise DataError(
            "what is fetched goes to a cache in your home folder, but you have none; set HOME, "
            "or load a folder that holds the files"
        ) from error
    return Path(base) / "tinygan"


def fetch(remote: Remote, folder: Path, mirrors, remedy: str, opener=None) -> Path:
    """The path of a verified file in folder, downloaded from the first mirror that has it unless
    already there.

    remedy: what to do where it cannot be had. opener(url, timeout=...) gives a context with
    `read1(n)` and `length`, as urlopen does. DataError when every mirror fails or the folder cannot
    be written.
    """
    target, failures = folder / remote.name, []
    files.sweep(folder, age=PATIENCE)  # no living download was last written to so long ago
    if _intact(target, remote):
        return target
    for mirror in mirrors:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with files.replacing(target) as part:  # the final name only ever holds verified bytes
                with open(part, "wb") as file:
                    file.writelines(_pieces(opener or _urlopen, mirror, remote))
                if not _intact(part, remote):
                    raise DataError("sent a damaged file or another one, its SHA-256 differs")
            return target
        except DataError as error:
            failures.append(f"{mirror} ({error})")
        except OSError as error:
            raise DataError(
                f"{target}: cannot be written ({error.strerror or error}); {remedy}"
            ) from error
    raise DataError(f"{target}: no mirror could deliver it: {', '.join(failures)}; {remedy}")


def _urlopen(url: str, timeout):
    from urllib.request import Request, urlopen

    return urlopen(Request(url, headers=AGENT), timeout=timeout)


def _pieces(opener, mirror: str, remote: Remote):
    """The bytes that a mirror sends, as they come; DataError with what went wrong there."""
    from http.client import HTTPException

    from tqdm import tqdm

    start, sent, patience = time.monotonic(), 0, PATIENCE + remote.size / SLOWEST
    try:
        with (
            opener(mirror + remote.name, timeout=TIMEOUT) as reply,
            tqdm(
                desc=remote.name,
                total=reply.length,
                unit="B",
                unit_scale=True,
                disable=None,
            ) as bar,
        ):
            while piece := reply.read1(PIECE >> 4):  # what is there, so that time is looked at
                sent += len(piece)
                bar.update(len(piece))
                if sent > remote.size:
                    raise DataError(f"sent more than {remote.size} bytes")
                if time.monotonic() - start > patience:
                    raise DataError(f"sent {sent} bytes in {patience:g} seconds and was not done")
                yield piece
    except (OSError, HTTPException) as error:
        raise DataError(" ".join(str(error).split()) or type(error).__name__) from error


def _intact(path: Path, remote: Remote) -> bool:
    """Whether a file is there and is the one that was published."""
    digest, size = hashlib.sha256(), 0
    if not os.path.isfile(path):  # a pipe would be waited for
        return False
    try:
        with opened(path) if remote.inflated else open(path, "rb") as stream:
            while size <= (remote.inflated or remote.size) and (piece := stream.read(PIECE)):
                digest.update(piece)
                size += len(piece)
    except (DataError, OSError):
        return False
    return digest.hexdigest() == remote.sha256
