"""A search that is only told of, for a test to look at in a terminal."""

import sys
import time

from lambda_nas.api.progress.shown import progress_shown
from lambda_nas.cost.measurement import Price
from lambda_nas.execution.progress import (
    PRICING,
    ProposalRejected,
    SearchBegun,
    StagesPlanned,
    TrialBegun,
    TrialEnded,
    stages_before_trials,
)
from lambda_nas.execution.settings import Budget, Settings
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.trial import ParetoTrial, TrialCounts


def front(size: int) -> list[ParetoTrial]:
    """Return a front whose architectures are ever longer, slowest first."""
    return [
        ParetoTrial(i, Architecture.of(range(10, 10 + i)), 0.9 - i / 100, 0, price)
        for i in range(1, size + 1)
        for price in [Price(100.0 + i, 1 + i / 100, 320.0, 40_000_000, 5_000_000, 1_000_000_000)]
    ]


def main() -> None:
    """Tell of a stage, a failed trial and a front; each is on the screen for a moment."""
    with progress_shown(visible=True) as progress:
        progress.tell(StagesPlanned(stages_before_trials(joins=False, asks=False)))
        progress.tell(
            SearchBegun(
                "vit-images", "sqlite:///x.db", "vit", "images", "H100", 250, 3,
                Settings(Budget(trials=12), max_removed=1, layers=(0, 1)), 0.75,
            )
        )  # fmt: skip
        with progress.stage(PRICING, 2) as advance:
            advance()
            time.sleep(0.6)
        progress.trials(TrialCounts(3, 0, 0), front(20))
        progress.tell(TrialBegun(7, Architecture.of([1])))
        progress.tell(ProposalRejected(Architecture.of([3]), "hopeless"))
        failed = Architecture.of(range(10, 34))
        progress.tell(TrialEnded(6, failed, "failed", 1.2, "the worker process died"))
        time.sleep(0.6)
    sys.stderr.write("done\n")


if __name__ == "__main__":
    main()
