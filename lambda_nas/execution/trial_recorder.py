"""Records how trials begin and end, in the study store and in Optuna, each time in one transaction.

The store is written first: if the driver is killed in between, nothing is lost.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.trial import Trial, TrialState

from lambda_nas.cost.price_table import PriceTable
from lambda_nas.execution.study_store import RunHandle, StudyStore
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.records.run import ClaimResult
from lambda_nas.records.trial import ParetoTrial, RungResult, TrialRecord
from lambda_nas.records.weights import StudyWeights
from lambda_nas.strategy.optuna_trials import objectives, requeue_trial, set_rungs, tell_stopped


@dataclass
class RunningTrial:
    """A trial that this driver has claimed.

    Attributes:
        trial: The Optuna trial.
        architecture: What is evaluated.
        score: The prior's score.
        rungs: The results so far.
        stopped: Why the trial was stopped early; ``None`` if it was not.
        lost: Why the worker was lost; ``None`` if it was not, or if its process just died.
    """

    trial: Trial
    architecture: Architecture
    score: float
    rungs: list[RungResult] = field(default_factory=list)
    stopped: str | None = None
    lost: str | None = None

    def add(self, result: dict[str, object]) -> None:
        """Keep the rung that a worker reports, unless it is known or the trial failed in it."""
        if "rung" not in result or "failure" in result:
            return
        rung = RungResult(
            rung=int(str(result["rung"])),
            accuracy=float(str(result["accuracy"])),
            seconds=float(str(result["seconds"])),
        )
        if not self.rungs or self.rungs[-1].rung < rung.rung:
            self.rungs.append(rung)

    def failure(self, result: dict[str, object], *, died: bool) -> str | None:
        """Return why the trial failed, or ``None`` if it did not.

        A trial with a NaN objective would stay RUNNING in Optuna, so it counts as failed.
        """
        if "failure" in result:
            return str(result["failure"])
        if self.lost:
            return self.lost
        if died or not self.rungs:
            return "the worker process died"
        if not all(math.isfinite(rung.accuracy) for rung in self.rungs):
            return "the accuracy is not finite"
        return None


class TrialRecorder:
    """Records the trials of one run of a study.

    Attributes:
        evaluated: All evaluated trials of the study, as last read.
        front: Its front.
    """

    def __init__(
        self,
        study: optuna.Study,
        store: StudyStore,
        prices: PriceTable,
        *,
        search_space: SearchSpace,
        run_handle: RunHandle,
        weights: StudyWeights,
    ) -> None:
        self._study = study
        self._name = study.study_name
        self._store = store
        self._prices = prices
        self._search_space = search_space
        self._run_handle = run_handle
        self._weights = weights
        self.evaluated: list[TrialRecord] = []
        self.front: list[ParetoTrial] = []

    def catch_up(self) -> None:
        """Read what other drivers, or earlier ones, have evaluated."""
        self.evaluated = self._store.trial_records(self._name)
        self.front = self._store.front(self._name)

    def claim(self, trial: Trial, architecture: Architecture, budget: int | None) -> ClaimResult:
        """Claim an architecture; if the budget is spent, the trial goes back to the queue."""
        result = self._store.claim(
            self._name, architecture, trial.number, run=self._run_handle.run, budget=budget
        )
        if result is ClaimResult.GRANTED:
            _describe(trial, architecture)
        elif result is ClaimResult.SPENT:
            with self._store.transaction(self._name):
                self._requeue(trial, "the budget is spent", failed=False)
        return result

    def reject(self, trial: Trial, architecture: Architecture, reason: str) -> None:
        """Tell Optuna that a proposal is not evaluated."""
        _describe(trial, architecture)
        trial.set_user_attr("reason", reason)
        self._study.tell(trial, state=TrialState.PRUNED)

    def fail(self, running: RunningTrial, reason: str, *, retry: bool) -> bool:
        """Record a failed trial, and queue its architecture again if ``retry``.

        Returns:
            Whether the trial was still this run's.
        """

        def tell() -> None:
            if retry:
                self._requeue(running.trial, reason)
            else:
                running.trial.set_user_attr("reason", reason)
                self._study.tell(running.trial, state=TrialState.FAIL)

        # An earlier rung may have left some.
        self._weights.delete(running.trial.number)
        return self._store.settle(self._name, running.trial.number, tell)

    def give_back(self, running: RunningTrial, reason: str) -> None:
        """Queue the architecture of a trial that could not end; this is no failure of it."""

        def tell() -> None:
            self._requeue(running.trial, reason, failed=False)

        # An earlier rung may have left some.
        self._weights.delete(running.trial.number)
        self._store.settle(self._name, running.trial.number, tell)

    def stop(self, running: RunningTrial) -> bool:
        """Record a trial that was stopped early, and delete its weights.

        Returns:
            Whether the trial was still this run's; if not, nothing is recorded.
        """
        # Before the store knows the trial: a kill in between leaves no file that nobody knows.
        self._weights.delete(running.trial.number)
        record = self.record_of(running)
        return self._record(record, lambda: tell_stopped(self._study, running.trial, record))

    def complete(self, running: RunningTrial) -> bool:
        """Record a completed trial, and delete the weights of trials that are not on the front.

        Returns:
            Whether the trial was still this run's; if not, nothing is recorded.
        """
        record = self.record_of(running)
        best = max(running.rungs, key=lambda rung: rung.accuracy)
        point = ParetoTrial(
            trial=record.trial,
            architecture=running.architecture,
            accuracy=best.accuracy,
            rung=best.rung,
            price=self._prices.of(running.architecture),
        )

        def tell() -> None:
            set_rungs(running.trial, record)
            running.trial.set_user_attr("speed-up", round(point.price.speedup, 3))
            running.trial.set_user_attr("rung", best.rung)
            running.trial.set_user_attr("prior score", running.score)
            self._study.tell(running.trial, list(objectives(point, self._study.metric_names)))

        before = self.front
        is_ours = self._record(record, tell)
        self._drop_weights([*before, point], keep=self.front)
        return is_ours

    def record_of(self, running: RunningTrial) -> TrialRecord:
        """Return the record of a trial as it is now."""
        return TrialRecord(
            trial=running.trial.number,
            architecture=running.architecture,
            rungs=tuple(running.rungs),
            stopped=running.stopped,
            score=running.score,
            run=self._run_handle.run,
            elapsed_s=self._run_handle.elapsed(),
        )

    def _record(self, record: TrialRecord, tell: Callable[[], object]) -> bool:
        """Store an evaluated trial if it is still this run's; return whether it was."""
        front = self._store.record(self._name, record, tell=tell)
        if front is None:
            return False
        self.front = front
        self.evaluated.append(record)
        return True

    def _drop_weights(self, points: Sequence[ParetoTrial], *, keep: Sequence[ParetoTrial]) -> None:
        """Delete the weights of trials that are not on the front: only its members are exported."""
        kept = {point.trial for point in keep}
        for point in points:
            if point.trial not in kept:
                self._weights.delete(point.trial)

    def _requeue(self, trial: Trial, reason: str, *, failed: bool = True) -> None:
        requeue_trial(
            self._study,
            self._store.optuna,
            trial.number,
            self._search_space,
            reason,
            failed=failed,
        )


def _describe(trial: Trial, architecture: Architecture) -> None:
    trial.set_user_attr("removed", str(architecture))
