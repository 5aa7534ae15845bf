"""Evaluated trials: what was measured of them, and what they cost."""

from dataclasses import dataclass

from lambda_nas.cost.measurement import Price
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.removal import RemovalSet


@dataclass(frozen=True)
class RungResult:
    """Accuracy (top-1, a fraction) of a trial at one rung and the seconds it took."""

    rung: int
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class TrialRecord:
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
class ParetoTrial:
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
