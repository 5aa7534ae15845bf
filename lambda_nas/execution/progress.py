"""What a search reports while it runs, and a decorator that times its stages."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from lambda_nas.execution.settings import Settings
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.trial import ParetoTrial, TrialCounts

LOOKING_FOR_CLUSTER = "Looking for the cluster"
READING = "Reading images"
CHECKING_CLASSES = "Checking the classes"
PRICING = "Measuring throughput and memory"
PRICING_MERGING = "Measuring the savings of token merging"
EVALUATING_UNPRUNED = "Evaluating the unpruned model"
MEASURING_PRIOR = "Measuring the prior"
STARTING_RAY = "Starting Ray"
JOINING_RAY = "Joining Ray"


def stages_before_trials(
    *,
    joins: bool,
    asks: bool,
    prices: bool = True,
    prices_merging: bool = False,
    measures_prior: bool = True,
) -> tuple[str, ...]:
    """Return the labels of the stages before the first trial, in order.

    Args:
        joins: Whether there is a cluster to join.
        asks: Whether the classes of the images are in question.
        prices: Whether the study is new.
        prices_merging: Whether the search space merges tokens.
        measures_prior: Whether the study has no prior yet.
    """
    return (
        *([LOOKING_FOR_CLUSTER] if joins else []),
        READING,
        *([CHECKING_CLASSES] if asks and prices else []),
        *([JOINING_RAY] if joins else []),
        *([PRICING] if prices else []),
        *([PRICING_MERGING] if prices and prices_merging else []),
        *([EVALUATING_UNPRUNED] if prices else []),
        *([MEASURING_PRIOR] if measures_prior else []),
        *([] if joins else [STARTING_RAY]),
    )


@dataclass(frozen=True)
class StagesPlanned:
    """The labels of the stages before the first trial, in order."""

    stages: tuple[str, ...]


@dataclass(frozen=True)
class SearchBegun:
    """What a search is about; reported again when more of it is known.

    Attributes:
        storage: URL of the study database, without its password.
        images: Number of images that trials are compared on.
        rungs: Rungs of a trial.
        unpruned: Top-1 of the unpruned model, a fraction; ``None`` before it is measured.
    """

    study: str
    storage: str
    model: str
    data: str
    device: str
    images: int
    rungs: int
    settings: Settings
    unpruned: float | None


@dataclass(frozen=True)
class StageExpected:
    """About how long a stage will take that has not begun."""

    label: str
    seconds: float


@dataclass(frozen=True)
class TrialBegun:
    """A trial that a worker is about to evaluate."""

    trial: int
    architecture: Architecture


@dataclass(frozen=True)
class RungDone:
    """A rung of a trial that goes on; accuracy is top-1, a fraction."""

    trial: int
    rung: int
    accuracy: float


@dataclass(frozen=True)
class TrialEnded:
    """A trial that has ended.

    Attributes:
        reason: Why it was stopped early or failed; empty if it completed all rungs.
        accuracy: Top-1 of its best rung, a fraction; ``None`` if it failed.
        rung: The best rung.
    """

    trial: int
    architecture: Architecture
    outcome: Literal["completed", "stopped early", "failed"]
    speedup: float
    reason: str = ""
    accuracy: float | None = None
    rung: int | None = None


@dataclass(frozen=True)
class ProposalRejected:
    """An architecture that is not evaluated, and why."""

    architecture: Architecture
    reason: str


Event = (
    StagesPlanned
    | SearchBegun
    | StageExpected
    | TrialBegun
    | RungDone
    | TrialEnded
    | ProposalRejected
)


class Advance(Protocol):
    """Reports that a step of a stage is done."""

    def __call__(self, detail: str = "") -> None:
        """Report a step, and what there is to say about it."""


class Progress(Protocol):
    """What a search reports while it runs."""

    def stage(self, label: str, total: int) -> AbstractContextManager[Advance]:
        """Open a stage of ``total`` steps; yields a function to call after each step."""

    def tell(self, event: Event) -> None:
        """Report an event."""

    def trials(self, counts: TrialCounts, front: Sequence[ParetoTrial]) -> None:
        """Report the number of trials and the current front."""


class Stopwatch:
    """Wraps another progress and records the seconds that each stage took.

    Attributes:
        spent: Seconds by stage label.
        started: Time of creation on the monotonic clock.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.spent: dict[str, float] = {}
        self.started = time.monotonic()
        self.trials = progress.trials
        self.tell = progress.tell

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Advance]:
        """Open a stage and time it."""
        started = time.monotonic()
        try:
            with self._progress.stage(label, total) as advance:
                yield advance
        finally:
            took = time.monotonic() - started
            self.spent[label] = self.spent.get(label, 0.0) + took


class OnStep(Protocol):
    """Takes how many of how many steps are done."""

    def __call__(self, done: int, total: int, detail: str = "") -> None:
        """Report the steps, and what there is to say about the last one."""


def in_percent(advance: Advance) -> OnStep:
    """Return a function of (done, total) that advances a stage of 100 steps."""
    shown = 0

    def on_step(done: int, total: int, detail: str = "") -> None:
        nonlocal shown
        while shown * total < done * 100:
            shown += 1
            advance(detail)

    return on_step
