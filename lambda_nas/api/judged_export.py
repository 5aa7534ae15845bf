"""Judges a network that was just made beside the unpruned one, and writes it."""

from pathlib import Path

from torch import nn

from lambda_nas.api.inputs.source import Source, Stage
from lambda_nas.api.study import Study
from lambda_nas.exports.card import Results
from lambda_nas.exports.front_trial import timing_of
from lambda_nas.exports.network import Format, export_network
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.removal import NOTHING, RemovalSet
from lambda_nas.reporting.formatting import short_name
from lambda_nas.token_merging.blocks import merge_tokens
from lambda_nas.training.evaluation import BATCH_SIZE, Comparison, compare


def judge_and_export(
    pruned: nn.Module,
    source: Source,
    architecture: Architecture,
    *,
    study: Study | None,
    trial: int | None = None,
    weights: str,
    doubled: RemovalSet = NOTHING,
    out: Path,
    format: Format = "timm",
    plain: bool = False,
    stage: Stage,
) -> Comparison:
    """Compare a network with the unpruned one on the evaluation images, and write it with its card.

    Args:
        pruned: The network, without merging; on the device of the unpruned one.
        source: What it was made from.
        architecture: What it is, and how it merges tokens from now on.
        study: The study that the architecture was chosen in, if there is one.
        trial: Number of the trial, if it is one's.
        weights: Description of how the weights were obtained.
        doubled: As ``export_network`` takes it.
        out: As ``export_network`` takes it.
        format: As ``export_network`` takes it.
        plain: As ``export_network`` takes it.
        stage: Shows the progress.

    Raises:
        InputError: If ``out`` can't be written.
        NonFiniteError: If a logit is NaN or infinite.
        ExportError: If the network can't be translated or the file gives other outputs.
    """
    merging, images = architecture.merging, source.data.evaluation
    judged = merge_tokens(pruned, merging) if merging else pruned
    with stage("Evaluating", 2 * -(-len(images) // BATCH_SIZE)) as advance:
        compared = compare(judged, source.model.model, images, on_batch=lambda _: advance())
    price = study.record.prices.get(architecture) if study else None
    export_network(
        pruned.cpu(),
        source.model.config,
        removal=architecture.removal,
        doubled=doubled,
        merging=merging or None,
        out=out,
        format=format,
        plain=plain,
        results=Results(
            study=study.name if study else None,
            trial=trial,
            model=source.model.name,
            data=f"{short_name(source.data_name)} ({len(images)} images)",
            weights=weights,
            accuracy=compared.accuracy.top1,
            baseline_accuracy=compared.unpruned.top1,
            timing=timing_of(study.record.info, price) if study and price else None,
            change=compared.change,
        ),
    )
    return compared
