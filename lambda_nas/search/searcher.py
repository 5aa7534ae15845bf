"""The bridge between Ray Tune, which asks for configurations, and Optuna, which proposes them."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import Trial, TrialState
from ray.tune.search import Searcher

from lambda_nas.core.cost import Price
from lambda_nas.core.removal import RemovalSet
from lambda_nas.search.halving import Halving
from lambda_nas.search.job import Budget, Ledger, Progress
from lambda_nas.search.sampler import RemovalSampler
from lambda_nas.search.trials import (
    count_trials,
    distributions,
    objectives,
    owner,
    show_rungs,
    tell_stopped,
    to_params,
    to_removal,
)
from lambda_nas.search.values import FrontPoint, History, RungResult

MAX_REFUSALS = 3
"""Proposals refused in a row before the first of them, the most promising, is measured."""

MAX_FAILURES = 5
"""Failed trials in a row after which the search gives up."""


@dataclass
class _Running:
    trial: Trial
    removal: RemovalSet
    rungs: list[RungResult]
    stopped: str | None = None

    def history(self) -> History:
        return History(self.trial.number, self.removal, tuple(self.rungs), self.stopped)


class RemovalSearcher(Searcher):
    """Proposes removal sets to Ray Tune and tells Optuna and the store how they did.

    Nothing is kept here that the database does not hold: after a kill a new one takes over.
    """

    def __init__(
        self,
        study: optuna.Study,
        ledger: Ledger,
        sampler: RemovalSampler,
        prices: dict[int, Price],
        halving: Halving,
        *,
        layers: Sequence[int],
        budget: Budget,
        progress: Progress,
    ) -> None:
        super().__init__()
        self._study = study
        self._ledger = ledger
        self._sampler = sampler
        self._prices = prices
        self._halving = halving
        self._layers = tuple(layers)
        self._budget = budget
        self._progress = progress
        self._running: dict[str, _Running] = {}
        self._front = ledger.front(study.study_name)
        self._evaluated = ledger.histories(study.study_name)
        self._measured = {history.removal for history in self._evaluated}
        self._failures = 0
        self._start = time.monotonic()
        self.stopped: str | None = None

    def suggest(  # type: ignore[override]  # Ray's own annotation forgets FINISHED.
        self, trial_id: str
    ) -> dict[str, object] | str | None:
        """Return the next trial's configuration, or ``FINISHED``."""
        self.stopped = self._why_stop()
        if self.stopped:
            return Searcher.FINISHED
        running = self._next_trial()
        if running is None:
            self.stopped = "all sets within the limits are measured"
            return Searcher.FINISHED
        self._running[trial_id] = running
        return {"removed": list(running.removal), "trial": running.trial.number}

    def on_trial_result(self, trial_id: str, result: dict[str, object]) -> None:
        """Keep a rung of a trial that goes on."""
        running = self._running.get(trial_id)
        if running and "rung" in result and "failure" not in result:
            rung = _rung_result(result)
            if not running.rungs or running.rungs[-1].rung < rung.rung:
                running.rungs.append(rung)

    def stops(self, trial_id: str, result: dict[str, object]) -> bool:
        """Say whether a trial that has more rungs to come ends with this one."""
        running = self._running.get(trial_id)
        if running is None:
            return False
        self.on_trial_result(trial_id, result)
        running.stopped = self._halving.why_stop(
            running.history(),
            self._prices[len(running.removal)],
            finished=self._evaluated,
            front=self._front,
        )
        return running.stopped is not None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, object] | None = None, error: bool = False
    ) -> None:
        """Record an ended trial; the store first, so that a kill in between loses nothing."""
        running = self._running.pop(trial_id, None)
        if running is None:
            return
        result = result or {}
        if not error:
            self._running[trial_id] = running
            self.on_trial_result(trial_id, result)
            del self._running[trial_id]
        reason = _failure(result, running.rungs, error=error)
        if reason:
            self._fail(running, reason)
        elif running.stopped:
            self._stop(running, str(result["weights"]))
        else:
            self._complete(running, str(result["weights"]))
        self._progress.trials(count_trials(self._study), self._front)

    def abandon(self) -> None:
        """Settle the trials in flight when the run is interrupted; the next run takes them up."""
        for running in self._running.values():
            running.trial.set_user_attr("owner", None)

    def __getstate__(self) -> dict[str, object]:
        """Leave everything out of the copy that Ray pickles and never reads back."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the database is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the database is the truth."""

    def _why_stop(self) -> str | None:
        if self._failures >= MAX_FAILURES:
            return f"{self._failures} trials failed in a row"
        if self._budget.trials is not None:
            planned = len(self._measured) + len(self._running)
            return "budget spent" if planned >= self._budget.trials else None
        spent = time.monotonic() - self._start
        return "time is up" if spent >= (self._budget.seconds or 0) else None

    def _next_trial(self) -> _Running | None:
        refused: list[RemovalSet] = []
        while len(refused) < MAX_REFUSALS and not self._sampler.is_exhausted(self._study):
            trial = self._study.ask(distributions(self._layers))
            removal = to_removal(trial.params, self._layers)
            reason = self._why_not_at_all(removal)
            if reason is None and not trial.user_attrs.get("seed"):
                reason = self._sampler.hopeless(self._study, removal)
                if reason:
                    refused.append(removal)
            if reason is None:
                return self._begin(trial, removal)
            self._prune(trial, removal, reason)
        if not refused:
            return None
        self._study.enqueue_trial(to_params(refused[0], self._layers), user_attrs={"seed": True})
        return self._begin(self._study.ask(distributions(self._layers)), refused[0])

    def _why_not_at_all(self, removal: RemovalSet) -> str | None:
        """Return why a set that somebody put into the queue can't be a trial, or ``None``."""
        if not removal:
            return "nothing removed: this is the baseline"
        if not self._sampler.allows(removal):
            return f"{len(removal)} layers removed is outside the limits"
        return "already measured" if removal in self._taken() else None

    def _taken(self) -> set[RemovalSet]:
        return self._measured | {running.removal for running in self._running.values()}

    def _begin(self, trial: Trial, removal: RemovalSet) -> _Running:
        trial.set_user_attr("owner", owner())
        self._describe(trial, removal)
        return _Running(trial, removal, [])

    def _describe(self, trial: Trial, removal: RemovalSet) -> None:
        trial.set_user_attr("removed", str(removal))

    def _prune(self, trial: Trial, removal: RemovalSet, reason: str) -> None:
        self._describe(trial, removal)
        trial.set_user_attr("reason", reason)
        self._study.tell(trial, state=TrialState.PRUNED)
        self._progress.trials(count_trials(self._study), self._front)

    def _fail(self, running: _Running, reason: str) -> None:
        self._failures += 1
        running.trial.set_user_attr("reason", reason)
        self._study.tell(running.trial, state=TrialState.FAIL)
        self._progress.failed(running.removal, reason)

    def _stop(self, running: _Running, weights: str) -> None:
        # Before the store knows the trial: a kill in between leaves no file that nobody knows.
        Path(weights).unlink(missing_ok=True)
        self._record(running, None)
        tell_stopped(self._study, running.trial, running.history())

    def _record(self, running: _Running, weights: str | None) -> None:
        """Put an evaluated trial into the store, and into what is remembered of it here."""
        self._failures = 0
        history = running.history()
        self._front = self._ledger.record(
            self._study.study_name,
            history.trial,
            history.removal,
            history.rungs,
            weights,
            stopped=history.stopped,
        )
        self._evaluated.append(history)
        self._measured.add(history.removal)

    def _complete(self, running: _Running, weights: str) -> None:
        number = running.trial.number
        best = max(running.rungs, key=lambda rung: rung.accuracy)
        point = FrontPoint(
            trial=number,
            removal=running.removal,
            accuracy=best.accuracy,
            rung=best.rung,
            price=self._prices[len(running.removal)],
            weights=weights,
        )
        before = self._front
        self._record(running, weights)
        _drop_weights([*before, point], keep=self._front)
        show_rungs(running.trial, running.history())
        running.trial.set_user_attr("speed-up", round(point.price.speedup, 3))
        running.trial.set_user_attr("rung", best.rung)
        self._study.tell(running.trial, list(objectives(point)))


def _drop_weights(points: Sequence[FrontPoint], *, keep: Sequence[FrontPoint]) -> None:
    """Delete the weights of trials that are not on the front: one export needs one of those."""
    kept = {point.trial for point in keep}
    for point in points:
        if point.trial not in kept and point.weights:
            Path(point.weights).unlink(missing_ok=True)


def _rung_result(result: dict[str, object]) -> RungResult:
    return RungResult(
        rung=int(str(result["rung"])),
        accuracy=float(str(result["accuracy"])),
        seconds=float(str(result["seconds"])),
    )


def _failure(result: dict[str, object], rungs: Sequence[RungResult], *, error: bool) -> str | None:
    """Return why a trial did not finish, or ``None``.

    Optuna would leave a trial with a NaN objective running for ever, so it must not get there.
    """
    if "failure" in result:
        return str(result["failure"])
    if error or not rungs:
        return "the worker process died"
    if not all(math.isfinite(rung.accuracy) for rung in rungs):
        return "the accuracy is not finite"
    return None
