"""Keeps the Optuna dashboard up to date while a search runs."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import optuna

from lambda_nas.errors import StorageError
from lambda_nas.execution.progress import Progress
from lambda_nas.records.trial import ParetoTrial, TrialCounts
from lambda_nas.store.study_store import SqlStudyStore

EVERY_S = 30.0


def sync_study(store: SqlStudyStore, name: str) -> None:
    """Write a study's note and plots into Optuna's part of the database.

    Nothing happens if Optuna does not know the study yet.

    Raises:
        StorageError: If the database fails.
    """
    from lambda_nas.reporting.dashboard import publish

    study = store.load(name)
    with store.reading_optuna() as storage:
        known = optuna.study.get_all_study_names(storage)
    if name in known:
        with store.transaction(name):
            publish(study, optuna.load_study(study_name=name, storage=store.optuna), store.url)


class DashboardSync:
    """Publishes when a search begins and when its front changes, at most every ``EVERY_S``."""

    def __init__(
        self,
        progress: Progress,
        store: SqlStudyStore,
        name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress = progress
        self._store = store
        self._name = name
        self._clock = clock
        self._published_at = -math.inf
        self._shown: list[ParetoTrial] | None = None
        self.stage = progress.stage
        self.tell = progress.tell

    def trials(self, counts: TrialCounts, front: Sequence[ParetoTrial]) -> None:
        """Show where the study stands."""
        self._progress.trials(counts, front)
        if list(front) != self._shown and self._clock() - self._published_at >= EVERY_S:
            self.publish()
            self._shown = list(front)
            self._published_at = self._clock()

    def publish(self) -> None:
        """Publish, and warn if that fails, which is no reason to end a search."""
        try:
            sync_study(self._store, self._name)
        except Exception as error:
            logging.getLogger(__name__).warning("the dashboard is not up to date: %s", error)

    @contextmanager
    def at_the_end(self) -> Iterator[None]:
        """Publish however the search within ends, unless the database failed."""
        try:
            yield
        except StorageError:
            raise
        except BaseException:
            self.publish()
            raise
        self.publish()
