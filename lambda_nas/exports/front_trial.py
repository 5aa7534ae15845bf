"""Exports a trial of a front: builds its network again from the weights that the trial left."""

from pathlib import Path

from torch import nn

from lambda_nas.cost.measurement import Price
from lambda_nas.errors import InputError
from lambda_nas.exports.card import Results, Timing
from lambda_nas.exports.network import Format, export_network
from lambda_nas.models.removal import RemovalSet
from lambda_nas.pretrained.loading import ModelConfig
from lambda_nas.pretrained.rebuild import build
from lambda_nas.records.study import StudyInfo
from lambda_nas.records.trial import ParetoTrial
from lambda_nas.records.weights import StudyWeights
from lambda_nas.reporting.formatting import short_name
from lambda_nas.store.weights import load_weights


def export_trial(
    info: StudyInfo,
    point: ParetoTrial,
    weights: StudyWeights,
    out: Path,
    *,
    format: Format = "timm",
    plain: bool = False,
) -> None:
    """Write the architecture with the weights that its trial left.

    Raises:
        InputError: If the weights are gone or another trial's, the format can't be had or ``out``
            can't be written.
        ExportError: If the network can't be translated or the file gives other outputs.
    """
    export_network(
        build_trial(info, point, weights),
        model_config(info),
        removal=point.removal,
        merging=point.architecture.merging,
        out=out,
        format=format,
        plain=plain,
        results=results_of(info, point),
    )


def build_trial(info: StudyInfo, point: ParetoTrial, weights: StudyWeights) -> nn.Module:
    """Return the architecture with the weights that its trial left, in eval mode on the CPU.

    Raises:
        InputError: If the weights are gone, another trial's, or don't fit the architecture.
    """
    state = load_weights(weights, point.trial, point.architecture)
    try:
        return build(
            model_config(info),
            removal=point.removal,
            merging=point.architecture.merging,
            state=state,
        )
    except RuntimeError as error:
        raise InputError(
            f"the weights at {weights.file(point.trial)} don't fit the architecture of trial "
            f"{point.trial} ({' '.join(str(error).split())})"
        ) from error


def results_of(info: StudyInfo, point: ParetoTrial) -> Results:
    """Return what the study knows of a trial of its front, for a model card."""
    described = str(info.settings["data"]).rpartition(": ")[2]
    return Results(
        study=info.name,
        trial=point.trial,
        model=info.model,
        data=f"{short_name(info.data)} ({described})",
        weights=_describe_weights(point.rung, repaired=bool(info.settings["repair"])),
        accuracy=point.accuracy,
        baseline_accuracy=info.baseline_accuracy,
        timing=timing_of(info, point.price),
    )


def evaluation_images(info: StudyInfo) -> int | None:
    """Return how many images the accuracies of a study are of, if it tells."""
    found = info.settings.get("evaluation_images")
    return found if isinstance(found, int) else None


def timing_of(info: StudyInfo, price: Price) -> Timing:
    """Return a price of the study with how it was measured, for a model card."""
    batch_size = int(info.settings["batch_size"])  # type: ignore[call-overload]
    return Timing(price, info.baseline, info.device, batch_size)


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
