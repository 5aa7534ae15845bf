"""Prices by cost signature: hierarchical models have a number of removed layers in each stage."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the stages of a study's model, unknown so far, and write the prices by signature."""
    op.add_column("lambda_studies", sa.Column("stages", sa.JSON, nullable=True))
    prices = (
        sa.Column("throughput", sa.Double, nullable=False),
        sa.Column("speedup", sa.Double, nullable=False),
        sa.Column("latency_ms", sa.Double, nullable=False),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False),
        sa.Column("params", sa.BigInteger, nullable=False),
        sa.Column("macs", sa.BigInteger, nullable=False),
    )
    new = op.create_table(
        "lambda_signatures",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_id", sa.Integer, sa.ForeignKey("lambda_studies.id"), nullable=False),
        sa.Column("signature", sa.String(255), nullable=False),
        *prices,
        sa.UniqueConstraint("study_id", "signature"),
    )
    # New ids, so that the database goes on counting behind them.
    kept = ("study_id", *(column.name for column in prices))
    old = sa.table("lambda_prices", sa.column("removed_count"), *map(sa.column, kept))
    rows = op.get_bind().execute(sa.select(old)).mappings().all()
    op.bulk_insert(
        new,
        [
            {name: row[name] for name in kept} | {"signature": str(row["removed_count"])}
            for row in rows
        ],
    )
    op.drop_table("lambda_prices")
