"""Hard constraints on an architecture's price, and the nearest prices if none satisfies them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from lambda_nas.cost.measurement import Price
from lambda_nas.cost.price_table import PriceTable, Signature
from lambda_nas.errors import InfeasibleError
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.search_space import SearchSpace


@dataclass(frozen=True)
class Constraints:
    """Hard constraints on the price of an architecture; ``None`` is no constraint.

    Attributes:
        max_params: Maximum number of parameters.
        max_memory_bytes: Maximum memory at the peak of a forward pass.
        min_throughput: Minimum throughput, images/s.
        min_speedup: Minimum speed-up over the unpruned model.
    """

    max_params: int | None = None
    max_memory_bytes: int | None = None
    min_throughput: float | None = None
    min_speedup: float | None = None

    def broken(self, price: Price) -> dict[str, float]:
        """Return the violated constraints, as a user writes them, each with its factor."""
        found = self.broken_by_params(price.params)
        if self.max_memory_bytes is not None and price.memory_bytes > self.max_memory_bytes:
            option = f"`max_memory` {self.max_memory_bytes / 1e6:g}MB"
            found[option] = price.memory_bytes / self.max_memory_bytes
        if self.min_throughput is not None and price.throughput < self.min_throughput:
            option = f"`min_throughput` {self.min_throughput:g}"
            found[option] = self.min_throughput / price.throughput
        if self.min_speedup is not None and price.speedup < self.min_speedup:
            found[f"`min_speedup` {self.min_speedup:g}"] = self.min_speedup / price.speedup
        return found

    def broken_by_params(self, params: int) -> dict[str, float]:
        """Return the constraint on parameters if it is violated, as ``broken`` does."""
        if self.max_params is None or params <= self.max_params:
            return {}
        return {f"`max_params` {self.max_params}": params / self.max_params}


def check_params(params: Mapping[Signature, int], constraints: Constraints) -> None:
    """Check that some cost signature satisfies the constraint on parameters.

    Args:
        params: Number of parameters by cost signature, without the unpruned model.
        constraints: The constraints.

    Raises:
        InfeasibleError: If none does; it names the nearest signature.
    """
    _check(
        {
            f"{layers_removed(signature)}, {count} params": constraints.broken_by_params(count)
            for signature, count in params.items()
        }
    )


def check_feasible(prices: PriceTable, search_space: SearchSpace, constraints: Constraints) -> None:
    """Check that some architecture satisfies the constraints.

    Raises:
        InfeasibleError: If none does; it names the nearest architectures.
    """
    priced = {
        layers_removed(signature): price
        for signature, price in prices.by_signature.items()
        if any(signature)
    }
    for merging in search_space.mergings:
        for (number,) in prices.by_signature:
            architecture = _cheapest(number, merging, prices, search_space)
            if architecture:
                priced[f"{layers_removed((number,))}, {merging}"] = prices.of(architecture)
    _check(
        {f"{what}, {_describe(price)}": constraints.broken(price) for what, price in priced.items()}
    )


def _cheapest(
    number: int, merging: Merging, prices: PriceTable, search_space: SearchSpace
) -> Architecture | None:
    """Return the architecture of fewest MACs and bytes that removes ``number`` layers and merges.

    Attention costs most before tokens are merged, and behind the first block also in memory. From
    there on, each block with attention merges more tokens. ``None`` if no block is left to merge.
    """
    before = [layer for layer in search_space.layers if layer < merging.start]
    behind = [layer for layer in search_space.layers if layer >= merging.start]
    early = min(number, len(before))
    late = number - early
    removal = RemovalSet.of([*before[len(before) - early :], *behind[len(behind) - late :]])
    merges = merging in search_space.mergings_of(removal, prices.attention())
    return Architecture(removal, merging) if merges else None


def _check(broken: Mapping[str, Mapping[str, float]]) -> None:
    """Raise unless one violates no constraint; name the nearest to each constraint."""
    if not all(broken.values()):
        return
    points = "; ".join(
        f"nearest to {' and '.join(constraints)}: {what}"
        for what, constraints in _nearest(broken).items()
    )
    raise InfeasibleError(
        f"no architecture satisfies the constraints; {points}", advice="relax a constraint"
    )


def layers_removed(signature: Signature) -> str:
    """Describe a signature.

    >>> layers_removed((1,)), layers_removed((1, 0, 2))
    ('1 layer removed', '1+0+2 layers removed')
    """
    return f"{'+'.join(map(str, signature))} {'layer' if signature == (1,) else 'layers'} removed"


def _nearest(broken: Mapping[str, Mapping[str, float]]) -> dict[str, list[str]]:
    """Return the nearest to each constraint, each with the constraints that it is the nearest to.

    Only those that violate the fewest are considered: there, relaxing one is enough.
    """
    fewest = min(len(constraints) for constraints in broken.values())
    close = {
        what: constraints for what, constraints in broken.items() if len(constraints) == fewest
    }
    nearest: dict[str, list[str]] = {}
    for constraint in dict.fromkeys(chain.from_iterable(close.values())):
        factors = {what: each[constraint] for what, each in close.items() if constraint in each}
        nearest.setdefault(min(factors, key=factors.__getitem__), []).append(constraint)
    return nearest


def _describe(price: Price) -> str:
    """Describe a price in the units of the constraints, rounded so that it would satisfy them."""
    return (
        f"{price.params} params, {math.ceil(price.memory_bytes / 1e4) / 100:.2f} MB, "
        f"{math.floor(100 * price.throughput) / 100:.2f} images/s, "
        f"{math.floor(100 * price.speedup) / 100:.2f}x"
    )
