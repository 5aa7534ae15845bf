"""Estimates from one timed pass: counted by hand for a small search."""

from dataclasses import replace

import pytest

from lambda_nas.cost.measurement import Price
from lambda_nas.execution import estimates
from lambda_nas.execution.estimates import ImageCounts, estimate
from lambda_nas.execution.settings import Budget, Settings
from lambda_nas.models.merging import Merging
from lambda_nas.training.config import TrainConfig

UNPRUNED = Price(
    throughput=10.0, speedup=1.0, latency_ms=400.0, memory_bytes=1_400, params=100, macs=1
)
IMAGES = ImageCounts(calibration=50, evaluation=30, training=70, image_bytes=3)
SETTINGS = Settings(Budget(trials=4), max_removed=2, layers=(0, 1, 2), batch_size=4)
RUNGS = (TrainConfig(steps=5, batch_size=8, lr=1.0), TrainConfig(steps=5, batch_size=8, lr=1.0))


def found(*, images=IMAGES, rungs=(), **settings):
    return estimate(UNPRUNED, 400, 4, images, rungs, replace(SETTINGS, **settings))


def test_times_by_hand():
    # A repair of 50 images three times over, and 30 evaluated, 10 a second.
    assert found().trial_s == pytest.approx((150 + 30) / 10 + estimates.TRIAL_OVERHEAD_S)
    trained = (150 + 3 * 30 + 4 * 80) / 10 + estimates.TRIAL_OVERHEAD_S
    assert found(rungs=RUNGS).trial_s == pytest.approx(trained)
    # 125 batches of 4 priced; the prior removes each of 4 layers, then another of 2.
    prior = 50 * (1 + (4 + 2) / 2)
    before = (500 + 30 + prior) / 10 + estimates.STARTING_S
    assert found().first_trial_s == pytest.approx(before)


def test_what_a_study_has_takes_no_time_again():
    def first(**has):
        found = estimate(UNPRUNED, 400, 4, IMAGES, (), SETTINGS, **has)
        return found.first_trial_s - estimates.STARTING_S

    prior = 50 * (1 + (4 + 2) / 2)
    assert first(is_priced=True) == pytest.approx(prior / 10)
    assert first(is_priced=True, has_prior=True) == 0


def test_the_front_has_one_trial_of_each_number_of_layers_and_way_to_merge():
    assert found().disk_bytes == (2 + 1) * 400
    # None, one or two layers, each without merging and with either way; the unpruned model is none.
    ways = (Merging(8, 0), Merging(8, 1))
    assert found(mergings=ways, workers=2).disk_bytes == (3 * 3 - 1 + 2) * 400


def test_workers_share_the_cores_and_have_memory_each():
    one, three = found(), found(workers=3)
    assert three.memory_bytes == 2 * one.memory_bytes
    assert three.trial_s - one.trial_s == pytest.approx(2 * 18)
    assert three.disk_bytes - one.disk_bytes == 2 * 400


def test_memory_by_hand():
    # 70 training images hold those for calibration; states of 50 images are bounded by 3 times
    # what a batch of 4 takes on its way.
    process = 100 * 3 + 2 * 400 + 50 * 1000 // 4 * 3 + 1000
    assert found().memory_bytes == 2 * (estimates.LIBRARIES_BYTES + process)
    trains = found(rungs=RUNGS).memory_bytes - found().memory_bytes
    assert trains == 2 * 3 * 400
