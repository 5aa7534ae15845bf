"""What `--quiet` and `--verbose` do, and where colors are written."""

import logging
import re

import pytest


@pytest.fixture(autouse=True)
def normal_afterwards(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    yield
    logging.getLogger("lambda_nas").setLevel(logging.NOTSET)


@pytest.mark.parametrize("where", ["before", "after"])
def test_verbose_tells_options_and_versions_but_no_password(lambda_nas, where):
    storage = "postgresql+psycopg://me:secret@localhost:1/x"
    command = ("show", "vit", "--storage", storage)
    given = ("--verbose", *command) if where == "before" else (*command, "--verbose")
    code, out, err = lambda_nas(*given)
    assert (code, out) == (1, "")
    options, versions, *_ = err.splitlines()
    assert options.startswith("options: study=vit, storage=postgresql+psycopg://me:***@localhost")
    assert re.match(r"versions: python 3\.\d+\.\d+, lambda-nas \d", versions)
    assert "secret" not in err


@pytest.mark.parametrize(
    "given", [("show", "x", "--quiet", "--verbose"), ("--quiet", "show", "x", "--verbose")]
)
def test_both_are_refused(lambda_nas, given):
    code, _, err = lambda_nas(*given)
    assert code == 2
    assert "give --quiet or --verbose, not both" in err


def test_a_warning_is_printed_once_and_sends_nothing_to_the_terminal(lambda_nas, capsys):
    for _ in range(2):
        lambda_nas("--quiet", "--version")
    logging.getLogger("lambda_nas.api").warning("trial %s: [red] \x1b[31m", 4)
    assert capsys.readouterr().err == "warning: trial 4: [red] \\x1b[31m\n"


def test_quiet_benches_without_a_word(lambda_nas):
    code, _, err = lambda_nas(
        *("bench", "vit_tiny_patch16_224", "--img-size", "32", "--batch-size", "1", "--quiet")
    )
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    ("environment", "colored"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_errors_are_red_where_colors_are_wanted(lambda_nas, monkeypatch, environment, colored):
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    _, _, err = lambda_nas("show", "absent")
    assert ("\x1b[31m" in err) == colored
    assert "error: there is no study database" in err
