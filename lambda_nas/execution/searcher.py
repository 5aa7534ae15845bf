"""The bridge between Ray Tune, which asks for configurations, and Optuna, which proposes them."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.trial import Trial, TrialState
from ray.tune.search import Searcher

from lambda_nas.cost.price_table import PriceTable
from lambda_nas.errors import LambdaNasError, StorageError, TrialsFailedError
from lambda_nas.execution.progress import Progress
from lambda_nas.execution.study_store import RunHandle, StudyStore
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.records.run import ClaimResult
from lambda_nas.records.trial import ParetoTrial, RungResult, TrialRecord
from lambda_nas.strategy.early_stopping import EarlyStopping
from lambda_nas.strategy.optuna_trials import (
    count_trials,
    distributions,
    objectives,
    requeue_trial,
    show_rungs,
    tell_stopped,
)
from lambda_nas.strategy.sampler import RemovalSampler
from lambda_nas.strategy.surrogate import Score

MAX_REFUSALS = 3
"""Proposals refused in a row before the first of them, the most promising, is measured."""

MAX_FAILURES = 5
"""Failed trials in a row, a worker, after which the search gives up."""


@dataclass
class _Running:
    trial: Trial
    architecture: Architecture
    score: float
    rungs: list[RungResult] = field(default_factory=list)
    stopped: str | None = None


class _BudgetSpentError(Exception):
    """Another driver was given the last trial of the budget."""


class RemovalSearcher(Searcher):
    """Proposes removal sets to Ray Tune and tells Optuna and the store how they did.

    Nothing is kept here that the database does not hold: after a kill a new one takes over.
    """

    def __init__(
        self,
        study: optuna.Study,
        store: StudyStore,
        sampler: RemovalSampler,
        prices: PriceTable,
        early_stopping: EarlyStopping,
        score: Score,
        *,
        search_space: SearchSpace,
        budget: int | None,
        deadline: float | None,
        workers: int,
        run_handle: RunHandle,
        progress: Progress,
    ) -> None:
        super().__init__()
        self._study = study
        self._store = store
        self._sampler = sampler
        self._prices = prices
        self._early_stopping = early_stopping
        self._score = score
        self._search_space = search_space
        self._budget = budget
        self._deadline = deadline
        self._workers = workers
        self._run_handle = run_handle
        self._progress = progress
        self._running: dict[str, _Running] = {}
        self._front: list[ParetoTrial] = []
        self._evaluated: list[TrialRecord] = []
        self._failures = 0
        self.stopped: str | None = None
        self.error: LambdaNasError | None = None

    def suggest(  # type: ignore[override]  # Ray's own annotation forgets FINISHED.
        self, trial_id: str
    ) -> dict[str, object] | str | None:
        """Return the next trial's configuration, ``FINISHED``, or ``None``: ask again later."""
        if self.error is None:
            with self._kept_error():
                self.stopped = self._why_stop()
                running = None if self.stopped else self._next_trial()
                if running:
                    self._running[trial_id] = running
                    one = running.architecture.written()
                    return {"architecture": one, "trial": running.trial.number}
                if self._running:
                    # One of them may yet fail and its set be queued again.
                    return None
        return Searcher.FINISHED

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
        running.stopped = self._early_stopping.why_stop(
            self._history(running),
            self._prices.of(running.architecture),
            finished=self._evaluated,
            front=self._front,
        )
        return running.stopped is not None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, object] | None = None, error: bool = False
    ) -> None:
        """Record an ended trial; the store first, so that a kill in between loses nothing."""
        if not error and result:
            self.on_trial_result(trial_id, result)
        running = self._running.pop(trial_id, None)
        if running is None or self.error:
            return
        with self._kept_error():
            self._end(running, result or {}, error=error)
            self._progress.trials(count_trials(self._study), self._front)

    def _end(self, running: _Running, result: dict[str, object], *, error: bool) -> None:
        reason = _failure(result, running.rungs, error=error)
        if reason:
            again = error or bool(result.get("again"))
            self._fail(running, reason, again=again)
        elif running.stopped:
            self._stop(running, str(result["weights"]))
        else:
            self._complete(running, str(result["weights"]))

    @contextmanager
    def _kept_error(self) -> Iterator[None]:
        """Keep what the database fails with until Ray has let go: it would bury it in a report."""
        try:
            with self._store.translated_errors():
                yield
        except StorageError as error:
            self.error = error

    def __getstate__(self) -> dict[str, object]:
        """Leave everything out of the copy that Ray pickles and never reads back."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the database is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the database is the truth."""

    def _why_stop(self) -> str | None:
        counts = self._store.count(self._study.study_name)
        if counts.evaluated != len(self._evaluated):
            self._catch_up()
        if self._budget is not None and counts.evaluated + counts.claimed >= self._budget:
            return "budget spent"
        if self._deadline is not None and self._run_handle.elapsed() >= self._deadline:
            return "time is up"
        return None

    def _catch_up(self) -> None:
        """Read what other drivers, or earlier ones, have evaluated."""
        self._evaluated = self._store.trial_records(self._study.study_name)
        self._front = self._store.front(self._study.study_name)

    def _next_trial(self) -> _Running | None:
        """Return the next trial, or ``None`` and why there is none in ``stopped``."""
        refused: list[Architecture] = []
        try:
            while len(refused) < MAX_REFUSALS and not self._sampler.is_exhausted(self._study):
                trial = self._study.ask(distributions(self._search_space))
                one = self._search_space.to_architecture(trial.params)
                reason = self._why_not_at_all(one)
                if reason is None and not trial.user_attrs.get("seed"):
                    reason = self._sampler.hopeless(self._study, one)
                    if reason:
                        refused.append(one)
                running = self._begin(trial, one) if reason is None else None
                if running:
                    return running
                self._prune(trial, one, reason or "another run measures it")
            if refused:
                params = self._search_space.to_params(refused[0])
                self._study.enqueue_trial(params, user_attrs={"seed": True})
                return self._next_trial()
        except _BudgetSpentError:
            self.stopped = "budget spent"
        else:
            self.stopped = "all sets within the limits are measured"
        return None

    def _why_not_at_all(self, one: Architecture) -> str | None:
        """Return why a set that somebody put into the queue can't be a trial, or ``None``."""
        if not one:
            return "nothing removed: this is the baseline"
        if not self._sampler.allows(one):
            return f"{one} is outside the limits"
        measured = any(history.architecture == one for history in self._evaluated)
        return "already measured" if measured else None

    def _begin(self, trial: Trial, one: Architecture) -> _Running | None:
        """Claim a set; ``None`` if it is another's."""
        answer = self._store.claim(
            self._study.study_name,
            one,
            trial.number,
            run=self._run_handle.run,
            budget=self._budget,
        )
        if answer is ClaimResult.SPENT:
            with self._store.transaction(self._study.study_name):
                requeue_trial(
                    self._study,
                    self._store.optuna,
                    trial.number,
                    self._search_space,
                    "the budget is spent",
                    counts=False,
                )
            raise _BudgetSpentError
        if answer is ClaimResult.TAKEN:
            return None
        self._describe(trial, one)
        return _Running(trial, one, self._score(one))

    def _describe(self, trial: Trial, one: Architecture) -> None:
        trial.set_user_attr("removed", str(one))

    def _prune(self, trial: Trial, one: Architecture, reason: str) -> None:
        self._describe(trial, one)
        trial.set_user_attr("reason", reason)
        self._study.tell(trial, state=TrialState.PRUNED)
        self._progress.trials(count_trials(self._study), self._front)

    def _fail(self, running: _Running, reason: str, *, again: bool) -> None:
        """Tell of a failed trial; it is tried again if that may help."""
        self._failures += 1
        number = running.trial.number

        def tell() -> None:
            if again:
                requeue_trial(self._study, self._store.optuna, number, self._search_space, reason)
            else:
                running.trial.set_user_attr("reason", reason)
                self._study.tell(number, state=TrialState.FAIL)

        if self._store.settle(self._study.study_name, number, tell):
            self._progress.failed(running.architecture, reason)
        # A node that dies takes a trial of each of its workers with it.
        if self._failures >= MAX_FAILURES * self._workers:
            self.error = TrialsFailedError(
                f"{self._failures} trials of {self._study.study_name} failed in a row, the last, "
                f"{running.architecture}, because: {reason}; the study is safe, and the same "
                "command goes on"
            )

    def _stop(self, running: _Running, weights: str) -> None:
        # Before the store knows the trial: a kill in between leaves no file that nobody knows.
        Path(weights).unlink(missing_ok=True)
        history = self._history(running)
        self._record(history, None, lambda: tell_stopped(self._study, running.trial, history))

    def _history(self, running: _Running) -> TrialRecord:
        return TrialRecord(
            trial=running.trial.number,
            architecture=running.architecture,
            rungs=tuple(running.rungs),
            stopped=running.stopped,
            score=running.score,
            run=self._run_handle.run,
            elapsed_s=self._run_handle.elapsed(),
        )

    def _record(
        self, history: TrialRecord, weights: str | None, tell: Callable[[], object]
    ) -> bool:
        """Put an evaluated trial into the store; say whether it was still this run's."""
        self._failures = 0
        front = self._store.record(self._study.study_name, history, weights, tell=tell)
        if front is None:
            return False
        self._front = front
        self._evaluated.append(history)
        return True

    def _complete(self, running: _Running, weights: str) -> None:
        history = self._history(running)
        best = max(running.rungs, key=lambda rung: rung.accuracy)
        point = ParetoTrial(
            trial=history.trial,
            architecture=running.architecture,
            accuracy=best.accuracy,
            rung=best.rung,
            price=self._prices.of(running.architecture),
            weights=weights,
        )

        def tell() -> None:
            show_rungs(running.trial, history)
            running.trial.set_user_attr("speed-up", round(point.price.speedup, 3))
            running.trial.set_user_attr("rung", best.rung)
            running.trial.set_user_attr("prior score", running.score)
            self._study.tell(running.trial, list(objectives(point)))

        before = self._front
        if self._record(history, weights, tell):
            _drop_weights([*before, point], keep=self._front)


def _drop_weights(points: Sequence[ParetoTrial], *, keep: Sequence[ParetoTrial]) -> None:
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
