"""The searcher with a real database, and without Ray: its workers' results are made up."""

import math

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from ray.tune.search import Searcher
from silent import Silent
from store_fixtures import weights_of

from lambda_nas.errors import TrialsFailedError
from lambda_nas.execution.searcher import MAX_FAILURES, MAX_REJECTIONS, RemovalSearcher
from lambda_nas.execution.study_store import RunHandle
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.strategy.early_stopping import EarlyStopping
from lambda_nas.strategy.optuna_trials import DIRECTIONS, MAX_RETRIES
from lambda_nas.strategy.sampler import RemovalSampler

NAME = "deit-images"
SPACE = SearchSpace((0, 1, 2, 4, 5))


def score(architecture):
    return sum(architecture.removal) / 10


class Search:
    """A searcher, and what it writes to."""

    def __init__(self, store, prices, run, *, budget=None, storage=None):
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
            deadline=None,
            workers=1,
            run_handle=RunHandle(run, lambda: 1.0),
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
