"""An endless stream of training batches from images in memory, augmented by timm."""

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
    """Seed the global generators of torch, Python and numpy, and restore them afterwards.

    timm's transforms take no generator: they draw from Python's and numpy's global ones.
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
    """Yields the indices of full batches for ever; each pass is a new permutation of the images.

    A batch that the current pass can't fill is completed from the next pass.

    Attributes:
        waiting: Indices left in the current pass.
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
    images: ImageSet, order: EndlessOrder, config: TrainConfig, classes: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``(images [batch, channels, height, width], targets [batch, classes])`` for ever.

    Targets are smoothed class probabilities, mixed wherever the images are.
    """
    augmentation, smoothing = config.augmentation, config.losses.smoothing
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
        pixels = images.normalize(chosen, device)
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
