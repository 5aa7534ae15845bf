"""Progress that somebody looks at, and progress that logs failed trials only."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from lambda_nas.execution.progress import Advance, Event, Progress, TrialEnded
from lambda_nas.records.trial import ParetoTrial, TrialCounts


class ShownProgress(Progress, Protocol):
    """Progress that somebody looks at; it also tells them notes."""

    def notes(self, texts: Iterable[str]) -> None:
        """Tell what the user must know of the model and the images."""


def _ignore(detail: str = "") -> None:
    del detail


class Quiet:
    """Logs failed trials and tells nothing else."""

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Advance]:
        """Open a stage."""
        del label, total
        yield _ignore

    def notes(self, texts: Iterable[str]) -> None:
        """Say nothing."""
        del texts

    def trials(self, counts: TrialCounts, front: Sequence[ParetoTrial]) -> None:
        """Say nothing."""
        del counts, front

    def tell(self, event: Event) -> None:
        """Log a failed trial as a warning."""
        if isinstance(event, TrialEnded) and event.outcome == "failed":
            logging.getLogger(__name__).warning(
                "trial %s %s failed: %s", event.trial, event.architecture, event.reason
            )
