"""A database of each schema version is kept; each must open and read the same."""

import json
import sqlite3
from pathlib import Path

import pytest

from lambda_nas.cost.measurement import Price
from lambda_nas.cost.merged_prices import MergedPrices
from lambda_nas.cost.merging_work import BlockWork, MergingWork
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import Merging
from lambda_nas.records.trial import ParetoTrial, RungResult, TrialRecord
from lambda_nas.store.store import Store

FOLDER = Path(__file__).parent
REVISIONS = sorted(path.stem.removeprefix("revision_") for path in FOLDER.glob("revision_*.sql"))
HOPELESS = TrialRecord(
    5,
    Architecture.of([1, 2]),
    (RungResult(0, 0.125, 1.0),),
    "rung 0: 12.5%, at most 20.0% expected at the end, can't reach the front: "
    "trial 1 {0,2} has 25.0%",
)
SCORED = TrialRecord(
    6, Architecture.of([0, 1]), (RungResult(0, 0.125, 1.0),), "rung 0: hopeless", 0.5, 1, 12.5
)
LATER = [HOPELESS, SCORED]
STOPPED = {"0001": [], "0002": [HOPELESS]}
VERSIONS = FOLDER.parents[1] / "lambda_nas" / "store" / "migrations" / "versions"


def test_each_revision_has_its_database():
    assert [path.name[:4] for path in sorted(VERSIONS.glob("*.py"))] == REVISIONS


@pytest.mark.parametrize("revision", REVISIONS)
def test_old_database_opens(revision, tmp_path):
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.executescript((FOLDER / f"revision_{revision}.sql").read_text())
    store = Store.open(f"sqlite:///{tmp_path}/old.db", create=False)

    prices = {
        n: Price(100.0 + n, 1 + n / 4, 320.0, 40_000_000 - n, 5_000_000 - n, 1_000_000 - n)
        for n in range(3)
    }
    info = store.study("old")
    assert (info.model, info.layers, info.seed) == ("deit", (0, 1, 2), 7)
    assert info.settings == {"max_removed": 2}
    assert store.prices("old") == PriceTable.by_number((0, 1, 2), prices)
    assert store.prior("old") == {"path": [[1]]}
    first = ParetoTrial(0, Architecture.of([1]), 0.625, 1, prices[1], "/weights/0")
    second = ParetoTrial(1, Architecture.of([0, 2]), 0.25, 0, prices[2], None)
    assert store.trials("old") == store.front("old") == [first, second]
    assert store.trial_records("old") == [
        TrialRecord(0, first.architecture, (RungResult(0, 0.5, 1.0), RungResult(1, 0.625, 2.0))),
        TrialRecord(1, second.architecture, (RungResult(0, 0.25, 1.0),)),
        *STOPPED.get(revision, LATER),
    ]
    claims = store.claims("old")
    assert [(claim.architecture, claim.trial) for claim in claims] == (
        [(Architecture.of([2]), 7)] if revision >= "0003" else []
    )
    assert store.runs("old") == store.load("old").runs == tuple(claim.run for claim in claims)
    assert store.record(
        "old", TrialRecord(2, Architecture.of([0]), (RungResult(0, 0.125, 1.0),)), None
    ) == [
        first,
        second,
    ]


def test_prices_of_merging_in_the_form_of_0005(tmp_path):
    work = {"stream": 640, "whole": [30, 90], "merging": [[28, 80]], "bare": [[20, 70]]}
    works = [[{"r": 8, "start": start}, {"start": start, **work}] for start in (0, 1)]
    merged = {"power": 0.9, "overhead": 0.01, "works": works}
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.executescript((FOLDER / "revision_0005.sql").read_text())
        connection.execute("UPDATE lambda_studies SET merged = ?", [json.dumps(merged)])
    store = Store.open(f"sqlite:///{tmp_path}/old.db", create=False)
    expected = MergingWork(640, BlockWork(30, 90), (BlockWork(28, 80),), (BlockWork(20, 70),))
    mergings = (Merging(8), Merging(8, start=1))
    assert store.prices("old").merged == MergedPrices(0.9, 0.01, mergings, {8: expected})
