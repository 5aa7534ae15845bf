"""Which drivers of a study still live, and what becomes of the trials of those that don't.

A driver that was killed leaves trials running for ever. Another one tells by its heartbeat: a
count in the database, watched for a while on the watcher's own monotonic clock. Clocks that differ
or step don't matter, nor how old a trial is. Where the process can be looked up it need not be
watched.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import optuna
import psutil
from optuna.trial import TrialState

from lambda_nas.errors import StorageError
from lambda_nas.execution.progress import Progress
from lambda_nas.execution.study_store import StudyStore
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.records.run import Run
from lambda_nas.strategy.optuna_trials import requeue_trial

HEARTBEAT_S = 5.0
SILENT_S = 4 * HEARTBEAT_S
"""Without a beat for so long a driver is taken for dead."""


def machine() -> str:
    """Name what makes a process id unique: the host, and the namespace of its processes."""
    namespace = Path("/proc/self/ns/pid")
    return socket.gethostname() + (f" {namespace.stat().st_ino}" if namespace.exists() else "")


@contextmanager
def heartbeat(
    store: StudyStore, run: int, spent: Mapping[str, float], *, started: float
) -> Iterator[Callable[[], float]]:
    """Tell the ledger that a run lives, until it ends; yields the seconds that it has lasted.

    ``spent`` may still grow: seconds by stage of the work before any trial. ``started`` is of the
    monotonic clock.
    """
    over = threading.Event()

    def elapsed() -> float:
        return time.monotonic() - started

    def record_heartbeat() -> None:
        while not over.wait(HEARTBEAT_S):
            # A database that is away for a moment is noticed by those who need it.
            with suppress(StorageError):
                store.record_heartbeat(run, elapsed(), dict(spent))

    thread = threading.Thread(target=record_heartbeat, daemon=True)
    thread.start()
    try:
        yield elapsed
    finally:
        over.set()
        thread.join()
        with suppress(StorageError):
            store.record_heartbeat(run, elapsed(), dict(spent), ended=True)


def requeue_stale_trials(
    study: optuna.Study, store: StudyStore, search_space: SearchSpace, run: int, progress: Progress
) -> None:
    """Put the trials that dead drivers left running in the queue again, each with its claim.

    Args:
        study: The study.
        store: Where the drivers' heartbeats are.
        search_space: What may be removed, and how tokens may be merged.
        run: This driver's own run; what it still has claimed was given up as well.
        progress: Told of the wait for another driver's heartbeat.
    """
    name = study.study_name
    others = [other for other in store.runs(name) if other.id != run and not other.ended]
    dead = _dead(others, lambda: store.runs(name), progress)
    for other in dead:
        store.mark_dead(other)
    live = {other.id for other in others} - dead
    for claim in store.claims(name):
        if claim.run.id not in live:
            reason = f"the search on {claim.run.info.machine} was ended"
            tell = partial(requeue_trial, study, store.optuna, claim.trial, search_space, reason)
            store.settle(name, claim.trial, tell)
    if not live:
        _requeue_unclaimed(study, store, search_space)


def _requeue_unclaimed(study: optuna.Study, store: StudyStore, search_space: SearchSpace) -> None:
    """Give back the trials whose driver was killed before it could claim a set.

    A driver that lives may be just there, so this is for when there is none.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        with store.transaction(study.study_name):
            reason = "ended before it began"
            requeue_trial(study, store.optuna, trial.number, search_space, reason, counts=False)


def _dead(runs: Sequence[Run], read: Callable[[], Sequence[Run]], progress: Progress) -> set[int]:
    """Return those of the runs whose driver is gone."""
    gone = {run.id for run in runs if _process_gone(run)}
    before = {run.id: run.heartbeats for run in runs if run.id not in gone}
    if not before:
        return gone
    waits = round(SILENT_S)
    with progress.stage("Waiting for a sign of life of this study's other driver", waits) as step:
        for _ in range(waits):
            time.sleep(1.0)
            step()
            now = {run.id: run.heartbeats for run in read()}
            before = {
                run: heartbeats for run, heartbeats in before.items() if now.get(run) == heartbeats
            }
            if not before:
                break
    return gone | set(before)


def _process_gone(run: Run) -> bool:
    return run.info.machine == machine() and not psutil.pid_exists(run.info.pid)
