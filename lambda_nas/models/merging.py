"""Settings of token merging; ``lambda_nas.token_merging`` has the blocks that merge."""

from collections.abc import Iterable
from dataclasses import dataclass

from lambda_nas.errors import InputError


@dataclass(frozen=True, order=True)
class Merging:
    """How many tokens each block merges, and from which block on; false if none.

    Examples:
        >>> str(Merging(8, start=2)), str(Merging(0))
        ('merging 8 from block 2', 'no merging')

    Attributes:
        r: Pairs of tokens that each block with attention merges, at most half of its patch tokens.
        start: Index of the first block that merges.

    Raises:
        InputError: If a number is negative.
    """

    r: int
    start: int = 0

    def __post_init__(self) -> None:
        for name, value in (("r", self.r), ("start", self.start)):
            if value < 0:
                raise InputError(f"{name} of token merging must be 0 or more, not {value}")

    def __bool__(self) -> bool:
        return self.r > 0

    def __str__(self) -> str:
        return f"merging {self.r} from block {self.start}" if self else "no merging"


NO_MERGING = Merging(0)


def first_merging(attending: Iterable[int], merging: Merging) -> int | None:
    """Return the first of the blocks with attention that merges, or ``None`` if none does."""
    return min((index for index in attending if index >= merging.start), default=None)
