"""Ctrl-C: once to end in order, twice to end at once."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lambda_nas.cli.exit_codes import INTERRUPTED


@contextmanager
def second_interrupt_exits() -> Iterator[None]:
    """Let the first Ctrl-C raise ``KeyboardInterrupt``, and the second leave without more ado.

    Leaving workers and connections in order takes seconds, and may hang; nothing is lost if it is
    not done.
    """

    def first(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, second)
        raise KeyboardInterrupt

    def second(_signal: int, _frame: FrameType | None) -> None:
        os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
