"""The architectures that a search may propose: those whose price satisfies the constraints."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lambda_nas.cost.constraints import Constraints
from lambda_nas.cost.price_table import PriceTable, count_removal_sets, removal_sets_with
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.search_space import SearchSpace

WHOLE_SPACE = 8192
"""Spaces of at most so many architectures are enumerated; larger ones are searched locally."""

LOCAL_SEARCH_STARTS = 3
"""How many of the best architectures of each size have their neighbors considered."""

RANDOM_CANDIDATES = 512
"""How many removal sets drawn at random are considered besides."""


class FeasibleSpace:
    """The architectures of a search space that remove or merge something and cost little enough.

    Args:
        search_space: What may be removed, and how tokens may be merged.
        prices: Prices of all cost signatures that an architecture may have.
        constraints: Constraints on the price.

    Attributes:
        max_removed: Maximum number of layers that an architecture removes.
        is_small: Whether the space is small enough to be enumerated.
    """

    def __init__(
        self, search_space: SearchSpace, prices: PriceTable, constraints: Constraints
    ) -> None:
        self._search_space = search_space
        self._prices = prices
        self._attention = prices.attention()
        self._constraints = constraints
        # Merging may satisfy constraints that the same removal without merging violates.
        self._signatures = tuple(
            signature
            for signature, price in prices.by_signature.items()
            if search_space.mergings or (any(signature) and not constraints.broken(price))
        )
        self.max_removed = max(map(sum, self._signatures))
        stages, layers = prices.stages, search_space.layers
        removals = sum(count_removal_sets(each, stages, layers) for each in self._signatures)
        # Some ways to merge make the same network, so this may count too many.
        self.is_small = removals * (1 + len(search_space.mergings)) <= WHOLE_SPACE
        self._every: list[Architecture] | None = None

    def __contains__(self, architecture: Architecture) -> bool:
        return architecture in self._variants(architecture.removal)

    def enumerate(self) -> list[Architecture]:
        """Return all architectures."""
        if self._every is None:
            stages, layers = self._prices.stages, self._search_space.layers
            self._every = [
                architecture
                for signature in self._signatures
                for removal in removal_sets_with(signature, stages, layers)
                for architecture in self._variants(removal)
            ]
        return self._every

    def neighborhood(
        self,
        scores: Mapping[Architecture, float],
        observed: Mapping[Architecture, float],
        random: np.random.Generator,
    ) -> list[Architecture]:
        """Return the best architectures of each size and merging, their neighbors, and random ones.

        Neighbors differ in one layer, in one layer for another, or in how tokens are merged.

        Args:
            scores: Prior scores, lower is better.
            observed: Accuracies of evaluated architectures.
            random: Draws the random removal sets.
        """
        found: set[RemovalSet] = set()
        for kind in set(map(_kind, (*scores, *observed))):
            scored = [each for each in scores if _kind(each) == kind]
            evaluated = [each for each in observed if _kind(each) == kind]
            starts = sorted(scored, key=scores.__getitem__)[:LOCAL_SEARCH_STARTS]
            starts += sorted(evaluated, key=observed.__getitem__)[-LOCAL_SEARCH_STARTS:]
            for start in starts:
                found.update(_neighbors(start.removal, self._search_space.layers))
        sizes = sorted(set(map(sum, self._signatures)))
        for _ in range(RANDOM_CANDIDATES):
            size = int(random.choice(sizes))
            chosen = random.choice(self._search_space.layers, size, replace=False)
            found.add(RemovalSet.of(chosen.tolist()))
        return sorted({each for removal in found for each in self._variants(removal)})

    def _variants(self, removal: RemovalSet) -> Iterator[Architecture]:
        """Yield the feasible architectures of a removal set, one per way to merge tokens."""
        if self._prices.signature(removal) not in self._prices.by_signature:
            return
        for merging in self._search_space.mergings_of(removal, self._attention):
            architecture = Architecture(removal, merging)
            if architecture and not self._constraints.broken(self._prices.of(architecture)):
                yield architecture


def _kind(architecture: Architecture) -> tuple[int, Merging]:
    return len(architecture.removal), architecture.merging


def _neighbors(start: RemovalSet, layers: Sequence[int]) -> set[RemovalSet]:
    """Return the removal set and all with one layer more, one less, or one exchanged."""
    removed, left = set(start), set(layers) - set(start)
    smaller = [removed - {layer} for layer in removed]
    found = [removed, *smaller, *(removed | {layer} for layer in left)]
    found += [fewer | {layer} for fewer in smaller for layer in left]
    return set(map(RemovalSet.of, found))
