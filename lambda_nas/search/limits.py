"""Hard limits on the price of an architecture, and what comes nearest when nothing keeps them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lambda_nas.core.cost import Price
from lambda_nas.errors import InfeasibleError
from lambda_nas.search.prices import PriceList, Signature


@dataclass(frozen=True)
class Limits:
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


def check_params(params: Mapping[Signature, int], limits: Limits) -> None:
    """Refuse a limit on parameters that no signature keeps.

    ``params`` is by cost signature, without the unpruned model.

    Raises:
        InfeasibleError: Names the signature that comes nearest.
    """
    _feasible(
        {signature: limits.broken_by_params(count) for signature, count in params.items()},
        lambda signature: f"{params[signature]} params",
    )


def feasible_signatures(prices: PriceList, limits: Limits) -> tuple[Signature, ...]:
    """Return the cost signatures whose price is within the limits, but for the unpruned model's.

    Raises:
        InfeasibleError: If there is none; names those that come nearest.
    """
    priced = prices.by_signature
    return _feasible(
        {signature: limits.broken(price) for signature, price in priced.items() if any(signature)},
        lambda signature: _describe(priced[signature]),
    )


def _feasible(
    broken: Mapping[Signature, Mapping[str, float]], describe: Callable[[Signature], str]
) -> tuple[Signature, ...]:
    """Return the signatures that break no limit, or raise with the nearest and what they are."""
    kept = tuple(sorted(signature for signature, limits in broken.items() if not limits))
    if kept:
        return kept
    points = "; ".join(
        f"nearest to {' and '.join(limits)}: {layers_removed(signature)}, {describe(signature)}"
        for signature, limits in _nearest(broken).items()
    )
    raise InfeasibleError(f"no architecture is within the limits; {points}: relax a limit")


def layers_removed(signature: Signature) -> str:
    """Write a signature.

    >>> layers_removed((1,)), layers_removed((1, 0, 2))
    ('1 layer removed', '1+0+2 layers removed')
    """
    return f"{'+'.join(map(str, signature))} {'layer' if signature == (1,) else 'layers'} removed"


def _nearest(broken: Mapping[Signature, Mapping[str, float]]) -> dict[Signature, list[str]]:
    """Return the signatures to tell of, each with the limits that it is the nearest to.

    Only those that break the fewest limits are worth telling of: there, relaxing them is enough.
    """
    fewest = min(len(limits) for limits in broken.values())
    close = {signature: limits for signature, limits in broken.items() if len(limits) == fewest}
    nearest: dict[Signature, list[str]] = {}
    for limit in dict.fromkeys(limit for limits in close.values() for limit in limits):
        signature = min((s for s in close if limit in close[s]), key=lambda s: close[s][limit])
        nearest.setdefault(signature, []).append(limit)
    return nearest


def _describe(price: Price) -> str:
    """Write a price in the units of the options, rounded so that it is a limit which it keeps."""
    return (
        f"{price.params} params, {math.ceil(price.memory_bytes / 1e4) / 100:.2f} MB, "
        f"{math.floor(100 * price.throughput) / 100:.2f} images/s, "
        f"{math.floor(100 * price.speedup) / 100:.2f}x"
    )
