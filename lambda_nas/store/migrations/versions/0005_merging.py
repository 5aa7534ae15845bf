"""Token merging: what it takes off the prices."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add what merging tokens changes of a study's prices; no study so far had that choice."""
    op.add_column("lambda_studies", sa.Column("merged", sa.JSON, nullable=True))
