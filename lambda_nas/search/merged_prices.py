"""What merging tokens takes off the price of an architecture."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lambda_nas.core.cost import Price
from lambda_nas.core.merging import Merging
from lambda_nas.core.merging_work import MergingWork


@dataclass(frozen=True)
class MergedPrices:
    """Prices with tokens merged, from those without.

    Time goes with a power of the multiply-accumulates that merging leaves, and grows with each
    block that has to match tokens.

    Attributes:
        power: Of the share of multiply-accumulates that is left; 1 is in proportion.
        overhead: What merging in one block takes, as a share of the unpruned model's time.
        works: What each merging is and does.
    """

    power: float
    overhead: float
    works: tuple[tuple[Merging, MergingWork], ...]

    @property
    def mergings(self) -> list[Merging]:
        """The ways to merge that have a price."""
        return [merging for merging, _ in self.works]

    def merged(self, unmerged: Price, merging: Merging, attending: Sequence[int]) -> Price:
        """Return the price of an architecture that merges tokens.

        Args:
            unmerged: Its price if it did not.
            merging: How it does.
            attending: Its blocks with attention.

        Raises:
            KeyError: If this way to merge has no price.
        """
        work = dict(self.works)[merging]
        saved = work.macs_saved(attending)
        merges = sum(block >= merging.start for block in attending)
        time = (1 - saved / unmerged.macs) ** self.power / unmerged.speedup
        speedup = 1 / (time + self.overhead * merges)
        faster = speedup / unmerged.speedup
        return replace(
            unmerged,
            throughput=unmerged.throughput * faster,
            speedup=speedup,
            latency_ms=unmerged.latency_ms / faster,
            memory_bytes=unmerged.memory_bytes - work.bytes_saved(attending),
            macs=unmerged.macs - saved,
        )
