"""No secret of a database URL is shown or stored, and the environment may give the URL."""

import traceback

import pytest
from sqlalchemy import make_url

from lambda_nas.errors import InputError, StorageError
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.store.urls import has_secret, parse_url, shown_command, shown_url

MASKED = {
    "postgresql+psycopg://me:S3CRET@host:5432/x?sslmode=require": (
        "postgresql+psycopg://me:***@host:5432/x?sslmode=require"
    ),
    "mysql+pymysql://me:S3CRET%40%2F@host/x": "mysql+pymysql://me:***@host/x",
    "mysql+pymysql://me:S3/C#R?E%T [a]:b@host/x": "mysql+pymysql://me:***@host/x",
    "postgresql://me@host/x?password=S3CRET&sslmode=require": (
        "postgresql://me@host/x?password=***&sslmode=require"
    ),
    "mysql://host/x?passwd=S3CRET&Api_Key=S3CRET": "mysql://host/x?Api_Key=***&passwd=***",
    "postgresql:///x?sslpassword=S3CRET&host=/run/a@b": (
        "postgresql:///x?host=%2Frun%2Fa%40b&sslpassword=***"
    ),
    "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3DS3CRET": "mssql+pyodbc:///?odbc_connect=***",
    "postgresql://me:S3CRET@[::1]/x": "postgresql://me:***@[::1]/x",
    "postgresql://me@corp:S3CRET@host/x": "postgresql://me%40corp:***@host/x",
}
UNCLEAR = [
    "postgresql://me:S3@CRET@host/x",
    "postgresql://me:a@S3/CRET@host/x",
    "postgresql://me/S3:CRET@host/x",
    "postgresql://host:S3CRET/x",
    "me:S3CRET@host/x",
]


@pytest.mark.parametrize(("url", "shown"), MASKED.items())
def test_secrets_are_masked(url, shown):
    assert shown_url(url) == shown_url(make_url(url)) == shown
    assert shown_url(shown) == shown
    assert has_secret(url)


@pytest.mark.parametrize("url", UNCLEAR)
def test_of_an_unclear_url_only_the_scheme_is_shown(url):
    scheme = "postgresql://***" if "://" in url else "***"
    assert shown_url(url) == scheme
    with pytest.raises(InputError, match=r"write @ as %40, / as %2F and : as %3A") as caught:
        parse_url(url)
    assert caught.value.value == scheme
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////home/me@work/a:b/x.db",
        "sqlite:///file:x.db?mode=ro&uri=true",
        "postgresql://me@host:5432/x?sslkey=/k&passfile=/p&options=-csearch_path%3Dx",
    ],
)
def test_urls_without_secrets_stay_as_they_are(url):
    assert shown_url(url) == url
    assert not has_secret(url)


@pytest.mark.parametrize("url", [*MASKED, *UNCLEAR[:-1]])
@pytest.mark.parametrize(
    "words",
    [
        "lambda-nas search --storage {} --study 'a b' --model hf-hub:x/y",
        "lambda-nas search --study=it\\'s --storage={}",
    ],
)
def test_commands_are_stored_without_secrets(url, words):
    import shlex

    command = shlex.join(shlex.split(words.replace("{}", "URL")))
    given = shlex.join(word.replace("URL", url) for word in shlex.split(command))
    shown = shown_command(given)
    assert "S3" not in shown
    assert "CRET" not in shown
    expected = shlex.join(word.replace("URL", shown_url(url)) for word in shlex.split(command))
    assert shown == expected


def test_calls_and_broken_quotes_are_masked():
    call = "lambda_nas.search(model=\"it's\", storage='mysql://me:S3CRET@host/x', budget=3)"
    assert shown_command(call) == call.replace("S3CRET", "***")
    assert shown_command("a 'b mysql://me:S3CRET@host/x") == "a 'b mysql://me:***@host/x"
    assert shown_command("lambda_nas.search(study='é \"x')") == "lambda_nas.search(study='é \"x')"


def test_runs_hold_no_secret_and_old_ones_show_none(store, make_info, prices, who):
    from dataclasses import replace

    from sqlalchemy import update

    from lambda_nas.store.schema import RunRow

    command = "lambda-nas search --storage postgresql://me:S3CRET@host/x"
    masked = "lambda-nas search --storage 'postgresql://me:***@host/x'"
    store.create_study(make_info(), prices)
    store.begin_run("deit-images", replace(who, command=command))
    with store._database.writing() as session:
        assert session.query(RunRow.command).scalar() == masked
        session.execute(update(RunRow).values(command=command))
    assert store.runs("deit-images")[0].info.command == masked


def test_the_environment_gives_the_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAMBDA_NAS_STORAGE", f"sqlite:///{tmp_path}/mine.db")
    with SqlStudyStore.open(None):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["mine.db"]
    with SqlStudyStore.open("sqlite:///other.db"):
        pass
    assert (tmp_path / "other.db").exists()
    monkeypatch.setenv("LAMBDA_NAS_STORAGE", "")
    with SqlStudyStore.open(None):
        pass
    assert (tmp_path / "studies" / "lambda_nas.db").exists()


@pytest.mark.parametrize(
    "options", ["passwd=S3CRET", "nonsense=1&password=S3CRET", "sslmode=bad&password=S3CRET"]
)
def test_what_drivers_refuse_is_told_without_secrets(postgres_url, options):
    base = make_url(postgres_url).set(query={}).render_as_string(hide_password=False)
    host = make_url(postgres_url).query["host"]
    with pytest.raises(StorageError, match="can't use the study database") as caught:
        SqlStudyStore.open(f"{base}?host={host}&{options}")
    assert "S3CRET" not in "".join(traceback.format_exception(caught.value))


def test_a_wrong_password_is_not_told(mariadb_url):
    from sqlalchemy import create_engine

    admin = create_engine(mariadb_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE USER IF NOT EXISTS lambda_me IDENTIFIED BY 'right'")
    try:
        url = make_url(mariadb_url).set(username="lambda_me", password="S3CRET using")
        with pytest.raises(StorageError, match="Access denied for user 'lambda_me'") as caught:
            SqlStudyStore.open(url.render_as_string(hide_password=False))
        assert "S3CRET" not in str(caught.value)
        odd = url.update_query_dict({"token": "S3CRET"}).render_as_string(hide_password=False)
        with pytest.raises(StorageError, match=r"token=\*\*\*.*unexpected keyword") as caught:
            SqlStudyStore.open(odd)
        assert "S3CRET" not in str(caught.value)
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql("DROP USER lambda_me")
        admin.dispose()
