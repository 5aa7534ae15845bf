"""Drivers that are killed, interrupted twice, or not alone."""

import random
import shutil
import time
from pathlib import Path

import psutil
import pytest

from lambda_nas.inputs.digits import digits_images, digits_model
from lambda_nas.store.store import Store

from .conftest import check_sound, same_so_far
from .tiny_search import STUDY

DIGITS = "digits_vit-digits"
LIFE_S = 60.0
"""A search of digits is done with all that comes before its first trial after half of it."""


def digits_search(begin, url, budget):
    import sys

    command = [sys.executable, "-m", "lambda_nas", "search", "--storage"]
    return begin(url, "--budget", str(budget), command=command)


def test_killed_at_random_moments_a_search_loses_nothing(begin, sqlite, request):
    kills, seed = request.config.getoption("--kills"), request.config.getoption("--kill-seed")
    digits_model(digits_images())
    moments = random.Random(seed)
    budget, before = 30 * kills // 20, None
    for _ in range(kills):
        search = digits_search(begin, sqlite, budget)
        time.sleep(moments.uniform(0, LIFE_S))
        search.kill()
        if Path(sqlite.removeprefix("sqlite:///")).exists() and Store.open(sqlite).has(DIGITS):
            now = Store.open(sqlite).load(DIGITS)
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
    search = begin(sqlite, 10, "--images", "6000")
    search.wait_for(lambda: search.trials() >= 2)
    children = psutil.Process(search.pid).children(recursive=True)
    search.interrupt()
    time.sleep(0.3)
    began = time.monotonic()
    search.interrupt()
    assert search.end() == 130
    assert time.monotonic() - began < 2
    before = Store.open(sqlite).load(STUDY)
    again = begin(sqlite, 10)
    assert again.end() == 0
    same_so_far(before, check_sound(sqlite, STUDY, 10))
    # Ray's own processes go with the one that started them.
    assert not psutil.wait_procs(children, timeout=30)[1]


def test_two_drivers_share_a_study_while_the_clock_of_one_steps(begin, sqlite, tmp_path):
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None or shutil.which("faketime") is None:
        pytest.skip("stepping a clock needs libfaketime")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    stepping = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        # As on a real machine, where a step leaves this one alone.
        "DONT_FAKE_MONOTONIC": "1",
    }
    both = [begin(sqlite, 24, "--images", "6000", env=env) for env in (stepping, {})]
    both[0].wait_for(lambda: both[0].trials() >= 1)
    for step in ("+1d", "-1d", "+0"):
        clock.write_text(step)
        time.sleep(2)
    assert [search.end() for search in both] == [0, 0]
    study = check_sound(sqlite, STUDY, 24)
    assert {history.run for history in study.trials} == {run.id for run in study.runs}
    assert len(study.runs) == 2


def test_a_long_search_does_not_grow(begin, sqlite):
    search = begin(sqlite, 300, "--depth", "10", "--images", "28", "--workers", "2")
    assert search.end() == 0
    sizes = [line.split() for line in search.lines if line[0].isdigit()]
    resident = {int(trials): int(size) for trials, size in sizes}
    # The first trials load what all need.
    assert resident[300] - resident[20] < 50e6
    check_sound(sqlite, STUDY, 300)
