"""Alembic runs this to migrate, on the connection that ``lambda_nas.store.engine`` passes."""

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
