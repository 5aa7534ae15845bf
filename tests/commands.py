"""Runs commands in processes of their own."""

import signal
import subprocess
import sys

LAMBDA_NAS = [sys.executable, "-m", "lambda_nas"]


def run(*args, folder):
    done = subprocess.run([*LAMBDA_NAS, *args], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def heed_signals():
    """Let signals through that whoever runs the tests ignores: children inherit that.

    A shell has its background jobs ignore SIGINT, and nohup has them ignore SIGHUP.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(*args, folder):
    """Begin a command that heeds signals."""
    return subprocess.Popen(
        [*LAMBDA_NAS, *args],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,
    )
