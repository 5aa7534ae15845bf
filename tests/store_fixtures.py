"""Studies, prices and databases for the tests of several rooms."""

import hashlib
import os
from itertools import count

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import create_engine, make_url

from lambda_nas.cost.measurement import Price
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.records.run import ClaimResult, RunInfo
from lambda_nas.records.study import StudyInfo
from lambda_nas.records.trial import ParetoTrial, RungResult, TrialRecord
from lambda_nas.records.weights import StudyWeights
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.strategy.optuna_trials import DIRECTIONS, distributions, objectives

POSTGRES = "LAMBDA_NAS_TEST_POSTGRES"
MARIADB = "LAMBDA_NAS_TEST_MARIADB"
BY_NUMBER = {
    number: Price(
        throughput=100.0 + 10 * number,
        speedup=1 + number / 10,
        latency_ms=320 / (1 + number / 10),
        memory_bytes=5_000_000_000 - 100_000_000 * number,
        params=5_717_416 - 148_224 * number,
        macs=3_000_000_000 - 9 * number,
    )
    for number in range(6)
}
PRICES = PriceTable.by_number((0, 1, 2, 4, 5), BY_NUMBER)
SETTINGS = {
    "architecture": "deit_tiny_patch16_224",
    "model_args": {},
    "pretrained_cfg": {},
    "removed_before": [],
    "doubled_before": [],
    "data": "images: 20 calibration, 30 evaluation",
    "evaluation_images": 30,
    "max_removed": 5,
    "batch_size": 32,
    "rungs": 2,
    "repair": True,
    "seeds": [[0, 2]],
    "constraints": {"max_params": None},
}
PRIOR = {
    "score": "relative-entropy",
    "images": 20,
    "layers": [
        {
            "index": 0,
            "entropy_attn": -1.5,
            "entropy_mlp": 0.5,
            "transfer_entropy": 0.25,
            "relative_entropy": 0.125,
            "high_frequency": None,
        }
    ],
    "path": [{"added": 0, "removed": [0], "score": 0.125, "high_frequency": []}],
    "scored": [{"removed": [0], "score": 0.125}],
}
SPACE = SearchSpace((0, 1, 2, 4, 5))
_numbers = count()


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/new folder/study.db"


@pytest.fixture
def postgres_url():
    """A schema of its own for each test, dropped afterwards."""
    text = os.environ.get(POSTGRES)
    if not text:
        pytest.skip(f"{POSTGRES} holds no PostgreSQL URL")
    name = f"lambda_test_{os.getpid()}_{next(_numbers)}"
    admin = create_engine(text, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    url = make_url(text).update_query_dict({"options": f"-csearch_path={name}"})
    yield url.render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")
    admin.dispose()


@pytest.fixture
def mariadb_url():
    """A database of its own for each test, dropped afterwards."""
    text = os.environ.get(MARIADB)
    if not text:
        pytest.skip(f"{MARIADB} holds no MariaDB or MySQL URL")
    name = f"lambda_test_{os.getpid()}_{next(_numbers)}"
    admin = create_engine(text, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield make_url(text).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name}")
    admin.dispose()


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def url(request):
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def store(url):
    with SqlStudyStore.open(url) as opened:
        yield opened


def claim_and_record(store, study, record, **more):
    """Claim a trial for its run and record it, as a search does."""
    store.claim(study, record.architecture, record.trial, run=record.run, budget=None)
    return store.record(study, record, **more)


def fill(store, info, who):
    """Add a study: two finished trials, one on the front, one that was stopped, one in flight."""
    store.create_study(info, PRICES)
    run = store.begin_run(info.name, who)
    theirs = optuna.create_study(study_name=info.name, storage=store.optuna, directions=DIRECTIONS)
    results = [([0], (0.5, 0.75), None), ([0, 1], (0.7, 0.8), None), ([2], (0.1,), "rung 0: low")]
    for removed, accuracies, stopped in [*results, ([4], (), None)]:
        one = Architecture.of(removed)
        theirs.enqueue_trial(SPACE.to_params(one))
        trial = theirs.ask(distributions(SPACE))
        answer = store.claim(info.name, one, trial.number, run=run, budget=None)
        assert answer is ClaimResult.GRANTED
        rungs = tuple(RungResult(rung, value, 1.0) for rung, value in enumerate(accuracies))
        history = TrialRecord(trial.number, one, rungs, 0.5, run, 1.0, stopped)
        if stopped:
            state = {"state": TrialState.PRUNED}
        elif accuracies:
            state = {"values": objectives(store.load(info.name).pareto_trial(history))}
        else:
            continue
        store.record(info.name, history, tell=lambda t=trial, s=state: theirs.tell(t, **s))


def weights_of(store, study, root=None):
    """Return where the weights of a study are kept."""
    return StudyWeights.below(root or store.weights_root, study, store.study(study).uuid)


@pytest.fixture(scope="session")
def make_info():
    def make(name="deit-images", **changes):
        values = {
            "uuid": hashlib.sha256(name.encode()).hexdigest()[:32],
            "name": name,
            "model": "local-dir:" + "long/" * 100 + "deit",
            "model_fingerprint": "m" * 64,
            "data": "images",
            "data_fingerprint": "d" * 64,
            "device": "a processor",
            "layers": (0, 1, 2, 4, 5),
            "seed": 3,
            "baseline_accuracy": 0.8125,
            "baseline": PRICES.unpruned,
            "settings": SETTINGS,
        }
        return StudyInfo(**(values | changes))

    return make


@pytest.fixture(scope="session")
def who():
    return RunInfo(
        machine="host 4026531836",
        pid=4711,
        device="a processor",
        model_fingerprint="m" * 64,
        data_fingerprint="d" * 64,
        versions={"torch": "2.15.0", "optuna": "5.0.0"},
        seed=3,
        workers=2,
        command="lambda-nas search --budget '30 m'",
    )


@pytest.fixture
def prices():
    return PRICES


@pytest.fixture
def make_point():
    def make(trial, removed, accuracy, *, rung=0, price=None):
        one = Architecture.of(removed)
        return ParetoTrial(trial, one, accuracy, rung, price or PRICES.of(one))

    return make
