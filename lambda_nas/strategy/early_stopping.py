"""Early stopping against a front: asynchronous successive halving, one number of layers at a time.

After each rung but the last a trial goes on only if its final accuracy could still enter the front
at its price. Price is known before a trial starts, so the only question is accuracy, and a trial's
accuracy is its best rung's:

    final  =  best so far  +  share * (1 - best so far)

``share`` is the part of the errors left that the rungs to come take away. It is learned from the
trials that went to the end: of as many removed layers once ``MIN_COMPLETED_TRIALS`` of them did,
of all before; while fewer than ``MIN_COMPLETED_TRIALS`` did in all, nothing is stopped. A share
and not a number of points, because a set that the transplant repaired badly gains more from
training than those that were good enough to go to the end. Even its share is larger, so the bound
is best where the decision is close, among trials alike, and low far below.

The highest final accuracy that is still credible is the mean of what is learned plus
``DEVIATIONS`` standard deviations. The deviation is never below the binomial standard error of an
accuracy on so many images, sqrt(p * (1 - p) / images): three trials that gained alike must not make
the rule surer than its images allow.

A trial stops when some member of the front is at least as cheap, in throughput and memory, and at
least as accurate as that. Nothing waits for other trials: whatever is known at the moment decides.
A member only leaves the front for a better one, so what can't enter it now can't enter it later.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lambda_nas.cost.measurement import Price
from lambda_nas.records.trial import ParetoTrial, TrialRecord

MIN_COMPLETED_TRIALS = 3
"""Trials that must have gone to the end before something is learned from them."""

DEVIATIONS = 2.0


@dataclass(frozen=True)
class EarlyStopping:
    """The rule for one study.

    Attributes:
        rungs: How many a trial has; the last one stops nothing.
        images: How many the accuracies are measured on.
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
        """Return why a trial can't enter the front any more, or ``None`` if it may go on.

        Args:
            running: The trial with the rungs that it has done.
            price: Of its architecture.
            finished: The evaluated trials, stopped ones among them: these teach nothing here.
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
            f"rung {rung}: {max(accuracies):.1%}, at most {bound:.1%} expected at the end, can't "
            f"reach the front: trial {best.trial} {best.removal} has {best.accuracy:.1%}"
        )

    def bound(self, best: float, shares: Sequence[float]) -> float:
        """Return the highest final accuracy that is credible for a trial with this best rung."""
        left = 1 - best
        noise = math.sqrt(best * left / self.images)
        deviation = max(left * statistics.stdev(shares), noise)
        return min(1.0, best + left * statistics.mean(shares) + DEVIATIONS * deviation)


def learn_shares(finished: Sequence[TrialRecord], size: int, rung: int) -> list[float] | None:
    """Return the shares of the errors left after a rung that later rungs took away.

    Args:
        finished: The evaluated trials.
        size: The number of removed layers whose trials are preferred.
        rung: Index of the rung.

    Returns:
        One share a trial, of that size or of all, or ``None`` if these are too few.
    """
    complete = [trial for trial in finished if trial.stopped is None]
    same = [trial for trial in complete if len(trial.removal) == size]
    for trials in (same, complete):
        shares = [share for trial in trials if (share := _share(trial, rung)) is not None]
        if len(shares) >= MIN_COMPLETED_TRIALS:
            return shares
    return None


def _share(trial: TrialRecord, rung: int) -> float | None:
    """Return the share of one trial; without errors left there is none."""
    accuracies = [result.accuracy for result in trial.rungs]
    best = max(accuracies[: rung + 1])
    return (max(accuracies) - best) / (1 - best) if best < 1 else None


def _at_least_as_cheap(one: Price, other: Price) -> bool:
    return one.throughput >= other.throughput and one.memory_bytes <= other.memory_bytes
