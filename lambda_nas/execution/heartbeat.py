"""Heartbeats of the drivers of a study, and requeueing the trials of those that have died.

A driver that is killed leaves its trials running for ever. Other drivers notice by its heartbeat, a
counter in the database, which they watch for a while on their own monotonic clock. So it does not
matter whether clocks differ or step, nor how old a trial is. If the process is on the same machine,
it is looked up instead.
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
"""A driver without a heartbeat for so long is considered dead."""


def machine() -> str:
    """Return what makes a process id unique: the host, and the namespace of its processes."""
    namespace = Path("/proc/self/ns/pid")
    return socket.gethostname() + (f" {namespace.stat().st_ino}" if namespace.exists() else "")


@contextmanager
def heartbeat(
    store: StudyStore, run: int, spent: Mapping[str, float], *, started: float
) -> Iterator[Callable[[], float]]:
    """Record heartbeats of a run until it ends; yield a function that returns its seconds so far.

    Args:
        store: Where the heartbeats are recorded.
        run: Id of the run.
        spent: Seconds by stage of the work before any trial; may still grow.
        started: When the run began, on the monotonic clock.
    """
    over = threading.Event()

    def elapsed() -> float:
        return time.monotonic() - started

    def record_heartbeat() -> None:
        while not over.wait(HEARTBEAT_S):
            # If the database is away for a moment, those who need it will notice.
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
    """Queue the trials that dead drivers left running again, and release their claims.

    Args:
        study: The study.
        store: The store with the drivers' heartbeats.
        search_space: What may be removed, and how tokens may be merged.
        run: This driver's own run; it has given up whatever it still claims.
        progress: Shows the wait for another driver's heartbeat.
    """
    name = study.study_name
    others = [other for other in store.runs(name) if other.id != run and not other.ended]
    dead = _dead(others, lambda: store.runs(name), progress)
    for other in dead:
        store.mark_dead(other)
    live = {other.id for other in others} - dead
    for claim in store.claims(name):
        if claim.run.id not in live:
            reason = f"the search on {claim.run.info.machine} ended before this trial did"
            tell = partial(requeue_trial, study, store.optuna, claim.trial, search_space, reason)
            store.settle(name, claim.trial, tell)
    if not live:
        _requeue_unclaimed(study, store, search_space)


def _requeue_unclaimed(study: optuna.Study, store: StudyStore, search_space: SearchSpace) -> None:
    """Requeue the trials whose driver was killed before it could claim their architecture.

    A live driver may be about to claim, so this is only for studies without one.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        with store.transaction(study.study_name):
            requeue_trial(
                study,
                store.optuna,
                trial.number,
                search_space,
                "the search ended before this trial began",
                counts=False,
            )


def _dead(runs: Sequence[Run], read: Callable[[], Sequence[Run]], progress: Progress) -> set[int]:
    """Return the ids of the runs whose driver is dead."""
    gone = {run.id for run in runs if _process_gone(run)}
    before = {run.id: run.heartbeats for run in runs if run.id not in gone}
    if not before:
        return gone
    waits = round(SILENT_S)
    with progress.stage("Waiting for a heartbeat of the study's other driver", waits) as step:
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
