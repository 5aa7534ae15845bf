"""Non-dominated trials and the volume they dominate."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lambda_nas.cost.measurement import Price
from lambda_nas.records.trial import ParetoTrial


def non_dominated(points: Sequence[ParetoTrial]) -> list[ParetoTrial]:
    """Return the front over (accuracy up, throughput up, memory down), slowest trial first.

    Of several trials that are equal in all three, the first one is on the front.
    """
    ordered = sorted(points, key=lambda point: (_losses(point), point.trial))
    front: list[ParetoTrial] = []
    for point in ordered:
        # A later point in lexicographic order can't dominate an earlier one.
        if not any(_covers(member, point) for member in front):
            front.append(point)
    return sorted(front, key=lambda point: (point.price.throughput, point.trial))


def hypervolume(points: Sequence[ParetoTrial], baseline: Price) -> float:
    """Return the volume that points dominate in (accuracy, speed-up, memory saved).

    Accuracy is a fraction; throughput and memory are ratios to the unpruned model's. The reference
    point is an accuracy of 0, a speed-up of 0, and all of the unpruned model's memory.
    """
    gains = [
        (
            point.accuracy,
            point.price.throughput / baseline.throughput,
            1 - point.price.memory_bytes / baseline.memory_bytes,
        )
        for point in points
    ]
    boxes = np.array(gains).reshape(len(gains), 3)
    return _volume(boxes[(boxes > 0).all(axis=1)])


def _volume(boxes: NDArray[np.float64]) -> float:
    """Return the volume of the union of boxes, each from the origin to its corner.

    Cuts the union into slices between the corners' heights, from the top down: the cross-section
    of a slice is the union of the rectangles below all boxes that reach so high. ``boxes`` is
    [boxes, 3], all positive.
    """
    boxes = boxes[np.argsort(-boxes[:, 2])]
    thickness = -np.diff(boxes[:, 2], append=0.0)
    return float(sum(d * _area(boxes[: i + 1, :2]) for i, d in enumerate(thickness)))


def _area(rectangles: NDArray[np.float64]) -> float:
    """Return the area of the union of rectangles, each from the origin to its corner."""
    rectangles = rectangles[np.argsort(-rectangles[:, 0])]
    widths = -np.diff(rectangles[:, 0], append=0.0)
    return float(widths @ np.maximum.accumulate(rectangles[:, 1]))


def _losses(point: ParetoTrial) -> tuple[float, float, int]:
    return -point.accuracy, -point.price.throughput, point.price.memory_bytes


def _covers(point: ParetoTrial, other: ParetoTrial) -> bool:
    return all(a <= b for a, b in zip(_losses(point), _losses(other), strict=True))
