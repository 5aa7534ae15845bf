"""Heartbeats of the drivers of a study, and requeueing the trials of those that have died.

A driver that is killed leaves its trials running for ever. Other drivers notice by its heartbeat, a
counter in the database, which they watch for a while on their own monotonic clock. So it does not
matter whether clocks differ or step, nor how old a trial is. If the process is on the same machine,
it is looked up instead.
"""

import math
import socket
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna
import psutil
from optuna.trial import TrialState

from lambda_nas.errors import StorageError
from lambda_nas.execution.progress import Progress
from lambda_nas.execution.study_store import StudyStore
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.records.run import Claim, Run
from lambda_nas.records.weights import StudyWeights
from lambda_nas.strategy.optuna_trials import requeue_trial

HEARTBEAT_S = 5.0
SILENT_S = 4 * HEARTBEAT_S
"""A driver without a heartbeat for so long is considered dead."""
LOOKED_AWAY_S = 2 * HEARTBEAT_S
"""After so long without a look, the watch for heartbeats begins anew."""


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


class Watch:
    """Watches the heartbeats of other drivers and tells which of them are dead.

    Silence counts only while it is watched: who could not read the database for a while knows
    nothing about those who could not write to it.
    """

    def __init__(self) -> None:
        self._changed: dict[int, tuple[int, float]] = {}
        self._looked = -math.inf

    def dead(self, runs: Iterable[Run]) -> set[int]:
        """Return the ids of the runs that have ended or whose driver is dead."""
        now = time.monotonic()
        if now - self._looked > LOOKED_AWAY_S:
            self._changed.clear()
        self._looked = now
        return {run.id for run in runs if self._is_dead(run, now)}

    def _is_dead(self, run: Run, now: float) -> bool:
        if run.ended or _process_gone(run):
            return True
        heartbeats, since = self._changed.get(run.id, (None, now))
        if heartbeats != run.heartbeats:
            since = now
        self._changed[run.id] = run.heartbeats, since
        return now - since >= SILENT_S


def requeue_stale_trials(
    study: optuna.Study,
    store: StudyStore,
    search_space: SearchSpace,
    weights: StudyWeights,
    run: int,
    progress: Progress,
) -> None:
    """Queue the trials again that other drivers left running, and release their claims.

    Args:
        study: The study.
        store: The store with the drivers' heartbeats.
        search_space: What may be removed, and how tokens may be merged.
        weights: Where the trials' weights lie; those that such a trial left are deleted.
        run: This driver's own run; it has given up whatever it still claims.
        progress: Shows the wait for another driver's heartbeat.
    """
    name = study.study_name
    others = [other for other in store.runs(name) if other.id != run and not other.ended]
    dead = _dead(others, lambda: store.runs(name), progress)
    for other in dead:
        store.mark_dead(other)
    live = {other.id for other in others} - dead
    left = [claim for claim in store.claims(name) if claim.run.id not in live]
    _requeue(left, dead, study, store, search_space, weights)
    if not live:
        _requeue_unclaimed(study, store, search_space)


def wait_for_others(
    study: optuna.Study,
    store: StudyStore,
    search_space: SearchSpace,
    weights: StudyWeights,
    run: int,
    progress: Progress,
    *,
    is_late: Callable[[], bool],
) -> bool:
    """Wait until another driver has ended a trial, or is dead: what it left is queued again.

    Args:
        study: The study.
        store: The store with the drivers' heartbeats and claims.
        search_space: What may be removed, and how tokens may be merged.
        weights: Where the trials' weights lie; those that such a trial left are deleted.
        run: This driver's own run.
        progress: Shows the wait.
        is_late: Whether the time is up; ends the wait.

    Returns:
        Whether another driver had a trial.
    """
    name = study.study_name

    def claims() -> list[Claim]:
        return [claim for claim in store.claims(name) if claim.run.id != run]

    before = now = claims()
    if not before:
        return False
    watch = Watch()
    with progress.stage("Waiting for the trials of the study's other drivers", 1):
        while _trials(now) == _trials(before) and not is_late():
            dead = watch.dead(claim.run for claim in now)
            if dead:
                for each in dead:
                    store.mark_dead(each)
                left = [claim for claim in now if claim.run.id in dead]
                killed = {claim.run.id for claim in left if not claim.run.ended}
                _requeue(left, killed, study, store, search_space, weights)
                break
            time.sleep(1.0)
            now = claims()
    return True


def _trials(claims: Iterable[Claim]) -> set[int]:
    return {claim.trial for claim in claims}


def _requeue(
    claims: Iterable[Claim],
    killed: Container[int],
    study: optuna.Study,
    store: StudyStore,
    search_space: SearchSpace,
    weights: StudyWeights,
) -> None:
    """Requeue trials; one of a run that was ``killed`` may be to blame for that."""
    for claim in claims:

        def tell(claim: Claim = claim) -> None:
            requeue_trial(
                study,
                store.optuna,
                claim.trial,
                search_space,
                f"the search on {claim.run.info.machine} ended before this trial did",
                failed=claim.run.id in killed,
            )
            # While the study is locked: nobody else can record the trial now.
            weights.delete(claim.trial)

        store.settle(study.study_name, claim.trial, tell)


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
                failed=False,
            )


def _dead(runs: Sequence[Run], read: Callable[[], Sequence[Run]], progress: Progress) -> set[int]:
    """Return the ids of the runs whose driver is dead."""
    watch = Watch()
    dead = watch.dead(runs)
    unknown = {run.id: run.heartbeats for run in runs if run.id not in dead}
    if not unknown:
        return dead
    with progress.stage("Waiting for a heartbeat of the study's other driver", 1):
        while unknown:
            time.sleep(1.0)
            now = [run for run in read() if run.heartbeats == unknown.get(run.id)]
            dead |= watch.dead(now)
            unknown = {run.id: run.heartbeats for run in now if run.id not in dead}
    return dead


def _process_gone(run: Run) -> bool:
    return run.info.machine == machine() and not psutil.pid_exists(run.info.pid)
