"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
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
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("baseline_accuracy", sa.Double, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "lambda_prices",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_id", sa.Integer, sa.ForeignKey("lambda_studies.id"), nullable=False),
        sa.Column("removed_count", sa.Integer, nullable=False),
        sa.Column("throughput", sa.Double, nullable=False),
        sa.Column("speedup", sa.Double, nullable=False),
        sa.Column("latency_ms", sa.Double, nullable=False),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False),
        sa.Column("params", sa.BigInteger, nullable=False),
        sa.Column("macs", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("study_id", "removed_count"),
    )
    op.create_table(
        "lambda_priors",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "study_id", sa.Integer, sa.ForeignKey("lambda_studies.id"), nullable=False, unique=True
        ),
        sa.Column("content", sa.JSON, nullable=False),
    )
    op.create_table(
        "lambda_architectures",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_id", sa.Integer, sa.ForeignKey("lambda_studies.id"), nullable=False),
        sa.Column("trial", sa.Integer, nullable=False),
        # MySQL indexes no text of unknown length.
        sa.Column(
            "removed", sa.Text().with_variant(sa.String(255), "mysql", "mariadb"), nullable=False
        ),
        sa.Column("removed_count", sa.Integer, nullable=False),
        sa.Column("weights", sa.Text, nullable=True),
        sa.UniqueConstraint("study_id", "removed"),
        sa.UniqueConstraint("study_id", "trial"),
    )
    op.create_table(
        "lambda_measurements",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "architecture_id", sa.Integer, sa.ForeignKey("lambda_architectures.id"), nullable=False
        ),
        sa.Column("rung", sa.Integer, nullable=False),
        sa.Column("accuracy", sa.Double, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.UniqueConstraint("architecture_id", "rung"),
    )
    op.create_table(
        "lambda_fronts",
        sa.Column(
            "architecture_id",
            sa.Integer,
            sa.ForeignKey("lambda_architectures.id"),
            primary_key=True,
        ),
        sa.Column("study_id", sa.Integer, sa.ForeignKey("lambda_studies.id"), nullable=False),
    )
    op.create_index("ix_lambda_fronts_study_id", "lambda_fronts", ["study_id"])
