"""What a search is given: settings, the material, and the two things it talks to."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from torch import nn

from lambda_nas.core.cost import Price
from lambda_nas.core.data import ImageSet
from lambda_nas.core.recipe import Recipe
from lambda_nas.core.removal import RemovalSet
from lambda_nas.search.limits import Limits
from lambda_nas.search.values import FrontPoint, History, RungResult, StudyInfo, TrialCounts


@dataclass(frozen=True)
class Budget:
    """When to stop: evaluated trials in the study, or seconds in this run. One of them is set."""

    trials: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Settings:
    """How to search."""

    budget: Budget
    max_removed: int
    layers: tuple[int, ...]
    workers: int = 1
    gpus_per_trial: float = 0.0
    ray_address: str | None = None
    limits: Limits = field(default_factory=Limits)
    seeds: tuple[RemovalSet, ...] = ()
    seed: int = 0
    batch_size: int = 32
    prior_images: int = 100


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
    rungs: tuple[Recipe, ...]
    weights_dir: str
    device: str


class Progress(Protocol):
    """What the search tells the person who waits."""

    def stage(self, label: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Open a stage of ``total`` steps; the value given is called once a step."""

    def trials(self, counts: TrialCounts, front: Sequence[FrontPoint]) -> None:
        """Show where the study stands."""

    def failed(self, removal: RemovalSet, reason: str) -> None:
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


class Ledger(Protocol):
    """The part of the study store that the search writes to."""

    def study(self, name: str) -> StudyInfo:
        """Return what the study is about."""

    def prices(self, study: str) -> dict[int, Price]:
        """Return the prices measured so far, by number of layers removed."""

    def prior(self, study: str) -> dict[str, object] | None:
        """Return the prior as it was saved."""

    def save_prior(self, study: str, content: dict[str, object]) -> None:
        """Keep the prior."""

    def record(
        self,
        study: str,
        trial: int,
        removal: RemovalSet,
        rungs: Sequence[RungResult],
        weights: str | None,
        *,
        stopped: str | None = None,
    ) -> list[FrontPoint]:
        """Keep an evaluated trial, with why if it was stopped early; return the front."""

    def trials(self, study: str) -> list[FrontPoint]:
        """Return all trials that went to the end."""

    def histories(self, study: str) -> list[History]:
        """Return all evaluated trials, those that were stopped early too."""

    def front(self, study: str) -> list[FrontPoint]:
        """Return the front."""
