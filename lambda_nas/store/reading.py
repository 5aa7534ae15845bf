"""Rows of a study as values."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from lambda_nas.cost.measurement import Price
from lambda_nas.cost.merged_prices import MergedPrices
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.errors import InputError
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.study import StudyInfo
from lambda_nas.records.trial import ParetoTrial, RungResult, TrialRecord
from lambda_nas.store import schema

_PRICE_FIELDS = tuple(Price.__dataclass_fields__)


def study(session: Session, name: str, *, lock: bool = False) -> schema.StudyRow:
    """Return the row of a study; raise ``InputError``, which lists those there are."""
    query = select(schema.StudyRow).where(schema.StudyRow.name == name)
    if lock:
        # Two searches of one study: the second must see the trial that the first is recording,
        # or its front lacks it. SQLite has no row locks and needs none, with one writer at a time.
        query = query.with_for_update()
    row = session.scalar(query)
    if row is None:
        names = session.scalars(select(schema.StudyRow.name).order_by(schema.StudyRow.id)).all()
        there = f"there are {', '.join(names)}" if names else "there is none yet"
        raise InputError(f"no study is named {name}; {there}")
    return row


def info(session: Session, row: schema.StudyRow) -> StudyInfo:
    """Return what a study is about."""
    return StudyInfo(
        name=row.name,
        model=row.model,
        model_fingerprint=row.model_fingerprint,
        data=row.data,
        data_fingerprint=row.data_fingerprint,
        device=row.device,
        layers=tuple(row.layers),
        seed=row.seed,
        baseline_accuracy=row.baseline_accuracy,
        baseline=prices(session, row).unpruned,
        settings=row.settings,
    )


def prices(session: Session, study: schema.StudyRow) -> PriceTable:
    """Return the prices by cost signature."""
    rows = session.scalars(select(schema.PriceRow).where(schema.PriceRow.study_id == study.id))
    by_signature = {
        tuple(map(int, row.signature.split(","))): Price(
            **{field: getattr(row, field) for field in _PRICE_FIELDS}
        )
        for row in rows
    }
    stages = tuple(map(tuple, study.stages or [study.layers]))
    merged = None if study.merged is None else _merged_prices().validate_python(study.merged)
    return PriceTable(stages, by_signature, merged)


@cache
def _merged_prices() -> TypeAdapter[MergedPrices]:
    """Return what reads them; made when the first study needs it, for it takes a while."""
    return TypeAdapter(MergedPrices)


def _architectures(session: Session, study_id: int) -> Iterable[schema.TrialRow]:
    return session.scalars(
        select(schema.TrialRow)
        .where(schema.TrialRow.study_id == study_id)
        .options(selectinload(schema.TrialRow.measurements))
    )


def points(session: Session, study: schema.StudyRow) -> dict[int, ParetoTrial]:
    """Return the trials that went to the end by architecture id, each with its best rung."""
    priced = prices(session, study)
    points = {}
    for row in _architectures(session, study.id):
        if row.stopped is not None:
            continue
        best = max(row.measurements, key=lambda rung: rung.accuracy)
        architecture = Architecture.parse(row.removed)
        points[row.id] = ParetoTrial(
            trial=row.trial,
            architecture=architecture,
            accuracy=best.accuracy,
            rung=best.rung,
            price=priced.of(architecture),
            weights=row.weights,
        )
    return points


def trial_records(session: Session, study_id: int) -> list[TrialRecord]:
    """Return all evaluated trials in order, those that were stopped early too."""
    found = [
        TrialRecord(
            trial=row.trial,
            architecture=Architecture.parse(row.removed),
            rungs=tuple(
                RungResult(rung.rung, rung.accuracy, rung.seconds) for rung in row.measurements
            ),
            stopped=row.stopped,
            score=row.score,
            run=row.run_id,
            elapsed_s=row.elapsed_s,
        )
        for row in _architectures(session, study_id)
    ]
    return sorted(found, key=lambda history: history.trial)


def front(session: Session, study: schema.StudyRow) -> list[ParetoTrial]:
    """Return the front as it was stored, slowest first."""
    by_id = points(session, study)
    query = select(schema.FrontMember.architecture_id).where(
        schema.FrontMember.study_id == study.id
    )
    members = [by_id[architecture_id] for architecture_id in session.scalars(query)]
    return sorted(members, key=lambda point: (point.price.throughput, point.trial))


def prior(session: Session, study_id: int) -> dict[str, Any] | None:
    """Return the prior if it has been measured."""
    query = select(schema.PriorRow.content).where(schema.PriorRow.study_id == study_id)
    return session.scalar(query)
