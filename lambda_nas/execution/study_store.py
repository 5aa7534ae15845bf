"""The protocol of the study store: what a search reads from it and writes to it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from optuna.storages import RDBStorage

from lambda_nas.cost.price_table import PriceTable
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.run import Claim, ClaimCounts, ClaimResult, Run
from lambda_nas.records.study import StudyInfo
from lambda_nas.records.trial import ParetoTrial, TrialRecord


@dataclass(frozen=True)
class RunHandle:
    """This driver's run in the study store.

    Attributes:
        run: Its id.
        elapsed: Returns how many seconds the run has lasted.
    """

    run: int
    elapsed: Callable[[], float]


class StudyStore(Protocol):
    """The part of the study store that a search uses."""

    @property
    def optuna(self) -> RDBStorage:
        """Optuna's storage in the same database."""

    def study(self, name: str) -> StudyInfo:
        """Return what the study is about."""

    def prices(self, study: str) -> PriceTable:
        """Return the prices measured when the study was created."""

    def prior(self, study: str) -> dict[str, object] | None:
        """Return the prior, or ``None`` if it has not been saved."""

    def save_prior(self, study: str, content: dict[str, object]) -> None:
        """Save the prior."""

    def runs(self, study: str) -> Sequence[Run]:
        """Return the runs in order."""

    def record_heartbeat(
        self, run: int, seconds: float, spent: Mapping[str, float], *, ended: bool = False
    ) -> None:
        """Record that a run is alive after so many seconds, or that it has ended."""

    def mark_dead(self, run: int) -> None:
        """Record that a run's driver is gone."""

    def count(self, study: str) -> ClaimCounts:
        """Count the evaluated architectures and those that runs have claimed."""

    def claim(
        self, study: str, architecture: Architecture, trial: int, *, run: int, budget: int | None
    ) -> ClaimResult:
        """Claim the right to evaluate an architecture; ``budget`` is that of the whole study."""

    def claims(self, study: str) -> Sequence[Claim]:
        """Return the claims of running trials and of those whose run was killed."""

    def reading_optuna(self) -> AbstractContextManager[RDBStorage]:
        """Yield Optuna's storage; whatever it can't read becomes a ``StorageError``."""

    def translated_errors(self) -> AbstractContextManager[None]:
        """Turn the errors that Optuna raises about the database into ``StorageError``."""

    def transaction(self, study: str) -> AbstractContextManager[object]:
        """Open a transaction that Optuna's storage joins; it locks the study."""

    def settle(self, study: str, trial: int, tell: Callable[[], object]) -> bool:
        """Release a trial's claim, if it has one, and tell Optuna, in one transaction."""

    def record(
        self,
        study: str,
        record: TrialRecord,
        *,
        tell: Callable[[], object],
    ) -> list[ParetoTrial] | None:
        """Store a claimed trial that was evaluated, and tell Optuna; return the front.

        Returns ``None`` and stores nothing if the claim has passed to another run.
        """

    def trial_records(self, study: str) -> list[TrialRecord]:
        """Return all evaluated trials, including those that were stopped early."""

    def front(self, study: str) -> list[ParetoTrial]:
        """Return the front."""
