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


def test_urls_without_passwords_stay():
    for text in ("sqlite:////tmp/x.db", "postgresql://me@host:5432/x", "mail a:b@c"):
        assert formatting.without_passwords(text) == text


def test_the_folder_of_an_export_is_a_name_and_no_path():
    command = formatting.export_command("../a b/", 1, None)
    assert command == "lambda-nas export '../a b/' --trial 1 --out a-b-trial-1"
