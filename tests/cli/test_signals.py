"""What signals do to a command, in small processes and in a whole search."""

import signal
import subprocess
import sys
import time

import pytest
from commands import heed_signals, start

from lambda_nas.store.study_store import SqlStudyStore

CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}
COMMAND = """
import time
import typer
from lambda_nas.cli.app import Group

app = typer.Typer(cls=Group)

@app.callback()
def group(): ...

class Slow:
    def __del__(self):
        print("begun", flush=True)
        time.sleep(60)

@app.command()
def work(stubborn: bool = False, finalizing: bool = False):
    try:
        if finalizing:
            Slow()
        else:
            print("begun", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("ending", flush=True)
        if stubborn:
            time.sleep(60)
        # As Ray does.
        fresh = KeyboardInterrupt()
        fresh.add_note("nothing is lost")
        raise fresh

app()
"""


def inherit(ignored):
    """Set what a process inherits, whatever these tests have inherited themselves."""
    heed_signals()
    if ignored:
        signal.signal(getattr(signal, ignored), signal.SIG_IGN)


@pytest.fixture
def begin():
    """Start a command that works until it is told to end; return it once it has begun."""
    begun = []

    def begin(*args, ignoring=None):
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "work", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: inherit(ignoring),
        )
        begun.append(process)
        assert process.stdout.readline() == "begun\n"
        return process

    yield begin
    for process in begun:
        process.kill()


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_the_first_signal_ends_a_command_in_order(begin, name, code):
    process = begin()
    process.send_signal(getattr(signal, name))
    assert process.communicate(timeout=30) == ("ending\n", "interrupted: nothing is lost\n")
    assert process.returncode == code


def test_a_signal_that_arrives_in_a_finalizer_is_not_lost(begin):
    process = begin("--finalizing")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30) == ("ending\n", "interrupted: nothing is lost\n")
    assert process.returncode == CODES["SIGTERM"]


def test_the_second_signal_ends_it_at_once_whichever_it_is(begin):
    process = begin("--stubborn")
    process.send_signal(signal.SIGHUP)
    assert process.stdout.readline() == "ending\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == CODES["SIGTERM"]


def test_a_signal_that_was_ignored_stays_so_as_nohup_has_it(begin):
    process = begin(ignoring="SIGHUP")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("ending\n", "interrupted: nothing is lost\n")
    assert process.returncode == CODES["SIGINT"]


@pytest.mark.full
def test_a_search_ends_safe_and_without_noise(tmp_path):
    """By SIGTERM, which Ray would handle in its own way."""
    process = start("search", "--budget", "100", "--quiet", folder=tmp_path)
    database = tmp_path / "studies" / "lambda_nas.db"
    url, study = f"sqlite:///{database}", "digits_vit-digits"
    while process.poll() is None:
        time.sleep(0.5)
        if database.exists():
            with SqlStudyStore.open(url, create=False) as store:
                if store.has(study) and store.trials(study):
                    break
    process.send_signal(signal.SIGTERM)
    try:
        _, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == CODES["SIGTERM"]
    assert stderr == f"interrupted: study {study} is safe: run the same search again to resume\n"
    with SqlStudyStore.open(url, create=False) as store:
        [run] = store.runs(study)
    assert run.ended
