"""Judges from a model's predictions whether its outputs are the classes that they are taken for."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import binomtest
from torch import Tensor

from lambda_nas.data.classes import ClassOrder

SIGNIFICANCE = 0.01


@dataclass(frozen=True)
class OrderScore:
    """How many images a model classifies correctly if its outputs are in an order."""

    order: ClassOrder
    right: int


@dataclass(frozen=True)
class OrdersJudged:
    """The orders that a head's outputs may be in, judged on some images.

    Attributes:
        scores: The order that is used, then the others.
        images: Number of images.
        outputs: Number of outputs of the head.
        better: The best of the other orders, if it is clearly better than the one that is used.
    """

    scores: tuple[OrderScore, ...]
    images: int
    outputs: int
    better: OrderScore | None

    @property
    def chance(self) -> float:
        """The accuracy of a model that guesses."""
        return 1 / self.outputs

    @property
    def clear(self) -> bool:
        """Whether the order that is used is clearly better than chance."""
        return self._p_value(self.scores[0].right) < SIGNIFICANCE

    @property
    def enough(self) -> bool:
        """Whether so many images can tell a perfect model from chance."""
        return self._p_value(self.images) < SIGNIFICANCE

    def _p_value(self, right: int) -> float:
        test = binomtest(right, self.images, self.chance, alternative="greater")
        return float(test.pvalue)


def judge_orders(predicted: Tensor, labels: Tensor, orders: Sequence[ClassOrder]) -> OrdersJudged:
    """Score each order of a head's outputs; needs no forward pass of its own.

    Args:
        predicted: The output with the highest logit for each image, ``[images]``, int64.
        labels: The class of each image in the first order, ``[images]``, int64.
        orders: The order that is used, and others.
    """
    used = orders[0]
    right = []
    for order in orders:
        outputs = order.outputs
        # What an order does not name is not among these images.
        expected = torch.tensor([outputs.get(name, -1) for name in used.names])
        right.append(predicted.cpu() == expected[labels])
    scores = tuple(
        OrderScore(order, int(each.sum())) for order, each in zip(orders, right, strict=True)
    )
    best = max(range(len(orders)), key=lambda index: scores[index].right)
    better = scores[best] if _clearly_better(right[best], right[0]) else None
    return OrdersJudged(scores, len(labels), len(used.names), better)


def _clearly_better(right: Tensor, other: Tensor) -> bool:
    """Compare on the images that only one of the two has right, as McNemar's exact test does."""
    only, only_other = int((right & ~other).sum()), int((other & ~right).sum())
    if only <= only_other:
        return False
    test = binomtest(only, only + only_other, alternative="greater")
    return float(test.pvalue) < SIGNIFICANCE
