import sys
import time

import pytest
from ray import cloudpickle, tune
from ray.tune.search import Searcher
from silent import Silent

from lambda_nas.execution.cluster import ray_running
from lambda_nas.execution.settings import Budget, SearchTask, Settings
from lambda_nas.execution.time_limits import (
    ROOM,
    SHORTEST_LIMIT_S,
    TimeKeeper,
    foresee_seconds,
    limit_seconds,
)
from lambda_nas.execution.tuning import StopAtOnce
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


# Workers can't import the tests.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Hangs(tune.Trainable):
    """Hangs if it is told to."""

    def setup(self, config):
        self.reset_config(config)

    def reset_config(self, new_config):
        self.seconds = new_config["seconds"]
        return True

    def step(self):
        time.sleep(self.seconds)
        return {"done": True}


class Proposals(Searcher):
    """Stands in for the searcher: proposes trials that hang or not, and notes how they end."""

    evaluated = ()
    error = None

    def __init__(self, seconds, late_after=1e9):
        super().__init__()
        self.left, self.deadline = list(seconds), time.monotonic() + late_after
        self.is_over, self.ends = False, []

    def suggest(self, trial_id):
        return {"seconds": self.left.pop(0)} if self.left else Searcher.FINISHED

    def is_late(self):
        return time.monotonic() > self.deadline

    def give_back(self):
        self.is_over = True

    def on_trial_error(self, trial_id, reason):
        self.ends.append(reason)

    def on_trial_complete(self, trial_id, result=None, error=False):
        if not self.is_over:
            self.ends.append("error" if error else "done")

    def save(self, checkpoint_path):
        pass

    restore = save

    def __getstate__(self):
        return {}


@pytest.fixture(scope="module")
def one_ray():
    with ray_running(Settings(Budget(trials=1), 1, (0,)), Silent()):
        yield


def run(searcher, folder, limit):
    tune.Tuner(
        Hangs,
        tune_config=tune.TuneConfig(
            search_alg=searcher, num_samples=-1, max_concurrent_trials=1, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            storage_path=str(folder),
            verbose=0,
            callbacks=[TimeKeeper(searcher, given=limit, foreseen=0.0)],
            stop=StopAtOnce(searcher),
        ),
    ).fit()


@pytest.mark.full
@pytest.mark.usefixtures("one_ray")
def test_when_the_time_is_up_nobody_waits_for_a_worker_that_hangs(tmp_path):
    searcher = Proposals([3600, 0], late_after=15)
    run(searcher, tmp_path, limit=None)
    assert searcher.ends == []
    assert searcher.is_over
