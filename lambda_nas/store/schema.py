"""The tables. All names begin with ``lambda_``: Optuna has tables ``studies`` and ``trials``."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Double,
    ForeignKey,
    String,
    Text,
    UniqueConstraint,
    event,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from lambda_nas.store.contents import (
    HOLDS,
    Count,
    Finite,
    Fraction,
    Hexadecimal,
    Index,
    Layers,
    NotNegative,
    Positive,
    Seconds,
    Stages,
    StoredPrior,
    StoredSettings,
    check_row,
)

NAME = 255
# Enough for 64 layers and more with their commas. MySQL indexes no text of unknown length.
ARCHITECTURE = 255


class Base(DeclarativeBase):
    """Base class of all rows."""

    # MySQL's FLOAT has 24 bits.
    type_annotation_map: ClassVar = {float: Double}


@event.listens_for(Base, "load", propagate=True)
def _check_row(row: Base, _context: object) -> None:
    check_row(row)


def _now() -> datetime:
    return datetime.now(UTC)


class StudyRow(Base):
    """One search over one model and one data set.

    ``uuid`` tells it from a study of the same name in another database. ``stages`` groups the
    model's removable layers by cost; ``layers`` lists those that the search may remove. ``merged``
    holds the prices of token merging and is null if the search space has none.
    """

    __tablename__ = "lambda_studies"

    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[Hexadecimal] = mapped_column(String(32), unique=True, index=True)
    name: Mapped[str] = mapped_column(String(NAME), unique=True)
    model: Mapped[str] = mapped_column(Text)
    model_fingerprint: Mapped[str] = mapped_column(String(64))
    data: Mapped[str] = mapped_column(Text)
    data_fingerprint: Mapped[str] = mapped_column(String(64))
    device: Mapped[str] = mapped_column(Text)
    layers: Mapped[Layers] = mapped_column(JSON)
    stages: Mapped[Stages] = mapped_column(JSON)
    merged: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    seed: Mapped[int]
    baseline_accuracy: Mapped[Fraction]
    settings: Mapped[dict[str, Any]] = mapped_column(JSON, info={HOLDS: StoredSettings})
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=_now)


class RunRow(Base):
    """One driver process that worked on a study.

    ``heartbeats`` increases while the driver is alive; ``seconds`` is how long it has been.
    ``spent`` maps each stage of the work before the first trial to the seconds it took.
    """

    __tablename__ = "lambda_runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id), index=True)
    machine: Mapped[str] = mapped_column(String(NAME))
    pid: Mapped[Index]
    device: Mapped[str] = mapped_column(Text)
    model_fingerprint: Mapped[str] = mapped_column(String(64))
    data_fingerprint: Mapped[str] = mapped_column(String(64))
    versions: Mapped[dict[str, str]] = mapped_column(JSON)
    seed: Mapped[int]
    workers: Mapped[Count]
    command: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=_now)
    heartbeats: Mapped[Index] = mapped_column(BigInteger, default=0)
    seconds: Mapped[NotNegative] = mapped_column(default=0.0)
    ended: Mapped[bool] = mapped_column(default=False)
    spent: Mapped[Seconds] = mapped_column(JSON)


class ClaimRow(Base):
    """An architecture that a run is evaluating as a trial: no other run may.

    The row goes when the trial is recorded or given up. ``architecture`` is written as in
    ``TrialRow``.
    """

    __tablename__ = "lambda_claims"

    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id), primary_key=True)
    architecture: Mapped[str] = mapped_column(String(ARCHITECTURE), primary_key=True)
    number: Mapped[Index]
    run_id: Mapped[int] = mapped_column(ForeignKey(RunRow.id), index=True)


class PriceRow(Base):
    """The price of a cost signature.

    ``signature`` is the number of layers removed in each of the study's stages, such as ``1,0,2``.
    """

    __tablename__ = "lambda_prices"
    __table_args__ = (UniqueConstraint("study_id", "signature"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id))
    signature: Mapped[str] = mapped_column(String(NAME))
    throughput: Mapped[Positive]
    speedup: Mapped[Positive]
    latency_ms: Mapped[Positive]
    memory_bytes: Mapped[Count] = mapped_column(BigInteger)
    params: Mapped[Count] = mapped_column(BigInteger)
    macs: Mapped[Count] = mapped_column(BigInteger)


class PriorRow(Base):
    """A study's prior."""

    __tablename__ = "lambda_priors"

    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id), primary_key=True)
    content: Mapped[dict[str, Any]] = mapped_column(JSON, info={HOLDS: StoredPrior})


class TrialRow(Base):
    """An evaluated trial; ``number`` is Optuna's.

    ``architecture`` is ``0,2,4``, or ``0,2,4 r=8 start=0`` with token merging. ``weights`` names
    the file that is kept while the trial is on the front. ``stopped`` says why a trial ended before
    its last rung. ``score`` is the prior's; ``elapsed_s`` is how long the run had lasted when it
    recorded the trial.
    """

    __tablename__ = "lambda_trials"
    __table_args__ = (
        UniqueConstraint("study_id", "architecture"),
        UniqueConstraint("study_id", "number"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id))
    number: Mapped[Index]
    architecture: Mapped[str] = mapped_column(String(ARCHITECTURE))
    weights: Mapped[str | None] = mapped_column(Text)
    stopped: Mapped[str | None] = mapped_column(Text)
    score: Mapped[Finite]
    run_id: Mapped[int] = mapped_column(ForeignKey(RunRow.id))
    elapsed_s: Mapped[NotNegative]
    measurements: Mapped[list["MeasurementRow"]] = relationship(order_by="MeasurementRow.rung")


class MeasurementRow(Base):
    """The accuracy of a trial at a rung."""

    __tablename__ = "lambda_measurements"
    __table_args__ = (UniqueConstraint("trial_id", "rung"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey(TrialRow.id))
    rung: Mapped[Index]
    accuracy: Mapped[Fraction]
    seconds: Mapped[NotNegative]
