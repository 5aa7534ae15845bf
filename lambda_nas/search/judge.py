"""Says, before a trial costs anything, whether a proposed set is worth one."""

from collections.abc import Sequence
from itertools import combinations

from lambda_nas.core.prior import Scorer
from lambda_nas.core.removal import RemovalSet
from lambda_nas.search.values import FrontPoint

HOPELESS_RATIO = 2.0
"""How much larger than a cheaper front member's score a set's score may be.

Relative entropy ranks sets of real ViTs with Spearman -0.97 (design, part 2), so twice the score
at no better price has no fair chance.
"""


class Judge:
    """Refuses sets that are out of bounds, known already, or hopeless by the prior.

    Args:
        scorer: The prior; relative entropy is the score.
        layers: Layers that may be removed.
        sizes: How many may be removed, by price.
    """

    def __init__(self, scorer: Scorer, layers: Sequence[int], sizes: Sequence[int]) -> None:
        self._scorer = scorer
        self._layers = tuple(layers)
        self._sizes = tuple(sizes)

    def known(self, removal: RemovalSet, taken: set[RemovalSet]) -> str | None:
        """Return why the set can't be a trial at all, or ``None`` if it can."""
        if not removal:
            return "nothing removed: this is the baseline"
        if len(removal) not in self._sizes:
            return f"{len(removal)} layers removed is outside the limits"
        return "already measured" if removal in taken else None

    def score(self, removal: RemovalSet) -> float:
        """Return the prior's score of a set: lower is better."""
        return self._scorer.relative_entropy(removal)

    def hopeless(self, removal: RemovalSet, front: Sequence[FrontPoint]) -> str | None:
        """Return which front member makes the set pointless, or ``None``."""
        score = self.score(removal)
        for point in front:
            at_least_as_cheap = len(point.removal) >= len(removal)
            if at_least_as_cheap and score > HOPELESS_RATIO * self.score(point.removal):
                return f"prior: hopeless against trial {point.trial} {point.removal}"
        return None

    def first_untaken(self, taken: set[RemovalSet]) -> RemovalSet | None:
        """Return some set within bounds that is not taken, or ``None`` if all are."""
        for size in self._sizes:
            for layers in combinations(self._layers, size):
                if RemovalSet(layers) not in taken:
                    return RemovalSet(layers)
        return None
