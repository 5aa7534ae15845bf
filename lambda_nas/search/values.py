"""The values that search, store, report and command line pass to each other."""

from dataclasses import dataclass

from lambda_nas.core.cost import Price
from lambda_nas.core.removal import RemovalSet


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
    """

    trial: int
    removal: RemovalSet
    rungs: tuple[RungResult, ...]
    stopped: str | None = None


@dataclass(frozen=True)
class FrontPoint:
    """A trial that went to the end: its best rung, its price, and where its weights lie."""

    trial: int
    removal: RemovalSet
    accuracy: float
    rung: int
    price: Price
    weights: str | None


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
