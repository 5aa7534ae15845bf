"""Decoded images as tensors, and the order in which they are drawn."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

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
    places = _shuffle_by_class(labels, generator)
    return places.sample[torch.argsort(places.rank + places.tie)]


def proportional_order(labels: Tensor, *, generator: torch.Generator) -> Tensor:
    """Order samples so that every prefix holds the classes in the proportions of the whole.

    As near as counts allow, and without favor to large classes or small ones. Classes of equal
    size give the order of ``stratified_order``.

    Args:
        labels: ``[samples]``, int64.
        generator: Shuffles within and across classes.

    Returns:
        Indices ``[samples]``, int64.
    """
    places = _shuffle_by_class(labels, generator)
    return places.sample[torch.argsort(places.progress)]


def proportional_halves(labels: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Split samples into halves that hold every class alike, each in ``proportional_order``.

    Each half holds half of a class; of a class of odd size, one holds one sample more. So a class
    of at least two samples is in both.

    Returns:
        Indices of the first half, which is the smaller, and of the second, int64.
    """
    places = _shuffle_by_class(labels, generator)
    middle = (places.rank + 0.5) / places.size
    in_order = torch.argsort(places.tie)
    in_order = in_order[torch.argsort(middle[in_order], stable=True)]
    halves = in_order[: len(labels) // 2], in_order[len(labels) // 2 :]
    first, second = (half[torch.argsort(places.progress[half])] for half in halves)
    return places.sample[first], places.sample[second]


class _Places(NamedTuple):
    """Samples, class by class, each class shuffled; all ``[samples]``.

    Attributes:
        sample: Index of the sample, int64.
        rank: How many samples of its class come before it, float64.
        size: How many samples its class has, int64.
        tie: A random order of all samples, in [0, 1), float64.
    """

    sample: Tensor
    rank: Tensor
    size: Tensor
    tie: Tensor

    @property
    def progress(self) -> Tensor:
        """Which share of its class comes before each sample.

        A class of n samples has one somewhere in each n-th of [0, 1).
        """
        return (self.rank + self.tie) / self.size


def _shuffle_by_class(labels: Tensor, generator: torch.Generator) -> _Places:
    shuffled = torch.randperm(len(labels), generator=generator)
    sample = shuffled[torch.argsort(labels[shuffled], stable=True)]
    _, counts = torch.unique_consecutive(labels[sample], return_counts=True)
    rank = torch.cat([torch.arange(int(count), dtype=torch.float64) for count in counts])
    # Ties are broken at random, so that a short prefix does not hold only the first classes.
    tie = torch.argsort(torch.randperm(len(labels), generator=generator)).double() / len(labels)
    return _Places(sample, rank, counts.repeat_interleave(counts), tie)
