"""What a search is given: settings, the material, and the two things it talks to."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from torch import nn

from lambda_nas.cost.constraints import Constraints
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.data.image_set import ImageSet
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.records.run import Claim, ClaimCounts, ClaimResult, Run
from lambda_nas.records.study import StudyInfo
from lambda_nas.records.trial import ParetoTrial, TrialCounts, TrialRecord
from lambda_nas.training.config import TrainConfig


@dataclass(frozen=True)
class Budget:
    """When to stop: evaluated trials in the study, or seconds in this run. One of them is set."""

    trials: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Settings:
    """How to search.

    Attributes:
        layers: Layers that may be removed, ``max_removed`` of them at once.
        mergings: Ways to merge tokens, besides merging none.
    """

    budget: Budget
    max_removed: int
    layers: tuple[int, ...]
    mergings: tuple[Merging, ...] = ()
    workers: int = 1
    gpus_per_trial: float = 0.0
    ray_address: str | None = None
    constraints: Constraints = field(default_factory=Constraints)
    seeds: tuple[RemovalSet, ...] = ()
    seed: int = 0
    batch_size: int = 32
    prior_images: int = 100

    @property
    def search_space(self) -> SearchSpace:
        """What the search chooses from."""
        return SearchSpace(self.layers, self.mergings)


@dataclass(frozen=True, eq=False)
class Material:
    """What is searched: sent to each worker once, through Ray's object store.

    Attributes:
        model: The unpruned model.
        rungs: One recipe a slice of training; empty without training images.
        weights_dir: Where a finished trial leaves its repaired weights.
    """

    model: nn.Module
    calibration: ImageSet
    evaluation: ImageSet
    training: ImageSet | None
    rungs: tuple[TrainConfig, ...]
    weights_dir: str
    device: str


@dataclass(frozen=True)
class RunHandle:
    """This driver's run in the ledger.

    Attributes:
        run: Its id.
        elapsed: Returns how many seconds it has lasted.
    """

    run: int
    elapsed: Callable[[], float]


class Progress(Protocol):
    """What the search tells the person who waits."""

    def stage(self, label: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Open a stage of ``total`` steps; the value given is called once a step."""

    def trials(self, counts: TrialCounts, front: Sequence[ParetoTrial]) -> None:
        """Show where the study stands."""

    def failed(self, architecture: Architecture, reason: str) -> None:
        """Tell of a failed trial."""


def in_percent(advance: Callable[[], None]) -> Callable[[int, int], None]:
    """Return a function of (done, total) that advances a stage of 100 steps."""
    shown = 0

    def on_step(done: int, total: int) -> None:
        nonlocal shown
        while shown * total < done * 100:
            shown += 1
            advance()

    return on_step


class StudyStore(Protocol):
    """The part of the study store that the search writes to."""

    def study(self, name: str) -> StudyInfo:
        """Return what the study is about."""

    def prices(self, study: str) -> PriceTable:
        """Return the prices measured when the study was begun."""

    def prior(self, study: str) -> dict[str, object] | None:
        """Return the prior as it was saved."""

    def save_prior(self, study: str, content: dict[str, object]) -> None:
        """Keep the prior."""

    def runs(self, study: str) -> Sequence[Run]:
        """Return the runs in order."""

    def record_heartbeat(
        self, run: int, seconds: float, spent: Mapping[str, float], *, ended: bool = False
    ) -> None:
        """Say that a run lives after so many seconds, or that it has ended."""

    def mark_dead(self, run: int) -> None:
        """Say of a run that its driver is gone."""

    def count(self, study: str) -> ClaimCounts:
        """Count what is evaluated, and what is claimed by some run."""

    def claim(
        self, study: str, architecture: Architecture, trial: int, *, run: int, budget: int | None
    ) -> ClaimResult:
        """Ask to measure a set, for the only time; ``budget`` is of the whole study."""

    def claims(self, study: str) -> Sequence[Claim]:
        """Return the sets that are being measured, or were when their run was killed."""

    def translated_errors(self) -> AbstractContextManager[None]:
        """Turn what Optuna raises of the database into a ``StorageError``."""

    def transaction(self, study: str) -> AbstractContextManager[object]:
        """Open a transaction that Optuna's storage joins; nobody else changes the study."""

    def settle(self, study: str, trial: int, tell: Callable[[], object]) -> bool:
        """Give up a trial's claim, if it has one, and tell Optuna, in one transaction."""

    def record(
        self,
        study: str,
        history: TrialRecord,
        weights: str | None,
        *,
        tell: Callable[[], object],
    ) -> list[ParetoTrial] | None:
        """Keep a claimed trial that was evaluated, and tell Optuna; return the front.

        ``None`` if the run's claim was given to another meanwhile: nothing is kept then.
        """

    def trial_records(self, study: str) -> list[TrialRecord]:
        """Return all evaluated trials, those that were stopped early too."""

    def front(self, study: str) -> list[ParetoTrial]:
        """Return the front."""
