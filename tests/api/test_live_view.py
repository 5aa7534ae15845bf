"""The live view in a terminal of its own."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "live_view.py"
TIME = r"\d\d:\d\d:\d\d "


def resize(terminal, columns, rows):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def shown(*, resized_at=None, **environment):
    """Return what is written to a terminal of 80 x 24, which may become smaller meanwhile."""
    terminal, end = pty.openpty()
    resize(terminal, 80, 24)
    drop = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if name not in drop}
    process = subprocess.Popen(
        [sys.executable, SCRIPT], stdin=end, stderr=end, env=kept | environment
    )
    os.close(end)
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        # The terminal is gone with the process.
        except OSError:
            break
        written += part
        if resized_at and resized_at in written:
            resize(terminal, 60, 20)
    os.close(terminal)
    assert process.wait() == 0
    return written.decode()


def without_escapes(text):
    return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", text)


def test_a_terminal_shows_the_stage_the_trials_and_the_front():
    written = shown(TERM="xterm-256color", resized_at=b"failed: ")
    text = without_escapes(written)
    for line in (
        "study vit-images in sqlite:///x.db",
        "stage 2 of 5: Measuring throughput and memory",
        "3 of 12 trials",
        "trial 7 {1} rung 0 of 2",
    ):
        assert line in text
    assert re.search(r"front, slow to fast \(\d+ of 20\)", text)
    widths = [len(line.rstrip()) for line in re.split(r"[\r\n]+", text)]
    assert max(widths) <= 80
    assert "\x1b[31mfailed: {10,11," in written
    # A set that is broken goes on after a comma, in the smaller terminal as well.
    assert not re.search(r"\{[\d,]*\d\s*[\r\n]", text)
    assert text.endswith("done\r\n")


@pytest.mark.full
def test_a_dumb_terminal_has_lines():
    written = shown(TERM="dumb", FORCE_COLOR="1")
    assert "\x1b" not in written
    assert re.fullmatch(
        TIME
        + "study .*"
        + TIME
        + "stage 2 of 5: Measuring throughput and memory\r\n"
        + TIME
        + "trial 6 .*: failed .*done\r\n",
        written,
        re.DOTALL,
    )
