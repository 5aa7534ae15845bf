"""Whole searches with real Ray workers, a real database and a tiny model."""

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

from lambda_nas import run
from lambda_nas.core.removal import RemovalSet
from lambda_nas.errors import StudyMismatchError
from lambda_nas.search.job import Budget, Settings
from lambda_nas.search.trials import OBJECTIVES, parameter_name
from lambda_nas.store.fronts import non_dominated
from lambda_nas.store.store import Store


class Silent:
    def __init__(self):
        self.failures = []

    @contextmanager
    def stage(self, label, total):
        yield lambda: None

    def trials(self, counts, front):
        pass

    def failed(self, removal, reason):
        self.failures.append((removal, reason))


def settings(trials, **changes):
    base = Settings(Budget(trials=trials), max_removed=3, layers=(0, 1, 2, 3), batch_size=8)
    return replace(base, **changes)


def search(source, folder, trials, name="study", **changes):
    store = Store.open(f"sqlite:///{folder}/study.db")
    progress = Silent()
    outcome = run.search(
        source,
        settings(trials, **changes),
        store=store,
        name=name,
        progress=progress,
        weights_root=folder / "weights",
    )
    assert progress.failures == []
    return store, outcome


@pytest.fixture(scope="module")
def finished(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    store, outcome = search(source, folder, 6, seeds=(RemovalSet.of([0, 3]),))
    study = optuna.load_study(study_name="study", storage=store.optuna_url)
    return folder, store, outcome, study


def test_budget_counts_finished_trials_only(finished):
    _, store, outcome, study = finished
    assert outcome.counts.complete == len(store.trials("study")) == 6
    assert outcome.counts.failed == 0
    assert outcome.stopped == "budget spent"
    assert not study.get_trials(states=(TrialState.RUNNING,))


def test_seeds_come_first_the_nose_path_before_named_sets(finished):
    _, store, _, _ = finished
    path = [RemovalSet.of(step["removed"]) for step in store.prior("study")["path"]]
    first = [point.removal for point in store.trials("study")][:4]
    assert [len(removal) for removal in path] == [1, 2, 3]
    assert set(first) >= {*path, RemovalSet.of([0, 3])}


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
            point.price.memory_bytes,
        ]
        assert trial.user_attrs["removed"] == str(point.removal)
        assert {layer for layer in range(4) if trial.params[parameter_name(layer)]} == set(
            point.removal
        )


def test_the_front_is_up_to_date_and_has_its_weights(finished):
    folder, store, outcome, _ = finished
    front = store.front("study")
    assert front == outcome.front == non_dominated(store.trials("study"))
    kept = {str(path) for path in (folder / "weights" / "study").iterdir()}
    assert kept == {point.weights for point in front}


def test_the_same_command_does_only_what_is_left(finished, source):
    folder, store, _, _ = finished
    prices = store.prices("study")
    _, outcome = search(source, folder, 8, seeds=(RemovalSet.of([0, 3]),))
    assert outcome.counts.complete == 8
    assert store.prices("study") == prices


def test_small_spaces_end_with_every_set_measured(source, tmp_path):
    store, outcome = search(source, tmp_path, 50, max_removed=1)
    assert outcome.stopped == "all sets within the limits are measured"
    assert [len(point.removal) for point in store.trials("study")] == [1, 1, 1, 1]


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


def test_a_dead_drivers_trial_is_settled_and_queued_again(finished, source):
    folder, store, _, study = finished
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    missing = RemovalSet.of([0, 1, 2])
    measured = {point.removal for point in store.trials("study")}
    if missing in measured:
        missing = next(
            r for r in map(RemovalSet.of, ([0, 1, 3], [0, 2, 3], [1, 2, 3])) if r not in measured
        )
    study.enqueue_trial({parameter_name(layer): layer in missing for layer in range(4)})
    from lambda_nas.search.trials import distributions, owner

    trial = study.ask(distributions(range(4)))
    trial.set_user_attr("owner", owner() | {"pid": int(gone.stdout)})
    _, outcome = search(source, folder, len(measured) + 1)
    assert study.trials[trial.number].state == TrialState.FAIL
    assert missing in {point.removal for point in store.trials("study")}
    assert outcome.counts.complete == len(measured) + 1
