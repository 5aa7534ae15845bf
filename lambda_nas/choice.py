"""Picks one architecture of a front and turns it into a model again."""

import math
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
from torch import nn

from lambda_nas.core.removal import RemovalSet
from lambda_nas.errors import InfeasibleError, InputError
from lambda_nas.exports.card import Results
from lambda_nas.exports.network import Format, build, export_network
from lambda_nas.inputs.models import ModelConfig
from lambda_nas.report.words import short_name
from lambda_nas.search.values import FrontPoint, StudyInfo

DEFAULT_MAX_DROP = 1.0


def choose(
    info: StudyInfo,
    front: Sequence[FrontPoint],
    *,
    trial: int | None = None,
    max_drop: float | None = None,
    min_speedup: float | None = None,
) -> FrontPoint:
    """Pick by trial number, or the fastest within a drop, or the most accurate of a speed-up.

    Args:
        info: The study.
        front: Its front.
        trial: A trial number on the front.
        max_drop: Points of top-1 that may be lost against the unpruned model.
        min_speedup: Ratio to the unpruned model's throughput.

    Raises:
        InputError: If more than one way of choosing is given, or the trial is not on the front.
        InfeasibleError: If no point qualifies; names the nearest.
    """
    if sum(value is not None for value in (trial, max_drop, min_speedup)) > 1:
        raise InputError("give one of --trial, --max-drop and --min-speedup")
    if not front:
        raise InfeasibleError(f"study {info.name} has no finished trial yet: search first")
    if trial is not None:
        return _by_number(info, front, trial)
    if min_speedup is not None:
        fast = [point for point in front if point.price.speedup >= min_speedup]
        if not fast:
            nearest = max(front, key=lambda point: point.price.speedup)
            raise InfeasibleError(
                f"no point of {info.name} is {min_speedup}x as fast; the fastest is trial "
                f"{nearest.trial} with {nearest.price.speedup:.2f}x"
            )
        return max(fast, key=lambda point: point.accuracy)
    drop = DEFAULT_MAX_DROP if max_drop is None else max_drop
    close = [point for point in front if _drop(info, point) <= drop]
    if not close:
        nearest = min(front, key=lambda point: _drop(info, point))
        raise InfeasibleError(
            f"no point of {info.name} loses at most {drop} points; the nearest is trial "
            f"{nearest.trial} {nearest.architecture} with {_drop(info, nearest):.2f}: "
            f"--max-drop {_ceil(_drop(info, nearest)):.2f} or --trial {nearest.trial} takes it"
        )
    return max(close, key=lambda point: point.price.throughput)


def export_point(
    info: StudyInfo,
    point: FrontPoint,
    out: Path,
    *,
    format: Format = "timm",
    plain: bool = False,
) -> None:
    """Write the architecture with the weights that its trial left.

    Raises:
        InputError: If the weights are gone, the format can't be had or ``out`` can't be written.
        ExportError: If the network can't be translated or the file gives other outputs.
    """
    export_network(
        build_point(info, point),
        model_config(info),
        removal=point.removal,
        merging=point.architecture.merging,
        out=out,
        format=format,
        plain=plain,
        results=results_of(info, point),
    )


def build_point(info: StudyInfo, point: FrontPoint) -> nn.Module:
    """Return the architecture with the weights that its trial left, in eval mode on the CPU.

    Raises:
        InputError: If the weights are gone.
    """
    weights = Path(point.weights or "")
    if not weights.is_file():
        raise InputError(
            f"the weights of trial {point.trial} are not at {weights}: export on the machine "
            "that searched, or search again"
        )
    try:
        state = safetensors.torch.load_file(weights)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"the weights at {weights} can't be read ({error})") from error
    return build(
        model_config(info),
        removal=point.removal,
        merging=point.architecture.merging,
        state=state,
    )


def results_of(info: StudyInfo, point: FrontPoint) -> Results:
    """Return what the study knows of a point of its front, for a model card."""
    described = str(info.settings["data"]).rpartition(": ")[2]
    return Results(
        study=info.name,
        trial=point.trial,
        model=info.model,
        data=f"{short_name(info.data)} ({described})",
        device=info.device,
        batch_size=int(info.settings["batch_size"]),  # type: ignore[call-overload]
        weights=_describe_weights(point.rung, repaired=bool(info.settings.get("repair", True))),
        accuracy=point.accuracy,
        price=point.price,
        baseline=info.baseline,
        baseline_accuracy=info.baseline_accuracy,
    )


def _describe_weights(rung: int, *, repaired: bool) -> str:
    slices = f"in {rung} short slices"
    if repaired:
        return f"repaired in closed form{f', then trained {slices}' if rung else ''}"
    return f"diluted and trained {slices}" if rung else "those of the base model"


def model_config(info: StudyInfo) -> ModelConfig:
    """Return how the study's unpruned model is built."""
    settings = info.settings
    return ModelConfig(
        architecture=str(settings["architecture"]),
        model_args=dict(settings["model_args"]),  # type: ignore[call-overload]
        pretrained_cfg=dict(settings["pretrained_cfg"]),  # type: ignore[call-overload]
        removed=RemovalSet.of(settings["removed_before"]),  # type: ignore[arg-type]
        doubled=RemovalSet.of(settings["doubled_before"]),  # type: ignore[arg-type]
    )


def _by_number(info: StudyInfo, front: Sequence[FrontPoint], trial: int) -> FrontPoint:
    for point in front:
        if point.trial == trial:
            return point
    raise InputError(
        f"trial {trial} is not on the front of {info.name}, whose trials are "
        f"{', '.join(str(point.trial) for point in front)}; weights are kept for those only"
    )


def _drop(info: StudyInfo, point: FrontPoint) -> float:
    """Return the points of top-1 lost, rounded so that 1.0 asked for is 1.0 granted."""
    return round(100 * (info.baseline_accuracy - point.accuracy), 6)


def _ceil(points: float) -> float:
    """Round up to what two decimals can say: a drop that is advised has to be enough."""
    return math.ceil(round(100 * points, 4)) / 100
