"""A search problem with known answers: an oracle table (`oracle_table.py`) with prices."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from exhaustive import code_of
from numpy.typing import NDArray
from oracle_table import OracleTable

from lambda_nas.cost.measurement import Price
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.removal import RemovalSet
from lambda_nas.records.front import hypervolume
from lambda_nas.records.trial import ParetoTrial


class PriceLine(NamedTuple):
    """The unpruned model's price, and what each removed layer saves."""

    throughput: float
    memory_bytes: int
    time_share: float
    bytes_saved: int


PRICE_LINES = {
    # studies/digits/front.json: 1.5698x at 7 layers, 2.3279x at 11; 38,016 bytes a layer.
    "digits_vit": PriceLine(2651.1, 2_625_384, 0.05186, 38_016),
    # studies/deit_tiny_imagenet500/front.json: 1.0267x at 1 layer, 1.1850x at 6; 594,432 bytes.
    "deit_tiny": PriceLine(50.34, 100_234_912, 0.02602, 594_432),
}
"""A table has no prices. In both studies the time of a forward falls on a straight line with the
layers removed, to four digits; by the part of the model's name."""


class Problem:
    """The sets of 1 to L-1 layers, each with its accuracy and its price.

    The class token sees the patches through attention alone: with all L layers removed, every image
    gets the same prediction, so that removal set is not offered as a trial.

    Args:
        table: The measured accuracies.
        repair: One of ``table.repairs``.
        seed: Draws a bootstrap sample of the evaluation images: another noisy realisation of all
            accuracies. ``None`` takes the images as they are.
    """

    def __init__(self, table: OracleTable, repair: str, seed: int | None) -> None:
        self.layers = table.layers
        self.sizes = tuple(range(1, len(table.layers)))
        numbers = (0, *self.sizes, len(table.layers))
        self.prices = PriceTable.by_number(self.layers, {n: _price(table, n) for n in numbers})
        self._accuracy = _bootstrap(table, repair, seed)
        self._entropy = table.relative_entropy
        self._sets = table.sets
        self._size = table.sizes
        self._exhaustive = self._volume([self._accuracy[self._size == n].max() for n in self.sizes])

    @property
    def baseline(self) -> float:
        """Accuracy of the unpruned model."""
        return float(self._accuracy[0])

    def every_set(self) -> list[RemovalSet]:
        """Return all sets that can be a trial."""
        return [removal for removal in self._sets if len(removal) in self.sizes]

    def accuracy(self, removal: RemovalSet) -> float:
        """Return the measured accuracy of a removal set."""
        return float(self._accuracy[code_of(removal, self.layers)])

    def score(self, removal: RemovalSet) -> float:
        """Return the prior's score of a set, its relative entropy in nats."""
        return float(self._entropy[code_of(removal, self.layers)])

    def values(self, removal: RemovalSet) -> tuple[float, float, float]:
        """Return a trial's objectives."""
        price = self.prices.of(Architecture(removal))
        return self.accuracy(removal), price.throughput, float(price.memory_bytes)

    def shares(self, trials: Sequence[RemovalSet], budget: int) -> NDArray[np.float64]:
        """Return `[budget]`, the share of the exhaustive hypervolume after each trial."""
        best = np.zeros(len(self.sizes))
        shares: list[float] = []
        for removal in trials:
            here, accuracy = len(removal) - 1, self.accuracy(removal)
            if not shares or accuracy > best[here]:
                best[here] = max(best[here], accuracy)
                share = self._volume(best.tolist()) / self._exhaustive
            shares.append(share)
        return np.array(shares + shares[-1:] * (budget - len(shares)))

    def front(self) -> list[RemovalSet]:
        """Return the non-dominated removal sets, including ties."""
        # Every layer removed makes a set faster and smaller: it has to beat all larger ones.
        beaten, members = 0.0, []
        for size in reversed(self.sizes):
            codes = np.flatnonzero(self._size == size)
            best = self._accuracy[codes].max()
            if best > beaten:
                members += [self._sets[code] for code in codes if self._accuracy[code] == best]
            beaten = max(beaten, best)
        return members

    def nose_path(self) -> list[RemovalSet]:
        """Return the greedy path: at each step the layer that makes the score smallest."""
        path, current = [], RemovalSet()
        for _ in self.sizes:
            left = (layer for layer in self.layers if layer not in current)
            current = min(map(current.add, left), key=self.score)
            path.append(current)
        return path

    def _volume(self, accuracies: Sequence[float]) -> float:
        architectures = [Architecture.of(self.layers[:size]) for size in self.sizes]
        points = [
            ParetoTrial(size, architecture, accuracy, 0, self.prices.of(architecture))
            for size, architecture, accuracy in zip(
                self.sizes, architectures, accuracies, strict=True
            )
        ]
        return hypervolume(points, self.prices.unpruned)


class Counted:
    """A score that records which removal sets it was asked for."""

    def __init__(self, score: Callable[[RemovalSet], float]) -> None:
        self._score = score
        self.scored: list[RemovalSet] = []

    def __call__(self, removal: RemovalSet) -> float:
        """Score a set."""
        self.scored.append(removal)
        return self._score(removal)


def _price(table: OracleTable, size: int) -> Price:
    model = str(table.about["model"])
    line = next(line for part, line in PRICE_LINES.items() if part in model)
    speedup = 1 / (1 - line.time_share * size)
    throughput = line.throughput * speedup
    memory = line.memory_bytes - line.bytes_saved * size
    return Price(throughput, speedup, 1000 / throughput, memory, params=0, macs=0)


def _bootstrap(table: OracleTable, repair: str, seed: int | None) -> NDArray[np.float64]:
    if seed is None:
        return table.accuracy(repair)
    hits = table.hits(repair)
    images = hits.shape[1]
    drawn = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images))
    return hits @ drawn / images
