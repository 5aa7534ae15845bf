"""Who measured what: runs, their claims, and what is known of a trial besides its accuracy."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add runs and claims; the trials so far belong to no run that is known."""
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
        sa.Column("beats", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("ended", sa.Boolean, nullable=False),
        sa.Column("spent", sa.JSON, nullable=False),
    )
    op.create_index("ix_lambda_runs_study_id", "lambda_runs", ["study_id"])
    op.create_table(
        "lambda_claims",
        sa.Column("study_id", sa.Integer, sa.ForeignKey("lambda_studies.id"), primary_key=True),
        sa.Column("removed", sa.String(255), primary_key=True),
        sa.Column("trial", sa.Integer, nullable=False),
        sa.Column("run_id", sa.Integer, sa.ForeignKey("lambda_runs.id"), nullable=False),
    )
    op.create_index("ix_lambda_claims_run_id", "lambda_claims", ["run_id"])
    op.add_column("lambda_architectures", sa.Column("score", sa.Double, nullable=True))
    op.add_column("lambda_architectures", sa.Column("elapsed_s", sa.Double, nullable=True))
    op.add_column(
        "lambda_architectures",
        sa.Column("run_id", sa.Integer, sa.ForeignKey("lambda_runs.id"), nullable=True),
        # SQLite adds no constraint to a table that exists.
        inline_references=True,
    )
