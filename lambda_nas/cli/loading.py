"""What a person reads while the libraries load, before any progress bar can be drawn."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lambda_nas.cli.interrupts import exit_at_once, handled
from lambda_nas.cli.loudness import logger

ERASE_LINE = "\r\x1b[K"


@contextmanager
def loading() -> Iterator[None]:
    """Tell a terminal that the imports within take seconds; the line is erased afterwards.

    A signal exits at once: nothing has begun, and libraries that catch the interrupt of an import
    would leave half of their modules behind.
    """
    # A dumb terminal can't erase the line.
    dumb = os.environ.get("TERM") in ("dumb", "unknown")
    shown = sys.stderr.isatty() and not dumb and logger.level <= logging.INFO
    with handled(exit_at_once):
        if shown:
            print("Loading libraries ...", end="", file=sys.stderr, flush=True)  # noqa: T201
        try:
            yield
        finally:
            if shown:
                print(end=ERASE_LINE, file=sys.stderr, flush=True)  # noqa: T201
