"""Early stopping: a trial goes on only while its final accuracy could still enter the front.

The rule is asynchronous: it is applied after each rung but the last, with what is known at that
moment, and waits for no other trial. The price of a trial is known before it starts, so the only
question is its accuracy, which is that of its best rung:

    final  =  best so far  +  share * (1 - best so far)

``share`` is the part of the remaining errors that later rungs remove. It is learned from completed
trials: from those with the same number of removed layers once there are ``MIN_COMPLETED_TRIALS`` of
them, before that from all; with fewer than ``MIN_COMPLETED_TRIALS`` in all, nothing is stopped. A
share predicts better than a number of points, because an architecture that the transplant repaired
badly gains more from training than one that was good enough to be completed. Even its share is
larger: the bound is tight among similar trials, where the decision is close, and too low for trials
that are far below the front.

The highest credible final accuracy uses the mean of the shares plus ``DEVIATIONS`` standard
deviations. The deviation is at least the binomial standard error of an accuracy on so many images,
sqrt(p * (1 - p) / images): three trials with similar gains must not make the rule more certain than
the images allow.

A trial stops when some member of the front is at least as cheap, in throughput and memory, and at
least as accurate as that. A member leaves the front only for a better one, so a trial that cannot
enter it now cannot enter it later.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lambda_nas.cost.measurement import Price
from lambda_nas.records.trial import ParetoTrial, TrialRecord

MIN_COMPLETED_TRIALS = 3
"""Completed trials that are needed to predict what later rungs gain."""

DEVIATIONS = 2.0
"""Standard deviations above the mean that are still credible."""


@dataclass(frozen=True)
class EarlyStopping:
    """The early-stopping rule of one study.

    Attributes:
        rungs: Number of rungs per trial; nothing is stopped after the last.
        images: Number of images that accuracies are measured on.
    """

    rungs: int
    images: int

    def why_stop(
        self,
        running: TrialRecord,
        price: Price,
        *,
        finished: Sequence[TrialRecord],
        front: Sequence[ParetoTrial],
    ) -> str | None:
        """Return why a trial can no longer enter the front, or ``None`` if it may go on.

        Args:
            running: The trial with its rungs so far.
            price: The price of its architecture.
            finished: The evaluated trials; nothing is learned from those that were stopped.
            front: The current front.
        """
        rung = len(running.rungs) - 1
        accuracies = [result.accuracy for result in running.rungs]
        if not 0 <= rung < self.rungs - 1 or not all(map(math.isfinite, accuracies)):
            return None
        shares = learn_shares(finished, len(running.removal), rung)
        if shares is None:
            return None
        bound = self.bound(max(accuracies), shares)
        rivals = [point for point in front if _at_least_as_cheap(point.price, price)]
        best = max(rivals, key=lambda point: point.accuracy, default=None)
        if best is None or bound > best.accuracy:
            return None
        return (
            f"rung {rung}: with {max(accuracies):.1%} it is expected to reach {bound:.1%} at most, "
            f"and trial {best.trial} {best.removal} has {best.accuracy:.1%} at no higher price"
        )

    def bound(self, best: float, shares: Sequence[float]) -> float:
        """Return the highest final accuracy that is credible for a trial with this best rung."""
        left = 1 - best
        noise = math.sqrt(best * left / self.images)
        deviation = max(left * statistics.stdev(shares), noise)
        return min(1.0, best + left * statistics.mean(shares) + DEVIATIONS * deviation)


def learn_shares(finished: Sequence[TrialRecord], size: int, rung: int) -> list[float] | None:
    """Return the shares of the errors remaining after a rung that later rungs removed.

    Args:
        finished: The evaluated trials.
        size: Number of removed layers; trials with as many are preferred.
        rung: Index of the rung.

    Returns:
        One share per trial, of that size or of all, or ``None`` if there are too few.
    """
    complete = [trial for trial in finished if trial.stopped is None]
    same = [trial for trial in complete if len(trial.removal) == size]
    for trials in (same, complete):
        shares = [share for trial in trials if (share := _share(trial, rung)) is not None]
        if len(shares) >= MIN_COMPLETED_TRIALS:
            return shares
    return None


def _share(trial: TrialRecord, rung: int) -> float | None:
    """Return the share of one trial, or ``None`` if no errors remained."""
    accuracies = [result.accuracy for result in trial.rungs]
    best = max(accuracies[: rung + 1])
    return (max(accuracies) - best) / (1 - best) if best < 1 else None


def _at_least_as_cheap(rival: Price, price: Price) -> bool:
    return rival.throughput >= price.throughput and rival.memory_bytes <= price.memory_bytes
