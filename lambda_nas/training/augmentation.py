"""Endless training batches from images in memory, varied by timm's transforms and mixup."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import numpy as np
import torch
from PIL.Image import Image
from timm.data import Mixup, create_transform
from timm.data.mixup import mixup_target
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from lambda_nas.data.image_set import ImageSet
from lambda_nas.training.config import Augmentation, TrainConfig


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed all the global generators that torch, torchvision and timm draw from, and restore them.

    timm's transforms take no generator: they use Python's and numpy's global ones.
    """
    python, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)


class EndlessOrder:
    """Indices of one full batch after another; each pass over the images is a new permutation.

    A batch takes what it lacks from the next pass.

    Attributes:
        waiting: Indices of the current pass that are still to come.
    """

    def __init__(self, count: int, batch_size: int) -> None:
        self._count = count
        self._batch_size = batch_size
        self.waiting = torch.empty(0, dtype=torch.int64)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Tensor:
        while len(self.waiting) < self._batch_size:
            self.waiting = torch.cat([self.waiting, torch.randperm(self._count)])
        batch, self.waiting = self.waiting.tensor_split([self._batch_size])
        return batch


def training_batches(
    images: ImageSet, order: EndlessOrder, recipe: TrainConfig, classes: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``(images [batch, channels, height, width], targets [batch, classes])`` for ever.

    Targets are class probabilities, smoothed, and mixed where images are.
    """
    augmentation, smoothing = recipe.augmentation, recipe.losses.smoothing
    vary = _transform(images, augmentation) if augmentation.transforms else None
    mixup = Mixup(
        mixup_alpha=augmentation.mixup,
        cutmix_alpha=augmentation.cutmix,
        label_smoothing=smoothing,
        num_classes=classes,
    )
    for indices in order:
        chosen, labels = images.images[indices], images.labels[indices].to(device)
        if vary:
            chosen = torch.stack([vary(to_pil_image(image)) for image in chosen])
        pixels = images.normalise(chosen, device)
        if augmentation.mixes:
            yield mixup(pixels, labels)
        else:
            yield pixels, mixup_target(labels, classes, smoothing=smoothing)


def _transform(images: ImageSet, augmentation: Augmentation) -> Callable[[Image], Tensor]:
    """Return timm's transform of one image to ``[channels, height, width]`` uint8."""
    _, channels, height, width = images.images.shape
    uncropped = augmentation.crop == 1
    return create_transform(
        (channels, height, width),
        is_training=True,
        scale=(augmentation.crop, 1.0),
        # With another ratio even the largest crop is not the whole image.
        ratio=(1.0, 1.0) if uncropped else None,
        hflip=augmentation.hflip,
        auto_augment=augmentation.policy,
        color_jitter=0.0,
        interpolation="bicubic",
        mean=images.mean,
        use_prefetcher=True,
    )
