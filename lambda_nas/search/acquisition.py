"""Expected hypervolume improvement where only the accuracy is unknown.

Throughput and memory of a set are known before it is measured, so what a set of accuracy ``a`` adds
to the volume is an integral over accuracies ``0..a`` of an area in the plane of the two prices:
what the set's rectangle there covers and no front member of at least that accuracy does. The area
is a step function of the accuracy, so its expectation under a normal distribution is a closed form.

Prices here are gains, larger is better, zero at the reference point: (throughput, memory saved).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]
Gain = tuple[float, float]


class Measured(NamedTuple):
    """A measured set: its accuracy, a fraction, and its gains."""

    accuracy: float
    gain: Gain


def expected_improvement(
    mean: Array, deviation: Array, gain: Gain, front: Sequence[Measured]
) -> Array:
    """Return the expected gain in hypervolume of sets that all have one price.

    Args:
        mean: ``[sets]``, of the accuracy.
        deviation: ``[sets]``, standard deviation of the accuracy.
        gain: Theirs.
        front: The measured sets; dominated ones do no harm.
    """
    total = np.zeros(len(mean))
    for threshold, area in _steps(gain, front):
        total += area * (_expected_excess(mean - threshold, deviation))
    return total


def level_to_beat(gain: Gain, front: Sequence[Measured]) -> float:
    """Return the accuracy above which a set of this price is not dominated."""
    return max((m.accuracy for m in front if _covers(m.gain, gain)), default=-np.inf)


def _steps(gain: Gain, front: Sequence[Measured]) -> list[tuple[float, float]]:
    """Return by how much the uncovered area grows at which accuracy, from zero up."""
    steps, covered_before = [], gain[0] * gain[1]
    for threshold in sorted({0.0, *(member.accuracy for member in front)}):
        above = [member.gain for member in front if member.accuracy > threshold]
        covered = _union(above, within=gain)
        steps.append((threshold, covered_before - covered))
        covered_before = covered
    return [(threshold, area) for threshold, area in steps if area > 0]


def _union(gains: Sequence[Gain], *, within: Gain) -> float:
    """Return the area of rectangles from the origin, all clipped to one of them."""
    clipped = [(min(x, within[0]), min(y, within[1])) for x, y in gains]
    area = height = 0.0
    for x, y in sorted(clipped, reverse=True):
        area += x * max(0.0, y - height)
        height = max(height, y)
    return area


def _expected_excess(margin: Array, deviation: Array) -> Array:
    """Return ``E[max(0, x)]`` for ``x`` normal with mean ``margin``."""
    safe = np.maximum(deviation, 1e-12)
    scaled = margin / safe
    return margin * ndtr(scaled) + safe * np.exp(-0.5 * scaled**2) / np.sqrt(2 * np.pi)


def _covers(one: Gain, other: Gain) -> bool:
    return one[0] >= other[0] and one[1] >= other[1]
