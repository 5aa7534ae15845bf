"""Names and paths reach the terminal as text, whatever they hold."""

import pytest

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
