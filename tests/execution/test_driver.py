"""Whole searches with real Ray workers, a real database and a tiny model."""

import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import optuna
import pytest
from all_sets import every_set
from optuna.trial import TrialState
from silent import Silent
from store_fixtures import weights_of

from lambda_nas.api import session
from lambda_nas.api.inputs.source import Source
from lambda_nas.cost.constraints import Constraints
from lambda_nas.errors import InfeasibleError, StudyMismatchError
from lambda_nas.execution import heartbeat
from lambda_nas.execution.cluster import ray_running
from lambda_nas.execution.heartbeat import machine
from lambda_nas.execution.settings import Budget, Settings
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.search_space import SearchSpace, parameter_name
from lambda_nas.pretrained.digits import digits_images, digits_model
from lambda_nas.records.front import non_dominated
from lambda_nas.records.run import ClaimResult, RunInfo
from lambda_nas.records.trial import RungResult, TrialRecord
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.strategy.optuna_trials import OBJECTIVES, RUNGS, distributions


@pytest.fixture(scope="module", autouse=True)
def one_ray():
    """What is running already is not started anew by each search."""
    with ray_running(settings(0), Silent()):
        yield


def settings(trials, **changes):
    base = Settings(Budget(trials=trials), max_removed=3, layers=(0, 1, 2, 3), batch_size=8)
    return replace(base, **changes)


def search(source, folder, trials, name="study", **changes):
    store = SqlStudyStore.open(f"sqlite:///{folder}/study.db")
    progress = Silent()
    outcome = session.search(
        session.Session(source, settings(trials, **changes), store, name, store.weights_root),
        progress=progress,
        command="test",
    )
    assert progress.failures == []
    return store, outcome


@pytest.fixture(scope="module")
def finished(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    store, outcome = search(source, folder, 6, seeds=(RemovalSet.of([0, 3]),))
    study = optuna.load_study(study_name="study", storage=store.optuna)
    return folder, store, outcome, study


def test_budget_counts_finished_trials_only(finished):
    _, store, outcome, study = finished
    assert outcome.counts.complete == len(store.trials("study")) == 6
    assert outcome.counts.failed == 0
    assert outcome.ended == "budget spent"
    assert not study.get_trials(states=(TrialState.RUNNING,))


def test_named_sets_come_first(finished):
    _, store, _, _ = finished
    assert store.trials("study")[0].architecture == Architecture.of([0, 3])


def test_the_prior_keeps_every_score_so_that_a_resumed_search_measures_none_again(finished):
    _, store, _, _ = finished
    prior = store.prior("study")
    scored = {Architecture.of(row["removed"]): row["score"] for row in prior["scored"]}
    assert [len(step["removed"]) for step in prior["path"]] == [1, 2, 3]
    assert all(scored[Architecture.of(step["removed"])] == step["score"] for step in prior["path"])
    # The empty set is not one of them; 4 + 3 + 2 sets lie along the path.
    assert sum(map(bool, scored)) == 9


def test_no_set_is_measured_twice(finished):
    _, store, _, _ = finished
    removals = [point.removal for point in store.trials("study")]
    assert len(set(removals)) == len(removals)


def test_optuna_and_the_store_agree(finished):
    _, store, _, study = finished
    assert study.metric_names == list(OBJECTIVES)
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    assert {trial.number for trial in complete} == {p.trial for p in store.trials("study")}
    for point in store.trials("study"):
        trial = study.trials[point.trial]
        assert trial.values == [
            point.accuracy,
            point.price.throughput,
            point.price.memory_bytes / 1e6,
        ]
        assert trial.user_attrs["removed"] == str(point.removal)
        assert {layer for layer in range(4) if trial.params[parameter_name(layer)]} == set(
            point.removal
        )


def test_the_front_is_up_to_date_and_has_its_weights(finished):
    _, store, outcome, _ = finished
    front = store.front("study")
    assert front == outcome.front == non_dominated(store.trials("study"))
    weights = weights_of(store, "study")
    assert {*weights.folder.iterdir()} == {weights.file(point.trial) for point in front}


@pytest.mark.full
def test_the_same_command_does_only_what_is_left(finished, source):
    folder, store, _, _ = finished
    prices = store.prices("study")
    _, outcome = search(source, folder, 8, seeds=(RemovalSet.of([0, 3]),))
    assert outcome.counts.complete == 8
    assert store.prices("study") == prices


@pytest.mark.full
def test_small_spaces_end_with_every_set_measured(source, tmp_path):
    store, outcome = search(source, tmp_path, 50, max_removed=1, layers=(0, 2, 3))
    assert outcome.ended == "all architectures within the constraints are evaluated"
    assert {point.removal for point in store.trials("study")} == {*every_set((0, 2, 3), (1,))}


@pytest.mark.full
def test_one_worker_and_one_seed_give_the_same_study(source, tmp_path):
    def trials(name):
        (tmp_path / name).mkdir()
        store, _ = search(source, tmp_path / name, 5, seed=3)
        return [(p.trial, p.removal, p.accuracy) for p in store.trials("study")]

    assert trials("one") == trials("two")


def test_another_model_or_data_is_refused_and_both_are_named(finished, source):
    folder, *_ = finished
    other = replace(source, model=replace(source.model, name="other", fingerprint="f00"))
    with pytest.raises(StudyMismatchError, match=r"about model tiny \(\w+\), not other \(f00\)"):
        search(other, folder, 9)
    data = replace(source, data=replace(source.data, fingerprint="d00"), data_name="elsewhere")
    with pytest.raises(
        StudyMismatchError, match=r"data noise \(tiny-data\), not elsewhere \(d00\)"
    ):
        search(data, folder, 9)


def begin_as_a_dead_driver(store, study, removal, on=None):
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    who = RunInfo(on or machine(), int(gone.stdout), "a CPU", "m", "d", {}, 0, 1, "lambda-nas")
    study.enqueue_trial({parameter_name(layer): layer in removal for layer in range(4)})
    trial = study.ask(distributions(SearchSpace((0, 1, 2, 3))))
    run = store.begin_run("study", who)
    one = Architecture(removal)
    assert store.claim("study", one, trial.number, run=run, budget=None) is ClaimResult.GRANTED
    return trial, run


def unmeasured(store, count=1):
    measured = {record.removal for record in store.trial_records("study")}
    return [r for r in every_set(range(4), (1, 2, 3)) if r not in measured][:count]


@pytest.mark.full
def test_a_dead_drivers_trial_is_settled_and_queued_again(finished, source):
    folder, store, _, study = finished
    measured = len(store.trial_records("study"))
    [missing] = unmeasured(store)
    trial, run = begin_as_a_dead_driver(store, study, missing)
    _, outcome = search(source, folder, measured + 1)
    assert study.trials[trial.number].state == TrialState.FAIL
    assert missing in {point.removal for point in store.trials("study")}
    assert outcome.counts.complete == measured + 1
    assert store.claims("study") == []
    assert [r.ended for r in store.runs("study") if r.id == run] == [True]


@pytest.mark.full
def test_a_dead_driver_elsewhere_is_told_by_its_silence(source, tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "SILENT_S", 2.0)
    store, _ = search(source, tmp_path, 2)
    study = optuna.load_study(study_name="study", storage=store.optuna)
    [missing] = unmeasured(store)
    trial, _ = begin_as_a_dead_driver(store, study, missing, on="elsewhere")
    _, outcome = search(source, tmp_path, 3)
    assert study.trials[trial.number].state == TrialState.FAIL
    assert [h.removal for h in store.trial_records("study")][-1] == missing
    assert outcome.counts.complete == 3


@pytest.mark.full
def test_a_living_driver_elsewhere_keeps_its_trial_until_it_leaves(source, tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.5)
    store, _ = search(source, tmp_path, 2)
    study = optuna.load_study(study_name="study", storage=store.optuna)
    [theirs] = unmeasured(store)
    trial, run = begin_as_a_dead_driver(store, study, theirs, on="elsewhere")
    alive = ExitStack()
    alive.enter_context(heartbeat.heartbeat(store, run, {}, started=0.0))
    found = {}

    def wait(seconds):
        if not found and store.count("study").evaluated == 3:
            found.update(claims=store.claims("study"), trial=study.trials[trial.number])
            alive.close()
        sleep(seconds)

    sleep = time.sleep
    monkeypatch.setattr(heartbeat.time, "sleep", wait)
    _, outcome = search(source, tmp_path, 4)
    assert [claim.architecture.removal for claim in found["claims"]] == [theirs]
    assert found["trial"].state == TrialState.RUNNING
    assert outcome.ended == "budget spent"
    assert [record.removal for record in store.trial_records("study")][3:] == [theirs]


@pytest.mark.full
def test_a_driver_that_was_taken_for_dead_keeps_nothing(source, tmp_path):
    store, _ = search(source, tmp_path, 2)
    study = optuna.load_study(study_name="study", storage=store.optuna)
    [removal] = unmeasured(store)
    trial, run = begin_as_a_dead_driver(store, study, removal)
    search(source, tmp_path, 3)
    rungs = (RungResult(0, 1.0, 1.0),)
    late = TrialRecord(trial.number, Architecture(removal), rungs, 0.5, run, 1.0)
    before = store.load("study")
    assert store.record("study", late, tell=lambda: pytest.fail("told")) is None
    assert store.load("study") == before


@pytest.mark.full
def test_what_was_asked_for_but_not_claimed_is_queued_again(source, tmp_path):
    store, _ = search(source, tmp_path, 2)
    study = optuna.load_study(study_name="study", storage=store.optuna)
    [removal] = unmeasured(store)
    study.enqueue_trial({parameter_name(layer): layer in removal for layer in range(4)})
    trial = study.ask(distributions(SearchSpace((0, 1, 2, 3))))
    search(source, tmp_path, 3)
    assert study.trials[trial.number].state == TrialState.FAIL
    assert [h.removal for h in store.trial_records("study")][-1] == removal


@pytest.mark.full
def test_optuna_is_told_in_the_transaction_that_records(source, tmp_path):
    store, _ = search(source, tmp_path, 2)
    study = optuna.load_study(study_name="study", storage=store.optuna)
    [removal] = unmeasured(store)
    trial, run = begin_as_a_dead_driver(store, study, removal)
    before = store.load("study")

    def tell_and_fail():
        study.tell(trial, [0.5, 100.0, 1.0])
        raise KeyboardInterrupt

    rungs = (RungResult(0, 0.5, 1.0),)
    record = TrialRecord(trial.number, Architecture(removal), rungs, 0.5, run, 1.0)
    with pytest.raises(KeyboardInterrupt):
        store.record("study", record, tell=tell_and_fail)
    fresh = optuna.load_study(study_name="study", storage=SqlStudyStore.open(store.url).optuna)
    assert fresh.trials[trial.number].state == TrialState.RUNNING
    assert store.load("study") == before
    assert [claim.trial for claim in store.claims("study")] == [trial.number]


GOOD = tuple(map(RemovalSet.of, ([10], [7, 11], [7, 9, 11], [7, 8, 10, 11])))
HOPELESS = tuple(RemovalSet.of(layers) for layers in ([0, 1, 5], [0, 3, 7], [0, 4, 8]))


@pytest.fixture(scope="module")
def digits():
    data = digits_images()
    return Source(digits_model(), data, "digits")


@pytest.fixture(scope="module")
def early_stopped(digits, tmp_path_factory):
    """A search with rungs: four good sets go to the end, then come three bad ones."""
    folder = tmp_path_factory.mktemp("early_stopped")
    store, outcome = search(
        digits, folder, 7, layers=tuple(range(12)), max_removed=4, seeds=(*GOOD, *HOPELESS)
    )
    study = optuna.load_study(study_name="study", storage=store.optuna)
    return folder, store, outcome, study


@pytest.mark.full
def test_hopeless_trials_are_stopped_and_told_as_pruned(early_stopped):
    _, store, outcome, study = early_stopped
    stopped = {h.removal: h for h in store.trial_records("study") if h.stopped}
    assert set(stopped) >= set(HOPELESS)
    assert outcome.counts.stopped == len(stopped)
    for removal, record in stopped.items():
        assert [rung.rung for rung in record.rungs] == list(range(len(record.rungs)))
        assert len(record.rungs) < 3
        told = study.trials[record.trial]
        assert told.state == TrialState.PRUNED
        assert told.user_attrs[RUNGS] == [rung.accuracy for rung in record.rungs]
        assert told.user_attrs["reason"] == record.stopped
        assert told.user_attrs["removed"] == str(removal)
        rung = len(record.rungs) - 1
        assert record.stopped.startswith(f"rung {rung}: ")
        assert "at no higher price" in record.stopped


@pytest.mark.full
def test_trials_that_went_to_the_end_have_all_rungs(early_stopped):
    _, store, outcome, study = early_stopped
    complete = [h for h in store.trial_records("study") if h.stopped is None]
    assert len(complete) == outcome.counts.complete >= 3
    for record in complete:
        told = study.trials[record.trial]
        assert told.state == TrialState.COMPLETE
        assert told.user_attrs[RUNGS] == [rung.accuracy for rung in record.rungs]
        assert len(record.rungs) == 3


@pytest.mark.full
def test_stopped_trials_count_and_leave_no_weights(early_stopped):
    _, store, outcome, study = early_stopped
    assert outcome.ended == "budget spent"
    assert outcome.counts.evaluated == len(store.trial_records("study")) == 7
    reasons = [
        trial.user_attrs["reason"]
        for trial in study.get_trials(states=(TrialState.PRUNED,))
        if RUNGS not in trial.user_attrs
    ]
    assert outcome.counts.rejected == len(reasons)
    assert not any(reason.startswith("rung ") for reason in reasons)
    front = store.front("study")
    assert {point.trial for point in front} <= {point.trial for point in store.trials("study")}
    weights = weights_of(store, "study")
    assert {*weights.folder.iterdir()} == {weights.file(point.trial) for point in front}


@pytest.mark.full
def test_a_resumed_search_leaves_stopped_sets_alone(early_stopped, digits):
    folder, store, _, _ = early_stopped
    before = store.trial_records("study")
    _, outcome = search(digits, folder, 8, layers=tuple(range(12)), max_removed=4, seeds=HOPELESS)
    after = store.trial_records("study")
    assert after[:7] == before
    assert len({record.removal for record in after}) == len(after) == 8
    assert outcome.counts.evaluated == 8


@pytest.mark.parametrize(
    ("constraints", "priced", "message"),
    [
        (Constraints(max_params=1000), False, "nearest to max_params 1000: 3 layers removed, "),
        (
            Constraints(max_memory_bytes=1000),
            True,
            "nearest to max_memory 0.001MB: 3 layers removed",
        ),
        (Constraints(min_speedup=90), True, r"nearest to min_speedup 90: \d layers? removed"),
    ],
)
def test_infeasible_limits_end_before_any_work(source, tmp_path, constraints, priced, message):
    store = SqlStudyStore.open(f"sqlite:///{tmp_path}/study.db")
    stages, limited = [], settings(3, constraints=constraints)

    class Stages(Silent):
        @contextmanager
        def stage(self, label, total):
            stages.append(label)
            yield lambda detail="": None

    with pytest.raises(InfeasibleError, match=message):
        session.search(
            session.Session(source, limited, store, "study", store.weights_root),
            progress=Stages(),
            command="test",
        )
    assert stages == (["Measuring throughput and memory"] if priced else [])
    assert store.studies() == []
    assert optuna.get_all_study_names(store.optuna) == []
    assert not store.weights_root.exists()


def test_infeasible_limits_leave_a_finished_study_as_it_was(finished, source):
    folder, store, _, study = finished
    before = store.trial_records("study"), store.front("study"), len(study.trials)
    with pytest.raises(InfeasibleError, match="nearest to max_params 1000: 3 layers removed"):
        search(source, folder, 50, constraints=Constraints(max_params=1000))
    assert (store.trial_records("study"), store.front("study"), len(study.trials)) == before
