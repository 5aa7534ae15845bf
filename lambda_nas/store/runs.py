"""Runs and their claims."""

from collections.abc import Mapping
from dataclasses import asdict

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from lambda_nas.models.architecture import Architecture
from lambda_nas.records.run import Claim, ClaimCounts, ClaimResult, Run, RunInfo
from lambda_nas.store.schema import ClaimRow, RunRow, TrialRow
from lambda_nas.store.urls import shown_command

_INFO_FIELDS = tuple(RunInfo.__dataclass_fields__)


def begin(session: Session, study_id: int, info: RunInfo) -> int:
    """Add a run and return its id."""
    values = asdict(info) | {"command": shown_command(info.command)}
    row = RunRow(study_id=study_id, spent={}, **values)
    session.add(row)
    session.flush()
    return row.id


def record_heartbeat(
    session: Session, run: int, seconds: float, spent: Mapping[str, float], *, ended: bool
) -> None:
    """Count a heartbeat and store how long the run has lasted."""
    session.execute(
        update(RunRow)
        .where(RunRow.id == run)
        .values(heartbeats=RunRow.heartbeats + 1, seconds=seconds, spent=dict(spent), ended=ended)
    )


def mark_dead(session: Session, run: int) -> None:
    """Record that a run's driver is gone."""
    session.execute(update(RunRow).where(RunRow.id == run).values(ended=True))


def of_study(session: Session, study_id: int) -> tuple[Run, ...]:
    """Return the runs of a study in order."""
    query = select(RunRow).where(RunRow.study_id == study_id).order_by(RunRow.id)
    return tuple(_run(row) for row in session.scalars(query))


def claims(session: Session, study_id: int) -> list[Claim]:
    """Return the claims of a study by trial number."""
    query = (
        select(ClaimRow, RunRow)
        .join(RunRow, RunRow.id == ClaimRow.run_id)
        .where(ClaimRow.study_id == study_id)
        .order_by(ClaimRow.number)
    )
    return [
        Claim(Architecture.parse(claim.architecture), claim.number, _run(run))
        for claim, run in session.execute(query).tuples()
    ]


def count(session: Session, study_id: int) -> ClaimCounts:
    """Count the evaluated trials and the claims."""
    return ClaimCounts(
        *(
            session.scalar(select(func.count()).where(table.study_id == study_id)) or 0
            for table in (TrialRow, ClaimRow)
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
    """Claim an architecture for a run unless it is evaluated or claimed already."""
    written = architecture.written()
    for table in (TrialRow, ClaimRow):
        there = select(table.number).where(
            table.study_id == study_id, table.architecture == written
        )
        if session.scalar(there) is not None:
            return ClaimResult.TAKEN
    counts = count(session, study_id)
    if budget is not None and counts.evaluated + counts.claimed >= budget:
        return ClaimResult.SPENT
    session.add(ClaimRow(study_id=study_id, architecture=written, number=trial, run_id=run))
    return ClaimResult.GRANTED


def release(session: Session, study_id: int, trial: int) -> bool:
    """Delete the claim of a trial; return whether there was one."""
    query = select(ClaimRow).where(ClaimRow.study_id == study_id, ClaimRow.number == trial)
    row = session.scalar(query)
    if row is not None:
        session.delete(row)
    return row is not None


def _run(row: RunRow) -> Run:
    values = {field: getattr(row, field) for field in _INFO_FIELDS}
    # Earlier versions stored it as it was given.
    values["command"] = shown_command(row.command)
    return Run(
        id=row.id,
        info=RunInfo(**values),
        started_at=row.started_at,
        heartbeats=row.heartbeats,
        seconds=row.seconds,
        ended=row.ended,
        spent=row.spent,
    )
