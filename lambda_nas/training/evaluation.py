"""Measures the accuracy of a classifier."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from lambda_nas.data.image_set import ImageSet
from lambda_nas.errors import InputError, NonFiniteError


@dataclass(frozen=True)
class Accuracy:
    """Fractions of images whose class has the highest logit, or one of the five highest."""

    top1: float
    top5: float
    images: int


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    images: ImageSet,
    *,
    batch_size: int = 64,
    on_batch: Callable[[int], None] | None = None,
) -> Accuracy:
    """Measure the accuracy of a model on the device of its parameters; puts it in eval mode.

    Args:
        model: Maps ``[batch, channels, height, width]`` to ``[batch, classes]``.
        images: The images and their labels.
        batch_size: Images per forward pass.
        on_batch: Called after each batch with the number of images in it.

    Raises:
        InputError: If there are no images.
        NonFiniteError: If a logit is NaN or infinite.
    """
    if not len(images):
        raise InputError("there are no images to evaluate on")
    model.eval()
    device = next(model.parameters()).device
    top1 = top5 = 0
    for batch, labels in images.batches(batch_size, device=device):
        logits = model(batch)
        if not torch.isfinite(logits).all():
            raise NonFiniteError("the model's outputs are not finite: check its weights")
        best = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        top1 += int(best[:, 0].sum())
        top5 += int(best.sum())
        if on_batch:
            on_batch(len(labels))
    return Accuracy(top1 / len(images), top5 / len(images), len(images))
