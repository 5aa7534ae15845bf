"""Tables. All are named ``lambda_*``: Optuna has a table ``studies`` of its own."""

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
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAME = 255
# 64 layers and more, with their commas.
REMOVED = 255


class Base(DeclarativeBase):
    """Base of all our tables."""

    # MySQL's FLOAT has 24 bits.
    type_annotation_map: ClassVar = {float: Double}


def _now() -> datetime:
    return datetime.now(UTC)


class StudyRow(Base):
    """One search over one model and one data set.

    ``stages`` are the model's removable layers in groups of equal cost, one group in studies from
    before revision 0004, where it is null; ``layers`` are those that the search may remove.
    ``merged`` is what merging tokens changes of the prices, null where it is no choice.
    """

    __tablename__ = "lambda_studies"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME), unique=True)
    model: Mapped[str] = mapped_column(Text)
    model_fingerprint: Mapped[str] = mapped_column(String(64))
    data: Mapped[str] = mapped_column(Text)
    data_fingerprint: Mapped[str] = mapped_column(String(64))
    device: Mapped[str] = mapped_column(Text)
    layers: Mapped[list[int]] = mapped_column(JSON)
    stages: Mapped[list[list[int]] | None] = mapped_column(JSON)
    merged: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    seed: Mapped[int]
    baseline_accuracy: Mapped[float]
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=_now)


class RunRow(Base):
    """One driver process that worked on a study: who measured what, and whether it still lives.

    ``heartbeats`` counts up while the driver lives; ``seconds`` is how long it has. ``spent`` is
    seconds by stage of the work before any trial.
    """

    __tablename__ = "lambda_runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id), index=True)
    machine: Mapped[str] = mapped_column(String(NAME))
    pid: Mapped[int]
    device: Mapped[str] = mapped_column(Text)
    model_fingerprint: Mapped[str] = mapped_column(String(64))
    data_fingerprint: Mapped[str] = mapped_column(String(64))
    versions: Mapped[dict[str, str]] = mapped_column(JSON)
    seed: Mapped[int]
    workers: Mapped[int]
    command: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=_now)
    heartbeats: Mapped[int] = mapped_column("beats", BigInteger, default=0)
    seconds: Mapped[float] = mapped_column(default=0.0)
    ended: Mapped[bool] = mapped_column(default=False)
    spent: Mapped[dict[str, float]] = mapped_column(JSON)


class ClaimRow(Base):
    """What a driver is measuring: no other may, until it is recorded or given up.

    ``removed`` is as in ``Architecture``.
    """

    __tablename__ = "lambda_claims"

    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id), primary_key=True)
    removed: Mapped[str] = mapped_column(String(REMOVED), primary_key=True)
    trial: Mapped[int]
    run_id: Mapped[int] = mapped_column(ForeignKey(RunRow.id), index=True)


class PriceRow(Base):
    """What a cost signature costs.

    ``signature`` is the number of layers removed in each of the study's stages, such as ``1,0,2``.
    """

    __tablename__ = "lambda_signatures"
    __table_args__ = (UniqueConstraint("study_id", "signature"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id))
    signature: Mapped[str] = mapped_column(String(NAME))
    throughput: Mapped[float]
    speedup: Mapped[float]
    latency_ms: Mapped[float]
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    params: Mapped[int] = mapped_column(BigInteger)
    macs: Mapped[int] = mapped_column(BigInteger)


class PriorRow(Base):
    """Everything known before any rung."""

    __tablename__ = "lambda_priors"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id), unique=True)
    content: Mapped[dict[str, Any]] = mapped_column(JSON)


class TrialRow(Base):
    """What a trial has measured: a removal set, with tokens merged or not.

    ``removed`` is ``0,2,4``, or ``0,2,4 r=8 start=0``; ``stopped`` says why a trial did not go to
    its last rung. ``score`` is the prior's, ``elapsed_s`` how long its run had lasted when it was
    recorded; both, and the run, are unknown of trials from before revision 0003.
    """

    __tablename__ = "lambda_architectures"
    __table_args__ = (
        UniqueConstraint("study_id", "removed"),
        UniqueConstraint("study_id", "trial"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id))
    trial: Mapped[int]
    removed: Mapped[str] = mapped_column(
        # MySQL indexes no text of unknown length.
        Text().with_variant(String(REMOVED), "mysql", "mariadb")
    )
    removed_count: Mapped[int]
    weights: Mapped[str | None] = mapped_column(Text)
    stopped: Mapped[str | None] = mapped_column(Text)
    score: Mapped[float | None]
    run_id: Mapped[int | None] = mapped_column(ForeignKey(RunRow.id))
    elapsed_s: Mapped[float | None]
    measurements: Mapped[list["MeasurementRow"]] = relationship(order_by="MeasurementRow.rung")


class MeasurementRow(Base):
    """The accuracy of an architecture at a rung."""

    __tablename__ = "lambda_measurements"
    __table_args__ = (UniqueConstraint("architecture_id", "rung"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    architecture_id: Mapped[int] = mapped_column(ForeignKey(TrialRow.id))
    rung: Mapped[int]
    accuracy: Mapped[float]
    seconds: Mapped[float]


class FrontMember(Base):
    """An architecture that no other dominates."""

    __tablename__ = "lambda_fronts"

    architecture_id: Mapped[int] = mapped_column(ForeignKey(TrialRow.id), primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id), index=True)
