"""Looks after the studies of a database (``lambda-nas studies``, ``doctor`` and ``dashboard``)."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from wsgiref.simple_server import WSGIServer

from lambda_nas.errors import StorageError
from lambda_nas.reporting.dashboard_server import is_private, open_server
from lambda_nas.reporting.dashboard_sync import sync_study
from lambda_nas.store.doctor import Findings, examine
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.strategy.optuna_trials import count_stored


@dataclass(frozen=True)
class StudySummary:
    """A study in one line.

    Attributes:
        name: Of the study.
        model: That was searched.
        data: The images.
        device: That the prices were measured on.
        baseline_accuracy: Top-1 of the unpruned model, a fraction.
        complete: Number of completed trials.
        front: Number of trials on the front.
        last_run: When its last search began, in UTC.
    """

    name: str
    model: str
    data: str
    device: str
    baseline_accuracy: float
    complete: int
    front: int
    last_run: datetime | None


def list_studies(storage: str | None = None) -> list[StudySummary]:
    """Return the studies of a database, oldest first.

    Raises:
        StorageError: If the database is missing or can't be used.
    """
    with SqlStudyStore.open(storage, create=False) as store, store.reading_optuna() as optuna:
        return [
            StudySummary(
                name=info.name,
                model=info.model,
                data=info.data,
                device=info.device,
                baseline_accuracy=info.baseline_accuracy,
                complete=count_stored(info.name, optuna).complete,
                front=len(store.front(info.name)),
                last_run=max((run.started_at for run in store.runs(info.name)), default=None),
            )
            for info in store.studies()
        ]


def check_study(name: str, *, storage: str | None = None, weights: Path | None = None) -> Findings:
    """Check that a study is consistent, and that the weights of its front are there.

    Args:
        name: Of the study.
        storage: SQLAlchemy URL of the study database.
        weights: The folder that the search was given for weights, if any.

    Raises:
        InputError: If there is none of this name; lists those there are.
        StorageError: If the database is missing or can't be used.
    """
    with SqlStudyStore.open(storage, create=False) as store:
        return examine(store, name, weights_root=weights)


@contextmanager
def open_dashboard(
    storage: str | None, port: int, *, host: str = "127.0.0.1"
) -> Iterator[WSGIServer]:
    """Open the Optuna dashboard of a database on a port of this machine, with all plots up to date.

    It warns of each study whose plots can't be brought up to date, and if others reach the port.

    Args:
        storage: SQLAlchemy URL of the study database; by default that of ``LAMBDA_NAS_STORAGE``, or
            else ``sqlite:///studies/lambda_nas.db`` below the working directory.
        port: To listen on.
        host: Address of this machine to listen on; by default only this machine reaches it.

    Raises:
        InputError: If the address or the port can't be used.
        StorageError: If the database is missing or can't be read.
    """
    warn = logging.getLogger(__name__).warning
    with SqlStudyStore.open(storage, create=False) as store:
        for info in store.studies():
            try:
                sync_study(store, info.name)
            except StorageError as error:
                # One may look at a database that one may not write to.
                warn("note and plots of %s are as they were: %s", info.name, error)
        with open_server(store, host, port) as server:
            if not is_private(server):
                warn(
                    "whoever reaches port %s of %s can read, change and delete studies", port, host
                )
            yield server
