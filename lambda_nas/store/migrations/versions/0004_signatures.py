"""Prices by cost signature: hierarchical models have a number of removed layers in each stage."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Take the studies so far for what they are: all their layers are of one stage."""
    database = op.get_bind()
    # MySQL has no default for JSON.
    op.add_column("lambda_studies", sa.Column("stages", sa.JSON, nullable=True))
    layers, stages = sa.column("layers", sa.JSON), sa.column("stages", sa.JSON)
    studies = sa.table("lambda_studies", sa.column("id"), layers, stages)
    for study in database.execute(sa.select(studies.c.id, studies.c.layers)).all():
        one = sa.update(studies).where(studies.c.id == study.id)
        database.execute(one.values(stages=[study.layers]))
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
    kept = ("id", "study_id", *(column.name for column in prices))
    old = sa.table("lambda_prices", sa.column("removed_count"), *map(sa.column, kept))
    rows = database.execute(sa.select(old)).mappings().all()
    op.bulk_insert(
        new,
        [
            {name: row[name] for name in kept} | {"signature": str(row["removed_count"])}
            for row in rows
        ],
    )
    op.drop_table("lambda_prices")
