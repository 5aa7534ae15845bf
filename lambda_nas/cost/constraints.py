"""Hard limits on the price of an architecture, and what comes nearest when nothing keeps them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lambda_nas.cost.measurement import Price
from lambda_nas.cost.price_table import PriceTable, Signature
from lambda_nas.errors import InfeasibleError
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.search_space import SearchSpace


@dataclass(frozen=True)
class Constraints:
    """Hard limits on the price of an architecture; ``None`` is no limit."""

    max_params: int | None = None
    max_memory_bytes: int | None = None
    min_throughput: float | None = None
    min_speedup: float | None = None

    def broken(self, price: Price) -> dict[str, float]:
        """Return the limits that a price breaks, as a user writes them, and by what factor."""
        found = self.broken_by_params(price.params)
        if self.max_memory_bytes is not None and price.memory_bytes > self.max_memory_bytes:
            option = f"--max-memory {self.max_memory_bytes / 1e6:g}MB"
            found[option] = price.memory_bytes / self.max_memory_bytes
        if self.min_throughput is not None and price.throughput < self.min_throughput:
            option = f"--min-throughput {self.min_throughput:g}"
            found[option] = self.min_throughput / price.throughput
        if self.min_speedup is not None and price.speedup < self.min_speedup:
            found[f"--min-speedup {self.min_speedup:g}"] = self.min_speedup / price.speedup
        return found

    def broken_by_params(self, params: int) -> dict[str, float]:
        """Return what ``broken`` does as far as the number of parameters tells."""
        if self.max_params is None or params <= self.max_params:
            return {}
        return {f"--max-params {self.max_params}": params / self.max_params}


def check_params(params: Mapping[Signature, int], constraints: Constraints) -> None:
    """Refuse a limit on parameters that no signature keeps.

    ``params`` is by cost signature, without the unpruned model.

    Raises:
        InfeasibleError: Names the signature that comes nearest.
    """
    _check(
        {
            f"{layers_removed(signature)}, {count} params": constraints.broken_by_params(count)
            for signature, count in params.items()
        }
    )


def check_feasible(prices: PriceTable, search_space: SearchSpace, constraints: Constraints) -> None:
    """Refuse limits that no architecture keeps.

    Raises:
        InfeasibleError: Names those that come nearest.
    """
    priced = {
        layers_removed(signature): price
        for signature, price in prices.by_signature.items()
        if any(signature)
    }
    for merging in search_space.mergings:
        for (number,) in prices.by_signature:
            one = _cheapest(number, merging, prices, search_space)
            if one:
                priced[f"{layers_removed((number,))}, {merging}"] = prices.of(one)
    _check(
        {f"{what}, {_describe(price)}": constraints.broken(price) for what, price in priced.items()}
    )


def _cheapest(
    number: int, merging: Merging, prices: PriceTable, search_space: SearchSpace
) -> Architecture | None:
    """Return what has the fewest MACs and bytes of those that remove so many layers and merge.

    Before tokens are merged attention costs most, behind the first block also in memory; where they
    are, each block that is left merges on. ``None`` if none is left to merge.
    """
    before = [layer for layer in search_space.layers if layer < merging.start]
    behind = [layer for layer in search_space.layers if layer >= merging.start]
    early = min(number, len(before))
    late = number - early
    removal = RemovalSet.of([*before[len(before) - early :], *behind[len(behind) - late :]])
    merges = merging in search_space.mergings_of(removal, prices.attention())
    return Architecture(removal, merging) if merges else None


def _check(broken: Mapping[str, Mapping[str, float]]) -> None:
    """Raise with the nearest, each with the limits that it breaks, unless one breaks none."""
    if not all(broken.values()):
        return
    points = "; ".join(
        f"nearest to {' and '.join(constraints)}: {what}"
        for what, constraints in _nearest(broken).items()
    )
    raise InfeasibleError(f"no architecture is within the limits; {points}: relax a limit")


def layers_removed(signature: Signature) -> str:
    """Write a signature.

    >>> layers_removed((1,)), layers_removed((1, 0, 2))
    ('1 layer removed', '1+0+2 layers removed')
    """
    return f"{'+'.join(map(str, signature))} {'layer' if signature == (1,) else 'layers'} removed"


def _nearest(broken: Mapping[str, Mapping[str, float]]) -> dict[str, list[str]]:
    """Return what to tell of, each with the limits that it is the nearest to.

    Only those that break the fewest limits are worth telling of: there, relaxing them is enough.
    """
    fewest = min(len(constraints) for constraints in broken.values())
    close = {
        what: constraints for what, constraints in broken.items() if len(constraints) == fewest
    }
    nearest: dict[str, list[str]] = {}
    for limit in dict.fromkeys(limit for constraints in close.values() for limit in constraints):
        what = min((each for each in close if limit in close[each]), key=lambda w: close[w][limit])
        nearest.setdefault(what, []).append(limit)
    return nearest


def _describe(price: Price) -> str:
    """Write a price in the units of the options, rounded so that it is a limit which it keeps."""
    return (
        f"{price.params} params, {math.ceil(price.memory_bytes / 1e4) / 100:.2f} MB, "
        f"{math.floor(100 * price.throughput) / 100:.2f} images/s, "
        f"{math.floor(100 * price.speedup) / 100:.2f}x"
    )
