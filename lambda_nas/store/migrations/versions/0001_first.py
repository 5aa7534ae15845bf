"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "lambda_studies",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False, unique=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("model_fingerprint", sa.String(64), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("data_fingerprint", sa.String(64), nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("layers", sa.JSON, nullable=False),
        sa.Column("stages", sa.JSON, nullable=False),
        sa.Column("merged", sa.JSON, nullable=True),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("baseline_accuracy", sa.Double, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "lambda_prices",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_id", sa.Integer, sa.ForeignKey("lambda_studies.id"), nullable=False),
        sa.Column("signature", sa.String(255), nullable=False),
        sa.Column("throughput", sa.Double, nullable=False),
        sa.Column("speedup", sa.Double, nullable=False),
        sa.Column("latency_ms", sa.Double, nullable=False),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False),
        sa.Column("params", sa.BigInteger, nullable=False),
        sa.Column("macs", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("study_id", "signature"),
    )
    op.create_table(
        "lambda_priors",
        sa.Column("study_id", sa.Integer, sa.ForeignKey("lambda_studies.id"), primary_key=True),
        sa.Column("content", sa.JSON, nullable=False),
    )
    op.create_table(
        "lambda_runs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_id", sa.Integer, sa.ForeignKey("lambda_studies.id"), nullable=False),
        sa.Column("machine", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("model_fingerprint", sa.String(64), nullable=False),
        sa.Column("data_fingerprint", sa.String(64), nullable=False),
        sa.Column("versions", sa.JSON, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("workers", sa.Integer, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeats", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("ended", sa.Boolean, nullable=False),
        sa.Column("spent", sa.JSON, nullable=False),
    )
    op.create_index("ix_lambda_runs_study_id", "lambda_runs", ["study_id"])
    op.create_table(
        "lambda_claims",
        sa.Column("study_id", sa.Integer, sa.ForeignKey("lambda_studies.id"), primary_key=True),
        sa.Column("architecture", sa.String(255), primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("run_id", sa.Integer, sa.ForeignKey("lambda_runs.id"), nullable=False),
    )
    op.create_index("ix_lambda_claims_run_id", "lambda_claims", ["run_id"])
    op.create_table(
        "lambda_trials",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_id", sa.Integer, sa.ForeignKey("lambda_studies.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("architecture", sa.String(255), nullable=False),
        sa.Column("weights", sa.Text, nullable=True),
        sa.Column("stopped", sa.Text, nullable=True),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("run_id", sa.Integer, sa.ForeignKey("lambda_runs.id"), nullable=False),
        sa.Column("elapsed_s", sa.Double, nullable=False),
        sa.UniqueConstraint("study_id", "architecture"),
        sa.UniqueConstraint("study_id", "number"),
    )
    op.create_table(
        "lambda_measurements",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("trial_id", sa.Integer, sa.ForeignKey("lambda_trials.id"), nullable=False),
        sa.Column("rung", sa.Integer, nullable=False),
        sa.Column("accuracy", sa.Double, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.UniqueConstraint("trial_id", "rung"),
    )
