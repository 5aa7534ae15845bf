"""Transactions on a database, which Optuna's storage can join."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
)
from sqlalchemy.orm import Session

from lambda_nas.errors import ConnectionLostError, LambdaNasError, StorageError
from lambda_nas.store.sqlite import BUSY_TIMEOUT_S, WRITE, SqliteFile
from lambda_nas.store.urls import driver_reason, shown_cause, shown_url, weights_root

CREATING_S = 10.0
"""How long another process may take to create Optuna's tables."""

LONGEST_REASON = 300
"""Characters of an error that are told: it may hold a damaged text of any length."""


class Database:
    """The database that holds our tables and Optuna's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**{WRITE: True})
        with self.translated_errors():
            self._file = SqliteFile.of(engine)
        if self._file:
            self._file.watch(engine)

    def close(self) -> None:
        """Close all connections; the server would keep them until this process ends."""
        self._engine.dispose()
        if "optuna" in vars(self):
            self.optuna.remove_session()
            self.optuna.engine.dispose()

    @property
    def url(self) -> str:
        """The URL, including the password."""
        return self._engine.url.render_as_string(hide_password=False)

    @property
    def weights_root(self) -> Path:
        """Where weights lie by default: beside an SQLite file, else below the working directory."""
        return weights_root(self._engine.url)

    @cached_property
    def optuna(self) -> RDBStorage:
        """Optuna's storage; creates its tables if they are missing."""
        if not self._file:
            return self._open_optuna()
        self._file.check()
        storage = self._open_optuna()
        self._file.watch(storage.engine)
        return storage

    def _open_optuna(self) -> RDBStorage:
        """Open Optuna's storage; wait while another process creates its tables, one by one."""
        deadline = time.monotonic() + CREATING_S
        while True:
            try:
                return open_optuna(self._engine.url, create_tables=True)
            except ConnectionLostError:
                raise
            except StorageError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads.

        Raises:
            StorageError: If the database fails, or its contents can't be read.
        """
        with self._readable(), Session(self._engine) as session:
            yield session

    @contextmanager
    def reading_optuna(self) -> Iterator[RDBStorage]:
        """Yield Optuna's storage, to read from.

        Raises:
            StorageError: If the database fails, or Optuna can't read its contents.
        """
        with self._readable():
            yield self.optuna

    @contextmanager
    def _readable(self) -> Iterator[None]:
        with self.translated_errors():
            try:
                yield
            except LambdaNasError:
                raise
            except (ValueError, TypeError, LookupError, ArithmeticError, AssertionError) as error:
                kind, url = type(error).__name__, self._engine.url
                raise StorageError(
                    f"the contents of the study database {shown_url(url)} can't be read ({kind}: "
                    f"{driver_reason(error, url)[:LONGEST_REASON]})",
                    advice="restore it from a copy, or start over with another `storage`",
                ) from shown_cause(error, url)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a transaction.

        SQLite allows one writer at a time; elsewhere lock the study's row first.
        """
        with self._transaction() as (_, session):
            yield session

    @contextmanager
    def writing_with_optuna(self) -> Iterator[Session]:
        """Open a transaction that includes what Optuna's storage does in this thread meanwhile.

        SQLAlchemy's registry gives each thread one session. The one made here, of the transaction's
        connection, is what Optuna's storage finds until it is removed; the commits of its methods
        only release savepoints.
        """
        sessions = self.optuna.scoped_session
        with self._transaction() as (connection, session):
            # A session that exists can't be given another connection.
            sessions.remove()
            sessions(bind=connection, join_transaction_mode="create_savepoint")
            try:
                yield session
            finally:
                sessions.remove()

    @contextmanager
    def _transaction(self) -> Iterator[tuple[Connection, Session]]:
        with (
            self._readable(),
            self._writer.begin() as connection,
            Session(connection, join_transaction_mode="create_savepoint") as session,
        ):
            yield connection, session
            session.commit()

    def translated_errors(self) -> AbstractContextManager[None]:
        """Turn the errors that SQLAlchemy and Optuna raise about the database into ours."""
        return translated_errors(self._engine.url)


def open_optuna(url: URL, *, create_tables: bool) -> RDBStorage:
    """Open Optuna's storage.

    Raises:
        StorageError: If the database fails, or its tables are of another version of Optuna.
    """
    waiting = {"timeout": BUSY_TIMEOUT_S} if url.get_backend_name() == "sqlite" else {}
    try:
        with translated_errors(url):
            return RDBStorage(
                url.render_as_string(hide_password=False),
                {"pool_pre_ping": True, "connect_args": waiting},
                skip_table_creation=not create_tables,
            )
    except RuntimeError as error:
        raise StorageError(
            f"can't use Optuna's tables in the study database {shown_url(url)} "
            f"({str(error).partition('. ')[0]})",
            advice="choose another `storage`, or run optuna storage upgrade on a copy of it",
        ) from shown_cause(error, url)


@contextmanager
def translated_errors(url: URL) -> Iterator[None]:
    """Turn the errors that SQLAlchemy and Optuna raise about a database into ours.

    Raises:
        ConnectionLostError: If the server can't be reached any more.
        StorageError: If the database fails otherwise.
    """
    try:
        yield
    except optuna.exceptions.StorageInternalError as error:
        raise _translate(error.__cause__ or error, url) from shown_cause(error, url)
    except SQLAlchemyError as error:
        raise _translate(error, url) from shown_cause(error, url)


def _translate(error: BaseException, url: URL) -> StorageError:
    reason = driver_reason(error, url)
    shown = shown_url(url)
    # The last is raised when a transaction ends whose connection broke.
    if url.get_backend_name() != "sqlite" and (
        isinstance(error, OperationalError | InterfaceError | PendingRollbackError)
        or (isinstance(error, DBAPIError) and error.connection_invalidated)
    ):
        return ConnectionLostError(f"the study database {shown} is gone ({reason})")
    return StorageError(f"the study database {shown} failed ({reason})")
