"""Drivers that are killed, interrupted twice, or not alone."""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lambda_nas.store.study_store import SqlStudyStore

from .conftest import DEADLINE_S, check_sound, same_so_far
from .tiny_search import STUDY

pytestmark = pytest.mark.full

BUDGET = 5
DIGITS = "digits_vit-digits"
LIFE_S = 40.0
"""A search of digits is done with all that comes before its first trial after half of it."""


def digits_search(begin, url, budget):
    command = [sys.executable, "-m", "lambda_nas", "search", "--storage"]
    return begin(url, "--budget", str(budget), command=command)


def test_killed_at_random_moments_a_search_loses_nothing(begin, sqlite):
    kills, budget = 3, 5
    moments = random.Random(0)
    before = None
    for _ in range(kills):
        search = digits_search(begin, sqlite, budget)
        time.sleep(moments.uniform(0, LIFE_S))
        search.kill()
        if Path(sqlite.removeprefix("sqlite:///")).exists() and SqlStudyStore.open(sqlite).has(
            DIGITS
        ):
            now = SqlStudyStore.open(sqlite).load(DIGITS)
            if before:
                same_so_far(before, now)
            before = now
    last = digits_search(begin, sqlite, budget)
    assert last.end() == 0
    after = check_sound(sqlite, DIGITS, budget)
    if before:
        same_so_far(before, after)
    assert not [run for run in after.runs if not run.ended]


def test_two_interrupts_exit_at_once_and_the_search_can_go_on(begin, sqlite):
    search = begin(sqlite, 6, "--images", "6000")
    search.wait_for(lambda: search.trials() >= 1)
    children = psutil.Process(search.pid).children(recursive=True)
    search.interrupt()
    time.sleep(0.3)
    began = time.monotonic()
    search.interrupt()
    assert search.end() == 130
    # A trial in flight is waited for after the first.
    assert time.monotonic() - began < 10
    before = SqlStudyStore.open(sqlite).load(STUDY)
    again = begin(sqlite, 6)
    assert again.end() == 0
    same_so_far(before, check_sound(sqlite, STUDY, 6))
    # Ray's own processes go with the one that started them.
    assert not psutil.wait_procs(children, timeout=DEADLINE_S)[1]


@pytest.fixture
def steppable(tmp_path):
    """An environment in which a process's clock can be set, and the function that sets it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("setting the clock of one process needs a C compiler")
    library, offset = tmp_path / "clock.so", tmp_path / "offset"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    offset.write_text("0")
    return {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(offset)}, offset.write_text


@pytest.fixture
def two_drivers(begin, sqlite, tmp_path):
    """Begin two drivers on one study; return them, each with a trial, and what lets these go on."""

    def begin_two(*environments):
        held = tmp_path / "held"
        held.touch()
        # While the trial of the first is held, the second starts, which may take its time.
        options = ("--trial-timeout", str(DEADLINE_S))
        searches = []
        for environment in environments:
            held_too = {"HOLD_TRIALS": str(held), **environment}
            searches.append(begin(sqlite, BUDGET, *options, env=held_too))
            searches[-1].wait_for(lambda: claiming() == len(searches))
        return searches, held.unlink

    def claiming():
        if not Path(sqlite.removeprefix("sqlite:///")).exists():
            return 0
        with SqlStudyStore.open(sqlite) as store:
            claims = store.claims(STUDY) if store.has(STUDY) else []
        return len({claim.run.id for claim in claims})

    return begin_two


def test_two_drivers_share_a_study_while_the_clock_of_one_steps(two_drivers, sqlite, steppable):
    environment, set_clock = steppable
    both, let_go = two_drivers(environment, {})
    for offset in ("86400", "-86400"):
        set_clock(offset)
        time.sleep(2)
    let_go()
    time.sleep(1)
    set_clock("0")
    assert [search.end() for search in both] == [0, 0]
    study = check_sound(sqlite, STUDY, BUDGET)
    assert len(study.runs) == 2
    assert {history.run for history in study.trials} == {run.id for run in study.runs}


def test_the_trial_of_a_driver_that_dies_goes_to_the_one_that_lives(two_drivers, sqlite):
    (first, second), let_go = two_drivers({}, {})
    first.kill()
    let_go()
    assert second.end() == 0
    check_sound(sqlite, STUDY, BUDGET)
    assert second.lines[-1] == "ended budget spent\n"


def test_a_long_search_does_not_grow(begin, sqlite):
    trials = 100
    search = begin(sqlite, trials, "--depth", "10", "--images", "28", "--workers", "2")
    assert search.end() == 0, "".join(search.errors)
    sizes = [line.split() for line in search.lines if line[0].isdigit()]
    resident = {int(trials): int(size) for trials, size in sizes}
    # The first trials load what all need.
    assert resident[trials] - resident[20] < 40e6
    check_sound(sqlite, STUDY, trials)
