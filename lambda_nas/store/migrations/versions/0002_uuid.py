"""Gives each study an id of its own, and names files of weights without their folder."""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_STUDIES = sa.table("lambda_studies", sa.column("id"), sa.column("uuid"))
_TRIALS = sa.table("lambda_trials", sa.column("id"), sa.column("number"), sa.column("weights"))


def upgrade() -> None:
    """Add ``lambda_studies.uuid``, and cut the paths in ``lambda_trials.weights``."""
    # SQLite can't add a column that may not be null without a default.
    op.add_column(
        "lambda_studies", sa.Column("uuid", sa.String(32), nullable=False, server_default="")
    )
    connection = op.get_bind()
    for study in connection.scalars(sa.select(_STUDIES.c.id)).all():
        connection.execute(
            sa.update(_STUDIES).where(_STUDIES.c.id == study).values(uuid=uuid4().hex)
        )
    op.create_index("ix_lambda_studies_uuid", "lambda_studies", ["uuid"], unique=True)
    kept = sa.select(_TRIALS.c.id, _TRIALS.c.number).where(_TRIALS.c.weights.is_not(None))
    for trial, number in connection.execute(kept).all():
        connection.execute(
            sa.update(_TRIALS)
            .where(_TRIALS.c.id == trial)
            .values(weights=f"trial-{number:05d}.safetensors")
        )
