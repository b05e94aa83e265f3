"""What every command line here shares: one line and exit code 2 for a user's mistake, never a stack trace.

This room knows the errors of the others, and nothing of models.
"""

import argparse
import sys
from pathlib import Path

from .checkpoint import CheckpointError
from .data import DataError
from .device import DeviceError
from .train import TrainingError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and whose help shows the defaults."""

    def __init__(self, description):
        super().__init__(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def number(kind, least, most=sys.maxsize):
    """An argument type: a number of that kind, from `least` to `most`."""

    def parse(text):
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be from {least} to {most}, got {text}")
        return value

    parse.__name__ = kind.__name__
    return parse


def run(main):
    """Call `main` and exit: 2 with one line for a mistake in what was asked, 1 for a failed training, 130 for Ctrl-C."""
    try:
        sys.exit(main())
    except (CheckpointError, DataError, DeviceError, OSError) as e:
        message, code = e, 2
    except TrainingError as e:
        message, code = e, 1
    except KeyboardInterrupt as e:
        message, code = str(e) or "interrupted", 130
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(code)
