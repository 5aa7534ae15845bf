"""How many tokens are merged, and where: the value; ``token_merging`` has the blocks that do it."""

from collections.abc import Iterable
from dataclasses import dataclass

from lambda_nas.errors import InputError


@dataclass(frozen=True, order=True)
class Merging:
    """How many tokens are merged, and where; true if there are any.

    Examples:
        >>> str(Merging(8, start=2)), str(Merging(0))
        ('merging 8 from block 2', 'no merging')

    Attributes:
        r: Pairs of tokens that a block with attention merges; never more than half of the tokens
            that are no class or register tokens.
        start: The first block that merges.

    Raises:
        InputError: If a number is negative.
    """

    r: int
    start: int = 0

    def __post_init__(self) -> None:
        for name, value in (("r", self.r), ("start", self.start)):
            if value < 0:
                raise InputError(f"merging needs {name} to be 0 or more, not {value}")

    def __bool__(self) -> bool:
        return self.r > 0

    def __str__(self) -> str:
        return f"merging {self.r} from block {self.start}" if self else "no merging"


NO_MERGING = Merging(0)


def first_merging(attending: Iterable[int], merging: Merging) -> int | None:
    """Return the first block that merges, of those that have attention; ``None`` without any."""
    return min((index for index in attending if index >= merging.start), default=None)
