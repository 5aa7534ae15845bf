"""The bridge between Ray Tune, which asks for configurations, and Optuna, which proposes them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import optuna
from ray.tune.search import Searcher

from lambda_nas.cost.price_table import PriceTable
from lambda_nas.errors import LambdaNasError, StorageError, TrialsFailedError
from lambda_nas.execution.heartbeat import wait_for_others
from lambda_nas.execution.progress import (
    Progress,
    ProposalRejected,
    RungDone,
    TrialBegun,
    TrialEnded,
)
from lambda_nas.execution.study_store import RunHandle, StudyStore
from lambda_nas.execution.trial_recorder import RunningTrial, TrialRecorder
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.records.run import ClaimResult
from lambda_nas.records.trial import TrialRecord
from lambda_nas.records.weights import StudyWeights
from lambda_nas.strategy.early_stopping import EarlyStopping
from lambda_nas.strategy.optuna_trials import UNGATED, count_trials
from lambda_nas.strategy.sampler import ExhaustedError, RemovalSampler, Suggestion
from lambda_nas.strategy.surrogate import Score

MAX_REJECTIONS = 3
"""Proposals rejected in a row before the first of them, the most promising, is evaluated."""

MAX_FAILURES = 5
"""Failed trials in a row, per worker, after which the search gives up."""

TAKEN_OVER = "another driver has taken the trial over"


class RemovalSearcher(Searcher):
    """Proposes architectures to Ray Tune and records their trials.

    It keeps no state that the database does not hold: after a kill a new one continues.

    Attributes:
        ended: Why no further trial begins; ``None`` while the search goes on.
        error: The error that ended the search.
        is_over: Whether the time was up, and what ran was given back.
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
        weights: StudyWeights,
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
        self._weights = weights
        self._progress = progress
        self._recorder = TrialRecorder(
            study,
            store,
            prices,
            search_space=search_space,
            run_handle=run_handle,
            weights=weights,
        )
        self._running: dict[str, RunningTrial] = {}
        self._failures = 0
        self.ended: str | None = None
        self.error: LambdaNasError | None = None
        self.is_over = False

    def suggest(  # type: ignore[override]  # Ray's own annotation forgets FINISHED.
        self, trial_id: str
    ) -> dict[str, object] | str | None:
        """Return the next trial's configuration, ``FINISHED``, or ``None``: ask again later."""
        if self.error is None:
            with self._kept_error():
                running = self._next_trial()
                if running:
                    self._running[trial_id] = running
                    self._progress.tell(TrialBegun(running.trial.number, running.architecture))
                    architecture = running.architecture.written()
                    return {"architecture": architecture, "trial": running.trial.number}
                if self._running or self.ended is None:
                    # A trial may yet fail, or its driver die, and its architecture be queued again.
                    return None
        return Searcher.FINISHED

    @property
    def evaluated(self) -> Sequence[TrialRecord]:
        """All evaluated trials of the study, as last read."""
        return self._recorder.evaluated

    def is_late(self) -> bool:
        """Return whether the time is up."""
        return self._deadline is not None and self._run_handle.elapsed() >= self._deadline

    def give_back(self) -> None:
        """End the search: the running trials go back to the queue."""
        self.ended = "time is up"
        self.is_over = True
        with self._kept_error():
            while self._running:
                _, running = self._running.popitem()
                self._recorder.give_back(running, self.ended)

    def on_trial_result(self, trial_id: str, result: dict[str, object]) -> None:
        """Keep a rung of a trial that goes on."""
        if trial_id in self._running:
            self._running[trial_id].add(result)

    def stops(self, trial_id: str, result: dict[str, object]) -> bool:
        """Return whether a trial with more rungs to come is stopped after this one."""
        running = self._running.get(trial_id)
        if running is None:
            return False
        running.add(result)
        running.stopped = self._early_stopping.why_stop(
            self._recorder.record_of(running),
            self._prices.of(running.architecture),
            finished=self._recorder.evaluated,
            front=self._recorder.front,
        )
        if running.stopped is None and running.rungs:
            last = running.rungs[-1]
            self._progress.tell(RungDone(running.trial.number, last.rung, last.accuracy))
        return running.stopped is not None

    def on_trial_error(self, trial_id: str, reason: str) -> None:
        """Keep why a trial's worker is lost; Ray then completes the trial with an error."""
        if trial_id in self._running:
            self._running[trial_id].lost = reason

    def on_trial_complete(
        self, trial_id: str, result: dict[str, object] | None = None, error: bool = False
    ) -> None:
        """Record a trial that has ended."""
        if not error and result:
            self.on_trial_result(trial_id, result)
        running = self._running.pop(trial_id, None)
        if running is None or self.error:
            return
        with self._kept_error():
            ended = self._end(running, result or {}, died=error)
            self._progress.trials(count_trials(self._study), self._recorder.front)
            self._progress.tell(ended)

    def __getstate__(self) -> dict[str, object]:
        """Leave everything out of the copy that Ray pickles and never reads back."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a search resumes from the database."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a search resumes from the database."""

    @contextmanager
    def _kept_error(self) -> Iterator[None]:
        """Keep an error of the store until Ray has returned: Ray would hide it in a report."""
        try:
            with self._store.translated_errors():
                yield
        except StorageError as error:
            self.error = error

    def _next_trial(self) -> RunningTrial | None:
        """Return the next trial, or ``None``; ``ended`` is then why there will be none, if so.

        While other drivers have the last trials, they are waited for: one may die.
        """
        counts = self._store.count(self._study.study_name)
        if counts.evaluated != len(self._recorder.evaluated):
            self._recorder.catch_up()
        self.ended = self._why_end(counts.evaluated)
        if self.ended:
            return None
        reason = None
        if self._budget is None or counts.evaluated + counts.claimed < self._budget:
            try:
                running = self._begin()
            except ExhaustedError as error:
                reason = str(error)
            else:
                if running:
                    return running
        if not self._running and not self._wait_for_others():
            self.ended = reason
        return None

    def _why_end(self, evaluated: int) -> str | None:
        if self._budget is not None and evaluated >= self._budget:
            return "budget spent"
        return "time is up" if self.is_late() else None

    def _wait_for_others(self) -> bool:
        return wait_for_others(
            self._study,
            self._store,
            self._search_space,
            self._weights,
            self._run_handle.run,
            self._progress,
            is_late=self.is_late,
        )

    def _begin(self) -> RunningTrial | None:
        """Ask until a trial is claimed; ``None`` if another driver has the last of the budget."""
        rejected: list[Architecture] = []
        while len(rejected) < MAX_REJECTIONS:
            suggestion = self._sampler.ask(self._study)
            trial, architecture, _ = suggestion
            reason = self._why_invalid(architecture)
            if reason is None:
                reason = self._why_reject(suggestion)
                if reason:
                    rejected.append(architecture)
            if reason is None:
                claim = self._recorder.claim(trial, architecture, self._budget)
                if claim is ClaimResult.GRANTED:
                    return RunningTrial(trial, architecture, self._score(architecture))
                if claim is ClaimResult.SPENT:
                    return None
                reason = "another run evaluates it"
            self._recorder.reject(trial, architecture, reason)
            self._progress.tell(ProposalRejected(architecture, reason))
        params = self._search_space.to_params(rejected[0])
        self._study.enqueue_trial(params, user_attrs={UNGATED: True})
        return self._begin()

    def _why_invalid(self, architecture: Architecture) -> str | None:
        """Return why a queued architecture can't be evaluated, or ``None``."""
        if not architecture:
            return "it removes nothing: that is the baseline"
        if not self._sampler.allows(architecture):
            return f"{architecture} does not satisfy the constraints"
        evaluated = any(each.architecture == architecture for each in self._recorder.evaluated)
        return "it is already evaluated" if evaluated else None

    def _why_reject(self, suggestion: Suggestion) -> str | None:
        if suggestion.trial.user_attrs.get(UNGATED):
            return None
        return self._sampler.why_reject(suggestion.observations, suggestion.architecture)

    def _end(self, running: RunningTrial, result: dict[str, object], *, died: bool) -> TrialEnded:
        reason = running.failure(result, died=died)
        ended = TrialEnded(
            running.trial.number,
            running.architecture,
            "failed",
            self._prices.of(running.architecture).speedup,
        )
        if reason:
            # What a process dies of may not recur.
            retry = died and running.lost is None
            ours = self._fail(running, reason, retry=retry or bool(result.get("retry")))
            return replace(ended, reason=reason if ours else f"{reason}; {TAKEN_OVER}")
        self._failures = 0
        ours = self._recorder.stop(running) if running.stopped else self._recorder.complete(running)
        if not ours:
            return replace(ended, reason=TAKEN_OVER)
        best = max(running.rungs, key=lambda rung: rung.accuracy)
        ended = replace(ended, accuracy=best.accuracy, rung=best.rung)
        if running.stopped:
            return replace(ended, outcome="stopped early", reason=running.stopped)
        return replace(ended, outcome="completed")

    def _fail(self, running: RunningTrial, reason: str, *, retry: bool) -> bool:
        """Record a failed trial; return whether it was still this driver's."""
        self._failures += 1
        # A node that dies takes a trial of each of its workers with it.
        if self._failures >= MAX_FAILURES * self._workers:
            self.error = TrialsFailedError(
                f"{self._failures} trials of {self._study.study_name} failed in a row; the last, "
                f"{running.architecture}, failed because: {reason}",
                advice="nothing is lost; run the same search again to resume",
            )
        return self._recorder.fail(running, reason, retry=retry)
