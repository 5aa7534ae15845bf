"""Matches the outputs of a norm to targets, in mean and standard deviation of each channel.

Notation used for tensor shapes: ``[batch, tokens, channels]``; tokens may have two dimensions.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

RATIOS = (0.5, 3.0)
"""Bounds of the factor; a factor beyond them would fit the few images rather than the model."""


def match_norms(
    norm: nn.Module, states: Iterable[Tensor], targets: Iterable[Tensor], weights: Tensor
) -> None:
    """Change a norm's weight and bias so that its outputs have the targets' mean and deviation.

    A norm without weight or bias stays as it is.

    Args:
        norm: The norm, changed in place.
        states: Its inputs, one ``[batch, tokens, channels]`` per batch.
        targets: The desired outputs, in the same shapes.
        weights: Weight of each token, ``[tokens]``.
    """
    weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    if weight is None or bias is None:
        return
    mean, std = _moments(map(norm, states), weights)
    target_mean, target_std = _moments(targets, weights)
    # A constant channel has no deviation to match; 0 / 0 would be NaN.
    ratio = torch.where(std > 0, target_std / std, 1.0).clamp(*RATIOS)
    weight.mul_(ratio.to(weight))
    bias.mul_(ratio.to(bias)).add_((target_mean - ratio * mean).to(bias))


def _moments(batches: Iterable[Tensor], weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return each channel's weighted mean and standard deviation, ``[channels]`` in float64."""
    count = 0.0
    first = second = torch.zeros((), dtype=torch.float64, device=weights.device)
    for batch in batches:
        values, share = batch.double().flatten(1, -2), weights.double().view(1, -1, 1)
        count += len(batch) * share.sum().item()
        first = first + (share * values).sum((0, 1))
        second = second + (share * values.square()).sum((0, 1))
    mean = first / count
    return mean, (second / count - mean.square()).clamp_min(0).sqrt()
