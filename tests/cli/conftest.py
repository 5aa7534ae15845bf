import sys

import pytest

from lambda_nas.cli import main


@pytest.fixture
def lambda_nas(monkeypatch, capsys):
    """Run a command in this process: one of its own needs ten seconds for its imports.

    Returns:
        The exit code, what is on stdout, what is on stderr.
    """

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["lambda-nas", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call
