import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import optuna
import pytest
from sqlalchemy import create_engine, delete, select, update
from sqlalchemy.pool import NullPool
from store_fixtures import PRIOR, claim_and_record

from lambda_nas.cost.merged_prices import MergedPrices
from lambda_nas.cost.merging_work import BlockWork, MergingWork
from lambda_nas.errors import InputError, StorageError, StudyMismatchError
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.records.front import non_dominated
from lambda_nas.records.trial import RungResult, TrialRecord
from lambda_nas.store import schema
from lambda_nas.store.study_store import SqlStudyStore

RUN = 1
"""Id of the first run in a new database."""


@pytest.fixture
def study(store, make_info, prices, who):
    store.create_study(make_info(), prices)
    assert store.begin_run("deit-images", who) == RUN
    return "deit-images"


def history(trial, removed, rungs, **more):
    if isinstance(rungs, float):
        rungs = [RungResult(0, rungs, 1.0)]
    return TrialRecord(trial, Architecture.of(removed), tuple(rungs), 0.5, RUN, 2.0, **more)


def test_a_study_comes_back_as_it_went_in(store, make_info, prices, url):
    first, second = make_info("first"), make_info("second", seed=9)
    assert not store.has("first")
    store.create_study(first, prices)
    store.create_study(second, prices)

    with SqlStudyStore.open(url, create=False) as again:
        assert again.has("first")
        assert again.study("second") == second
        assert again.studies() == [first, second]
        assert again.prices("first") == prices
        assert again.prior("first") is None
        assert again.trials("first") == again.front("first") == []


@pytest.mark.parametrize(
    ("changes", "speedup", "message"),
    [
        ({"baseline_accuracy": 1.5}, 1.0, r"lambda_studies\.baseline_accuracy is 1\.5"),
        ({"layers": ()}, 1.0, r"lambda_studies\.layers is \[\]"),
        ({"settings": {}}, 1.0, r"lambda_studies\.settings\.architecture is \{\}"),
        ({}, -1.0, r"lambda_prices\.speedup is -1\.0"),
    ],
)
def test_what_could_not_be_read_back_is_not_stored(
    store, make_info, prices, changes, speedup, message
):
    price = replace(prices.unpruned, speedup=speedup)
    bad = replace(prices, by_signature=prices.by_signature | {(5,): price})
    with pytest.raises(StorageError, match=f"^study deit-images can't be stored .*{message}"):
        store.create_study(make_info(**changes), bad)
    assert store.studies() == []


def test_creation_time_is_utc_now(store, study, url):
    with create_engine(url, poolclass=NullPool).connect() as connection:
        created = connection.scalar(select(schema.StudyRow.created_at))
    if created.tzinfo is None:
        created = created.replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - created) < timedelta(minutes=1)


def test_unknown_study_lists_those_there_are(store, study):
    with pytest.raises(
        InputError, match="study other: there is no such study; expected one of deit-images"
    ):
        store.study("other")


def test_unknown_study_in_an_empty_database(store):
    with pytest.raises(InputError, match=r"^study other: the database holds no study yet$"):
        store.trials("other")


def test_the_prior_comes_back_and_is_replaced(store, study):
    store.save_prior(study, PRIOR | {"images": 7})
    store.save_prior(study, PRIOR)
    assert store.prior(study) == PRIOR


def test_a_trial_counts_with_its_best_rung(store, study, make_point, url):
    rungs = [RungResult(0, 0.25, 1.5), RungResult(1, 0.75, 2.5), RungResult(2, 0.5, 3.5)]
    front = claim_and_record(store, study, history(4, [4, 0, 2], rungs))

    expected = make_point(4, [0, 2, 4], 0.75, rung=1)
    assert front == store.front(study) == store.trials(study) == [expected]
    with create_engine(url, poolclass=NullPool).connect() as connection:
        columns = (
            schema.MeasurementRow.rung,
            schema.MeasurementRow.accuracy,
            schema.MeasurementRow.seconds,
        )
        rows = connection.execute(select(*columns).order_by(schema.MeasurementRow.rung)).all()
    assert [RungResult(*row) for row in rows] == rungs


def test_a_stopped_trial_keeps_its_rungs_and_is_no_point(store, study, make_point):
    low, high = [RungResult(0, 0.25, 1.5), RungResult(1, 0.5, 2.5)], [RungResult(0, 0.75, 1.0)]
    claim_and_record(store, study, history(7, [2, 4], low))
    # The best of all: what keeps it off the front is that it was stopped, whatever its accuracy.
    stopped = history(3, [1, 2], high, stopped="rung 0: hopeless")
    front = claim_and_record(store, study, stopped)

    expected = [make_point(7, [2, 4], 0.5, rung=1)]
    assert front == store.front(study) == store.trials(study) == expected
    assert store.trial_records(study) == [
        stopped,
        history(7, [2, 4], low),
    ]


def test_the_empty_set_can_be_recorded(store, study, make_point):
    claim_and_record(store, study, history(0, [], 0.5))
    assert store.trials(study) == [make_point(0, [], 0.5)]


def test_front_is_right_after_each_trial(store, study, make_info, make_point, prices):
    store.create_study(make_info("other"), prices)
    claim_and_record(store, "other", history(0, [0], 1.0))
    generator = random.Random(0)
    sets = [RemovalSet.of(generator.sample(range(12), 1 + trial % 5)) for trial in range(40)]
    points = []
    for trial, removal in enumerate(dict.fromkeys(sets)):
        accuracy = generator.randrange(20) / 20
        points.append(make_point(trial, removal, accuracy))
        front = claim_and_record(store, study, history(trial, removal, accuracy))
        assert front == store.front(study) == non_dominated(points)
    assert store.trials(study) == points
    assert len(store.front("other")) == 1


def test_a_trial_that_can_not_be_stored_leaves_nothing_behind(store, study):
    claim_and_record(store, study, history(0, [1], 0.5))
    twice = [RungResult(0, 0.5, 1.0)] * 2
    with pytest.raises(StorageError, match=r"study database .* failed"):
        claim_and_record(store, study, history(1, [2], twice))
    assert [point.trial for point in store.trials(study)] == [0]
    assert [claim.trial for claim in store.claims(study)] == [1]


def test_optuna_is_told_in_the_same_transaction(store, study):
    theirs = optuna.create_study(study_name=study, storage=store.optuna)
    number = theirs.ask().number

    def tell_and_fail():
        theirs.tell(number, 1.0)
        theirs.enqueue_trial({})
        assert len(theirs.get_trials()) == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        claim_and_record(store, study, history(number, [1], 0.5), tell=tell_and_fail)
    [trial] = optuna.load_study(study_name=study, storage=store.optuna).get_trials()
    assert trial.state == optuna.trial.TrialState.RUNNING
    assert store.trials(study) == []


def test_only_the_thread_of_a_transaction_is_part_of_it(store, study, url):
    theirs = optuna.create_study(study_name=study, storage=store.optuna)
    if url.startswith("sqlite"):
        pytest.skip("SQLite has one writer at a time")

    def tell_and_fail():
        with ThreadPoolExecutor(1) as pool:
            pool.submit(theirs.enqueue_trial, {}).result()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        claim_and_record(store, study, history(0, [1], 0.5), tell=tell_and_fail)
    assert len(theirs.get_trials()) == 1


def test_two_searches_record_into_one_front(study, url, store):
    def record(trial):
        with SqlStudyStore.open(url) as opened:
            return claim_and_record(opened, study, history(trial, [trial], trial / 10))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(record, range(8)))
    assert [point.trial for point in store.front(study)] == [7]
    assert len(store.trials(study)) == 8


def check(store, info):
    store.check_model(
        info.name,
        model=info.model,
        model_fingerprint=info.model_fingerprint,
        device=info.device,
    )
    store.check_data(info.name, data=info.data, data_fingerprint=info.data_fingerprint)


def test_fingerprints_decide_and_names_do_not(store, make_info, study):
    before = store.study(study)
    check(store, make_info(model="renamed", data="moved"))
    assert store.study(study) == before
    with pytest.raises(StudyMismatchError, match="about model"):
        check(store, make_info(model_fingerprint="x" * 64))


def test_another_model_is_refused_naming_both(store, make_info, study):
    other = make_info(model="vit_tiny", model_fingerprint="x" * 64)
    with pytest.raises(StudyMismatchError, match=r"about model local-dir:\S+deit .*not vit_tiny"):
        check(store, other)


def test_other_data_are_refused_naming_both(store, make_info, study):
    other = make_info(data="cifar", data_fingerprint="x" * 64)
    with pytest.raises(StudyMismatchError, match=r"measured on data images .*not cifar"):
        check(store, other)


def test_another_device_is_refused_naming_both(store, make_info, study):
    other = make_info(device="an accelerator")
    with pytest.raises(StudyMismatchError, match="priced on a processor, and this is an acc"):
        check(store, other)


@pytest.mark.parametrize("ours_first", [True, False])
def test_optuna_lives_in_the_same_database(ours_first, url, make_info, prices):
    if ours_first:
        with SqlStudyStore.open(url):
            pass
    elif url.startswith("sqlite"):
        # Optuna doesn't make the folder.
        Path(url.removeprefix("sqlite:///")).parent.mkdir()
    theirs = optuna.create_study(storage=optuna.storages.RDBStorage(url), study_name="deit-images")
    with SqlStudyStore.open(url) as ours:
        ours.create_study(make_info(), prices)
        theirs.tell(theirs.ask(), 1.0)

    with SqlStudyStore.open(url) as ours:
        assert len(optuna.load_study(study_name="deit-images", storage=ours.optuna).trials) == 1
        assert ours.study("deit-images") == make_info()


def test_prices_and_trials_with_merged_tokens(store, study, make_info, prices):
    work = MergingWork(640, BlockWork(30, 90), (BlockWork(28, 80),), (BlockWork(20, 70),))
    merged = MergedPrices(0.9, 0.01, (Merging(8, start=1),), {8: work})
    store.create_study(make_info("merging"), replace(prices, merged=merged))
    assert store.prices("merging").merged == merged
    store.check_mergings("merging", [Merging(8, start=1)])
    for other in ([], [Merging(8)]):
        with pytest.raises(StudyMismatchError, match="begun with token merging: merging 8 from"):
            store.check_mergings("merging", other)
    sets = [Architecture.of(removed, Merging(8, start=1)) for removed in ([], [0, 1])]
    for trial, one in enumerate([*sets, Architecture.of([0, 1])]):
        claim_and_record(store, "merging", replace(history(trial, [], 0.5), architecture=one))
    assert [trial.architecture for trial in store.trial_records("merging")][:2] == sets


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (update(schema.StudyRow).values(merged={"power": "much"}), "ValidationError: "),
        (update(schema.StudyRow).values(layers=3), r"ValueError: lambda_studies\.layers is 3"),
        (update(schema.PriceRow).values(signature=schema.PriceRow.signature + "x"), "ValueError: "),
        (delete(schema.PriceRow).where(schema.PriceRow.signature == "2"), r"KeyError: \(2,\)"),
        (delete(schema.MeasurementRow), "ValueError: "),
    ],
)
def test_what_can_not_be_is_told(store, study, url, damage, reason):
    claim_and_record(store, study, history(0, [0, 1], 0.5))
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(damage)
    with pytest.raises(StorageError, match=rf"can't be read \({reason}.*restore it"):
        store.load(study)


def test_a_study_without_merging_takes_none(store, study):
    store.check_mergings(study, [])
    with pytest.raises(StudyMismatchError, match="token merging: none; now given: merging 2 from"):
        store.check_mergings(study, [Merging(2)])
