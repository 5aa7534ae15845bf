import pytest

from lambda_nas.execution.settings import SearchTask
from lambda_nas.execution.time_limits import (
    ROOM,
    SHORTEST_LIMIT_S,
    foresee_seconds,
    limit_seconds,
)
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.trial import RungResult, TrialRecord
from lambda_nas.training.config import TrainConfig


def test_what_a_trial_takes_is_foreseen_from_its_images(source):
    data = source.data
    rungs = (
        TrainConfig(steps=5, batch_size=16, lr=0.1),
        TrainConfig(steps=10, batch_size=8, lr=0.1),
    )
    task = SearchTask(source.model.model, data.calibration, data.evaluation, None, rungs, "cpu")
    # 20 images each: those of calibration three times, three evaluations, four passes of 2 x 80.
    assert foresee_seconds(task, 100.0, workers=1) == (3 * 20 + 3 * 20 + 4 * 160) / 100
    assert foresee_seconds(task, 50.0, workers=3) == 3 * (3 * 20 + 3 * 20 + 4 * 160) / 50


@pytest.mark.parametrize(
    ("given", "foreseen", "took", "limit"),
    [
        (None, 0.1, [], SHORTEST_LIMIT_S),
        (None, 30.0, [], ROOM * 30),
        (None, 30.0, [20.0, 50.0, 1.0], ROOM * 50),
        (None, 0.1, [1.0], SHORTEST_LIMIT_S),
        (5.0, 30.0, [50.0], 5.0),
    ],
)
def test_the_limit_is_far_above_what_trials_took(given, foreseen, took, limit):
    evaluated = [
        TrialRecord(n, Architecture.of([n]), (RungResult(0, 0.5, s / 2),) * 2, 0.1, 1, 1.0)
        for n, s in enumerate(took)
    ]
    assert limit_seconds(given, foreseen, evaluated) == limit
