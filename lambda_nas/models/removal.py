"""Removal sets: the attention layers that are removed from a model."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class RemovalSet:
    """The indices of the blocks whose attention branch is removed, ascending and unique.

    Examples:
        >>> RemovalSet.of([4, 0, 2])
        RemovalSet(layers=(0, 2, 4))
        >>> str(RemovalSet.of([4, 0, 2])), len(RemovalSet.of([1])), 1 in RemovalSet.of([1])
        ('{0,2,4}', 1, True)
    """

    layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if list(self.layers) != sorted(set(self.layers)):
            raise ValueError(f"layers must ascend without repeats, not {self.layers}")

    @classmethod
    def of(cls, layers: Iterable[int]) -> "RemovalSet":
        """Build a removal set from layer indices in any order."""
        return cls(tuple(sorted(set(layers))))

    @classmethod
    def parse(cls, text: str) -> "RemovalSet":
        """Parse indices separated by commas, ``"0,2,4"``; an empty text is the empty set."""
        return cls.of(int(layer) for layer in text.split(",") if layer)

    def add(self, layer: int) -> "RemovalSet":
        """Return the removal set with one more layer."""
        return RemovalSet.of((*self.layers, layer))

    def below(self, index: int) -> "RemovalSet":
        """Return the layers before block ``index``, the only ones that its input depends on."""
        return RemovalSet(tuple(layer for layer in self.layers if layer < index))

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[int]:
        return iter(self.layers)

    def __contains__(self, layer: object) -> bool:
        return layer in self.layers

    def __str__(self) -> str:
        return "{" + ",".join(map(str, self.layers)) + "}"
