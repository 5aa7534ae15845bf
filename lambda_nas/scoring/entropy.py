"""Gaussian entropy of features (paper, section 3.1) and relative entropy of predictions."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lambda_nas.errors import InputError, NonFiniteError


@dataclass(frozen=True, eq=False)
class GaussianEntropy:
    """Accumulates the Gaussian entropy of features in one pass, in float64 (Chan et al.).

    ``update`` and ``merge`` return a new value. Features are ``[..., channels]``.

    Attributes:
        count: Number of samples; images and tokens both count as samples.
        mean: Mean of each channel, ``[channels]``.
        deviation: Sum of squared deviations from the mean, ``[channels]``.

    Examples:
        >>> entropy = GaussianEntropy.empty().update(torch.tensor([[0.0, 1.0], [2.0, 1.0]]))
        >>> entropy.value, entropy.excluded
        (0.0, 1)
    """

    count: int
    mean: Tensor
    deviation: Tensor

    @classmethod
    def empty(cls) -> "GaussianEntropy":
        """Return the value for no samples."""
        nothing = torch.zeros(0, dtype=torch.float64)
        return cls(0, nothing, nothing)

    def update(self, features: Tensor) -> "GaussianEntropy":
        """Add features ``[..., channels]``; all leading dimensions are samples.

        Raises:
            NonFiniteError: If a feature is NaN or infinite.
        """
        samples = features.detach().reshape(-1, features.shape[-1]).double()
        if not len(samples):
            return self
        # Relative to one sample, the deviation of a constant channel is exactly zero; relative to
        # a rounded mean it would be 1e-34, whose logarithm would dominate the sum.
        origin = samples[0]
        samples = samples - origin
        offset = samples.mean(0)
        deviation = (samples - offset).square().sum(0)
        if not torch.isfinite(deviation).all():
            raise NonFiniteError("features are not finite: check the model's weights and images")
        return self.merge(GaussianEntropy(len(samples), origin + offset, deviation))

    def merge(self, other: "GaussianEntropy") -> "GaussianEntropy":
        """Combine with the statistics of other samples of the same features.

        Raises:
            InputError: If the numbers of channels differ.
        """
        if not self.count or not other.count:
            return self if self.count else other
        if len(self.mean) != len(other.mean):
            raise InputError(
                f"can't merge features of {len(other.mean)} channels with {len(self.mean)}"
            )
        count = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        between = shift.square() * (self.count * other.count / count)
        return GaussianEntropy(count, mean, self.deviation + other.deviation + between)

    @property
    def value(self) -> float:
        """``sum_j log(std_j)`` in nats, over the channels that vary."""
        varying = self.deviation[self.deviation > 0]
        return (varying / max(self.count, 1)).sqrt().log().sum().item()

    @property
    def excluded(self) -> int:
        """The number of constant channels, which are excluded."""
        return int((self.deviation == 0).sum())


def relative_entropy(reference: Tensor, logits: Tensor) -> Tensor:
    """Return the mean over images of ``D_KL(p_reference || p)`` in nats.

    Args:
        reference: ``[images, classes]``, logits or log-probabilities.
        logits: ``[images, classes]``.
    """
    return functional.kl_div(
        logits.log_softmax(-1), reference.log_softmax(-1), reduction="batchmean", log_target=True
    )
