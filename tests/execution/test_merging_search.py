"""A whole search that merges tokens as well: trials, prices, export, and taking it up again."""

from dataclasses import replace

import pytest
import timm
import torch
from silent import Silent
from store_fixtures import weights_of

from lambda_nas.api import session
from lambda_nas.cost.constraints import Constraints
from lambda_nas.cost.measurement import count_macs, peak_memory
from lambda_nas.errors import StudyMismatchError
from lambda_nas.execution.cluster import ray_running
from lambda_nas.execution.settings import Budget, Settings
from lambda_nas.exports.front_trial import build_trial, export_trial
from lambda_nas.models.merging import Merging
from lambda_nas.repair.transplant import transplant
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.store.doctor import examine
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.token_merging.blocks import merge_tokens
from lambda_nas.training.evaluation import evaluate

pytestmark = pytest.mark.full

MERGINGS = (Merging(1), Merging(4), Merging(4, start=1))
SETTINGS = Settings(Budget(trials=8), 3, (0, 1, 2, 3), MERGINGS, batch_size=8)


@pytest.fixture(scope="module", autouse=True)
def one_ray():
    with ray_running(SETTINGS, Silent()):
        yield


def search(source, folder, settings=SETTINGS):
    store, progress = SqlStudyStore.open(f"sqlite:///{folder}/study.db"), Silent()
    session.search(
        session.Session(source, settings, store, "s", store.weights_root),
        progress=progress,
        command="test",
    )
    assert progress.failures == []
    return store


@pytest.fixture(scope="module")
def searched(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("merging")
    return folder, search(source, folder)


def test_the_trials_mix_both_and_the_study_holds_together(searched):
    _, store = searched
    trials = store.trial_records("s")
    assert len({trial.architecture for trial in trials}) == len(trials) == 8
    assert {bool(trial.architecture.merging) for trial in trials} == {True, False}
    assert examine(store, "s").problems == ()


def test_a_trial_is_the_repaired_network_with_its_tokens_merged(searched, source):
    _, store = searched
    cache = ActivationCache(source.model.model, source.data.calibration)
    ((sample, _),) = source.data.evaluation.subset(torch.arange(8)).batches(8)
    merged = [point for point in store.trials("s") if point.architecture.merging]
    for point in merged:
        network = merge_tokens(transplant(cache, point.removal), point.architecture.merging)
        assert evaluate(network, source.data.evaluation).top1 == point.accuracy
        assert count_macs(network, sample[:1]) == point.price.macs
        assert peak_memory(network, sample) == point.price.memory_bytes


def test_what_is_exported_merges_and_is_what_was_measured(searched, source, tmp_path):
    _, store = searched
    info, front, weights = store.study("s"), store.front("s"), weights_of(store, "s")
    assert any(point.architecture.merging for point in front)
    for point in front:
        export_trial(info, point, weights, tmp_path / str(point.trial))
        loaded = timm.create_model(f"local-dir:{tmp_path / str(point.trial)}", pretrained=True)
        for network in (loaded.eval(), build_trial(info, point, weights)):
            assert evaluate(network, source.data.evaluation).top1 == point.accuracy


@pytest.mark.full
def test_the_same_search_goes_on_and_another_one_is_refused(searched, source):
    folder, store = searched
    before = store.trial_records("s")
    search(source, folder, replace(SETTINGS, budget=Budget(trials=10)))
    assert store.trial_records("s")[:8] == before
    assert len(store.trial_records("s")) == 10
    with pytest.raises(StudyMismatchError, match="now given: none: give the same space"):
        search(source, folder, replace(SETTINGS, mergings=()))


@pytest.mark.full
def test_limits_that_only_merging_keeps(searched, source):
    folder, store = searched
    before, prices = len(store.trials("s")), store.prices("s")
    least = min(price.memory_bytes for price in prices.by_signature.values())
    constraints = Constraints(max_memory_bytes=least - 1)
    budget = Budget(trials=len(store.trial_records("s")) + 3)
    search(source, folder, replace(SETTINGS, constraints=constraints, budget=budget))
    later = store.trials("s")[before:]
    assert len(later) == 3
    for point in later:
        assert point.architecture.merging
        assert point.price.memory_bytes < least
