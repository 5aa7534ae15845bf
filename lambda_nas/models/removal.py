"""Removal sets: the attention layers that are removed from a model."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lambda_nas.errors import InputError

Layers = str | Iterable[int]
"""Layers that a person names: ``"0,2,4"``, or their indices."""


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
    def parse(cls, layers: Layers) -> "RemovalSet":
        """Read the layers that a person names for ``remove``, in any order.

        Raises:
            InputError: If these are not indices, or one is named twice.
        """
        if isinstance(layers, str):
            texts = layers.split(",")
        else:
            # Notebooks check no types.
            texts = [*map(str, layers)] if isinstance(layers, Iterable) else [repr(layers)]
        if not texts or not all(re.fullmatch(r"\s*[0-9]+\s*", text) for text in texts):
            raise InputError(
                "not layer indices",
                parameter="remove",
                value=",".join(texts),
                allowed="indices from 0 with commas between them, such as 0,2,4",
            )
        indices = [int(text) for text in texts]
        twice = sorted({index for index in indices if indices.count(index) > 1})
        if twice:
            raise InputError(
                f"names {', '.join(map(str, twice))} twice",
                parameter="remove",
                value=",".join(texts),
            )
        return cls.of(indices)

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


NOTHING = RemovalSet()
