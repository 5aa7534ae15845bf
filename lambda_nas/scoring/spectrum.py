"""The spatial spectrum of feature maps: how much of a map is fine detail."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lambda_nas.errors import NonFiniteError
from lambda_nas.models.blockwise import prefix_tokens
from lambda_nas.models.removal import RemovalSet
from lambda_nas.scoring.activation_cache import ActivationCache

CUTOFF = 0.25
"""Cycles per patch above which a frequency is high: half of the highest."""


@dataclass(frozen=True)
class SpatialPower:
    """The power of feature maps at low and high spatial frequencies, mergeable over batches.

    The mean over positions (frequency zero) counts as neither.

    Attributes:
        low: Power summed over images, channels and frequencies up to ``CUTOFF`` along both axes.
        high: Power summed over images, channels and frequencies above it along either axis.

    >>> stripes = torch.tensor([1.0, -1.0]).repeat(4).view(1, 1, 8, 1).expand(1, 8, 8, 1)
    >>> SpatialPower.of(stripes).high_share
    1.0
    """

    low: float
    high: float

    @classmethod
    def of(cls, maps: Tensor) -> "SpatialPower":
        """Measure feature maps ``[batch, height, width, channels]``.

        Raises:
            NonFiniteError: If a feature is NaN or infinite.
        """
        height, width = maps.shape[1:3]
        # The mean is subtracted first, because rounding would spread it over all frequencies.
        maps = (maps.double() - maps.double().mean((1, 2), keepdim=True)).float()
        power = torch.fft.fft2(maps, dim=(1, 2), norm="ortho").abs().square().double().sum((0, 3))
        rows = torch.fft.fftfreq(height, device=maps.device).abs()
        columns = torch.fft.fftfreq(width, device=maps.device).abs()
        high = torch.maximum(rows[:, None], columns[None, :]) > CUTOFF
        power[0, 0] = 0
        if not torch.isfinite(power).all():
            raise NonFiniteError("features are not finite: check the model's weights and images")
        return cls(low=power[~high].sum().item(), high=power[high].sum().item())

    def merge(self, other: "SpatialPower") -> "SpatialPower":
        """Combine with the power of other maps of the same size."""
        return SpatialPower(self.low + other.low, self.high + other.high)

    @property
    def high_share(self) -> float:
        """The share of high-frequency power, 0..1; 0 for maps that are constant."""
        total = self.low + self.high
        return self.high / total if total else 0.0


def high_frequency_shares(cache: ActivationCache, removal: RemovalSet) -> tuple[float, ...]:
    """Return the high-frequency share of each block's output under plain removal.

    Only patch tokens count, because a class token has no position.
    """
    model = cache.model
    patches: Any = model.patch_embed
    size = patches.dynamic_feat_size(cache.images.images.shape[-2:])
    shares = []
    for index in range(1, cache.depth + 1):
        power = SpatialPower(0.0, 0.0)
        for state in cache.stream(removal, index):
            flat = state.ndim == 3
            maps = state[:, prefix_tokens(model) :].unflatten(1, size) if flat else state
            power = power.merge(SpatialPower.of(maps))
        shares.append(power.high_share)
    return tuple(shares)
