"""Studies, prices and databases for the tests of several rooms."""

import hashlib
import os
from itertools import count

import pytest
from sqlalchemy import create_engine, make_url

from lambda_nas.cost.measurement import Price
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.run import RunInfo
from lambda_nas.records.study import StudyInfo
from lambda_nas.records.trial import ParetoTrial
from lambda_nas.records.weights import StudyWeights
from lambda_nas.store.study_store import SqlStudyStore

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


def weights_of(store, study, root=None):
    """Return where the weights of a study are kept."""
    return StudyWeights.below(root or store.weights_root, store.study(study))


@pytest.fixture
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
            "settings": {"max_removed": 5, "constraints": {"max_params": None}, "seeds": [[0, 2]]},
        }
        return StudyInfo(**(values | changes))

    return make


@pytest.fixture
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
