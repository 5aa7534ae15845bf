"""What Alembic runs to migrate; ``lambda_nas.store.engine`` hands it the connection."""

from alembic import context

from lambda_nas.store.engine import VERSION_TABLE
from lambda_nas.store.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
