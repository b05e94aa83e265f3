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

from .. import files
from .idx import PIECE, DataError, opened

MAX_DOWNLOAD = 16 << 20  # bytes; the larger file is under 10 MiB packed
MAX_INFLATED = 64 << 20  # bytes; and 45 MiB inflated
TIMEOUT = 20  # seconds without an answer
PATIENCE = 600  # seconds for a file from one mirror, however it trickles


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


def fetch(name: str, sha256: str, folder: Path, mirrors, remedy: str, opener=None) -> Path:
    """The path of a verified gzip file in folder, downloaded from the first mirror that has it
    unless already there.

    sha256 is of the inflated content; remedy: what to do where it cannot be had. opener(url,
    timeout=...) gives a context with `read1(n)` and `length`, as urlopen does. DataError when every
    mirror fails or the folder cannot be written.
    """
    from urllib.request import urlopen

    target, failures = folder / name, []
    files.sweep(folder, age=PATIENCE)  # no living download is older
    if _intact(target, sha256):
        return target
    for mirror in mirrors:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with files.replacing(target) as part:  # the final name only ever holds verified bytes
                with open(part, "wb") as file:
                    file.writelines(_pieces(opener or urlopen, mirror + name))
                if not _intact(part, sha256):
                    raise DataError("sent a damaged file or another one, its SHA-256 differs")
            return target
        except DataError as error:
            failures.append(f"{mirror} ({error})")
        except OSError as error:
            raise DataError(
                f"{target}: cannot be written ({error.strerror or error}); {remedy}"
            ) from error
    raise DataError(f"{target}: no mirror could deliver it: {', '.join(failures)}; {remedy}")


def _pieces(opener, url: str):
    """The bytes that a mirror sends, as they come; DataError with what went wrong there."""
    from http.client import HTTPException

    from tqdm import tqdm

    start, sent = time.monotonic(), 0
    try:
        with (
            opener(url, timeout=TIMEOUT) as reply,
            tqdm(
                desc=url.rpartition("/")[2],
                total=reply.length,
                unit="B",
                unit_scale=True,
                disable=None,
            ) as bar,
        ):
            while piece := reply.read1(PIECE >> 4):  # what is there, so that time is looked at
                sent += len(piece)
                bar.update(len(piece))
                if sent > MAX_DOWNLOAD:
                    raise DataError(f"sent more than {MAX_DOWNLOAD} bytes")
                if time.monotonic() - start > PATIENCE:
                    raise DataError(f"sent {sent} bytes in {PATIENCE} seconds and was not done")
                yield piece
    except (OSError, HTTPException) as error:
        raise DataError(" ".join(str(error).split()) or type(error).__name__) from error


def _intact(path: str | os.PathLike, sha256: str) -> bool:
    digest, size = hashlib.sha256(), 0
    try:
        with opened(path) as stream:
            while size <= MAX_INFLATED and (piece := stream.read(PIECE)):
                digest.update(piece)
                size += len(piece)
    except DataError:
        return False
    return digest.hexdigest() == sha256
