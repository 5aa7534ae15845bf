"""Turns the rows of a study into values."""

from collections.abc import Iterable, Sequence
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
from lambda_nas.records.study import StudyInfo, StudyRecord
from lambda_nas.records.trial import ParetoTrial, RungResult, TrialRecord
from lambda_nas.store.schema import PriceRow, PriorRow, StudyRow, TrialRow

_PRICE_FIELDS = tuple(Price.__dataclass_fields__)


def study_row(session: Session, name: str, *, lock: bool = False) -> StudyRow:
    """Return the row of a study.

    Raises:
        InputError: If no study has this name; the error lists those there are.
    """
    query = select(StudyRow).where(StudyRow.name == name)
    if lock:
        # Two searches of one study: the second must see the trial that the first is recording,
        # or its front lacks it. SQLite has no row locks and needs none, with one writer at a time.
        query = query.with_for_update()
    row = session.scalar(query)
    if row is None:
        names = session.scalars(select(StudyRow.name).order_by(StudyRow.id)).all()
        raise InputError(
            "there is no such study" if names else "the database holds no study yet",
            parameter="study",
            value=name,
            allowed=f"one of {', '.join(names)}" if names else None,
        )
    return row


def study_info(session: Session, row: StudyRow) -> StudyInfo:
    """Return what a study is about."""
    prices = price_table(session, row)
    if not {*row.layers} <= {*prices.attention()}:
        raise ValueError(f"lambda_studies.layers of {row.name}: one is in none of the stages")
    return StudyInfo(
        uuid=row.uuid,
        name=row.name,
        model=row.model,
        model_fingerprint=row.model_fingerprint,
        data=row.data,
        data_fingerprint=row.data_fingerprint,
        device=row.device,
        layers=tuple(row.layers),
        seed=row.seed,
        baseline_accuracy=row.baseline_accuracy,
        baseline=prices.unpruned,
        settings=row.settings,
    )


def price_table(session: Session, study: StudyRow) -> PriceTable:
    """Return the prices by cost signature."""
    rows = session.scalars(select(PriceRow).where(PriceRow.study_id == study.id))
    by_signature = {
        tuple(map(int, row.signature.split(","))): Price(
            **{field: getattr(row, field) for field in _PRICE_FIELDS}
        )
        for row in rows
    }
    merged = None if study.merged is None else _merged_prices().validate_python(study.merged)
    return PriceTable(tuple(map(tuple, study.stages)), by_signature, merged)


@cache
def _merged_prices() -> TypeAdapter[MergedPrices]:
    """Return the adapter; building it takes a while, so the first study that needs it does."""
    return TypeAdapter(MergedPrices)


def trial_rows(session: Session, study_id: int) -> Sequence[TrialRow]:
    """Return the evaluated trials in order, with their measurements."""
    return session.scalars(
        select(TrialRow)
        .where(TrialRow.study_id == study_id)
        .order_by(TrialRow.number)
        .options(selectinload(TrialRow.measurements))
    ).all()


def trial_record(row: TrialRow, prices: PriceTable) -> TrialRecord:
    """Return an evaluated trial with all its rungs.

    Raises:
        LookupError: If its architecture has no price.
        ValueError: If it has no measurements.
    """
    architecture = Architecture.parse(row.architecture)
    prices.of(architecture)
    if not row.measurements:
        raise ValueError(f"trial {row.number} has no measurements")
    return TrialRecord(
        trial=row.number,
        architecture=architecture,
        rungs=tuple(
            RungResult(rung.rung, rung.accuracy, rung.seconds) for rung in row.measurements
        ),
        score=row.score,
        run=row.run_id,
        elapsed_s=row.elapsed_s,
        stopped=row.stopped,
    )


def check_references(study: StudyRecord) -> None:
    """Check that the trials of a study are of its runs and of its model's layers.

    Raises:
        LookupError: If not.
    """
    runs, layers = {run.id for run in study.runs}, {*study.prices.attention()}
    for trial in study.trials:
        if trial.run not in runs:
            raise LookupError(f"trial {trial.trial} is of run {trial.run}, which the study lacks")
        if not {*trial.removal} <= layers:
            raise LookupError(f"trial {trial.trial} removes {trial.removal}: no such layers")


def pareto_trials(rows: Iterable[TrialRow], prices: PriceTable) -> list[ParetoTrial]:
    """Return those of the trials that completed their last rung, each with its best rung."""
    found = []
    for row in rows:
        if row.stopped is not None:
            continue
        best = max(row.measurements, key=lambda rung: rung.accuracy)
        architecture = Architecture.parse(row.architecture)
        found.append(
            ParetoTrial(
                trial=row.number,
                architecture=architecture,
                accuracy=best.accuracy,
                rung=best.rung,
                price=prices.of(architecture),
            )
        )
    return found


def prior(session: Session, study_id: int) -> dict[str, Any] | None:
    """Return the prior, or ``None`` if it has not been saved."""
    row = session.get(PriorRow, study_id)
    return None if row is None else row.content
