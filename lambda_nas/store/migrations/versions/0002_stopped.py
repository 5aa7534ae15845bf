"""Trials that were stopped before their last rung."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add why a trial was stopped; all trials so far went to the end."""
    op.add_column("lambda_architectures", sa.Column("stopped", sa.Text, nullable=True))
