"""Ctrl-C, SIGTERM and SIGHUP: once to end in order, twice to end at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

# Windows has no SIGHUP.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

REPEATED_AFTER_S = 0.1
"""How long after a dropped interrupt its signal is sent again."""

Handler = Callable[[int, FrameType | None], None]


@dataclass
class Interruption:
    """Which signal asked the program to end.

    Attributes:
        exit_code: As shells report a program that this signal ended; Ctrl-C if there was none.
    """

    exit_code: int = 128 + signal.SIGINT


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
def second_signal_exits() -> Iterator[Interruption]:
    """Let the first signal raise ``KeyboardInterrupt``, and the second leave without more ado.

    Leaving workers and connections in order takes seconds, and may hang; nothing is lost if it is
    not done. What is yielded knows the signal: the exception does not, as Ray may replace it. An
    exception that Python drops is raised again.
    """
    interruption = Interruption()
    is_second = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal is_second
        if is_second:
            exit_at_once(number, frame)
        is_second = True
        interruption.exit_code = 128 + number
        raise KeyboardInterrupt

    def repeat(number: int) -> None:
        nonlocal is_second
        is_second = False
        os.kill(os.getpid(), number)

    with handled(handle), raised_again(lambda: repeat(interruption.exit_code - 128)):
        yield interruption


@contextmanager
def raised_again(repeat: Callable[[], None]) -> Iterator[None]:
    """Have a function repeat what raised a ``KeyboardInterrupt`` that Python dropped.

    It drops what is raised in finalizers and in callbacks of weak references, which run at any
    moment: a signal that arrives in one would be lost.
    """
    before = sys.unraisablehook

    def hook(dropped: "sys.UnraisableHookArgs") -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            # Not at once: that would be in the same finalizer.
            threading.Timer(REPEATED_AFTER_S, repeat).start()
        else:
            before(dropped)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def exit_at_once(number: int, _frame: FrameType | None) -> None:
    """Leave without any cleanup."""
    os._exit(128 + number)
