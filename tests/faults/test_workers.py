"""Workers that die or run out of memory."""

import resource
from contextlib import suppress
from pathlib import Path

import optuna
import psutil
import pytest
import torch
from optuna.trial import TrialState

from lambda_nas.execution.trainable import _out_of_memory
from lambda_nas.store.study_store import SqlStudyStore

from .conftest import check_sound
from .tiny_search import STUDY

BUDGET = 5


def failed(url):
    study = optuna.load_study(study_name=STUDY, storage=SqlStudyStore.open(url).optuna)
    return [trial for trial in study.get_trials() if trial.state == TrialState.FAIL]


def failures(search):
    return sum(line.startswith("failed") for line in search.lines)


@pytest.mark.full
def test_the_set_of_a_worker_that_dies_or_is_out_of_memory_is_tried_again(begin, sqlite, tmp_path):
    held = tmp_path / "held"
    held.touch()
    # What is freed goes back at once, so that the next batch has to ask the system again.
    eager = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    environment = eager | {"HOLD_FAILURES": str(held)}
    search = begin(sqlite, BUDGET, "--images", "6000", env=environment)
    search.wait_for(lambda: search.trials() >= 1)
    first = search.wait_for_worker()
    held.unlink()
    first.kill()
    search.wait_for(lambda: failures(search) == 1)
    held.touch()
    search.wait_for(lambda: search.trials() >= 3)
    worker = search.wait_for_worker()
    unlimited = worker.rlimit(resource.RLIMIT_AS)
    worker.rlimit(resource.RLIMIT_AS, (worker.memory_info().vms // 2, unlimited[1]))
    search.wait_for(lambda: failures(search) == 2)
    # It depends on who asks first: the trial, which says so, or Ray, which dies of it.
    with suppress(psutil.NoSuchProcess):
        worker.rlimit(resource.RLIMIT_AS, unlimited)
    held.unlink()
    assert search.end() == 0
    study = check_sound(sqlite, STUDY, BUDGET)
    lost = failed(sqlite)
    died, full = (trial.user_attrs["reason"] for trial in lost[:2])
    assert died == "the worker process died"
    assert full.startswith("out of memory: ") or full == died
    measured = {str(history.removal) for history in study.trials}
    assert {trial.user_attrs["removed"] for trial in lost} <= measured


@pytest.fixture
def hung(tmp_path):
    """A file; while it is there, each trial hangs in its first pass."""
    file = tmp_path / "hung"
    file.touch()
    return file


@pytest.mark.full
def test_a_worker_that_hangs_is_killed_and_the_search_goes_on(begin, sqlite, hung):
    search = begin(sqlite, 3, "--trial-timeout", "30", env={"HOLD_TRIALS": str(hung)})
    search.wait_for(Path(f"{hung}.reached").exists)
    worker = search.wait_for_worker()
    search.wait_for(lambda: failures(search) == 1)
    hung.unlink()
    assert search.end() == 0
    check_sound(sqlite, STUDY, 3)
    [lost] = failed(sqlite)
    assert lost.user_attrs["reason"] == "took longer than the limit of 30 s"
    assert not worker.is_running()


@pytest.mark.full
def test_a_search_whose_time_is_up_does_not_wait_for_a_worker_that_hangs(begin, sqlite, hung):
    search = begin(sqlite, 0, "--seconds", "90", env={"HOLD_TRIALS": str(hung)})
    search.wait_for(Path(f"{hung}.reached").exists)
    worker = search.wait_for_worker()
    assert search.end() == 0
    assert search.lines[-1] == "ended time is up\n"
    assert failures(search) == 0
    assert SqlStudyStore.open(sqlite).claims(STUDY) == []
    [lost] = failed(sqlite)
    assert lost.user_attrs["reason"] == "time is up"
    assert not worker.is_running()


def test_what_an_allocation_fails_with_is_known():
    with pytest.raises(RuntimeError, match="allocate") as failure:
        torch.empty(2**50)
    assert _out_of_memory(failure.value)
    assert _out_of_memory(MemoryError())
    assert not _out_of_memory(RuntimeError("sizes do not match"))
