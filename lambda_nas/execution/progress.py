"""The protocol by which a search reports its progress, and a decorator that times its stages."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from lambda_nas.models.architecture import Architecture
from lambda_nas.records.trial import ParetoTrial, TrialCounts


class Progress(Protocol):
    """What a search reports while it runs."""

    def stage(self, label: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Open a stage of ``total`` steps; yields a function to call after each step."""

    def trials(self, counts: TrialCounts, front: Sequence[ParetoTrial]) -> None:
        """Report the number of trials and the current front."""

    def failed(self, architecture: Architecture, reason: str) -> None:
        """Report a failed trial."""


class Stopwatch:
    """Wraps another progress and records the seconds that each stage took.

    Attributes:
        spent: Seconds by stage label.
        started: Time of creation on the monotonic clock.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.spent: dict[str, float] = {}
        self.started = time.monotonic()
        self.trials = progress.trials
        self.failed = progress.failed

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Callable[[], None]]:
        """Open a stage and time it."""
        started = time.monotonic()
        try:
            with self._progress.stage(label, total) as advance:
                yield advance
        finally:
            took = time.monotonic() - started
            self.spent[label] = self.spent.get(label, 0.0) + took


def in_percent(advance: Callable[[], None]) -> Callable[[int, int], None]:
    """Return a function of (done, total) that advances a stage of 100 steps."""
    shown = 0

    def on_step(done: int, total: int) -> None:
        nonlocal shown
        while shown * total < done * 100:
            shown += 1
            advance()

    return on_step
