"""The values that search, store, report and command line pass to each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any

from lambda_nas.core.architecture import Architecture
from lambda_nas.core.cost import Price
from lambda_nas.core.removal import RemovalSet
from lambda_nas.search.prices import PriceList


@dataclass(frozen=True)
class StudyInfo:
    """What a study is about.

    Attributes:
        name: Unique in its database.
        model: As the user named it.
        model_fingerprint: Hash of architecture and weights.
        data: As the user named it.
        data_fingerprint: Hash of the file list, class map and split.
        device: Where prices were measured.
        layers: Layers that may be removed.
        baseline_accuracy: Top-1 of the unpruned model, a fraction.
        baseline: Price of the unpruned model.
        settings: The resolved settings, as JSON values.
    """

    name: str
    model: str
    model_fingerprint: str
    data: str
    data_fingerprint: str
    device: str
    layers: tuple[int, ...]
    seed: int
    baseline_accuracy: float
    baseline: Price
    settings: dict[str, object]


@dataclass(frozen=True)
class RungResult:
    """Accuracy (top-1, a fraction) of a trial at one rung and the seconds it took."""

    rung: int
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class History:
    """An evaluated trial and all its rungs, in order.

    Attributes:
        stopped: Why it was stopped before its last rung; ``None`` if it went to the end.
        score: The prior's; ``None`` if it is not known.
        run: The run that measured it, and how long that had lasted when it was recorded.
    """

    trial: int
    architecture: Architecture
    rungs: tuple[RungResult, ...]
    stopped: str | None = None
    score: float | None = None
    run: int | None = None
    elapsed_s: float | None = None

    @property
    def removal(self) -> RemovalSet:
        """The layers without attention."""
        return self.architecture.removal

    @property
    def accuracy(self) -> float:
        """Accuracy of the best rung, a fraction."""
        return max(rung.accuracy for rung in self.rungs)


@dataclass(frozen=True)
class FrontPoint:
    """A trial that went to the end: its best rung, its price, and where its weights lie."""

    trial: int
    architecture: Architecture
    accuracy: float
    rung: int
    price: Price
    weights: str | None

    @property
    def removal(self) -> RemovalSet:
        """The layers without attention."""
        return self.architecture.removal


@dataclass(frozen=True)
class RunInfo:
    """Who measures: one driver process on one machine.

    Attributes:
        machine: Host and process namespace: where ``pid`` means something.
        versions: Of the libraries that decide what is measured.
        command: The command line.
    """

    machine: str
    pid: int
    device: str
    model_fingerprint: str
    data_fingerprint: str
    versions: Mapping[str, str]
    seed: int
    workers: int
    command: str


@dataclass(frozen=True)
class Run:
    """A run as it is stored.

    Attributes:
        beats: Counts up while the driver lives.
        seconds: How long it has lived, as far as it has told.
        ended: Whether it said goodbye; one that was killed did not.
        spent: Seconds by stage of the work before any trial.
    """

    id: int
    info: RunInfo
    started_at: datetime
    beats: int
    seconds: float
    ended: bool
    spent: Mapping[str, float]


@dataclass(frozen=True)
class Claim:
    """An architecture in the hands of a run."""

    architecture: Architecture
    trial: int
    run: Run


@dataclass(frozen=True)
class Counts:
    """How many sets are evaluated, and how many are in the hands of some run."""

    evaluated: int
    claimed: int


class Answer(Enum):
    """What becomes of the wish to measure a set."""

    GRANTED = auto()
    TAKEN = auto()
    """It is measured already, or another run is at it."""
    SPENT = auto()
    """What is measured and claimed fills the budget."""


@dataclass(frozen=True)
class Study:
    """All that is stored of a study.

    Attributes:
        prices: By cost signature.
        prior: As it was saved; ``None`` before it is measured.
        trials: All evaluated trials in order, those that were stopped early too.
        front: Slowest first.
        runs: In order.
    """

    info: StudyInfo
    prices: PriceList
    prior: Mapping[str, Any] | None
    trials: tuple[History, ...]
    front: tuple[FrontPoint, ...]
    runs: tuple[Run, ...]

    def point(self, trial: History) -> FrontPoint:
        """Return an evaluated trial with its price, as if its weights were gone."""
        best = max(trial.rungs, key=lambda rung: rung.accuracy)
        price = self.prices.of(trial.architecture)
        return FrontPoint(trial.trial, trial.architecture, best.accuracy, best.rung, price, None)


@dataclass(frozen=True)
class TrialCounts:
    """Finished trials by Optuna's state.

    Attributes:
        stopped: Those of the pruned that were evaluated and stopped early; the prior refused the
            others before any work.
    """

    complete: int
    pruned: int
    failed: int
    stopped: int = 0

    @property
    def evaluated(self) -> int:
        """Trials that cost work and count against the budget."""
        return self.complete + self.stopped

    @property
    def refused(self) -> int:
        """Proposals that cost nothing."""
        return self.pruned - self.stopped

    def __str__(self) -> str:
        return (
            f"{self.complete} done, {self.stopped} stopped early, {self.refused} pruned, "
            f"{self.failed} failed"
        )
