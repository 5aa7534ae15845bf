"""Where a function stands: what progress in a terminal, a log and a notebook is drawn from.

Threads draw it while the main thread changes it, so what may vanish meanwhile is read once.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields

from lambda_nas.cost.constraints import Constraints
from lambda_nas.execution.progress import (
    Event,
    RungDone,
    SearchBegun,
    StageExpected,
    StagesPlanned,
    TrialBegun,
    TrialEnded,
)
from lambda_nas.execution.settings import Budget, Settings
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.trial import ParetoTrial, TrialCounts
from lambda_nas.reporting.formatting import counted, duration, percent, short_name

FLYING = 4
"""Trials in flight that are shown one by one."""


@dataclass
class Stage:
    """A stage that is going on, in which ``done`` of ``total`` steps are done."""

    label: str
    total: int
    began: float
    done: int = 0
    detail: str = ""

    def advance(self, detail: str = "") -> None:
        """Count a step, and keep what there is to say about it."""
        self.done += 1
        self.detail = detail


@dataclass
class TrialInFlight:
    """A trial that is evaluated: its rung, and since when it has been in it."""

    architecture: Architecture
    since: float
    rung: int = 0


def settings_lines(settings: Settings) -> list[str]:
    """Return each setting of a search in a line."""
    return [f"{field.name}: {_words(getattr(settings, field.name))}" for field in fields(settings)]


def _words(value: object) -> str:
    if isinstance(value, Budget | Constraints):
        given = asdict(value).items()
        value = tuple(f"{name} {limit}" for name, limit in given if limit is not None)
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


class Status:
    """Keeps what was reported last.

    Attributes:
        search: What the search is about; ``None`` if that is not known, or there is none.
        in_flight: The trials that are being evaluated, by number.
        counts: Trials by state; ``None`` before the first one.
        front: The front, slowest first.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.search: SearchBegun | None = None
        self.in_flight: dict[int, TrialInFlight] = {}
        self.counts: TrialCounts | None = None
        self.front: Sequence[ParetoTrial] = ()
        self._stages: list[Stage] = []
        self._planned: tuple[str, ...] = ()
        self._expected_s: dict[str, float] = {}
        self._trials_began = 0.0
        self._evaluated_before = 0

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Stage]:
        """Keep a stage while it lasts."""
        stage = Stage(label, total, self.clock())
        self._stages.append(stage)
        try:
            yield stage
        finally:
            self._stages.remove(stage)

    @property
    def current(self) -> Stage | None:
        """The stage that is going on."""
        return next(reversed(self._stages), None)

    def tell(self, event: Event) -> None:
        """Keep what an event changes."""
        match event:
            case SearchBegun():
                self.search = event
            case StagesPlanned(stages):
                self._planned = stages
            case StageExpected(label, seconds):
                self._expected_s[label] = seconds
            case TrialBegun(trial, architecture):
                self.in_flight[trial] = TrialInFlight(architecture, self.clock())
            case RungDone(trial, rung):
                if trial in self.in_flight:
                    known = self.in_flight[trial].architecture
                    self.in_flight[trial] = TrialInFlight(known, self.clock(), rung + 1)
            case TrialEnded(trial):
                self.in_flight.pop(trial, None)

    def trials(self, counts: TrialCounts, front: Sequence[ParetoTrial]) -> None:
        """Keep the number of trials and the front."""
        if self.counts is None:
            self._trials_began = self.clock()
            self._evaluated_before = counts.evaluated
        self.counts, self.front = counts, front

    def about(self) -> list[str]:
        """Return in lines what the search is about."""
        if self.search is None:
            return []
        search = self.search
        lines = [
            f"study {search.study} in {search.storage}",
            f"{short_name(search.model)} on {short_name(search.data)}, {search.device}",
        ]
        if search.unpruned is not None:
            lines.append(f"unpruned: {self.top1(search.unpruned)}")
        return lines

    def top1(self, fraction: float) -> str:
        """Return an accuracy in percent, and the number of images that it is of."""
        images = f" of {self.search.images} images" if self.search else ""
        return f"{percent(fraction)}{images}"

    def stage_title(self, stage: Stage) -> str:
        """Return which stage of how many this is."""
        planned = self._planned
        if stage.label not in planned:
            return stage.label
        return f"stage {planned.index(stage.label) + 1} of {len(planned)}: {stage.label}"

    def stage_times(self, stage: Stage) -> str:
        """Return how long the stage has lasted, and about how long it still will."""
        left = self._stage_left_s(stage)
        spent = duration(self.clock() - stage.began)
        return f"{spent}, about {duration(left)} left" if left else spent

    def _stage_left_s(self, stage: Stage) -> float | None:
        spent = self.clock() - stage.began
        if stage.done:
            return spent / stage.done * (stage.total - stage.done)
        expected = self._expected_s.get(stage.label)
        return None if expected is None else max(0.0, expected - spent)

    def first_trial(self, stage: Stage) -> str:
        """Return about how long it is until the first trial; nothing if that is not known."""
        planned, left = self._planned, self._stage_left_s(stage)
        if left is None or stage.label not in planned:
            return ""
        after = planned[planned.index(stage.label) + 1 :]
        if any(label not in self._expected_s for label in after):
            return ""
        seconds = left + sum(self._expected_s[label] for label in after)
        return f"first trial in about {duration(seconds)}" if seconds else ""

    def of_budget(self) -> tuple[float, float] | None:
        """Return how much of the budget is spent, and all of it; ``None`` if there is none."""
        if self.search is None or self.counts is None:
            return None
        budget = self.search.settings.budget
        if budget.seconds is not None:
            return min(self.clock() - self._trials_began, budget.seconds), budget.seconds
        return float(self.counts.evaluated), float(budget.trials or 0)

    def budget_words(self) -> str:
        """Return how much of the budget is spent, in words."""
        spent_and_all, counts = self.of_budget(), self.counts
        if spent_and_all is None or counts is None or self.search is None:
            return ""
        spent, whole = spent_and_all
        if self.search.settings.budget.seconds is None:
            return f"{counts.evaluated} of {whole:.0f} trials"
        return f"{counted(counts.evaluated, 'trial')}, {duration(spent)} of {duration(whole)}"

    def trial_times(self) -> str:
        """Return how long the trials have lasted, and about how long they still will."""
        elapsed, left = self.clock() - self._trials_began, self._trials_left_s()
        times = duration(elapsed)
        return times if left is None else f"{times}, about {duration(left)} left"

    def _trials_left_s(self) -> float | None:
        spent_and_all, counts = self.of_budget(), self.counts
        if spent_and_all is None or counts is None or self.search is None:
            return None
        spent, whole = spent_and_all
        if self.search.settings.budget.seconds is not None:
            return whole - spent
        here = counts.evaluated - self._evaluated_before
        elapsed = self.clock() - self._trials_began
        return elapsed / here * (whole - spent) if here and whole >= spent else None

    def flying(self) -> list[tuple[str, ...]]:
        """Return number, architecture and rung of the first trials in flight, and how many more."""
        trials = list(self.in_flight.items())
        shown: list[tuple[str, ...]] = [
            (
                f"trial {trial}",
                str(flying.architecture),
                f"{self._rung(flying.rung)}, {duration(self.clock() - flying.since)}",
            )
            for trial, flying in trials[:FLYING]
        ]
        more = len(trials) - FLYING
        return [*shown, (f"... and {more} more",)] if more > 0 else shown

    def _rung(self, rung: int) -> str:
        last = self.search.rungs - 1 if self.search else 0
        return f"rung {rung} of {last}" if last else f"rung {rung}"

    def outcome(self, ended: TrialEnded) -> str:
        """Return in a line how a trial ended."""
        told = [f"trial {ended.trial} {ended.architecture}: {ended.outcome}"]
        if ended.reason:
            told[0] += f" ({ended.reason})"
        if ended.accuracy is not None:
            told += [self.top1(ended.accuracy), f"{ended.speedup:.2f}x as fast"]
        if ended.rung is not None:
            told.append(self._rung(ended.rung))
        return ", ".join(told) + f"; {self.budget_words()}"
