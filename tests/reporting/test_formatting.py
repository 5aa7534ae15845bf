import subprocess

import pytest

from lambda_nas.models.architecture import Architecture
from lambda_nas.reporting import formatting


@pytest.mark.parametrize(
    ("removed", "text"),
    [([], "{}"), ([0, 1], "{0,1}"), ([0, 1, 2], "{0–2}"), ([1, 3, 4, 5, 11], "{1,3–5,11}")],
)
def test_short_architecture(removed, text):
    assert formatting.short_architecture(Architecture.of(removed)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.96, "10 s"), (59.6, "1 min"), (3599.7, "1 h"), (7260, "2 h 1 min")],
)
def test_duration(seconds, text):
    assert formatting.duration(seconds) == text


def test_long_names_end_in_an_ellipsis():
    short = formatting.short_name("hf-hub:someone/" + "x" * 100)
    assert short == "x" * 31 + "…"


def test_a_url_with_a_password_is_in_no_command():
    given = "postgresql://me:secret@host/x"
    assert formatting.command("dashboard", None, storage=given) == "lambda-nas dashboard"
    assert formatting.storage_hint(given).startswith("set LAMBDA_NAS_STORAGE to the URL")
    assert formatting.storage_hint("sqlite:///x.db") == formatting.storage_hint(None) == ""


def test_commands_can_be_pasted():
    name, url = "-a b'$(id)`\"\n", "postgresql://me@host/x?a=1&options=-c b"
    line = formatting.command("export", name, "--trial", 3, storage=url)
    shown = subprocess.run(
        ["sh", "-c", line.replace("lambda-nas", "printf '%s\\0'", 1)],
        capture_output=True,
        text=True,
        check=True,
    )
    words = shown.stdout.split("\0")[:-1]
    assert words == ["export", "--trial", "3", "--storage", url, "--", name]


def test_the_folder_of_an_export_is_a_name_and_no_path():
    command = formatting.export_command("../a b/", 1, None)
    assert command == "lambda-nas export '../a b/' --trial 1 --out a-b-trial-1"
