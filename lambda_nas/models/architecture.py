"""What a trial makes of a model: attention that is removed, and tokens that are merged."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lambda_nas.models.merging import NO_MERGING, Merging
from lambda_nas.models.removal import RemovalSet

_WRITTEN = re.compile(r"(?P<removed>[\d,]*)(?: r=(?P<r>\d+) start=(?P<start>\d+))?")


@dataclass(frozen=True, order=True)
class Architecture:
    """A removal set, and how the blocks that keep their attention merge tokens.

    Examples:
        >>> str(Architecture.of([4, 0])), str(Architecture.of([4, 0], Merging(8, start=2)))
        ('{0,4}', '{0,4} merging 8 from block 2')
    """

    removal: RemovalSet
    merging: Merging = NO_MERGING

    @classmethod
    def of(cls, layers: Iterable[int], merging: Merging = NO_MERGING) -> "Architecture":
        """Build from layer indices in any order."""
        return cls(RemovalSet.of(layers), merging)

    @classmethod
    def parse(cls, text: str) -> "Architecture":
        """Read what ``written`` gives.

        Raises:
            ValueError: If it is something else.
        """
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no architecture")
        merging = Merging(int(found["r"]), int(found["start"])) if found["r"] else NO_MERGING
        return cls(RemovalSet.parse(found["removed"]), merging)

    def written(self) -> str:
        """Return it as databases have it.

        >>> Architecture.of([0, 2]).written(), Architecture.of([0], Merging(8, start=2)).written()
        ('0,2', '0 r=8 start=2')
        """
        removed = ",".join(map(str, self.removal))
        return (
            f"{removed} r={self.merging.r} start={self.merging.start}" if self.merging else removed
        )

    def __bool__(self) -> bool:
        """Say whether anything differs from the unpruned model."""
        return bool(self.removal) or bool(self.merging)

    def __str__(self) -> str:
        return f"{self.removal} {self.merging}" if self.merging else str(self.removal)
