"""Runs and what they have claimed."""

from collections.abc import Mapping
from dataclasses import asdict

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from lambda_nas.models.architecture import Architecture
from lambda_nas.records.run import Claim, ClaimCounts, ClaimResult, Run, RunInfo
from lambda_nas.store import schema

_INFO_FIELDS = tuple(RunInfo.__dataclass_fields__)


def begin(session: Session, study_id: int, info: RunInfo) -> int:
    """Add a run; return its id."""
    row = schema.RunRow(study_id=study_id, spent={}, **asdict(info))
    session.add(row)
    session.flush()
    return row.id


def record_heartbeat(
    session: Session, run: int, seconds: float, spent: Mapping[str, float], *, ended: bool
) -> None:
    """Count one up."""
    session.execute(
        update(schema.RunRow)
        .where(schema.RunRow.id == run)
        .values(
            heartbeats=schema.RunRow.heartbeats + 1, seconds=seconds, spent=dict(spent), ended=ended
        )
    )


def of_study(session: Session, study_id: int) -> tuple[Run, ...]:
    """Return the runs of a study in order."""
    query = (
        select(schema.RunRow).where(schema.RunRow.study_id == study_id).order_by(schema.RunRow.id)
    )
    return tuple(_run(row) for row in session.scalars(query))


def claims(session: Session, study_id: int) -> list[Claim]:
    """Return the claims of a study by trial."""
    query = (
        select(schema.ClaimRow, schema.RunRow)
        .join(schema.RunRow, schema.RunRow.id == schema.ClaimRow.run_id)
        .where(schema.ClaimRow.study_id == study_id)
        .order_by(schema.ClaimRow.trial)
    )
    return [
        Claim(Architecture.parse(claim.removed), claim.trial, _run(run))
        for claim, run in session.execute(query).tuples()
    ]


def count(session: Session, study_id: int) -> ClaimCounts:
    """Count what is evaluated and what is claimed."""
    return ClaimCounts(
        *(
            session.scalar(select(func.count()).where(table.study_id == study_id)) or 0
            for table in (schema.TrialRow, schema.ClaimRow)
        )
    )


def claim(
    session: Session,
    study_id: int,
    architecture: Architecture,
    trial: int,
    *,
    run: int,
    budget: int | None,
) -> ClaimResult:
    """Put a set into the hands of a run, unless it is measured or in another's."""
    removed = architecture.written()
    for table in (schema.TrialRow, schema.ClaimRow):
        there = select(table.trial).where(table.study_id == study_id, table.removed == removed)
        if session.scalar(there) is not None:
            return ClaimResult.TAKEN
    counts = count(session, study_id)
    if budget is not None and counts.evaluated + counts.claimed >= budget:
        return ClaimResult.SPENT
    session.add(schema.ClaimRow(study_id=study_id, removed=removed, trial=trial, run_id=run))
    return ClaimResult.GRANTED


def release(session: Session, study_id: int, trial: int) -> bool:
    """Drop the claim of a trial; say whether there was one."""
    mine = select(schema.ClaimRow).where(
        schema.ClaimRow.study_id == study_id, schema.ClaimRow.trial == trial
    )
    claim = session.scalar(mine)
    if claim is not None:
        session.delete(claim)
    return claim is not None


def _run(row: schema.RunRow) -> Run:
    return Run(
        id=row.id,
        info=RunInfo(**{field: getattr(row, field) for field in _INFO_FIELDS}),
        started_at=row.started_at,
        heartbeats=row.heartbeats,
        seconds=row.seconds,
        ended=row.ended,
        spent=row.spent,
    )
