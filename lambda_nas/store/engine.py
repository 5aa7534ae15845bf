"""Opens a database: parses its URL, sets it up, and migrates our tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import alembic.command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, func, select
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from lambda_nas.errors import InputError, StorageError
from lambda_nas.store import sqlite
from lambda_nas.store.sqlite import BUSY_TIMEOUT_S, WRITE
from lambda_nas.store.urls import (
    driver_reason,
    parse_url,
    shown_cause,
    shown_url,
    storage_url,
)

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "lambda_alembic_version"
# Any number, as long as no other program locks the same one in this PostgreSQL database.
_MIGRATION_LOCK = 0x1A3BDA


def open_engine(text: str | None, *, create: bool) -> Engine:
    """Connect to a database and bring its schema up to date.

    Args:
        text: An SQLAlchemy URL; ``None`` for the default one.
        create: Whether a missing SQLite file is created.

    Raises:
        InputError: If the URL can't be understood.
        StorageError: If the database can't be reached, read or written, or is newer than this
            program.
    """
    url = parse_url(storage_url(text))
    sqlite.prepare_file(url, create=create)
    engine = connect(url)
    with reported(url):
        _migrate(engine, url)
    return engine


def connect(url: URL, *, wal: bool = True) -> Engine:
    """Return the engine of a database; it connects when it is used.

    Args:
        url: The database.
        wal: Whether an SQLite file is switched to write-ahead logging, in which it stays.

    Raises:
        InputError: If the driver is not installed, or can't take such a URL.
    """
    try:
        engine = create_engine(url, pool_pre_ping=True)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        problem = "no driver for it is installed"
        raise _unusable(problem, error, url) from shown_cause(error, url)
    except SQLAlchemyError as error:
        raise _unusable("its driver can't use it", error, url) from shown_cause(error, url)
    if url.get_backend_name() == "sqlite":
        sqlite.tune(engine, wal=wal)
    return engine


def _unusable(problem: str, error: Exception, url: URL) -> InputError:
    reason = driver_reason(error, url)
    return InputError(f"{problem} ({reason})", parameter="storage", value=shown_url(url))


@contextmanager
def reported(url: URL) -> Iterator[None]:
    """Turn what a driver raises about a database into a ``StorageError``."""
    try:
        yield
    except StorageError:
        raise
    except (SQLAlchemyError, OSError, TypeError) as error:
        reason = driver_reason(error, url)
        raise StorageError(
            f"can't use the study database {shown_url(url)} ({reason})",
            advice="check that it is reachable and writable",
        ) from shown_cause(error, url)


def _migrate(engine: Engine, url: URL) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.connect() as connection:
        if check_version(connection, url):
            return
    with engine.execution_options(**{WRITE: True}).begin() as connection:
        _lock(connection)
        # Asked again: another process may have migrated while this one waited.
        if not check_version(connection, url):
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")


def check_version(connection: Connection, url: URL) -> bool:
    """Check that this program knows the schema of our tables; return whether it is the newest.

    Raises:
        StorageError: If the schema is newer.
    """
    scripts = ScriptDirectory(str(MIGRATIONS))
    newest, found = scripts.get_current_head(), _revision(connection)
    try:
        if found is not None:
            scripts.get_revision(found)
    except CommandError:
        raise StorageError(
            f"the study database {shown_url(url)} has schema {found}, newer than {newest}, the "
            "newest that this lambda-nas knows",
            advice="upgrade lambda-nas",
        ) from None
    return found == newest


def _revision(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _lock(connection: Connection) -> None:
    """Keep other processes from migrating until this transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
    elif connection.dialect.name in ("mysql", "mariadb"):
        # The lock ends with the connection, which does not go back to the pool.
        connection.execute(select(func.get_lock("lambda_nas_migration", BUSY_TIMEOUT_S)))
        connection.detach()
