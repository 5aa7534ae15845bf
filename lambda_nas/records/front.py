"""Non-dominated trials and the volume they dominate."""

from collections.abc import Sequence

import numpy as np
from optuna._hypervolume import compute_hypervolume

from lambda_nas.cost.measurement import Price
from lambda_nas.records.trial import ParetoTrial


def non_dominated(points: Sequence[ParetoTrial]) -> list[ParetoTrial]:
    """Return the front over (accuracy up, throughput up, memory down), slowest first.

    Of trials that are equal in all three, the first one stays.
    """
    ordered = sorted(points, key=lambda point: (_losses(point), point.trial))
    front: list[ParetoTrial] = []
    for point in ordered:
        # Nothing later in lexicographic order can dominate what is already in.
        if not any(_covers(member, point) for member in front):
            front.append(point)
    return sorted(front, key=lambda point: (point.price.throughput, point.trial))


def hypervolume(points: Sequence[ParetoTrial], baseline: Price) -> float:
    """Return the volume dominated in (accuracy, speed-up, memory saved).

    Accuracy is a fraction, throughput and memory are ratios to the unpruned model's. The
    reference point is accuracy 0, speed-up 0, and all of the unpruned model's memory.
    """
    if not points:
        return 0.0
    losses = np.array(
        [
            (
                -point.accuracy,
                -point.price.throughput / baseline.throughput,
                point.price.memory_bytes / baseline.memory_bytes,
            )
            for point in points
        ]
    )
    reference = np.array([0.0, 0.0, 1.0])
    inside = losses[(losses < reference).all(axis=1)]
    return float(compute_hypervolume(inside, reference)) if len(inside) else 0.0


def _losses(point: ParetoTrial) -> tuple[float, float, int]:
    return -point.accuracy, -point.price.throughput, point.price.memory_bytes


def _covers(one: ParetoTrial, other: ParetoTrial) -> bool:
    return all(a <= b for a, b in zip(_losses(one), _losses(other), strict=True))
