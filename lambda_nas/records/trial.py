"""Evaluated trials: their accuracies and their prices."""

from dataclasses import dataclass

from lambda_nas.cost.measurement import Price
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.removal import RemovalSet


@dataclass(frozen=True)
class RungResult:
    """Accuracy (top-1, a fraction) of a trial at one rung, and the seconds that it took."""

    rung: int
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class TrialRecord:
    """An evaluated trial and all its rungs, in order.

    Attributes:
        score: The prior's score of the architecture.
        run: Id of the run that measured the trial.
        elapsed_s: How long the run had lasted when it recorded the trial.
        stopped: Why the trial was stopped before its last rung; ``None`` if it completed all.
    """

    trial: int
    architecture: Architecture
    rungs: tuple[RungResult, ...]
    score: float
    run: int
    elapsed_s: float
    stopped: str | None = None

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
    """A trial as a candidate for the front: its best rung and its price."""

    trial: int
    architecture: Architecture
    accuracy: float
    rung: int
    price: Price

    @property
    def removal(self) -> RemovalSet:
        """The layers without attention."""
        return self.architecture.removal


@dataclass(frozen=True)
class TrialCounts:
    """Numbers of finished trials by Optuna's state.

    Attributes:
        failed: Trials in Optuna's state FAIL, but for those that were given back unfinished.
        pruned: Trials in Optuna's state PRUNED: rejected by the gate or stopped early.
        stopped: Those of them that were evaluated and stopped early.
    """

    complete: int
    pruned: int
    failed: int
    stopped: int = 0

    @property
    def evaluated(self) -> int:
        """Trials that cost compute and count against the budget."""
        return self.complete + self.stopped

    @property
    def rejected(self) -> int:
        """Proposals that the prior rejected before they cost compute."""
        return self.pruned - self.stopped

    def __str__(self) -> str:
        return (
            f"{self.complete} completed, {self.stopped} stopped early, {self.rejected} rejected, "
            f"{self.failed} failed"
        )
