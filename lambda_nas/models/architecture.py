"""The architecture that a trial evaluates: which attention is removed, how tokens are merged."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lambda_nas.models.merging import NO_MERGING, Merging
from lambda_nas.models.removal import NOTHING, RemovalSet

_WRITTEN = re.compile(r"(?P<removed>(?:\d+(?:,\d+)*)?)(?: r=(?P<r>\d+) start=(?P<start>\d+))?")


@dataclass(frozen=True, order=True)
class Architecture:
    """A removal set together with the token merging in the blocks that keep their attention.

    Examples:
        >>> str(Architecture.of([4, 0])), str(Architecture.of([4, 0], Merging(8, start=2)))
        ('{0,4}', '{0,4} merging 8 from block 2')
    """

    removal: RemovalSet
    merging: Merging = NO_MERGING

    @classmethod
    def of(cls, layers: Iterable[int], merging: Merging = NO_MERGING) -> "Architecture":
        """Build an architecture from layer indices in any order."""
        return cls(RemovalSet.of(layers), merging)

    @classmethod
    def parse(cls, text: str) -> "Architecture":
        """Parse the text that ``written`` returns.

        Raises:
            ValueError: If the text has another form.
        """
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not an architecture")
        merging = Merging(int(found["r"]), int(found["start"])) if found["r"] else NO_MERGING
        removal = RemovalSet.parse(found["removed"]) if found["removed"] else NOTHING
        return cls(removal, merging)

    def written(self) -> str:
        """Return the text that databases store.

        >>> Architecture.of([0, 2]).written(), Architecture.of([0], Merging(8, start=2)).written()
        ('0,2', '0 r=8 start=2')
        """
        removed = ",".join(map(str, self.removal))
        return (
            f"{removed} r={self.merging.r} start={self.merging.start}" if self.merging else removed
        )

    def __bool__(self) -> bool:
        """Return whether the architecture differs from the unpruned model."""
        return bool(self.removal) or bool(self.merging)

    def __str__(self) -> str:
        return f"{self.removal} {self.merging}" if self.merging else str(self.removal)
