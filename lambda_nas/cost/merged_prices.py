"""The prices of architectures that merge tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lambda_nas.cost.measurement import Price
from lambda_nas.cost.merging_work import MergingWork
from lambda_nas.models.merging import Merging


@dataclass(frozen=True)
class MergedPrices:
    """Computes prices with tokens merged from prices without.

    The time is proportional to a power of the share of multiply-accumulates that merging leaves,
    plus an overhead for each block that has to match tokens.

    Attributes:
        power: The power; 1 means that time is proportional to the multiply-accumulates.
        overhead: Time that merging takes in one block, as a share of the unpruned model's time.
        mergings: The ways to merge that have a price.
        works: The work of blocks, by the number of pairs that each merges.
    """

    power: float
    overhead: float
    mergings: tuple[Merging, ...]
    works: Mapping[int, MergingWork]

    def merged(self, unmerged: Price, merging: Merging, attending: Sequence[int]) -> Price:
        """Return the price of an architecture that merges tokens.

        Args:
            unmerged: Its price without merging.
            merging: How it merges tokens.
            attending: Its blocks with attention.

        Raises:
            KeyError: If this way to merge has no price.
        """
        if merging not in self.mergings:
            raise KeyError(str(merging))
        work = self.works[merging.r]
        saved = work.macs_saved(attending, merging.start)
        merges = sum(block >= merging.start for block in attending)
        time = (1 - saved / unmerged.macs) ** self.power / unmerged.speedup
        speedup = 1 / (time + self.overhead * merges)
        faster = speedup / unmerged.speedup
        return replace(
            unmerged,
            throughput=unmerged.throughput * faster,
            speedup=speedup,
            latency_ms=unmerged.latency_ms / faster,
            memory_bytes=unmerged.memory_bytes - work.bytes_saved(attending, merging.start),
            macs=unmerged.macs - saved,
        )
