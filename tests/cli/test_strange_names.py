"""Names and paths reach the terminal as text, whatever they hold."""

import html
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from store_fixtures import SETTINGS

from lambda_nas.store import DEFAULT_STORAGE

NASTY = "a [/home] [red]:bomb: <img src=x> $(id) \"q' `b` | *s*"
CONTROL = "\x1b]0;owned\x07\x9b31m\u202e"


@pytest.mark.parametrize("command", ["show", "doctor"])
def test_an_unknown_study_is_named_as_text(lambda_nas, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    from lambda_nas.store.study_store import SqlStudyStore

    with SqlStudyStore.open("sqlite:///studies/lambda_nas.db"):
        pass
    code, _, err = lambda_nas(command, NASTY + CONTROL)
    assert code == 2
    assert f"STUDY {NASTY}\\x1b]0;owned\\x07\\x9b31m\\u202e: the database" in err


def test_notes_and_tables_take_names_literally(capsys):
    from rich.table import Table

    from lambda_nas.api.progress.console import PlainConsole, labeled

    console = PlainConsole()
    console.width = 200
    table = Table("name", title=NASTY + CONTROL)
    table.add_row(NASTY + CONTROL)
    console.print(table)
    console.print(NASTY + CONTROL, soft_wrap=True)
    console.print(labeled("note", "dim", NASTY + CONTROL), soft_wrap=True)
    out = capsys.readouterr().out
    assert out.count(NASTY + r"\x1b]0;owned\x07\x9b31m\u202e") == 4
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "must not be empty"),
        ("a ", "must not begin or end with a space"),
        ("a\nb", "must not hold line breaks or other characters that can't be seen"),
        ("a\x1b[31m", "must not hold line breaks"),
        ("x" * 256, "has 256 characters, and 255 are the most"),
    ],
)
def test_names_that_no_study_may_have(lambda_nas, tmp_path, monkeypatch, name, problem):
    monkeypatch.chdir(tmp_path)
    code, _, err = lambda_nas("search", "--study", name)
    assert code == 2
    assert problem in err
    assert err.endswith(": give another name with --study\n")
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_no_database_stores(lambda_nas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = lambda_nas("search", "--model", "vit", "--data", "a\udcff")
    assert code == 2
    problem = "--data a\\udcff: the name is not in UTF-8, and no database stores it: rename it"
    assert f"\n- {problem}\n" in err


def test_folders_may_be_called_what_studies_may_not(source):
    from lambda_nas.api.inputs.source import default_study_name
    from lambda_nas.records.study import check_study_name

    name = default_study_name(replace(source, data_name=f"/x/{CONTROL} "))
    assert name == "tiny--]0;owned--31m"
    check_study_name(name)


@pytest.fixture
def studied(tmp_path, monkeypatch, make_info, prices, who):
    """A study of strange names in a database whose URL holds a secret."""
    from lambda_nas.store.study_store import SqlStudyStore

    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///file:{tmp_path}/x.db?mode=rwc&token=S3CRET&uri=true"
    named = {"model": f"local-dir:{NASTY}", "data": NASTY, "device": NASTY}
    info = make_info(f"-{NASTY}", **named, settings=SETTINGS | {"rungs": 1, "seeds": []})
    command = shlex.join(["lambda-nas", "search", "--storage", url, "--study", info.name])
    with SqlStudyStore.open(url) as store:
        store.create_study(info, prices)
        store.begin_run(info.name, replace(who, command=command))
    return info.name, url


def test_what_commands_say_of_strange_names(lambda_nas, studied, monkeypatch):
    from lambda_nas.cli import output

    monkeypatch.setattr(output.stdout, "width", 500)
    name, url = studied
    where = ("--storage", url)
    for command in ("show", "doctor"):
        code, out, err = lambda_nas(command, *where, "--", name)
        assert (code, err) == (0, "")
        assert name in out
    assert name in lambda_nas("studies", *where)[1]
    code, _, err = lambda_nas("report", *where, "--out", "a [red].html", "--", name)
    assert (code, err) == (0, "note: wrote a [red].html\n")


def test_the_commands_after_a_search_can_be_pasted(lambda_nas, studied, monkeypatch, capsys):
    from lambda_nas import open_study
    from lambda_nas.cli.commands.search import _print_end

    name, url = studied
    _print_end(open_study(name, storage=url), url, None, seconds=1.0)
    out = capsys.readouterr().out
    assert "S3CRET" not in out
    hint, *lines = out.partition("Next:\n")[2].splitlines()
    assert hint.startswith("  set LAMBDA_NAS_STORAGE to the URL of the database first")
    words = [shlex.split(line) for line in lines]
    assert [line[1] for line in words] == ["export", "report", "dashboard", "show"]
    monkeypatch.setenv("LAMBDA_NAS_STORAGE", url)
    for line in (words[1], words[3]):
        assert lambda_nas(*line[1:])[0] == 0
    assert "S3CRET" not in Path("report.html").read_text()
    assert shlex.quote(name) in html.unescape(Path("report.html").read_text())


@pytest.mark.parametrize(
    ("environment", "given", "shown"),
    [
        (None, "sqlite:///a.db", "sqlite:///a.db"),
        (None, DEFAULT_STORAGE, None),
        ("sqlite:///a.db", "sqlite:///a.db", None),
        ("sqlite:///a.db", None, None),
        ("sqlite:///a.db", DEFAULT_STORAGE, DEFAULT_STORAGE),
    ],
)
def test_the_commands_after_a_search_name_the_database_if_they_must(
    studied, monkeypatch, capsys, environment, given, shown
):
    from lambda_nas import open_study
    from lambda_nas.cli.commands.search import _print_end

    name, url = studied
    found = open_study(name, storage=url)
    if environment:
        monkeypatch.setenv("LAMBDA_NAS_STORAGE", environment)
    _print_end(found, given, Path("my weights"), seconds=1.0)
    lines = capsys.readouterr().out.partition("Next:\n")[2].splitlines()
    words = [shlex.split(line) for line in lines]
    assert ["--storage" in line for line in words] == [shown is not None] * 4
    assert all(shown in line for line in words if shown)
    assert words[0][words[0].index("--weights") + 1] == "my weights"
