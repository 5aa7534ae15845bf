"""What a person reads while the libraries load, before any progress bar can be drawn."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lambda_nas.cli.exit_codes import INTERRUPTED

ERASE_LINE = "\r\x1b[K"


@contextmanager
def loading() -> Iterator[None]:
    """Tell a terminal that the imports within take seconds; the line is erased afterwards.

    Ctrl-C exits at once: nothing has begun, and libraries that catch the interrupt of an import
    would leave half of their modules behind.
    """
    shown = sys.stderr.isatty()
    before = signal.signal(signal.SIGINT, _exit)
    if shown:
        print("Loading libraries ...", end="", file=sys.stderr, flush=True)  # noqa: T201
    try:
        yield
    finally:
        if shown:
            print(end=ERASE_LINE, file=sys.stderr, flush=True)  # noqa: T201
        signal.signal(signal.SIGINT, before)


def _exit(_signal: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
