"""Exports an architecture of a study (``lambda-nas export``)."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from lambda_nas.api.evaluate import BATCH_SIZE
from lambda_nas.api.inputs.named import Choice, describe_results, open_study_source
from lambda_nas.api.inputs.source import Source, Stage
from lambda_nas.api.progress.shown import progress_shown
from lambda_nas.api.study import Measurement, ParetoPoint, Study, open_study
from lambda_nas.errors import InputError, StudyMismatchError
from lambda_nas.exports.network import Format, check_request, export_network
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import NO_MERGING, Merging
from lambda_nas.models.removal import Layers, RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.repair.transplant import transplant
from lambda_nas.reporting.formatting import describe
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.training.evaluation import evaluate


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        out: The folder.
        format: Of the network in it.
        removed: The layers without attention.
        merging: How the other layers merge tokens, if they do.
        accuracy: Top-1 on the study's evaluation images, a fraction.
        speedup: Of the network as it was written, over the unpruned model: 1 if it is plain,
            ``None`` if the study has no price for it.
        point: The member of the front; ``None`` if the layers were named and no member has lost
            just these.
        baseline: The unpruned model.
    """

    out: Path
    format: Format
    removed: tuple[int, ...]
    merging: Merging | None
    accuracy: float
    speedup: float | None
    point: ParetoPoint | None
    baseline: Measurement

    @property
    def summary(self) -> str:
        """What was done to the unpruned model, in a few words."""
        return describe(Architecture.of(self.removed, self.merging or NO_MERGING))


def export(
    study: str,
    out: str | Path,
    *,
    remove: Layers | None = None,
    trial: int | None = None,
    max_drop: float | None = None,
    min_speedup: float | None = None,
    format: Format = "timm",
    plain: bool = False,
    model: nn.Module | str | None = None,
    checkpoint: str | Path | None = None,
    pretrained: bool | None = None,
    data: str | Path | None = None,
    class_map: str | Path | None = None,
    storage: str | None = None,
    weights: str | Path | None = None,
    progress: bool = True,
) -> Exported:
    """Write an architecture of a study as a model that timm, ONNX runtimes or PyTorch load.

    Without ``remove``, ``trial``, ``max_drop`` and ``min_speedup`` it takes the fastest trial that
    loses at most one point of top-1.

    Args:
        study: Name of the study.
        out: Folder to write; it must not hold anything yet.
        remove: The layers to remove in place of a trial: ``"0,2,4"`` or ``[0, 2, 4]``. Unless a
            trial of the front has lost just these, the study's model is repaired on its
            calibration images, as the search begins each trial.
        trial: Number of a trial on the front.
        max_drop: Take the fastest trial that loses at most this fraction of top-1.
        min_speedup: Take the most accurate trial with at least this speed-up.
        format: ``timm``, ``onnx``, or ``pt2`` for torch.export.
        plain: Write for timm without lambda-nas: the same outputs, no speed-up.
        model: The unpruned model for ``remove``, as ``search`` takes it; by default the study's.
        checkpoint: A file of weights to load into the model of that name.
        pretrained: Load timm's weights for one of its names; by default unless ``checkpoint`` is
            given.
        data: The study's images, if they have moved.
        class_map: A text file of class names in the order of the head, for these images.
        storage: SQLAlchemy URL of the study database; by default that of ``LAMBDA_NAS_STORAGE``, or
            else ``sqlite:///studies/lambda_nas.db`` below the working directory.
        weights: The folder that the search was given for weights, if any.
        progress: Whether to show progress.

    Raises:
        InputError: If the study is unknown, the weights are gone, damaged or another study's, or
            ``out`` or the format can't be had.
        LayerIndexError: If a layer of ``remove`` can't be removed.
        StudyMismatchError: If model or images are not those of the study.
        InfeasibleError: If no trial of the front qualifies; names the nearest.
        ExportError: If the network can't be translated or the file gives other outputs.
        StorageError: If the database is missing or can't be used.
    """
    choice = Choice.of(remove=remove, trial=trial, max_drop=max_drop, min_speedup=min_speedup)
    given = (model, checkpoint, pretrained or None, data, class_map)
    if choice.remove is None and any(value is not None for value in given):
        raise InputError("model and images are for `remove`: a trial has weights of its own")
    out = Path(out)
    check_request(out, format=format, plain=plain)
    found = open_study(study, storage=storage, weights=weights)
    member = choice.on_front(found)
    with progress_shown(visible=progress) as shown:
        if member is None:
            assert choice.remove is not None
            source = open_study_source(
                shown.stage,
                found.record.info,
                model=model,
                data=data,
                checkpoint=checkpoint,
                pretrained=pretrained,
                class_map=class_map,
                remove=choice.remove,
            )
            shown.notes([*source.model.all_notes, *source.data.notes])
            return _export_repaired(
                found, source, choice.remove, shown.stage, out=out, format=format, plain=plain
            )
        point = ParetoPoint.of(found.record.info, member, found.weights)
        with shown.stage("Writing", 1) as advance:
            point.export(out, format=format, plain=plain)
            advance()
    return Exported(
        out=out,
        format=format,
        removed=point.removed,
        merging=point.merging,
        accuracy=point.accuracy,
        speedup=1.0 if plain else point.speedup,
        point=point,
        baseline=found.baseline,
    )


def _export_repaired(
    study: Study,
    source: Source,
    removal: RemovalSet,
    stage: Stage,
    *,
    out: Path,
    format: Format,
    plain: bool,
) -> Exported:
    """Repair, judge and write the study's model without layers that no trial of the front lost."""
    if source.data.fingerprint != study.record.info.data_fingerprint:
        raise StudyMismatchError(
            f"{source.data_name} holds other images than {study.name} was searched on",
            advice="give those with `data`",
        )
    pruned, weights = _repair(source, removal, stage)
    images = source.data.evaluation
    with stage("Evaluating", -(-len(images) // BATCH_SIZE)) as advance:
        top1 = evaluate(pruned, images, batch_size=BATCH_SIZE, on_batch=lambda _: advance()).top1
    results = describe_results(
        source, Architecture(removal), study=study, weights=weights, accuracy=top1
    )
    export_network(
        pruned.cpu(),
        source.model.config,
        removal=removal,
        out=out,
        format=format,
        plain=plain,
        results=replace(results, baseline_accuracy=study.baseline.accuracy),
    )
    speedup = results.timing.price.speedup if results.timing else None
    return Exported(
        out=out,
        format=format,
        removed=removal.layers,
        merging=None,
        accuracy=top1,
        speedup=1.0 if plain else speedup,
        point=None,
        baseline=study.baseline,
    )


def _repair(source: Source, removal: RemovalSet, stage: Stage) -> tuple[nn.Module, str]:
    """Return the network as a trial's first rung makes it, and what its weights are."""
    network = source.model.model.to("cuda" if torch.cuda.is_available() else "cpu")
    if not source.has_repair:
        return remove_attention(network, removal).model.eval(), "those of the base model"
    with stage("Repairing", 1) as advance:
        pruned = transplant(ActivationCache(network, source.data.calibration), removal)
        advance()
    return pruned, "repaired in closed form"
