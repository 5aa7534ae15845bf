"""The prices of architectures, by cost signature."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, combinations, product
from math import comb, prod

from lambda_nas.cost.measurement import Price
from lambda_nas.cost.merged_prices import MergedPrices
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.stages import Stages

Signature = tuple[int, ...]
"""How many layers are removed in each stage."""


def signature_of(removal: RemovalSet, stages: Stages) -> Signature:
    """Return a removal set's cost signature.

    >>> signature_of(RemovalSet.of([0, 2, 3]), ((0, 1), (2, 3, 4)))
    (1, 2)
    """
    if len(stages) == 1:
        return (len(removal),)
    return tuple(sum(layer in removal for layer in stage) for stage in stages)


def signatures_up_to(stages: Stages, layers: Iterable[int], most: int) -> list[Signature]:
    """Return the signatures of removing up to ``most`` layers, the unpruned model's first."""
    allowed = set(layers)
    counts = [range(len(allowed.intersection(stage)) + 1) for stage in stages]
    return sorted((s for s in product(*counts) if sum(s) <= most), key=lambda s: (sum(s), s))


def removal_sets_with(
    signature: Signature, stages: Stages, layers: Iterable[int]
) -> Iterator[RemovalSet]:
    """Yield all removal sets of a signature.

    Examples:
        >>> [str(removal) for removal in removal_sets_with((1, 2), ((0, 1), (2, 3)), range(4))]
        ['{0,2,3}', '{1,2,3}']
    """
    allowed = set(layers)
    stage_layers = ([layer for layer in stage if layer in allowed] for stage in stages)
    for parts in product(*map(combinations, stage_layers, signature)):
        yield RemovalSet.of(layer for part in parts for layer in part)


def count_removal_sets(signature: Signature, stages: Stages, layers: Iterable[int]) -> int:
    """Return the number of removal sets of a signature.

    >>> count_removal_sets((1, 2), ((0, 1), (2, 3, 4)), range(5))
    6
    """
    allowed = set(layers)
    sizes = [len(allowed.intersection(stage)) for stage in stages]
    return prod(map(comb, sizes, signature))


def representative(signature: Signature, stages: Stages) -> RemovalSet:
    """Return a removal set of this signature: the first layers of each stage."""
    chosen = (stage[:number] for stage, number in zip(stages, signature, strict=True))
    return RemovalSet.of(layer for part in chosen for layer in part)


@dataclass(frozen=True)
class PriceTable:
    """Prices by cost signature.

    Attributes:
        stages: All removable layers of the model, in groups of equal cost.
        by_signature: The prices, including the unpruned model's.
        merged: How merging tokens changes them; ``None`` if the search space has no merging.
    """

    stages: Stages
    by_signature: Mapping[Signature, Price]
    merged: MergedPrices | None = None

    @classmethod
    def by_number(cls, layers: Iterable[int], prices: Mapping[int, Price]) -> "PriceTable":
        """Build the table of an isotropic model: only the number of removed layers matters."""
        return cls((tuple(layers),), {(number,): price for number, price in prices.items()})

    @property
    def unpruned(self) -> Price:
        """Price of the unpruned model."""
        return self.by_signature[(0,) * len(self.stages)]

    def signature(self, removal: RemovalSet) -> Signature:
        """Return a removal set's cost signature."""
        return signature_of(removal, self.stages)

    def of(self, architecture: Architecture) -> Price:
        """Return an architecture's price.

        Raises:
            KeyError: If its cost signature, or the way it merges tokens, has no price.
        """
        unmerged = self.by_signature[self.signature(architecture.removal)]
        if not architecture.merging:
            return unmerged
        if self.merged is None:
            raise KeyError(str(architecture.merging))
        attending = [block for block in self.attention() if block not in architecture.removal]
        return self.merged.merged(unmerged, architecture.merging, attending)

    def get(self, architecture: Architecture) -> Price | None:
        """Return an architecture's price, ``None`` where ``of`` has none."""
        try:
            return self.of(architecture)
        except KeyError:
            return None

    def attention(self) -> list[int]:
        """Return the removable layers of all stages; if tokens can be merged, these are blocks."""
        return sorted(chain(*self.stages))
