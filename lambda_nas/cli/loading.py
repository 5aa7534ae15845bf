"""What a person reads while the libraries load, before any progress bar can be drawn."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

ERASE_LINE = "\r\x1b[K"


@contextmanager
def loading() -> Iterator[None]:
    """Tell a terminal that the imports within take seconds; the line is erased afterwards."""
    shown = sys.stderr.isatty()
    if shown:
        print("Loading PyTorch and timm ...", end="", file=sys.stderr, flush=True)  # noqa: T201
    try:
        yield
    finally:
        if shown:
            print(end=ERASE_LINE, file=sys.stderr, flush=True)  # noqa: T201
