"""Opens a database: parses its URL, sets it up, and migrates our tables."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import alembic.command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, select
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from lambda_nas.errors import InputError, StorageError
from lambda_nas.store.urls import driver_reason, parse_url, shown_url, storage_url

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "lambda_alembic_version"
BUSY_TIMEOUT_S = 30
WRITE = "lambda_nas_write"
"""Name of the execution option of a transaction that writes."""
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
    _prepare_file(url, create=create)
    engine = connect(url)
    with reported(url):
        _migrate(engine, url)
    return engine


def connect(url: URL) -> Engine:
    """Return the engine of a database; it connects when it is used.

    Raises:
        InputError: If the driver is not installed.
    """
    try:
        engine = create_engine(url, pool_pre_ping=True)
    except (NoSuchModuleError, ModuleNotFoundError, SQLAlchemyError) as error:
        raise InputError(
            f"no driver for it is installed ({error})",
            parameter="storage",
            value=shown_url(url),
        ) from error
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


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
        ) from error


def sqlite_file(url: URL) -> Path | None:
    """Return the file of a SQLite database, or ``None`` if the database is not one file."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database.startswith("file:"):
        return None
    return Path(url.database)


def _prepare_file(url: URL, *, create: bool) -> None:
    path = sqlite_file(url)
    if path is None:
        return
    if not create and not path.is_file():
        raise StorageError(
            f"there is no study database {path}", advice="run a search first, or give `storage`"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"can't create the folder of the study database {path} ({error})"
        ) from error


def _tune_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
    _use_wal(connection)
    connection.execute("PRAGMA foreign_keys=ON")
    # Left to itself the driver begins a transaction after the first reads, and none before DDL.
    connection.isolation_level = None


def _begin_sqlite(connection: Connection) -> None:
    # SQLite refuses to let a reader write if another process has written meanwhile.
    write = connection.get_execution_options().get(WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to write-ahead logging; wait for other writers up to the busy timeout.

    SQLite itself does not wait here: while another process writes to a file that is not in this
    mode yet, it reports at once that the database is locked.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


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
