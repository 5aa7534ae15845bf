"""Transactions on a database, which Optuna's storage can join."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import optuna
from optuna.storages import RDBStorage
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from lambda_nas.errors import ConnectionLostError, LambdaNasError, StorageError
from lambda_nas.store.engine import BUSY_TIMEOUT_S, WRITE


class Database:
    """Our tables and Optuna's in one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**{WRITE: True})

    @property
    def url(self) -> str:
        """The URL, password and all."""
        return self._engine.url.render_as_string(hide_password=False)

    @property
    def _shown(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)

    @cached_property
    def optuna(self) -> RDBStorage:
        """Optuna's storage, its tables made if need be."""
        sqlite = self._engine.dialect.name == "sqlite"
        waiting = {"connect_args": {"timeout": BUSY_TIMEOUT_S}} if sqlite else {}
        for last in (False, False, True):
            try:
                with self.translated_errors():
                    return RDBStorage(self.url, {"pool_pre_ping": True, **waiting})
            except ConnectionLostError:
                raise
            except StorageError:
                # Another process was making the tables at the same moment.
                if last:
                    raise
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that writes nothing.

        Raises:
            StorageError: If the database fails, or what it holds can't be read.
        """
        with self.translated_errors(), Session(self._engine) as session:
            try:
                yield session
            except LambdaNasError:
                raise
            except (ValueError, TypeError, LookupError) as error:
                kind = type(error).__name__
                raise StorageError(
                    f"what the study database {self._shown} holds can't be read ({kind}: "
                    f"{_first_line(error)}): restore it from a copy, or begin anew with another "
                    "--storage"
                ) from error

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a transaction: all that happens in it does, or nothing.

        There is one writer at a time on SQLite; elsewhere lock the study's row first.
        """
        with self._transaction() as (_, session):
            yield session

    @contextmanager
    def writing_with_optuna(self) -> Iterator[Session]:
        """Open a transaction that all that Optuna's storage does meanwhile is part of.

        For one thread: whoever else uses Optuna's storage meanwhile would be part of it, too.
        """
        own = self.optuna.scoped_session
        with self._transaction() as (connection, session):
            joined = scoped_session(
                sessionmaker(bind=connection, join_transaction_mode="create_savepoint")
            )
            self.optuna.scoped_session = joined
            try:
                yield session
            finally:
                joined.remove()
                self.optuna.scoped_session = own

    @contextmanager
    def _transaction(self) -> Iterator[tuple[Connection, Session]]:
        with (
            self.translated_errors(),
            self._writer.begin() as connection,
            Session(connection, join_transaction_mode="create_savepoint") as session,
        ):
            yield connection, session
            session.commit()

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Turn what SQLAlchemy and Optuna raise of a database into our errors.

        Raises:
            ConnectionLostError: If the server is gone, or goes in the middle.
            StorageError: If the database fails otherwise.
        """
        try:
            yield
        except optuna.exceptions.StorageInternalError as error:
            raise self._translate(error.__cause__ or error) from error
        except SQLAlchemyError as error:
            raise self._translate(error) from error

    def _translate(self, error: BaseException) -> StorageError:
        reason = _first_line(getattr(error, "orig", None) or error)
        server = self._engine.dialect.name != "sqlite"
        # The last is what ending a transaction on a connection that broke in it comes to.
        if server and (
            isinstance(error, OperationalError | InterfaceError | PendingRollbackError)
            or (isinstance(error, DBAPIError) and error.connection_invalidated)
        ):
            return ConnectionLostError(f"the study database {self._shown} is gone ({reason})")
        return StorageError(f"the study database {self._shown} failed ({reason})")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
