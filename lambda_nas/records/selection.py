"""Selects one trial of a front: by number, by the accuracy it may lose, or by its speed-up."""

import math
from collections.abc import Sequence

from lambda_nas.errors import InfeasibleError, InputError
from lambda_nas.records.study import StudyInfo
from lambda_nas.records.trial import ParetoTrial

DEFAULT_MAX_DROP = 0.01
DECIMALS = 8
"""Decimals to which fractions are compared; further ones come from rounding, not from images."""


def choose(
    info: StudyInfo,
    front: Sequence[ParetoTrial],
    *,
    trial: int | None = None,
    max_drop: float | None = None,
    min_speedup: float | None = None,
) -> ParetoTrial:
    """Select a trial by number, by the largest drop (fastest wins) or by the smallest speed-up.

    Args:
        info: The study.
        front: Its front.
        trial: Number of a trial on the front.
        max_drop: Maximum loss of top-1 against the unpruned model, a fraction: 0.01 is a point.
        min_speedup: Minimum speed-up over the unpruned model; the most accurate trial wins.

    Raises:
        InputError: If more than one criterion is given, or the trial is not on the front.
        InfeasibleError: If no trial qualifies; names the nearest.
    """
    if sum(value is not None for value in (trial, max_drop, min_speedup)) > 1:
        raise InputError("give one of `trial`, `max_drop` and `min_speedup`")
    if max_drop is not None and not -1 < max_drop < 1:
        raise InputError(
            "not a fraction",
            parameter="max_drop",
            value=f"{max_drop:g}",
            allowed="for example 0.01, which is one point",
        )
    if not front:
        raise InfeasibleError(f"study {info.name} has no finished trial yet: search first")
    if trial is not None:
        return _by_number(info, front, trial)
    if min_speedup is not None:
        fast = [point for point in front if point.price.speedup >= min_speedup]
        if not fast:
            nearest = max(front, key=lambda point: point.price.speedup)
            raise InfeasibleError(
                f"no trial of {info.name} is {min_speedup}x as fast; the fastest is trial "
                f"{nearest.trial} with {nearest.price.speedup:.2f}x"
            )
        return max(fast, key=lambda point: point.accuracy)
    drop = round(DEFAULT_MAX_DROP if max_drop is None else max_drop, DECIMALS)
    close = [point for point in front if _drop(info, point) <= drop]
    if not close:
        nearest = min(front, key=lambda point: _drop(info, point))
        raise InfeasibleError(
            f"no trial of {info.name} loses at most {in_points(drop)}; the nearest is trial "
            f"{nearest.trial} {nearest.architecture} with {100 * _drop(info, nearest):.2f}",
            advice=f"`max_drop={_ceil(_drop(info, nearest)):.4f}` or `trial={nearest.trial}` "
            "selects it",
        )
    return max(close, key=lambda point: point.price.throughput)


def _by_number(info: StudyInfo, front: Sequence[ParetoTrial], trial: int) -> ParetoTrial:
    for point in front:
        if point.trial == trial:
            return point
    raise InputError(
        f"not on the front of {info.name}, and weights are kept for its trials only",
        parameter="trial",
        value=trial,
        allowed=f"one of {', '.join(str(point.trial) for point in front)}",
    )


def in_points(drop: float) -> str:
    """Write a fraction of top-1 in points.

    >>> in_points(0.01), in_points(0.0125)
    ('1 point', '1.25 points')
    """
    points = round(100 * drop, DECIMALS)
    return f"{points:g} point{'' if points == 1 else 's'}"


def _drop(info: StudyInfo, point: ParetoTrial) -> float:
    """Return the fraction of top-1 lost, rounded so that 0.01 asked for is 0.01 granted."""
    return round(info.baseline_accuracy - point.accuracy, DECIMALS)


def _ceil(drop: float) -> float:
    """Round up to hundredths of a point: a drop that is advised has to be enough."""
    return math.ceil(round(10_000 * drop, 4)) / 10_000
