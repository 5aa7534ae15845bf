import sys

import pytest

from lambda_nas.cli.loading import ERASE_LINE, loading


@pytest.mark.parametrize("terminal", [True, False])
def test_only_a_terminal_is_told_and_nothing_is_left_on_it(monkeypatch, capsys, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with loading():
        before = capsys.readouterr().err
    assert before == ("Loading PyTorch and timm ..." if terminal else "")
    assert capsys.readouterr().err == (ERASE_LINE if terminal else "")
