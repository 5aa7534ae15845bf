import gc
import logging
import os
import re
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from optuna.storages import RDBStorage
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool
from store_fixtures import claim_and_record

from lambda_nas.errors import InputError, StorageError
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.trial import RungResult, TrialRecord
from lambda_nas.store import database, engine
from lambda_nas.store.database import open_optuna
from lambda_nas.store.engine import VERSION_TABLE, open_engine
from lambda_nas.store.schema import Base
from lambda_nas.store.study_store import SqlStudyStore


def ours(item, name, kind, *_):
    return kind != "table" or (name.startswith("lambda_") and name != VERSION_TABLE)


def test_migrations_make_exactly_the_models(url):
    SqlStudyStore.open(url)
    RDBStorage(url)
    with create_engine(url, poolclass=NullPool).connect() as connection:
        options = {"include_object": ours, "version_table": VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_all_tables_have_our_prefix():
    assert all(name.startswith("lambda_") for name in Base.metadata.tables)


def test_opening_is_silent(url, caplog, capfd, recwarn):
    # What earlier tests left open warns when it is collected.
    gc.collect()
    recwarn.clear()
    with caplog.at_level(logging.WARNING):
        SqlStudyStore.open(url)
    assert (caplog.text, *capfd.readouterr(), list(recwarn)) == ("", "", "", [])


def test_a_closed_store_leaves_no_connection_to_postgres(postgres_url):
    name = f"closing {os.getpid()}"
    url = make_url(postgres_url).update_query_dict({"application_name": name})
    query = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")

    def connections():
        with create_engine(postgres_url, poolclass=NullPool).connect() as connection:
            return connection.scalar(query, {"name": name})

    with SqlStudyStore.open(url.render_as_string(hide_password=False)) as store:
        assert store.studies() == store.optuna.get_all_studies() == []
        assert connections()
    deadline = time.monotonic() + 10
    while connections():  # The server notices a little later.
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_processes_may_open_a_new_database_at_once(url):
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir()
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: SqlStudyStore.open(url), range(8)))
    assert [store.studies() for store in stores] == [[]] * 8


def test_opening_waits_for_a_writer_of_a_new_file(tmp_path):
    path = tmp_path / "study.db"
    writer = sqlite3.connect(path, isolation_level=None)
    with closing(writer), ThreadPoolExecutor(1) as pool:
        # The file is not in WAL mode yet: SQLite refuses the switch without waiting.
        writer.execute("BEGIN IMMEDIATE")
        opened = pool.submit(SqlStudyStore.open, f"sqlite:///{path}")
        time.sleep(0.5)
        writer.execute("COMMIT")
        assert opened.result(timeout=10).studies() == []


LATER = """
import sqlalchemy as sa
from alembic import op

revision = "later"
down_revision = "0002"

def upgrade():
    op.add_column("lambda_studies", sa.Column("note", sa.Text, nullable=True))
"""


def test_an_older_schema_is_migrated_and_a_newer_one_refused(
    url, make_info, prices, tmp_path, monkeypatch
):
    info = make_info()
    with SqlStudyStore.open(url) as store:
        store.create_study(info, prices)
    with monkeypatch.context() as later:
        later.setattr(engine, "MIGRATIONS", shutil.copytree(engine.MIGRATIONS, tmp_path / "later"))
        (tmp_path / "later" / "versions" / "later.py").write_text(LATER)
        with SqlStudyStore.open(url) as store:
            assert store.study("deit-images") == info
        with create_engine(url, poolclass=NullPool).connect() as connection:
            assert connection.exec_driver_sql("SELECT note FROM lambda_studies").all() == [(None,)]

    with pytest.raises(StorageError, match=r"^the study database .+ schema later, newer than 0002"):
        SqlStudyStore.open(url)


def test_studies_of_the_first_schema_get_ids_and_lose_their_paths(url, make_info, prices, who):
    with SqlStudyStore.open(url) as store:
        for name in ("a", "b"):
            store.create_study(make_info(name), prices)
        run, rungs = store.begin_run("a", who), (RungResult(0, 0.75, 1.0),)
        record = TrialRecord(7, Architecture.of([0]), rungs, 0.5, run, 1.0)
        claim_and_record(store, "a", record)
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("UPDATE lambda_trials SET weights = '/home/me/weights/7'"))
        connection.execute(text("DROP INDEX ix_lambda_studies_uuid" + on(connection)))
        connection.execute(text("ALTER TABLE lambda_studies DROP COLUMN uuid"))
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0001'"))
    with SqlStudyStore.open(url) as store:
        ids = {store.study(name).uuid for name in ("a", "b")}
    assert len(ids) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", found) for found in ids)
    with create_engine(url, poolclass=NullPool).connect() as connection:
        weights = connection.scalar(text("SELECT weights FROM lambda_trials"))
    assert weights == "trial-00007.safetensors"


def on(connection):
    """Return what MySQL wants to know of an index, and others don't."""
    return " ON lambda_studies" if connection.dialect.name in ("mysql", "mariadb") else ""


def test_sqlite_waits_for_other_writers(sqlite_url):
    with open_engine(sqlite_url, create=True).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000


def test_a_failed_migration_leaves_no_table(sqlite_url, tmp_path):
    (tmp_path / "new folder").mkdir()
    path = tmp_path / "new folder" / "study.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE lambda_measurements (id)")
    with pytest.raises(StorageError, match="lambda_measurements already exists"):
        SqlStudyStore.open(sqlite_url)
    with sqlite3.connect(path) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall()
    assert tables == [("lambda_measurements",)]


def test_missing_file_is_not_made_for_a_reader(sqlite_url, tmp_path):
    with pytest.raises(StorageError, match=r"there is no study database .*study\.db: run"):
        SqlStudyStore.open(sqlite_url, create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "notes.db"
    path.write_bytes(b"not a database " * 500)
    with pytest.raises(StorageError, match=r"notes\.db \(file is not a database\)"):
        SqlStudyStore.open(f"sqlite:///{path}")
    assert path.read_bytes() == b"not a database " * 500


def test_a_folder_is_no_database(tmp_path):
    with pytest.raises(StorageError, match="unable to open database file"):
        SqlStudyStore.open(f"sqlite:///{tmp_path}")


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="can't create the folder of the study database"):
        SqlStudyStore.open(f"sqlite:///{tmp_path}/file/study.db")


def test_read_only_file_can_be_read_but_not_written(sqlite_url, make_info, prices, who):
    info = make_info()
    SqlStudyStore.open(sqlite_url).create_study(info, prices)
    path = sqlite_url.removeprefix("sqlite:///")
    store = SqlStudyStore.open(f"sqlite:///file:{path}?mode=ro&uri=true")

    assert store.study("deit-images") == info
    with pytest.raises(StorageError, match="attempt to write a readonly database"):
        store.begin_run("deit-images", who)


def test_read_only_file_without_our_tables(tmp_path):
    path = tmp_path / "study.db"
    RDBStorage(f"sqlite:///{path}")
    with pytest.raises(StorageError, match=r"readonly database.*check that it is reachable"):
        SqlStudyStore.open(f"sqlite:///file:{path}?mode=ro&uri=true")


def test_unreachable_server_hides_the_password():
    with pytest.raises(StorageError, match=r"//me:\*\*\*@127\.0\.0\.1:1/x .*failed") as caught:
        SqlStudyStore.open("postgresql+psycopg://me:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "studies/lambda_nas.db",
            "^storage studies/.*: not a database URL; expected for example",
        ),
        ("", "not a database URL"),
        ("postgresql://me:secret@host:port/x", r"^storage postgresql://\*\*\*: not a database URL"),
        ("nosuch://me:secret@host/x", r"me:\*\*\*@host/x: no driver for it is installed"),
    ],
)
def test_bad_url(url, message):
    with pytest.raises(InputError, match=message) as caught:
        SqlStudyStore.open(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("meetings", [4, 1000])
def test_optunas_tables_are_waited_for_while_another_process_creates_them(
    sqlite_url, monkeypatch, meetings
):
    left = iter(range(meetings))

    def meet(*args, **more):
        if next(left, None) is not None:
            raise StorageError("table alembic_version already exists")
        return open_optuna(*args, **more)

    monkeypatch.setattr(database, "open_optuna", meet)
    monkeypatch.setattr(database, "CREATING_S", 2.0)
    with SqlStudyStore.open(sqlite_url) as store:
        if meetings == 4:
            assert store.optuna.get_all_studies() == []
        else:
            with pytest.raises(StorageError, match="already exists"):
                _ = store.optuna
