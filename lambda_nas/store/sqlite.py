"""What only SQLite needs: its settings, its transactions, and a watch over its file."""

import sqlite3
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.util import asbool

from lambda_nas.errors import StorageError

BUSY_TIMEOUT_S = 30
WRITE = "lambda_nas_write"
"""Name of the execution option of a transaction that writes."""


class SqliteFile:
    """The file of an open database; notices when it is deleted or replaced.

    Left to itself, SQLite goes on writing to a file that has no name any more, and the next
    connection creates an empty one in its place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = self._identify()

    @classmethod
    def of(cls, engine: Engine) -> "SqliteFile | None":
        """Return the file of a database, or ``None`` if it has none."""
        if engine.dialect.name != "sqlite":
            return None
        with engine.connect() as connection:
            _, _, path = connection.exec_driver_sql("PRAGMA database_list").first() or (0, "", "")
        return cls(Path(path)) if path else None

    def watch(self, engine: Engine) -> None:
        """Check before each of an engine's connections and transactions."""
        event.listen(engine, "do_connect", lambda *_: self.check())
        event.listen(engine, "begin", lambda _: self.check())

    def check(self) -> None:
        """Raise ``StorageError`` if the file is not the one that was opened."""
        if self._identify() != self._identity:
            raise StorageError(
                f"the study database {self.path} was deleted or replaced while it was in use",
                advice="put it back and run the same command again",
            )

    def _identify(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def sqlite_file(url: URL) -> Path | None:
    """Return the file of a SQLite database, or ``None`` if the database is not one file."""
    if url.get_backend_name() != "sqlite":
        return None
    path = url.database or ""
    if asbool(url.query.get("uri", False)):
        in_memory = url.query.get("mode") == "memory"
        path = "" if in_memory else unquote(urlsplit(path).path)
    return None if path in ("", ":memory:") else Path(path)


def prepare_file(url: URL, *, create: bool) -> None:
    """Make the folder of a database that may be created.

    Raises:
        StorageError: If there is no database and ``create`` is false, or no folder can be made.
    """
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


def tune(engine: Engine, *, wal: bool) -> None:
    """Set up the connections and transactions of an SQLite engine.

    Args:
        engine: The engine.
        wal: Whether the file is switched to write-ahead logging, in which it stays.
    """
    event.listen(engine, "connect", _tune_connection)
    if wal:
        event.listen(engine, "connect", _use_wal)
    event.listen(engine, "begin", _begin)


def _tune_connection(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
    connection.execute("PRAGMA foreign_keys=ON")
    # Left to itself the driver begins a transaction after the first reads, and none before DDL.
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    # SQLite refuses to let a reader write if another process has written meanwhile.
    write = connection.get_execution_options().get(WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _use_wal(connection: sqlite3.Connection, _record: object) -> None:
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
