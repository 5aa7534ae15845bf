"""Expected hypervolume improvement where only the accuracy is unknown.

Throughput and memory of an architecture are known before it is evaluated. So an architecture of
accuracy ``a`` adds to the volume an integral over accuracies ``0..a`` of an area in the plane of
the two prices: the part of the architecture's rectangle that no front member of at least that
accuracy covers. The area is a step function of the accuracy, so its expectation under a normal
distribution has a closed form.

Prices are gains here: larger is better, zero at the reference point (throughput, memory saved).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]
Gain = tuple[float, float]


class Measured(NamedTuple):
    """An evaluated architecture: its accuracy, a fraction, and its gains."""

    accuracy: float
    gain: Gain


def expected_improvement(
    mean: Array, deviation: Array, gains: Array, front: Sequence[Measured]
) -> Array:
    """Return the expected gain in hypervolume of architectures.

    Args:
        mean: Means of the accuracies, ``[architectures]``.
        deviation: Standard deviations of the accuracies, ``[architectures]``.
        gains: Gains of the architectures, ``[architectures, 2]``.
        front: The evaluated architectures; dominated ones have no effect.
    """
    members = [member for member in front if not _is_dominated(member, front)]
    total = np.zeros(len(mean))
    covered_before = gains.prod(1)
    for threshold in sorted({0.0, *(member.accuracy for member in members)}):
        above = [member.gain for member in members if member.accuracy > threshold]
        covered = _union(above, within=gains)
        total += (covered_before - covered) * _expected_excess(mean - threshold, deviation)
        covered_before = covered
    return total


def accuracies_to_beat(gains: Array, front: Sequence[Measured]) -> Array:
    """Return the accuracies above which architectures of these gains are not dominated."""
    levels = np.full(len(gains), -np.inf)
    for member in front:
        covers = (gains <= np.array(member.gain)).all(1)
        levels[covers] = np.maximum(levels[covers], member.accuracy)
    return levels


def _is_dominated(member: Measured, front: Sequence[Measured]) -> bool:
    return any(
        other.accuracy >= member.accuracy
        and other.gain[0] >= member.gain[0]
        and other.gain[1] >= member.gain[1]
        and other != member
        for other in front
    )


def _union(gains: Sequence[Gain], *, within: Array) -> Array:
    """Return the area of the union of rectangles from the origin, clipped to each of ``within``."""
    width, height = within.T
    area, reached = np.zeros(len(within)), np.zeros(len(within))
    for x, y in sorted(gains, reverse=True):
        area += np.minimum(x, width) * np.maximum(0.0, np.minimum(y, height) - reached)
        reached = np.maximum(reached, np.minimum(y, height))
    return area


def _expected_excess(margin: Array, deviation: Array) -> Array:
    """Return ``E[max(0, x)]`` for ``x`` normal with mean ``margin``."""
    safe = np.maximum(deviation, 1e-12)
    scaled = margin / safe
    return margin * ndtr(scaled) + safe * np.exp(-0.5 * scaled**2) / np.sqrt(2 * np.pi)
