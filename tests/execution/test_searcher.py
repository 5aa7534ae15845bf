"""The searcher with a real database, and without Ray: its workers' results are made up."""

import math
from dataclasses import replace
from functools import partial

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from ray.tune.search import Searcher
from silent import Silent
from store_fixtures import weights_of

from lambda_nas.errors import TrialsFailedError
from lambda_nas.execution import heartbeat
from lambda_nas.execution.searcher import MAX_FAILURES, MAX_REJECTIONS, RemovalSearcher
from lambda_nas.execution.study_store import RunHandle
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.records.run import ClaimResult
from lambda_nas.records.trial import RungResult, TrialRecord
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.strategy.early_stopping import EarlyStopping
from lambda_nas.strategy.optuna_trials import DIRECTIONS, MAX_RETRIES, count_trials
from lambda_nas.strategy.sampler import RemovalSampler

NAME = "deit-images"
SPACE = SearchSpace((0, 1, 2, 4, 5))


def score(architecture):
    return sum(architecture.removal) / 10


class Search:
    """A searcher, and what it writes to."""

    def __init__(
        self,
        store,
        prices,
        run,
        *,
        budget=None,
        storage=None,
        deadline=None,
        elapsed=lambda: 1.0,
    ):
        self.store, self.progress = store, Silent()
        self.sampler = RemovalSampler(SPACE, prices, score, baseline=0.8, seed=0)
        self.study = optuna.create_study(
            study_name=NAME,
            storage=storage or store.optuna,
            directions=DIRECTIONS,
            sampler=self.sampler,
        )
        self.searcher = RemovalSearcher(
            self.study,
            store,
            self.sampler,
            prices,
            EarlyStopping(rungs=3, images=100),
            score,
            search_space=SPACE,
            budget=budget,
            deadline=deadline,
            workers=1,
            run_handle=RunHandle(run, elapsed),
            weights=weights_of(store, NAME),
            progress=self.progress,
        )

    def begin(self, trial_id="a"):
        config = self.searcher.suggest(trial_id)
        return config["trial"], Architecture.parse(config["architecture"])

    def result(self, accuracy, rung=0):
        return {"rung": rung, "accuracy": accuracy, "seconds": 1.0}

    def end(self, *accuracies, trial_id="a"):
        for rung, accuracy in enumerate(accuracies[:-1]):
            self.searcher.on_trial_result(trial_id, self.result(accuracy, rung))
        last = self.result(accuracies[-1], len(accuracies) - 1)
        self.searcher.on_trial_complete(trial_id, last)

    def die(self, trial_id="a"):
        self.searcher.on_trial_complete(trial_id, error=True)

    def queued(self):
        return self.study.get_trials(states=(TrialState.WAITING,))


@pytest.fixture
def make_search(sqlite_url, make_info, prices, who):
    def make(**options):
        store = SqlStudyStore.open(sqlite_url)
        store.create_study(make_info(NAME), prices)
        return Search(store, prices, store.begin_run(NAME, who), **options)

    return make


@pytest.mark.parametrize("accuracies", [(math.nan,), (0.5, math.inf), (math.nan, 0.5)])
def test_an_accuracy_that_is_not_finite_fails_the_trial_for_good(make_search, accuracies):
    search = make_search()
    number, architecture = search.begin()
    search.end(*accuracies)
    trial = search.study.trials[number]
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["reason"] == "the accuracy is not finite"
    assert search.progress.failures == [(architecture, "the accuracy is not finite")]
    assert (search.store.trial_records(NAME), search.store.claims(NAME)) == ([], [])
    # It would not be finite the next time either.
    assert search.queued() == []
    assert search.begin("b")[1] != architecture


def test_a_rung_that_comes_late_or_twice_changes_nothing(make_search):
    search = make_search()
    number, _ = search.begin()
    for rung, accuracy in ((0, 0.5), (1, 0.6), (0, 0.9), (1, 0.9)):
        search.searcher.on_trial_result("a", search.result(accuracy, rung))
    search.searcher.on_trial_complete("a", search.result(0.6, 1))
    [record] = search.store.trial_records(NAME)
    assert [rung.accuracy for rung in record.rungs] == [0.5, 0.6]
    assert search.study.trials[number].values[0] == 0.6
    search.searcher.on_trial_result("a", search.result(0.9, 2))
    assert not search.searcher.stops("a", search.result(0.9, 2))
    search.searcher.on_trial_complete("a", search.result(0.9, 2))
    assert search.store.trial_records(NAME) == [record]
    assert search.study.trials[number].values[0] == 0.6


def test_an_architecture_whose_worker_dies_is_retried_a_few_times(make_search):
    search = make_search()
    seen = []
    for _ in range(1 + MAX_RETRIES):
        seen.append(search.begin())
        search.die()
    assert len({number for number, _ in seen}) == 1 + MAX_RETRIES
    [architecture] = {architecture for _, architecture in seen}
    assert search.queued() == []
    assert search.begin("b")[1] != architecture
    assert search.progress.failures == 3 * [(architecture, "the worker process died")]


@pytest.mark.parametrize("retry", [True, False])
def test_a_failure_is_retried_only_if_that_may_help(make_search, retry):
    search = make_search()
    _, architecture = search.begin()
    failure = {"rung": 0, "accuracy": 0.0, "failure": "out of memory", "retry": retry}
    search.searcher.on_trial_complete("a", failure)
    assert (search.begin("b")[1] == architecture) == retry
    assert search.progress.failures == [(architecture, "out of memory")]


def test_too_many_failures_in_a_row_end_the_search(make_search):
    search = make_search()
    for number in range(MAX_FAILURES - 1):
        search.begin(str(number))
        search.end(math.nan, trial_id=str(number))
    search.begin("good")
    search.end(0.5, trial_id="good")
    for number in range(MAX_FAILURES):
        assert search.searcher.error is None
        search.begin(str(number))
        search.end(math.nan, trial_id=str(number))
    assert isinstance(search.searcher.error, TrialsFailedError)
    assert f"{MAX_FAILURES} trials of {NAME} failed in a row" in str(search.searcher.error)
    assert search.searcher.suggest("next") == Searcher.FINISHED


def test_after_so_many_rejections_the_most_promising_of_them_is_evaluated(make_search, monkeypatch):
    search = make_search()
    monkeypatch.setattr(search.sampler, "why_reject", lambda *_: "rejected: for the test")
    _, architecture = search.begin()
    rejected = search.study.get_trials(states=(TrialState.PRUNED,))
    assert len(rejected) == MAX_REJECTIONS
    assert {trial.user_attrs["reason"] for trial in rejected} == {"rejected: for the test"}
    assert SPACE.to_architecture(rejected[0].params) == architecture


def test_the_search_ends_when_the_budget_is_spent_and_nothing_runs(make_search):
    search = make_search(budget=1)
    search.begin()
    # The running trial may fail, and its architecture be queued again.
    assert search.searcher.suggest("b") is None
    search.end(0.5)
    assert search.searcher.suggest("b") == Searcher.FINISHED
    assert search.searcher.ended == "budget spent"


@pytest.mark.parametrize("accuracies", [(0.5,), (math.nan,)])
def test_what_another_driver_has_taken_over_is_told_and_leaves_no_weights(make_search, accuracies):
    search = make_search()
    number, architecture = search.begin()
    weights = weights_of(search.store, NAME)
    weights.folder.mkdir(parents=True)
    weights.file(number).touch()
    search.store.settle(NAME, number, lambda: None)
    search.end(*accuracies)
    [(failed, reason)] = search.progress.failures
    assert failed == architecture
    assert reason.endswith("another driver has taken the trial over")
    assert search.store.trial_records(NAME) == []
    assert list(weights.folder.iterdir()) == []


@pytest.fixture
def other(make_search, who):
    """A search with one trial of the budget done and the other claimed by another driver."""
    search = make_search(budget=2)
    search.begin()
    search.end(0.5)
    elsewhere = search.store.begin_run(NAME, replace(who, machine="elsewhere"))
    trial, architecture, _ = search.sampler.ask(search.study)
    claim = search.store.claim(NAME, architecture, trial.number, run=elsewhere, budget=2)
    assert claim is ClaimResult.GRANTED
    return search, elsewhere, trial, architecture


def test_a_driver_that_dies_meanwhile_leaves_its_trial_to_those_that_live(other, monkeypatch):
    search, _, trial, architecture = other
    weights = weights_of(search.store, NAME)
    weights.folder.mkdir(parents=True)
    kept = weights.file(10 * trial.number)
    for file in (
        weights.file(trial.number),
        weights.file(trial.number).with_suffix(".9.tmp"),
        kept,
    ):
        file.touch()
    monkeypatch.setattr(heartbeat, "SILENT_S", 0.0)
    assert search.searcher.suggest("b") is None
    assert search.searcher.ended is None
    assert search.study.trials[trial.number].state == TrialState.FAIL
    assert count_trials(search.study).failed == 1
    assert list(weights.folder.iterdir()) == [kept]
    assert search.begin("b")[1] == architecture
    search.end(0.5, trial_id="b")
    assert search.searcher.suggest("c") == Searcher.FINISHED
    assert search.searcher.ended == "budget spent"
    assert len(search.store.trial_records(NAME)) == 2


def test_a_driver_that_left_in_order_is_known_at_once(other):
    search, elsewhere, _, architecture = other
    search.store.record_heartbeat(elsewhere, 1.0, {}, ended=True)
    assert search.searcher.suggest("b") is None
    # Who ended it, by Ctrl-C for example, had nothing against the architecture.
    assert count_trials(search.study).failed == 0
    [queued] = search.queued()
    assert queued.user_attrs["retries"] == 0
    assert search.begin("b")[1] == architecture


def test_a_driver_that_lives_is_waited_for(other, monkeypatch):
    search, elsewhere, trial, architecture = other
    looks = []

    def beat_and_end(_):
        looks.append(search.searcher.ended)
        search.store.record_heartbeat(elsewhere, 1.0, {})
        if len(looks) == 3:
            rungs = (RungResult(0, 0.5, 1.0),)
            record = TrialRecord(trial.number, architecture, rungs, 0.5, elsewhere, 1.0)
            tell = partial(search.study.tell, trial, [1, 1, 1])
            search.store.record(NAME, record, tell=tell)

    monkeypatch.setattr(heartbeat.time, "sleep", beat_and_end)
    assert search.searcher.suggest("b") is None
    assert looks == [None, None, None]
    assert search.searcher.suggest("b") == Searcher.FINISHED
    assert search.searcher.ended == "budget spent"


def test_when_the_time_is_up_what_runs_goes_back_to_the_queue(make_search):
    seconds = [0.0]
    search = make_search(deadline=10.0, elapsed=lambda: seconds[0])
    number, architecture = search.begin()
    seconds[0] = 11.0
    assert search.searcher.is_late()
    search.searcher.give_back()
    assert search.searcher.suggest("b") == Searcher.FINISHED
    assert search.searcher.ended == "time is up"
    # Killed afterwards, the worker's trial has not failed.
    search.die()
    assert search.progress.failures == []
    assert search.store.claims(NAME) == []
    [queued] = search.queued()
    assert queued.user_attrs["retries"] == 0
    assert SPACE.to_architecture(queued.system_attrs["fixed_params"]) == architecture
    assert search.study.trials[number].user_attrs["reason"] == "time is up"
    assert count_trials(search.study).failed == 0


def test_a_trial_whose_worker_was_killed_for_its_time_is_not_tried_again(make_search):
    search = make_search()
    _, architecture = search.begin()
    search.searcher.on_trial_error("a", "took longer than the limit of 9 s")
    search.die()
    assert search.progress.failures == [(architecture, "took longer than the limit of 9 s")]
    assert search.queued() == []


class CountingStorage(InMemoryStorage):
    reads = 0

    def get_all_trials(self, study_id, deepcopy=True, states=None):
        self.reads += states is None
        return super().get_all_trials(study_id, deepcopy, states)


def test_a_trial_reads_all_trials_once_to_choose_and_once_to_count(make_search):
    storage = CountingStorage()
    search = make_search(storage=storage)
    for number in range(4):
        storage.reads = 0
        search.begin(str(number))
        assert storage.reads == 1
        search.end(0.5, trial_id=str(number))
        # Once more to show how many trials there are.
        assert storage.reads == 2
