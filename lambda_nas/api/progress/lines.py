"""Progress in lines, for logs and for terminals that can't move the cursor."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from lambda_nas.api.progress.status import Status, settings_lines
from lambda_nas.execution.progress import (
    Advance,
    Event,
    ProposalRejected,
    RungDone,
    SearchBegun,
    TrialBegun,
    TrialEnded,
)
from lambda_nas.records.trial import ParetoTrial, TrialCounts
from lambda_nas.reporting.formatting import duration

SILENT_S = 30.0
"""After so many seconds without a line, a line tells the progress."""

SHORT_S = 1.0
"""The end of a stage that took no longer has no line."""


class Lines:
    """Writes one line per stage and per trial.

    Each begins with the time of day.

    Args:
        write: Writes a line.
        verbose: Whether to tell of rejected proposals, begun trials, rungs and settings, too.
        clock: Seconds that only grow.
        time_of_day: What a line begins with.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
        time_of_day: Callable[[], str] = lambda: time.strftime("%H:%M:%S"),
    ) -> None:
        self._write = write
        self._verbose = verbose
        self._clock = clock
        self._time_of_day = time_of_day
        self._status = Status(clock)
        self._written_at = clock()
        self._over = threading.Event()

    def __enter__(self) -> "Lines":
        threading.Thread(target=self._keep_telling, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _keep_telling(self) -> None:
        while not self._over.wait(1.0):
            self.tell_if_silent()

    def tell_if_silent(self) -> None:
        """Write how far the work is, if nothing was written for a while."""
        if self._clock() - self._written_at < SILENT_S:
            return
        stage, flying = self._status.current, self._status.flying()
        if stage is not None:
            share = f"{stage.done / stage.total:.0%}" if stage.total > 1 else ""
            times, first = self._status.stage_times(stage), self._status.first_trial(stage)
            words = ", ".join(filter(None, (share, stage.detail, times, first)))
            self._line(f"{stage.label}: {words}")
        elif flying:
            trials = "; ".join(" ".join(trial) for trial in flying)
            self._line(f"in flight: {trials}; {self._status.budget_words()}")

    def _line(self, text: str) -> None:
        self._written_at = self._clock()
        self._write(f"{self._time_of_day()} {text}")

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Advance]:
        """Write a line when the stage begins, and another when it ends if it took long."""
        began = self._clock()
        with self._status.stage(label, total) as stage:
            self._line(self._status.stage_title(stage))
            yield stage.advance
        took = self._clock() - began
        if took >= SHORT_S:
            self._line(f"{label}: took {duration(took)}")

    def notes(self, texts: Iterable[str]) -> None:
        """Write a line for each note."""
        for text in texts:
            self._line(f"note: {text}")

    def trials(self, counts: TrialCounts, front: Sequence[ParetoTrial]) -> None:
        """Keep the numbers for the next line."""
        self._status.trials(counts, front)

    def tell(self, event: Event) -> None:
        """Write a line about what the search is about, and about each trial that has ended."""
        told = self._status.about()
        self._status.tell(event)
        match event:
            case SearchBegun():
                for line in self._status.about():
                    if line not in told:
                        self._line(line)
                if self._verbose and not told:
                    for line in settings_lines(event.settings):
                        self._line(line)
            case TrialEnded():
                self._line(self._status.outcome(event))
            case TrialBegun(trial, architecture) if self._verbose:
                self._line(f"trial {trial} {architecture}: begun")
            case RungDone(trial, rung, accuracy) if self._verbose:
                self._line(f"trial {trial}: rung {rung}: {self._status.top1(accuracy)}")
            case ProposalRejected(architecture, reason) if self._verbose:
                self._line(f"rejected {architecture}: {reason}")
