"""A database is judged before a search, and left as it is."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from sqlalchemy import create_engine, inspect, make_url, text
from sqlalchemy.pool import NullPool

from lambda_nas.errors import InputError, StorageError, StudyMismatchError
from lambda_nas.store import sqlite
from lambda_nas.store.checks import FoundStudy, check_database
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.strategy.optuna_trials import DIRECTIONS


@pytest.fixture
def make_ours(url, make_info, prices):
    """Return a function that begins a study of ours, in our tables and in Optuna's."""

    def make(name="deit-images"):
        with SqlStudyStore.open(url) as store:
            store.create_study(make_info(name, uuid="a" * 32), prices)
            optuna.create_study(study_name=name, storage=store.optuna, directions=DIRECTIONS)

    return make


def tables(url):
    with create_engine(url, poolclass=NullPool).connect() as connection:
        return sorted(inspect(connection).get_table_names())


def test_a_study_of_ours_and_a_new_name_pass(url, make_ours):
    make_ours()
    before = tables(url)
    assert check_database(url, "deit-images") == FoundStudy("a" * 32, 0, has_prior=False)
    assert check_database(url, "another") is None
    assert check_database(url) is None
    assert tables(url) == before


def test_an_empty_server_stays_empty(url):
    if url.startswith("sqlite"):
        Path(make_url(url).database).parent.mkdir()
        sqlite3.connect(make_url(url).database).close()
    check_database(url, "deit-images")
    assert tables(url) == []


def test_a_file_that_is_not_there_is_not_made(tmp_path):
    check_database(f"sqlite:///{tmp_path}/new/folder/study.db", "deit-images")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cant_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError,
        match=r"^storage: the folder .*file can't be written \(.*file is not a folder\)$",
    ):
        check_database(f"sqlite:///{tmp_path}/file/study.db")


@pytest.mark.parametrize("directions", [["minimize"], DIRECTIONS])
def test_somebody_elses_study_of_that_name(url, make_ours, directions):
    make_ours()
    optuna.create_study(study_name="mine", storage=url, directions=directions)
    with pytest.raises(
        StudyMismatchError, match=r"^study mine: the database already has an Optuna study"
    ):
        check_database(url, "mine")
    check_database(url, "deit-images")


def test_a_study_without_a_name_yet_is_not_one_called_none(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(study_name="None", storage=url)
    assert check_database(url) is None


def test_a_file_stays_as_it_is_to_the_byte(tmp_path):
    file = tmp_path / "notes.db"
    with closing(sqlite3.connect(file)) as theirs:
        theirs.execute("CREATE TABLE notes (x)")
    before = file.read_bytes()
    check_database(f"sqlite:///{file}", "deit-images")
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_tables_of_another_optuna(url, make_ours):
    make_ours()
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v2.6.0.a'"))
        connection.execute(text("UPDATE version_info SET library_version = '2.10.1'"))
    message = (
        r"^can't use Optuna's tables in .*set up by optuna 2\.10\.1\)\): choose another storage"
    )
    with pytest.raises(StorageError, match=message):
        check_database(url, "deit-images")
    with SqlStudyStore.open(url) as store, pytest.raises(StorageError, match=message):
        _ = store.optuna


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "study.db").write_text("a letter, and longer than the header of a database" * 9)
    with pytest.raises(StorageError, match=r"^can't use .*file is not a database\): check that"):
        check_database(f"sqlite:///{tmp_path}/study.db")


def test_a_locked_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0)
    with closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match=r"^can't use .*database is locked"):
            check_database(f"sqlite:///{tmp_path}/study.db")


def test_who_may_only_read(postgres_url):
    with SqlStudyStore.open(postgres_url):
        pass
    role = f"reader_{os.getpid()}"
    schema = postgres_url.rpartition("search_path%3D")[2]
    admin = create_engine(postgres_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        try:
            connection.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO {role}"))
            connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}"))
            reader = make_url(postgres_url).set(username=role).render_as_string(hide_password=False)
            with pytest.raises(StorageError, match=r"^can't use .*permission denied for table"):
                check_database(reader, "deit-images")
            rights = f"GRANT UPDATE, INSERT, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}"
            connection.execute(text(rights))
            check_database(reader, "deit-images")
        finally:
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))
