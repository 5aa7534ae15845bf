"""Measures the accuracy of a classifier."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lambda_nas.data.image_set import ImageSet
from lambda_nas.errors import InputError, NonFiniteError

BATCH_SIZE = 64


@dataclass(frozen=True)
class Accuracy:
    """Fractions of images whose class has the highest logit, or one of the five highest."""

    top1: float
    top5: float
    images: int

    @classmethod
    def of(cls, best: Tensor, labels: Tensor) -> "Accuracy":
        """Compare what ``predict`` returns with the labels ``[images]``."""
        right = best == labels[:, None]
        return cls(
            int(right[:, 0].sum()) / len(labels), int(right.sum()) / len(labels), len(labels)
        )


@dataclass(frozen=True)
class Change:
    """How much more top-1 a network has than the unpruned one on the same images, a fraction.

    >>> str(Change(-0.034, stderr=0.0105))
    '-3.40 ± 1.05'
    """

    top1: float
    stderr: float

    @classmethod
    def of(cls, best: Tensor, unpruned: Tensor, labels: Tensor) -> "Change":
        """Compare what ``predict`` returns for both, with the paired standard error."""
        right, right_unpruned = ((each[:, 0] == labels).double() for each in (best, unpruned))
        gain = right - right_unpruned
        return cls(gain.mean().item(), gain.std(correction=0).item() / len(labels) ** 0.5)

    def __str__(self) -> str:
        return f"{100 * self.top1:+.2f} ± {100 * self.stderr:.2f}"


@dataclass(frozen=True)
class Comparison:
    """A pruned network and the unpruned one on the same images.

    Attributes:
        accuracy: Of the pruned network.
        unpruned: Of the unpruned one.
        change: The difference in top-1.
    """

    accuracy: Accuracy
    unpruned: Accuracy
    change: Change


def compare(
    pruned: nn.Module,
    unpruned: nn.Module,
    images: ImageSet,
    *,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[int], None] | None = None,
) -> Comparison:
    """Evaluate both networks; takes and raises what ``predict`` does."""
    best, best_unpruned = (
        predict(each, images, batch_size=batch_size, on_batch=on_batch)
        for each in (pruned, unpruned)
    )
    labels = images.labels
    return Comparison(
        Accuracy.of(best, labels),
        Accuracy.of(best_unpruned, labels),
        Change.of(best, best_unpruned, labels),
    )


def evaluate(
    model: nn.Module,
    images: ImageSet,
    *,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[int], None] | None = None,
) -> Accuracy:
    """Measure the accuracy of a model; takes and raises what ``predict`` does."""
    return Accuracy.of(
        predict(model, images, batch_size=batch_size, on_batch=on_batch), images.labels
    )


@torch.inference_mode()
def predict(
    model: nn.Module,
    images: ImageSet,
    *,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[int], None] | None = None,
) -> Tensor:
    """Classify images on the device of a model's parameters; puts the model in eval mode.

    Args:
        model: Maps ``[batch, channels, height, width]`` to ``[batch, classes]``.
        images: The images.
        batch_size: Images per forward pass.
        on_batch: Called after each batch with the number of images in it.

    Returns:
        The classes of the (up to) five highest logits, the highest first, ``[images, 5]``, int64,
        on the CPU.

    Raises:
        InputError: If there are no images.
        NonFiniteError: If a logit is NaN or infinite.
    """
    if not len(images):
        raise InputError("there are no images to evaluate on")
    model.eval()
    device = next(model.parameters()).device
    best = []
    for batch, labels in images.batches(batch_size, device=device):
        logits = model(batch)
        if not torch.isfinite(logits).all():
            raise NonFiniteError("the model's outputs are not finite: check its weights")
        best.append(logits.topk(min(5, logits.shape[1])).indices.cpu())
        if on_batch:
            on_batch(len(labels))
    return torch.cat(best)
