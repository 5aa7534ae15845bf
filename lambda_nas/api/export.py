"""Exports an architecture of a study (``lambda-nas export``)."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from lambda_nas.api.inputs.named import ArchitectureChoice, find_study_source, label_names
from lambda_nas.api.inputs.source import Source, Stage, available_device
from lambda_nas.api.judged_export import judge_and_export
from lambda_nas.api.progress.shown import progress_shown
from lambda_nas.api.study import ParetoPoint, Study, open_study
from lambda_nas.errors import InputError, StudyMismatchError
from lambda_nas.exports.front_trial import evaluation_images, model_config
from lambda_nas.exports.network import Format, check_request
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import NO_MERGING, Merging
from lambda_nas.models.removal import Layers, RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.records.trial import ParetoTrial
from lambda_nas.repair.transplant import transplant
from lambda_nas.reporting.formatting import describe
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.training.evaluation import Change


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        out: The folder.
        format: Of the network in it.
        removed: The layers without attention.
        merging: How the other layers merge tokens, if they do.
        accuracy: Top-1 on the study's evaluation images, a fraction.
        unpruned: Top-1 of the unpruned model on the same images, a fraction.
        images: The number of these; ``None`` if an old study does not tell.
        change: In top-1, with its error; ``None`` for a trial, whose images were judged one by one
            in the search only.
        speedup: Of the network as it was written, over the unpruned model: 1 if it is plain,
            ``None`` if the study has no price for it.
        point: The member of the front; ``None`` if the layers were named and no member has lost
            just these.
    """

    out: Path
    format: Format
    removed: tuple[int, ...]
    merging: Merging | None
    accuracy: float
    unpruned: float
    images: int | None
    change: Change | None
    speedup: float | None
    point: ParetoPoint | None

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
            calibration images, as the search begins each trial, if there is a repair for it.
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
        class_map: A text file of class names in the order of the head; by default the study's.
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
    choice = ArchitectureChoice.of(
        remove=remove, trial=trial, max_drop=max_drop, min_speedup=min_speedup
    )
    given = (model, checkpoint, pretrained or None, data, class_map)
    is_given = any(value is not None for value in given)
    if choice.remove is None and is_given:
        raise InputError("model and images are for `remove`: a trial has weights of its own")
    out = Path(out)
    check_request(out, format=format, plain=plain)
    found = open_study(study, storage=storage, weights=weights)
    chosen = choice.find(found)
    with progress_shown(visible=progress) as shown:
        if isinstance(chosen, Architecture):
            found_source = find_study_source(
                found.record.info,
                model=model,
                data=data,
                checkpoint=checkpoint,
                pretrained=pretrained,
                class_map=class_map,
                remove=chosen.removal,
            )
            source = found_source.read(shown.stage)
            shown.notes([*source.model.all_notes, *source.data.notes])
            if not source.has_repair:
                shown.notes([f"{source.no_repair}: the weights stay those of the unpruned model"])
            _check_same_images(source, found)
            return _export_repaired(
                found, source, chosen, shown.stage, out=out, format=format, plain=plain
            )
        if choice.remove is not None:
            unread = "; model and images that were given are not read" if is_given else ""
            shown.notes(
                [f"trial {chosen.trial} has lost just these layers: its weights are used{unread}"]
            )
        with shown.stage("Writing", 1) as advance:
            exported = _export_trial(found, chosen, out=out, format=format, plain=plain)
            advance()
    return exported


def _export_trial(
    study: Study, member: ParetoTrial, *, out: Path, format: Format, plain: bool
) -> Exported:
    point = ParetoPoint.of(study.record.info, member, study.weights)
    point.export(out, format=format, plain=plain)
    return Exported(
        out=out,
        format=format,
        removed=point.removed,
        merging=point.merging,
        accuracy=point.accuracy,
        unpruned=study.baseline.accuracy,
        images=evaluation_images(study.record.info),
        change=None,
        speedup=1.0 if plain else point.speedup,
        point=point,
    )


def _check_same_images(source: Source, study: Study) -> None:
    info = study.record.info
    if source.data.fingerprint == info.data_fingerprint:
        return
    if label_names(source.model.config) != label_names(model_config(info)):
        raise StudyMismatchError(
            f"{study.name} was searched with other classes",
            parameter="class_map",
            advice="leave it out",
        )
    raise StudyMismatchError(
        f"{source.data_name} holds other images than {study.name} was searched on",
        advice="give those with `data`",
    )


def _export_repaired(
    study: Study,
    source: Source,
    architecture: Architecture,
    stage: Stage,
    *,
    out: Path,
    format: Format,
    plain: bool,
) -> Exported:
    """Repair, judge and write the study's model without layers that no trial of the front lost."""
    pruned, weights = _repair(source, architecture.removal, stage)
    compared = judge_and_export(
        pruned,
        source,
        architecture,
        study=study,
        weights=weights,
        out=out,
        format=format,
        plain=plain,
        stage=stage,
    )
    price = study.record.prices.get(architecture)
    return Exported(
        out=out,
        format=format,
        removed=architecture.removal.layers,
        merging=None,
        accuracy=compared.accuracy.top1,
        unpruned=compared.unpruned.top1,
        images=compared.accuracy.images,
        change=compared.change,
        speedup=1.0 if plain else price.speedup if price else None,
        point=None,
    )


def _repair(source: Source, removal: RemovalSet, stage: Stage) -> tuple[nn.Module, str]:
    """Return the network as a trial's first rung makes it, and what its weights are."""
    network = source.model.model.to(available_device())
    if not source.has_repair:
        return remove_attention(network, removal).model.eval(), "those of the base model"
    with stage("Repairing", 1) as advance:
        pruned = transplant(ActivationCache(network, source.data.calibration), removal)
        advance()
    return pruned, "repaired in closed form"
