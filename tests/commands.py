"""Runs commands in processes of their own."""

import signal
import subprocess
import sys

LAMBDA_NAS = [sys.executable, "-m", "lambda_nas"]


def run(*args, folder):
    done = subprocess.run([*LAMBDA_NAS, *args], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(*args, folder):
    """Begin a command that Ctrl-C reaches, even if these tests were started in the background."""
    return subprocess.Popen(
        [*LAMBDA_NAS, *args],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        # A shell has its background jobs ignore SIGINT, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
