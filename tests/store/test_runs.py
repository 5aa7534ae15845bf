from concurrent.futures import ThreadPoolExecutor

import pytest

from lambda_nas.models.architecture import Architecture
from lambda_nas.records.run import ClaimCounts, ClaimResult
from lambda_nas.records.trial import RungResult, TrialRecord
from lambda_nas.store.study_store import SqlStudyStore

STUDY = "deit-images"


@pytest.fixture
def run(store, make_info, prices, who):
    store.create_study(make_info(), prices)
    return store.begin_run(STUDY, who)


def claim(store, removed, trial, run, budget=None):
    return store.claim(STUDY, Architecture.of(removed), trial, run=run, budget=budget)


def history(removed, trial, run):
    return TrialRecord(trial, Architecture.of(removed), (RungResult(0, 0.5, 1.0),), 0.5, run, 1.0)


def test_a_run_comes_back_as_it_went_in(store, run, who):
    [stored] = store.runs(STUDY)
    assert (stored.id, stored.info) == (run, who)
    assert (stored.heartbeats, stored.seconds, stored.ended, stored.spent) == (0, 0.0, False, {})


def test_beats_count_up_and_tell_where_the_time_went(store, run, who):
    other = store.begin_run(STUDY, who)
    store.record_heartbeat(run, 5.0, {})
    store.record_heartbeat(run, 10.5, {"Measuring the prior": 2.25}, ended=True)
    first, second = store.runs(STUDY)
    assert (first.heartbeats, first.seconds, first.ended) == (2, 10.5, True)
    assert first.spent == {"Measuring the prior": 2.25}
    assert (second.id, second.heartbeats, second.ended) == (other, 0, False)


def test_a_run_that_was_buried_and_lives_rises_with_its_next_beat(store, run):
    store.mark_dead(run)
    assert store.runs(STUDY)[0].ended
    store.record_heartbeat(run, 5.0, {})
    assert not store.runs(STUDY)[0].ended


def test_a_set_is_claimed_once_until_it_is_given_up(store, run):
    assert claim(store, [0, 2], 0, run) is ClaimResult.GRANTED
    assert claim(store, [0, 2], 1, run) is ClaimResult.TAKEN
    [mine] = store.claims(STUDY)
    assert (mine.architecture, mine.trial, mine.run.id) == (Architecture.of([0, 2]), 0, run)

    told = []
    assert store.settle(STUDY, 0, lambda: told.append(0))
    assert not store.settle(STUDY, 0, lambda: told.append(1))
    assert told == [0]
    assert claim(store, [0, 2], 2, run) is ClaimResult.GRANTED


def test_a_measured_set_is_taken_for_ever(store, run):
    assert claim(store, [1], 0, run) is ClaimResult.GRANTED
    assert store.record(STUDY, history([1], 0, run)) is not None
    assert store.claims(STUDY) == []
    assert claim(store, [1], 1, run) is ClaimResult.TAKEN


def test_the_budget_counts_what_is_measured_and_what_is_claimed(store, run):
    claim(store, [0], 0, run)
    store.record(STUDY, history([0], 0, run))
    assert claim(store, [1], 1, run, budget=2) is ClaimResult.GRANTED
    assert store.count(STUDY) == ClaimCounts(evaluated=1, claimed=1)
    assert claim(store, [2], 2, run, budget=2) is ClaimResult.SPENT
    assert claim(store, [2], 2, run, budget=3) is ClaimResult.GRANTED


def test_a_result_whose_claim_is_lost_is_not_kept(store, run):
    claim(store, [0], 0, run)
    store.settle(STUDY, 0, lambda: None)
    before = store.load(STUDY)
    told = []
    assert store.record(STUDY, history([0], 0, run), tell=lambda: told.append(1)) is None
    assert store.load(STUDY) == before
    assert told == []


def test_of_many_that_want_a_set_one_gets_it(store, run, url):
    def ask(trial):
        with SqlStudyStore.open(url) as opened:
            return claim(opened, [trial % 3], trial, run, budget=2)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(12)))
    assert answers.count(ClaimResult.GRANTED) == 2
    assert len({claim.architecture for claim in store.claims(STUDY)}) == 2
