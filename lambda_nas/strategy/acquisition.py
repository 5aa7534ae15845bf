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
    mean: Array, deviation: Array, gains: Array, front: Sequence[Measured]
) -> Array:
    """Return the expected gain in hypervolume of sets.

    Args:
        mean: ``[sets]``, of the accuracy.
        deviation: ``[sets]``, standard deviation of the accuracy.
        gains: Theirs, ``[sets, 2]``.
        front: The measured sets; dominated ones do no harm.
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


def levels_to_beat(gains: Array, front: Sequence[Measured]) -> Array:
    """Return the accuracies above which sets of these gains, ``[sets, 2]``, are not dominated."""
    levels = np.full(len(gains), -np.inf)
    for member in front:
        covers = (gains <= np.array(member.gain)).all(1)
        levels[covers] = np.maximum(levels[covers], member.accuracy)
    return levels


def _is_dominated(one: Measured, front: Sequence[Measured]) -> bool:
    return any(
        other.accuracy >= one.accuracy
        and other.gain[0] >= one.gain[0]
        and other.gain[1] >= one.gain[1]
        and other != one
        for other in front
    )


def _union(gains: Sequence[Gain], *, within: Array) -> Array:
    """Return the area of rectangles from the origin, clipped to each of others, ``[sets, 2]``."""
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
