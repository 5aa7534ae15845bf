import subprocess
import sys

import pytest
from commands import heed_signals

from lambda_nas.cli.loading import ERASE_LINE, loading


@pytest.mark.parametrize("terminal", [True, False])
def test_only_a_terminal_is_told_and_nothing_is_left_on_it(monkeypatch, capsys, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with loading():
        before = capsys.readouterr().err
    assert before == ("Loading libraries ..." if terminal else "")
    assert capsys.readouterr().err == (ERASE_LINE if terminal else "")


SWALLOWED = """
import os, signal
from lambda_nas.cli.loading import loading
with loading():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        pass
print("half of the modules are missing")
"""


def test_ctrl_c_exits_even_if_a_library_catches_it():
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWED],
        capture_output=True,
        text=True,
        preexec_fn=heed_signals,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
