from datetime import datetime

import pytest
from store_fixtures import SETTINGS

from lambda_nas.cost.measurement import Price
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.front import non_dominated
from lambda_nas.records.run import Run, RunInfo
from lambda_nas.records.study import StudyInfo, StudyRecord
from lambda_nas.records.trial import RungResult, TrialRecord

BY_NUMBER = {
    number: Price(
        throughput=100.0 + 10 * number,
        speedup=1 + number / 10,
        latency_ms=320.0,
        memory_bytes=40_000_000 - number * 1_500_000,
        params=5_000_000 - number * 100_000,
        macs=1_000_000_000,
    )
    for number in range(5)
}
PRICES = PriceTable.by_number((0, 2, 3), BY_NUMBER)
PRIOR = {
    "score": "relative-entropy",
    "images": 100,
    "layers": [
        {
            "index": index,
            "entropy_attn": -10.0 + index,
            "entropy_mlp": 5.0 - index,
            "transfer_entropy": 2.0 * index - 1,
            "relative_entropy": 0.25 * index,
            "high_frequency": 0.25,
        }
        for index in (0, 2, 3)
    ],
    "path": [
        {"added": 2, "removed": [2], "score": 0.5, "high_frequency": [0.5, 0.25, 0.125, 0.0]},
        {"added": 0, "removed": [0, 2], "score": 0.75, "high_frequency": [0.25, 0.25, 0.75, 1.0]},
    ],
    "scored": [],
}


def trial(number, removed, *accuracies, **more):
    """A trial whose rungs take 4, 2 and 1 seconds."""
    rungs = [RungResult(rung, top1, 4 / 2**rung) for rung, top1 in enumerate(accuracies)]
    return TrialRecord(number, Architecture.of(removed), tuple(rungs), **more)


def run(number, seconds, spent, **changes):
    values = {
        "machine": "host",
        "pid": 1,
        "device": "a CPU",
        "model_fingerprint": "m" * 64,
        "data_fingerprint": "d" * 64,
        "versions": {"torch": "2.15"},
        "seed": 0,
        "workers": 1,
        "command": "lambda-nas search --storage postgresql://me:***@host/x",
    }
    began = datetime(2026, 11, 25, 3, 10)
    return Run(number, RunInfo(**(values | changes)), began, 3, seconds, True, spent)


TRIALS = (
    trial(0, [0, 2], 0.4, 0.5, score=0.5, run=7, elapsed_s=10.0),
    trial(1, [3], 0.75, score=0.25, run=7, elapsed_s=20.0),
    trial(2, [0, 2, 3], 0.1, stopped="hopeless", score=2.0, run=9, elapsed_s=5.0),
    trial(3, [0], 0.25, score=1.0, run=9, elapsed_s=15.0),
    trial(4, [0, 3], 0.79, score=0.125, run=9, elapsed_s=10.0),
)
RUNS = (
    run(7, 100.0, {"Starting Ray": 5.0, "Measuring the prior": 8.0}),
    run(9, 50.0, {"Starting Ray": 4.0}, workers=2),
)


@pytest.fixture
def make_study():
    def make(trials=TRIALS, runs=RUNS, prior=PRIOR, **changes):
        values = {
            "uuid": "0" * 32,
            "name": "study",
            "model": "local-dir:some/vit",
            "model_fingerprint": "m" * 64,
            "data": "images",
            "data_fingerprint": "d" * 64,
            "device": "a CPU",
            "layers": (0, 2, 3),
            "seed": 0,
            "baseline_accuracy": 0.8,
            "baseline": PRICES.unpruned,
            "settings": SETTINGS | {"seeds": [[0]]},
        }
        info = StudyInfo(**(values | changes))
        bare = StudyRecord(info, PRICES, prior, tuple(trials), (), tuple(runs))
        ended = [bare.pareto_trial(trial) for trial in trials if trial.stopped is None]
        return StudyRecord(info, PRICES, prior, bare.trials, tuple(non_dominated(ended)), bare.runs)

    return make
