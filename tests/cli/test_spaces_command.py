"""What `spaces` prints."""

import json
import sys

import pytest

from lambda_nas.cli import main


def printed(monkeypatch, capsys, *args):
    monkeypatch.setattr(sys, "argv", ["lambda-nas", "spaces", *args, "--json"])
    with pytest.raises(SystemExit, match="0"):
        main()
    return json.loads(capsys.readouterr().out)


def test_spaces(monkeypatch, capsys):
    spaces = {space["name"]: space for space in printed(monkeypatch, capsys)}
    assert spaces["deit_base"]["seeds"]["paper-50"] == [0, 1, 3, 4, 6, 9]


def test_coverage(monkeypatch, capsys):
    families = {row["name"]: row for row in printed(monkeypatch, capsys, "--coverage")}
    assert families["cait"]["covered"] == families["cait"]["architectures"] == 10
    assert "resnet" not in families
