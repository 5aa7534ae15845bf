"""Time limits: of a trial, whose worker may hang, and of the whole search."""

import time
from collections.abc import Sequence

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from lambda_nas.execution.estimates import forwards_of_trial
from lambda_nas.execution.searcher import RemovalSearcher
from lambda_nas.execution.settings import SearchTask
from lambda_nas.records.trial import TrialRecord

ROOM = 20.0
"""How many times as long as foreseen a trial may take: machines of a cluster differ."""
SHORTEST_LIMIT_S = 120.0


def foresee_seconds(task: SearchTask, throughput: float, workers: int) -> float:
    """Return about how long a trial takes if the unpruned model runs at this throughput.

    Args:
        task: What a trial does.
        throughput: Images per second, measured alone on the machine.
        workers: Trials that share the machine.
    """
    images = forwards_of_trial(len(task.calibration), len(task.evaluation), task.rungs)
    return workers * images / throughput


def limit_seconds(given: float | None, foreseen: float, evaluated: Sequence[TrialRecord]) -> float:
    """Return how long a trial may take: what was given, or else by far longer than any did."""
    if given is not None:
        return given
    took = (sum(rung.seconds for rung in record.rungs) for record in evaluated)
    return max(SHORTEST_LIMIT_S, ROOM * max(foreseen, *took, 0.0))


class TimeKeeper(Callback):
    """Kills the worker of a trial that takes too long, and all workers when the time is up.

    Args:
        searcher: The searcher, which records what becomes of the trials.
        given: Seconds that a trial may take, if that was given.
        foreseen: Seconds that a trial will take, about.
    """

    def __init__(self, searcher: RemovalSearcher, *, given: float | None, foreseen: float) -> None:
        self._searcher = searcher
        self._given, self._foreseen = given, foreseen
        self._running: dict[str, tuple[Trial, float]] = {}

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        """Note when a trial begins."""
        del iteration, trials, info
        self._running[trial.trial_id] = trial, time.monotonic()

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Look at the clock; Ray calls this several times a second."""
        del iteration, trials, info
        self._running = {
            name: (trial, began)
            for name, (trial, began) in self._running.items()
            if trial.status == Trial.RUNNING
        }
        if self._searcher.is_late():
            # First: what is killed afterwards has not failed.
            self._searcher.give_back()
            for trial, _ in self._running.values():
                _kill_worker(trial)
            return
        limit = limit_seconds(self._given, self._foreseen, self._searcher.evaluated)
        for name, (trial, began) in list(self._running.items()):
            if time.monotonic() - began > limit:
                self._searcher.on_trial_error(name, f"took longer than the limit of {limit:.0f} s")
                _kill_worker(trial)
                del self._running[name]

    def __getstate__(self) -> dict[str, object]:
        """Leave everything out of the copy that Ray pickles and never reads back."""
        return {}


def _kill_worker(trial: Trial) -> None:
    """Kill the process; Ray then completes the trial with an error and starts a new worker."""
    if trial.temporary_state.ray_actor is not None:
        ray.kill(trial.temporary_state.ray_actor)
