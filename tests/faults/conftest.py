"""Searches as processes of their own, which the tests then do bad things to."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import optuna
import psutil
import pytest
from commands import heed_signals
from optuna.trial import TrialState

from lambda_nas.store.doctor import examine
from lambda_nas.store.study_store import SqlStudyStore

TINY = [sys.executable, str(Path(__file__).with_name("tiny_search.py"))]
DEADLINE_S = 600
SPENT = "the budget is spent"


def title(process):
    """Return a process's command line, which is empty once it has ended."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


class Search:
    """A process, with its output read as it comes, and all that it started."""

    def __init__(self, command, folder, env=None):
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_signals,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=into.extend, args=(pipe,), daemon=True)
            for into, pipe in (
                (self.lines, self._process.stdout),
                (self.errors, self._process.stderr),
            )
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self):
        return self._process.pid

    def is_running(self):
        return self._process.poll() is None

    def trials(self):
        """Return how many trials are done, as the search has said."""
        counts = [int(line.split()[0]) for line in self.lines if line[0].isdigit()]
        return counts[-1] if counts else 0

    def wait_for(self, condition: Callable[[], bool]):
        """Wait until something holds; the process must live until then."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert self.is_running(), "".join(self.errors)
            assert time.monotonic() < deadline, "".join(self.lines)
            time.sleep(0.05)

    def interrupt(self):
        self._process.send_signal(signal.SIGINT)

    def kill(self):
        self._process.kill()
        return self.end()

    def end(self):
        """Wait for the end; return the exit code."""
        code = self._process.wait(DEADLINE_S)
        for reader in self._readers:
            reader.join(10)
        return code

    def wait_for_worker(self):
        """Return the process that runs trials, once there is one: Ray renames it between two."""
        found = []

        def is_there():
            children = psutil.Process(self.pid).children(recursive=True)
            # Ray's name for it, with the resources, while it runs a trial.
            names = ("RemovalTrial", "ResourceTrainable")
            found[:] = (one for one in children if any(name in title(one) for name in names))
            return len(found) == 1

        self.wait_for(is_there)
        return found[0]


@pytest.fixture
def begin(tmp_path):
    """Start a tiny search; whatever still runs at the end is killed."""
    begun = []

    def begin(storage, budget, *options, env=None, command=TINY):
        search = Search([*command, storage, str(budget), *options], tmp_path, env)
        begun.append(search)
        return search

    yield begin
    for search in begun:
        if search.is_running():
            search.kill()


@pytest.fixture
def sqlite(tmp_path):
    return f"sqlite:///{tmp_path}/study.db"


def check_sound(url, study, budget, *, weights=None):
    """Assert that a study ended as if nothing had happened; return it."""
    store = SqlStudyStore.open(url, create=False)
    findings = examine(store, study, weights_root=weights)
    assert findings.problems == ()
    assert findings.in_flight == 0
    assert store.claims(study) == []
    loaded = store.load(study)
    assert len(loaded.trials) == budget
    told = optuna.load_study(study_name=study, storage=store.optuna).get_trials()
    # What another driver's last trials left no budget for stays in the queue.
    late = [trial.params for trial in told if trial.user_attrs.get("reason") == SPENT]
    queued = [trial.system_attrs for trial in told if trial.state == TrialState.WAITING]
    assert all(attrs["fixed_params"] in late for attrs in queued)
    return loaded


def same_so_far(before, after):
    """Assert that nothing that was measured is lost or measured anew."""
    kept = {history.trial: history for history in after.trials}
    for history in before.trials:
        assert kept[history.trial] == history
