"""The search space, as Optuna parameters and as architectures."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import NO_MERGING, Merging, first_merging
from lambda_nas.models.removal import RemovalSet

MERGING = "token merging"
"""Name of the parameter for token merging; its values are ``str(merging)``."""


@dataclass(frozen=True)
class SearchSpace:
    """The layers that may be removed, and the ways in which tokens may be merged.

    Attributes:
        layers: Layers that may be removed.
        mergings: Ways to merge tokens, besides no merging.

    Examples:
        >>> space = SearchSpace((0, 1), (Merging(8),))
        >>> space.to_params(Architecture.of([1], Merging(8)))["token merging"]
        'merging 8 from block 0'
        >>> str(space.to_architecture({"remove layer 01": True}))
        '{1}'
    """

    layers: tuple[int, ...]
    mergings: tuple[Merging, ...] = ()

    def to_params(self, architecture: Architecture) -> dict[str, bool | str]:
        """Return an architecture as Optuna parameters."""
        removed = {parameter_name(layer): layer in architecture.removal for layer in self.layers}
        return removed | ({MERGING: str(architecture.merging)} if self.mergings else {})

    def to_architecture(self, params: Mapping[str, object]) -> Architecture:
        """Return the architecture of Optuna parameters."""
        removed = (layer for layer in self.layers if params.get(parameter_name(layer)))
        by_name = {str(merging): merging for merging in self.mergings}
        return Architecture.of(removed, by_name.get(str(params.get(MERGING)), NO_MERGING))

    def mergings_of(self, removal: RemovalSet, attention: Iterable[int]) -> list[Merging]:
        """Return the mergings that give different networks with a removal set, no merging first.

        Two starts give the same network if all blocks between them have lost their attention.

        Args:
            removal: The layers that are removed.
            attention: The unpruned model's blocks with attention.
        """
        left = [block for block in attention if block not in removal]
        found: dict[tuple[int, int], Merging] = {}
        for merging in sorted(self.mergings):
            first = first_merging(left, merging)
            if first is not None:
                found.setdefault((merging.r, first), merging)
        return [NO_MERGING, *found.values()]


def parameter_name(layer: int) -> str:
    """Return the name of a layer's parameter in Optuna."""
    return f"remove layer {layer:02d}"
