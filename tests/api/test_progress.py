"""Progress in lines, in a cell, and none at all."""

import io
import logging
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest
from live_view import front
from rich.console import Console

from lambda_nas.api.progress import console
from lambda_nas.api.progress.lines import Lines
from lambda_nas.api.progress.notebook import CellProgress
from lambda_nas.api.progress.quiet import Quiet
from lambda_nas.api.progress.shown import in_notebook, progress_shown
from lambda_nas.api.progress.terminal import LiveView
from lambda_nas.cost.measurement import Price
from lambda_nas.execution.progress import (
    MEASURING_PRIOR,
    PRICING,
    STARTING_RAY,
    ProposalRejected,
    RungDone,
    SearchBegun,
    StageExpected,
    StagesPlanned,
    TrialBegun,
    TrialEnded,
    stages_before_trials,
)
from lambda_nas.execution.settings import Budget, Settings
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.removal import RemovalSet
from lambda_nas.records.trial import ParetoTrial, TrialCounts

PRICE = Price(100.0, 1.25, 320.0, 40_000_000, 5_000_000, 1_000_000_000)
SET = Architecture.of([2, 3])
SETTINGS = Settings(Budget(trials=12), max_removed=2, layers=(0, 1, 2), seeds=(RemovalSet((0, 2)),))
ENDED = TrialEnded(4, SET, "completed", 1.25, accuracy=0.5, rung=1)


def begun(**changes):
    known = {
        "study": "vit-images",
        "storage": "postgresql://me:***@host/nas",
        "model": "local-dir:/models/vit",
        "data": "/home/me/images",
        "device": "H100",
        "images": 250,
        "rungs": 3,
        "settings": SETTINGS,
        "unpruned": 0.75,
    }
    return SearchBegun(**(known | changes))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Log(Lines):
    """Lines with a clock that tests set."""

    def __init__(self, **options):
        self.clock, self.lines = Clock(), []
        super().__init__(
            self.lines.append,
            clock=self.clock,
            time_of_day=lambda: f"{self.clock():02.0f}",
            **options,
        )


def test_a_log_has_a_line_for_each_stage_and_says_how_long_it_took():
    log = Log()
    log.tell(StagesPlanned(stages_before_trials(joins=False, asks=False)))
    with log.stage(PRICING, 4) as advance:
        log.clock.now = 20
        advance()
        log.tell_if_silent()
        log.clock.now = 31
        log.tell_if_silent()
        log.clock.now = 40
    with log.stage(STARTING_RAY, 1):
        pass
    assert log.lines == [
        "00 stage 2 of 5: Measuring throughput and memory",
        "31 Measuring throughput and memory: 25%, 31 s, about 1 min 33 s left",
        "40 Measuring throughput and memory: took 40 s",
        "40 stage 5 of 5: Starting Ray",
    ]


def test_a_log_says_how_a_training_goes():
    log = Log()
    with log.stage("Training", 100) as advance:
        log.clock.now = 30
        advance("step 10 of 1000, loss 0.321")
        log.tell_if_silent()
    assert (
        log.lines[1] == "30 Training: 1%, step 10 of 1000, loss 0.321, 30 s, about 49 min 30 s left"
    )


def test_a_log_has_a_line_for_each_trial():
    log = Log()
    log.tell(begun(unpruned=None))
    log.tell(begun())
    log.trials(TrialCounts(3, 0, 0), [])
    log.tell(TrialBegun(4, SET))
    log.tell(ProposalRejected(SET, "hopeless"))
    log.tell(RungDone(4, 0, 0.4))
    log.clock.now = 35
    log.tell_if_silent()
    log.trials(TrialCounts(4, 0, 0), [])
    log.tell(ENDED)
    log.tell(TrialEnded(5, SET, "stopped early", 1.25, "too bad", 0.4, 0))
    log.tell(TrialEnded(6, SET, "failed", 1.25, "the worker process died"))
    assert log.lines == [
        "00 study vit-images in postgresql://me:***@host/nas",
        "00 vit on images, H100",
        "00 unpruned: 75.00% of 250 images",
        "35 in flight: trial 4 {2,3} rung 1 of 2, 35 s; 3 of 12 trials",
        "35 trial 4 {2,3}: completed, 50.00% of 250 images, 1.25x as fast, rung 1 of 2; "
        "4 of 12 trials",
        "35 trial 5 {2,3}: stopped early (too bad), 40.00% of 250 images, 1.25x as fast, "
        "rung 0 of 2; 4 of 12 trials",
        "35 trial 6 {2,3}: failed (the worker process died); 4 of 12 trials",
    ]


def test_a_log_tells_the_rest_if_asked():
    log = Log(verbose=True)
    log.tell(begun())
    log.tell(TrialBegun(4, SET))
    log.tell(RungDone(4, 0, 0.4))
    log.tell(ProposalRejected(SET, "hopeless"))
    assert log.lines[3:7] == [
        "00 budget: trials 12",
        "00 max_removed: 2",
        "00 layers: 0, 1, 2",
        "00 mergings: none",
    ]
    assert "00 seeds: {0,2}" in log.lines
    assert log.lines[-4:] == [
        "00 prior_images: 100",
        "00 trial 4 {2,3}: begun",
        "00 trial 4: rung 0: 40.00% of 250 images",
        "00 rejected {2,3}: hopeless",
    ]


def test_a_time_budget_is_counted_in_time():
    log = Log()
    log.tell(begun(settings=replace(SETTINGS, budget=Budget(seconds=1800))))
    log.trials(TrialCounts(0, 0, 0), [])
    log.clock.now = 90
    log.trials(TrialCounts(1, 0, 0), [])
    log.tell(ENDED)
    assert log.lines[-1].endswith("; 1 trial, 1 min 30 s of 30 min")


def test_a_stage_is_drawn_at_most_every_quarter_second():
    drawn, clock = [], Clock()
    progress = CellProgress(lambda text, html: drawn.append((text, html)), clock=clock)
    with progress.stage("Reading <images>", 3) as advance:
        for now in (0.1, 0.3, 0.4):
            clock.now = now
            advance()
    assert [text for text, _ in drawn] == [
        "Reading <images>: 0.0 s",
        "Reading <images>: 0.3 s, about 0.1 s left",
    ]
    assert drawn[1][1] == (
        '<div><progress value="2" max="3"></progress> '
        "Reading &lt;images&gt;: 0.3 s, about 0.1 s left</div>"
    )


def test_a_cell_shows_the_search_its_trials_and_its_front():
    drawn, clock = [], Clock()
    progress = CellProgress(lambda *shown: drawn.append(shown), clock=clock)
    progress.tell(begun())
    progress.trials(TrialCounts(1, 0, 0), [])
    progress.tell(TrialBegun(7, Architecture.of([1])))
    clock.now = 20
    counts = TrialCounts(complete=2, pruned=3, failed=0, stopped=1)
    progress.trials(counts, [ParetoTrial(1, SET, 0.5, 0, PRICE)])
    text, html = drawn[-1]
    assert text.splitlines() == [
        "study vit-images in postgresql://me:***@host/nas",
        "vit on images, H100",
        "unpruned: 75.00% of 250 images",
        "3 of 12 trials (2 completed, 1 stopped early, 2 rejected, 0 failed), "
        "20 s, about 1 min 30 s left",
        "trial 7 {1} rung 0 of 2, 20 s",
    ]
    assert '<progress value="3" max="12">' in html
    assert "<td>{2,3}</td><td>50.00%</td><td>1.25x</td>" in html


def drawn(view, *, width, height):
    console = Console(width=width, height=height, file=io.StringIO(), color_system=None)
    console.print(view)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 14), (60, 24), (160, 50), (50, 18)])
def test_the_live_view_fits_the_terminal_and_keeps_both_ends_of_the_front(width, height):
    view = LiveView()
    view.tell(begun())
    view.trials(TrialCounts(4, 0, 0), front(20))
    view.tell(TrialBegun(7, Architecture.of([1])))
    lines = drawn(view, width=width, height=height)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert lines[0].startswith("study vit-images in postgres")
    assert "unpruned: 75.00% of 250 images" in text
    assert "trial 7" in text
    rows = [line for line in lines if line.endswith("x")]
    assert rows[0].split()[0] == "{10}"
    assert rows[-1].split()[-2:] == ["70.00%", "1.20x"]
    assert (len(rows) == 20) == ("slow to fast (" not in text) == (height == 50)


def test_the_live_view_shows_a_few_of_many_trials_and_keeps_room_for_the_front():
    view = LiveView()
    view.tell(begun())
    view.trials(TrialCounts(4, 0, 0), front(20))
    for trial in range(64):
        view.tell(TrialBegun(trial, SET))
    lines = drawn(view, width=80, height=24)
    assert len(lines) < 24
    assert sum(line.startswith("trial ") for line in lines) == 4
    assert "... and 60 more" in lines
    assert lines[-1].endswith("1.20x")


def test_a_cell_and_a_log_hold_no_control_characters():
    shown = []
    cell = CellProgress(lambda *texts: shown.append(texts))
    with cell.stage("Reading \x1b[31m<b>", 1):
        pass
    text, html = shown[0]
    assert text.startswith("Reading \\x1b[31m<b>: ")
    assert "\x1b" not in html
    assert "Reading \\x1b[31m&lt;b&gt;" in html


def test_stages_may_end_while_they_are_drawn(request):
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-6)
    view, over = LiveView(), threading.Event()

    def draw():
        while not over.is_set():
            drawn(view, width=80, height=24)

    with ThreadPoolExecutor(1) as drawing:
        done = drawing.submit(draw)
        for _ in range(500):
            with view.stage("Reading", 1):
                time.sleep(0)  # Lets the other thread go on.
            time.sleep(0)
        over.set()
    assert done.exception() is None


def test_the_live_view_says_how_long_it_is_until_the_first_trial():
    view = LiveView()
    view.tell(StagesPlanned(stages_before_trials(joins=False, asks=False)))
    view.tell(StageExpected(STARTING_RAY, 5))
    with view.stage(MEASURING_PRIOR, 4):
        assert drawn(view, width=80, height=24)[0] == "stage 4 of 5: Measuring the prior"
        assert "first trial" not in "".join(drawn(view, width=80, height=24))
        view.tell(StageExpected(MEASURING_PRIOR, 3600))
        assert drawn(view, width=80, height=24)[2].startswith("first trial in about 1 h")


def test_a_stage_whose_steps_are_done_has_no_time_left_to_tell():
    view = LiveView()
    with view.stage("Reading", 1) as advance:
        advance()
        assert " left" not in "".join(drawn(view, width=80, height=24))


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_note_is_broken_between_words_on_a_terminal_only(monkeypatch, capsys, is_terminal):
    monkeypatch.setattr(console.stderr, "_force_terminal", is_terminal)
    monkeypatch.setattr(console.stderr, "width", 20)
    console.note("no train/ and val/ below images")
    lines = [line.rstrip() for line in capsys.readouterr().err.splitlines()]
    text = [re.sub(r"\x1b\[\d*m", "", line) for line in lines]
    broken = ["note: no train/ and", "val/ below images"]
    assert text == (broken if is_terminal else [" ".join(broken)])


@pytest.mark.parametrize("level", [logging.NOTSET, logging.WARNING])
def test_quiet_tells_of_failed_trials_only(caplog, level):
    logger = logging.getLogger("lambda_nas")
    logger.setLevel(level)
    try:
        shown = progress_shown(visible=level != logging.NOTSET)
    finally:
        logger.setLevel(logging.NOTSET)
    with shown as progress:
        assert isinstance(progress, Quiet)
        with progress.stage("x", 1) as advance:
            advance()
        progress.trials(TrialCounts(1, 0, 0), [])
        progress.tell(ENDED)
        progress.tell(TrialEnded(1, Architecture.of([2]), "failed", 1.0, "it died"))
    assert caplog.messages == ["trial 1 {2} failed: it died"]
    assert not in_notebook()
