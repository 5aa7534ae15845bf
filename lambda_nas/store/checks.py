"""Checks of a database before a search, which leave it as it is."""

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
    select,
    update,
)

from lambda_nas.errors import StudyMismatchError
from lambda_nas.execution.places import check_writable
from lambda_nas.store.database import open_optuna, translated_errors
from lambda_nas.store.engine import check_version, connect, reported
from lambda_nas.store.schema import StudyRow, TrialRow
from lambda_nas.store.sqlite import WRITE, sqlite_file
from lambda_nas.store.urls import parse_url, storage_url
from lambda_nas.strategy.optuna_trials import DIRECTIONS

OPTUNA_VERSION_TABLES = {"version_info", "alembic_version"}


def check_database(text: str | None, study: str | None = None) -> int | None:
    """Check that a database can be reached and written, and can hold a study of this name.

    A SQLite file that does not exist is not made; tables are neither made nor migrated.

    Args:
        text: SQLAlchemy URL; ``None`` for the default one.
        study: Name of the study; ``None`` if it is not known.

    Returns:
        How many trials of the study are evaluated, or ``None`` if there is no such study yet.

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
    engine = connect(url)
    try:
        with reported(url), engine.execution_options(**{WRITE: True}).connect() as connection:
            check_version(connection, url)
            tables = set(inspect(connection).get_table_names())
            connection.rollback()
            ours = StudyRow.__tablename__ in tables
            _check_write(connection, ours=ours)
            evaluated = _count_trials(connection, study) if ours else None
        if tables >= OPTUNA_VERSION_TABLES:
            _check_optuna(url, study, is_own=evaluated is not None)
    finally:
        engine.dispose()
    return evaluated


def _check_write(connection: Connection, *, ours: bool) -> None:
    """Write something that changes nothing; who may only write to tables may not make any."""
    with connection.begin():
        if ours:
            connection.execute(update(StudyRow).where(StudyRow.id < 0).values(seed=0))
        else:
            table = Table(f"lambda_check_{uuid4().hex}", MetaData(), Column("id", Integer))
            table.create(connection)
            table.drop(connection)


def _count_trials(connection: Connection, study: str | None) -> int | None:
    row = connection.scalar(select(StudyRow.id).where(StudyRow.name == study))
    if row is None:
        return None
    trials = select(func.count()).select_from(TrialRow).where(TrialRow.study_id == row)
    return connection.scalar(trials)


def _check_optuna(url: URL, study: str | None, *, is_own: bool) -> None:
    storage = open_optuna(url, create_tables=False)
    try:
        with translated_errors(url):
            directions = storage.get_study_directions(storage.get_study_id_from_name(str(study)))
    except KeyError:
        return
    finally:
        storage.remove_session()
        storage.engine.dispose()
    named = [direction.name.lower() for direction in directions]
    if not is_own or named != DIRECTIONS:
        raise StudyMismatchError(
            "Optuna has a study of this name there that lambda-nas did not begin",
            parameter="study",
            value=study,
            advice="choose another `study`, or another `storage`",
        )
