"""Ctrl-C, SIGTERM and SIGHUP: once to end in order, twice to end at once."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Windows has no SIGHUP.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

INTERRUPTED = 128 + signal.SIGINT
"""As shells report a program that Ctrl-C ended."""

Handler = Callable[[int, FrameType | None], None]


class Interrupted(KeyboardInterrupt):
    """A signal that asked the program to end.

    Attributes:
        exit_code: As shells report a program that this signal ended.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.exit_code = 128 + signal_number


@contextmanager
def handled(handler: Handler) -> Iterator[None]:
    """Have a function handle the signals; what is ignored, as after ``nohup``, stays ignored."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    taken = [number for number in SIGNALS if before[number] not in (signal.SIG_IGN, None)]
    for number in taken:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


@contextmanager
def second_signal_exits() -> Iterator[None]:
    """Let the first signal raise ``Interrupted``, and the second leave without more ado.

    Leaving workers and connections in order takes seconds, and may hang; nothing is lost if it is
    not done.
    """
    is_second = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal is_second
        if is_second:
            exit_at_once(number, frame)
        is_second = True
        raise Interrupted(number)

    with handled(handle):
        yield


def exit_at_once(number: int, _frame: FrameType | None) -> None:
    """Leave without any cleanup."""
    os._exit(128 + number)
