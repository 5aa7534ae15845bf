"""Decoded images as tensors, and the order in which they are drawn."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Decoded, resized images and their labels; batches are normalized when drawn.

    Attributes:
        images: ``[images, channels, height, width]``, uint8.
        labels: ``[images]``, int64 class indices of the model's head.
        mean: Per channel, on the 0..1 scale.
        std: Per channel, on the 0..1 scale.
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Tensor) -> "ImageSet":
        """Return the images at ``indices`` (int64), in that order."""
        return ImageSet(self.images[indices], self.labels[indices], self.mean, self.std)

    def batches(
        self,
        batch_size: int,
        *,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield ``(images [batch, channels, height, width] float32, labels [batch])``.

        With a generator the order is a new permutation; without one it is the stored order.
        """
        order = (
            torch.arange(len(self))
            if generator is None
            else torch.randperm(len(self), generator=generator)
        )
        for indices in order.split(batch_size):
            yield self.normalize(self.images[indices], device), self.labels[indices].to(device)

    def normalize(self, images: Tensor, device: torch.device | str) -> Tensor:
        """Normalize uint8 images ``[batch, channels, height, width]`` to the model's input."""
        mean = torch.tensor(self.mean, device=device).view(1, -1, 1, 1) * 255
        std = torch.tensor(self.std, device=device).view(1, -1, 1, 1) * 255
        return (images.to(device, torch.float32) - mean) / std


def stratified_order(labels: Tensor, *, generator: torch.Generator) -> Tensor:
    """Order samples so that every prefix holds all classes as evenly as possible.

    Args:
        labels: ``[samples]``, int64.
        generator: Shuffles within and across classes.

    Returns:
        Indices ``[samples]``, int64: one sample of each class, then another of each, and so on.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[torch.argsort(labels[shuffled], stable=True)]
    _, counts = torch.unique_consecutive(labels[by_class], return_counts=True)
    rank = torch.cat([torch.arange(int(count)) for count in counts])
    # Ties are broken at random, so that a short prefix does not hold only the first classes.
    tie = torch.randperm(len(labels), generator=generator)
    by_rank = tie[torch.argsort(rank[tie], stable=True)]
    return by_class[by_rank]
