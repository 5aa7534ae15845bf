"""What merging tokens takes off the prices: work by the number of pairs, not by each merging."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Rewrite it; mergings of as many pairs had the same work, whatever block they start at."""
    studies = sa.table("lambda_studies", sa.column("id", sa.Integer), sa.column("merged", sa.JSON))
    connection = op.get_bind()
    for row in connection.execute(sa.select(studies)).all():
        # Development versions wrote the new form under the old revision.
        if row.merged is None or "mergings" in row.merged:
            continue
        mergings = [merging for merging, _ in row.merged["works"]]
        works = {
            merging["r"]: {name: part for name, part in work.items() if name != "start"}
            for merging, work in row.merged["works"]
        }
        merged = row.merged | {"mergings": mergings, "works": works}
        connection.execute(studies.update().where(studies.c.id == row.id).values(merged=merged))
