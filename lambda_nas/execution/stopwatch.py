"""How long each stage of a search took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lambda_nas.execution.job import Progress


class Stopwatch:
    """Progress that keeps the seconds of each stage.

    Attributes:
        spent: Seconds by the stage's label.
        started: When it was made, on the monotonic clock.
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
