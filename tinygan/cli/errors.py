"""A user's mistake is one line and exit code 2."""

import contextlib
import os
import sys
import warnings
from pathlib import Path

from .. import files, parallel
from ..checkpoint import CheckpointError
from ..data import DataError
from ..device import DeviceError
from ..train import Interrupted, RunExistsError, TrainingError

# what was wrong -> the flags that help
FLAGS = {
    RunExistsError: "--resume, --overwrite or another --out",
    files.LockedError: "another --out",
    TrainingError: "--lr",
    MemoryError: "a lower --batch-size, --width, --samples, --pictures or --n",
}


def run(main):
    """Call `main` and exit: 2 with one line for a mistake in what was asked, 1 for a failed
    training, 128 and the signal's number where one stopped it: 130 for Ctrl-C.
    """
    program = Path(sys.argv[0]).name
    warnings.formatwarning = lambda message, *place, **more: f"{program}: {message}\n"
    for stream in (sys.stdout, sys.stderr):  # a path may have letters that a terminal has not
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if parallel.number():  # the first of several processes speaks for all, but in errors
        sys.stdout = open(os.devnull, "w")
    try:
        result = main()
        _flush()
        sys.exit(result)
    except (CheckpointError, DataError, DeviceError, ImportError, OSError) as e:
        error, code, message = e, 2, str(e)
    except (TrainingError, parallel.ParallelError) as e:
        error, code, message = e, 1, str(e)
    except MemoryError as e:  # CuPy's is one too
        error, code, message = e, 2, f"out of memory: {str(e).rstrip('.')}"
    except KeyboardInterrupt as e:
        if parallel.number():  # the first says so
            sys.exit(128 + getattr(e, "signal", 2))
        error, code, message = e, 128 + getattr(e, "signal", 2), str(e) or "interrupted"
    message, python, _ = message.partition(": resume=True ")  # whose words are for Python
    flags = [f" ({words})" for kind, words in FLAGS.items() if isinstance(error, kind)]
    if isinstance(error, Interrupted) and "resume" in message:
        flags = [" (--resume)"]
    if isinstance(error, RunExistsError) and not python:
        flags = [" (another --out)"]  # there is no run to go on with
    with contextlib.suppress(OSError, AttributeError):  # the terminal was closed, or never open
        sys.stderr.write(f"{program}: {message}{''.join(flags)}\n")
    sys.exit(code)


def _flush():
    """Let go of what was printed: a pipe that nobody reads any more fails no run that is done."""
    with contextlib.suppress(AttributeError, ValueError):  # no stdout, or a closed one
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
