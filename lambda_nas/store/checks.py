"""Checks of a database before a search, which leave it as it is."""

from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    func,
    inspect,
    null,
    select,
    update,
)

from lambda_nas.errors import StudyMismatchError
from lambda_nas.execution.places import check_writable
from lambda_nas.store.database import open_optuna, translated_errors
from lambda_nas.store.engine import check_version, connect, reported
from lambda_nas.store.schema import PriorRow, StudyRow, TrialRow
from lambda_nas.store.sqlite import WRITE, sqlite_file
from lambda_nas.store.urls import parse_url, storage_url
from lambda_nas.strategy.optuna_trials import DIRECTIONS

OPTUNA_VERSION_TABLES = {"version_info", "alembic_version"}


@dataclass(frozen=True)
class FoundStudy:
    """What a database has of a study.

    Attributes:
        uuid: The study's; ``None`` if the tables are of an older version.
        evaluated: Number of evaluated trials.
        has_prior: Whether its prior is saved.
    """

    uuid: str | None
    evaluated: int
    has_prior: bool


def check_database(text: str | None, study: str | None = None) -> FoundStudy | None:
    """Check that a database can be reached and written, and can hold a study of this name.

    A SQLite file that does not exist is not made; tables are neither made nor migrated.

    Args:
        text: SQLAlchemy URL; ``None`` for the default one.
        study: Name of the study; ``None`` if it is not known.

    Returns:
        What there is of the study, or ``None`` if there is no such study yet.

    Raises:
        InputError: If the URL can't be understood, or the file can't be made.
        StorageError: If the database can't be used, or its tables are of another version.
        StudyMismatchError: If Optuna has a study of this name that is not ours.
    """
    url = parse_url(storage_url(text))
    file = sqlite_file(url)
    if file is not None and not file.exists():
        check_writable(file.parent, parameter="storage")
        return None
    engine = connect(url, wal=False)
    try:
        with reported(url), engine.execution_options(**{WRITE: True}).connect() as connection:
            is_newest = check_version(connection, url)
            tables = set(inspect(connection).get_table_names())
            connection.rollback()
            ours = StudyRow.__tablename__ in tables
            _check_write(connection, ours=ours)
            found = None
            if ours and study is not None:
                found = _find_study(connection, study, has_uuid=is_newest)
        if study is not None and tables >= OPTUNA_VERSION_TABLES:
            _check_optuna(url, study, is_own=found is not None)
    finally:
        engine.dispose()
    return found


def _check_write(connection: Connection, *, ours: bool) -> None:
    """Write something that changes nothing.

    An account that may write to our tables need not be allowed to create any.
    """
    with connection.begin() as transaction:
        if ours:
            connection.execute(update(StudyRow).where(StudyRow.id < 0).values(seed=0))
        else:
            table = Table(f"lambda_check_{uuid4().hex}", MetaData(), Column("id", Integer))
            table.create(connection)
            table.drop(connection)
        # An SQLite file stays as it is to the byte.
        transaction.rollback()


def _find_study(connection: Connection, name: str, *, has_uuid: bool) -> FoundStudy | None:
    uuid = StudyRow.uuid if has_uuid else null()
    row = connection.execute(select(StudyRow.id, uuid).where(StudyRow.name == name)).first()
    if row is None:
        return None
    evaluated, priors = (
        connection.scalar(select(func.count()).where(table.study_id == row[0])) or 0
        for table in (TrialRow, PriorRow)
    )
    return FoundStudy(row[1], evaluated, bool(priors))


def _check_optuna(url: URL, study: str, *, is_own: bool) -> None:
    storage = open_optuna(url, create_tables=False)
    try:
        with translated_errors(url):
            directions = storage.get_study_directions(storage.get_study_id_from_name(study))
    except KeyError:
        return
    finally:
        storage.remove_session()
        storage.engine.dispose()
    named = [direction.name.lower() for direction in directions]
    if not is_own or named != DIRECTIONS:
        raise StudyMismatchError(
            "the database already has an Optuna study of this name that lambda-nas did not create",
            parameter="study",
            value=study,
            advice="choose another `study`, or another `storage`",
        )
