"""Hard limits on the price of an architecture, and what comes nearest when nothing keeps them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lambda_nas.core.cost import Price
from lambda_nas.errors import InfeasibleError


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


def check_params(params: Mapping[int, int], limits: Limits) -> None:
    """Refuse a limit on parameters that no number of removed layers keeps.

    ``params`` is by number of layers removed, without the unpruned model.

    Raises:
        InfeasibleError: Names the number that comes nearest.
    """
    _feasible(
        {size: limits.broken_by_params(count) for size, count in params.items()},
        lambda size: f"{params[size]} params",
    )


def feasible_sizes(prices: Mapping[int, Price], limits: Limits) -> tuple[int, ...]:
    """Return the numbers of removed layers whose price is within the limits.

    ``prices`` is by number of layers removed; the unpruned model's, at 0, does not count.

    Raises:
        InfeasibleError: If there is none; names the numbers that come nearest.
    """
    return _feasible(
        {size: limits.broken(price) for size, price in prices.items() if size},
        lambda size: _describe(prices[size]),
    )


def _feasible(
    broken: Mapping[int, Mapping[str, float]], describe: Callable[[int], str]
) -> tuple[int, ...]:
    """Return the sizes that break no limit, or raise with the nearest and their descriptions."""
    sizes = tuple(sorted(size for size, limits in broken.items() if not limits))
    if sizes:
        return sizes
    points = "; ".join(
        f"nearest to {' and '.join(limits)}: {size} {'layer' if size == 1 else 'layers'} removed, "
        f"{describe(size)}"
        for size, limits in _nearest(broken).items()
    )
    raise InfeasibleError(f"no architecture is within the limits; {points}: relax a limit")


def _nearest(broken: Mapping[int, Mapping[str, float]]) -> dict[int, list[str]]:
    """Return the sizes to tell of, each with the limits that it is the nearest to.

    Only sizes that break the fewest limits are worth telling of: there, relaxing those is enough.
    """
    fewest = min(len(limits) for limits in broken.values())
    close = {size: limits for size, limits in broken.items() if len(limits) == fewest}
    nearest: dict[int, list[str]] = {}
    for limit in dict.fromkeys(limit for limits in close.values() for limit in limits):
        size = min((s for s in close if limit in close[s]), key=lambda s: close[s][limit])
        nearest.setdefault(size, []).append(limit)
    return nearest


def _describe(price: Price) -> str:
    """Write a price in the units of the options, rounded so that it is a limit which it keeps."""
    return (
        f"{price.params} params, {math.ceil(price.memory_bytes / 1e4) / 100:.2f} MB, "
        f"{math.floor(100 * price.throughput) / 100:.2f} images/s, "
        f"{math.floor(100 * price.speedup) / 100:.2f}x"
    )
