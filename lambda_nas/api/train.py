"""Trains one architecture in full (``lambda-nas train``)."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from lambda_nas.api.full_training import CheckpointFile, Schedule, train_fully
from lambda_nas.api.inputs.class_question import question_baseline
from lambda_nas.api.inputs.named import ArchitectureChoice, find_study_source
from lambda_nas.api.inputs.source import available_device
from lambda_nas.api.judged_export import judge_and_export
from lambda_nas.api.progress.shown import progress_shown
from lambda_nas.api.study import ParetoPoint, open_study
from lambda_nas.data.selection import ImageLimits
from lambda_nas.errors import InputError
from lambda_nas.exports.network import check_free
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import NO_MERGING, Merging
from lambda_nas.models.removal import NOTHING, Layers
from lambda_nas.records.trial import ParetoTrial
from lambda_nas.reporting.formatting import counted, describe
from lambda_nas.training.dilution import Compensation, dilute
from lambda_nas.training.evaluation import Accuracy, Change


@dataclass(frozen=True)
class Trained:
    """What was trained and written.

    Attributes:
        out: The folder, in timm's form.
        removed: The layers without attention.
        merging: How the other layers merge tokens, if they do.
        accuracy: After the training.
        unpruned: Of the unpruned model on the same images.
        change: In top-1, with its error.
        point: The member of the front that was trained, as the search measured it; ``None`` if
            the layers were named and no member has lost just these.
    """

    out: Path
    removed: tuple[int, ...]
    merging: Merging | None
    accuracy: Accuracy
    unpruned: Accuracy
    change: Change
    point: ParetoPoint | None

    @property
    def summary(self) -> str:
        """What was done to the unpruned model, in a few words."""
        return describe(Architecture.of(self.removed, self.merging or NO_MERGING))


def train(
    study: str | None,
    out: str | Path,
    *,
    epochs: int,
    remove: Layers | None = None,
    trial: int | None = None,
    max_drop: float | None = None,
    min_speedup: float | None = None,
    data: str | Path | None = None,
    img_size: int | None = None,
    class_map: str | Path | None = None,
    trust_classes: bool = False,
    model: nn.Module | str | None = None,
    checkpoint: str | Path | None = None,
    pretrained: bool | None = None,
    images: int = 50_000,
    batch_size: int = 64,
    lr: float = 3e-4,
    compensation: Compensation = "none",
    seed: int = 0,
    storage: str | None = None,
    progress: bool = True,
) -> Trained:
    """Train an architecture in full: a trial of a study, or one that you name.

    The attention to be removed fades out over the first half of the epochs. The unpruned model is
    the teacher; the result is a model that timm loads. Run the same training again to resume an
    interrupted one.

    Args:
        study: Name of the study; ``None`` to train what ``remove`` names without one.
        out: Folder to write; it must not hold anything yet.
        epochs: Passes over the training images.
        remove: The layers to remove in place of a trial: ``"0,2,4"`` or ``[0, 2, 4]``.
        trial: Number of a trial on the front.
        max_drop: Take the fastest trial that loses at most this fraction of top-1; by default
            0.01, one point.
        min_speedup: Take the most accurate trial with at least this speed-up.
        data: Folder with ``train/`` and ``val/``; by default the study's. Without a study, leave
            out both it and ``model`` for the handwritten digits.
        img_size: Side of the square images that the model is used on, if it isn't the one that it
            was built for; by default the study's.
        class_map: A text file of class names in the order of the head; by default the study's.
        trust_classes: Accept the order of classes even if the model is no better than chance.
        model: The unpruned model, as ``search`` takes it; by default the study's.
        checkpoint: A file of weights to load into the model of that name.
        pretrained: Load timm's weights for one of its names; by default unless ``checkpoint`` is
            given.
        images: Maximum number of training images; all are held in memory.
        batch_size: Images per step.
        lr: Peak learning rate.
        compensation: Whether the input of a block makes up for its fading attention, as in the
            ``paper``; its factor of two is folded into the weights afterwards.
        seed: Random seed for the order and the augmentation of images.
        storage: SQLAlchemy URL of the study database; by default that of ``LAMBDA_NAS_STORAGE``, or
            else ``sqlite:///studies/lambda_nas.db`` below the working directory.
        progress: Whether to show progress.

    Raises:
        InputError: If something given can't be used, there are no training images, or the unpruned
            model is no better than chance.
        LayerIndexError: If a layer of ``remove`` can't be removed.
        UnsupportedModelError: If the paper's compensation can't be folded into this model.
        StudyMismatchError: If the model is not the one that was searched.
        InfeasibleError: If no trial of the front qualifies; names the nearest.
        NonFiniteError: If a loss is NaN or infinite.
        StorageError: If the database is missing or can't be used.
    """
    out = Path(out)
    choice = ArchitectureChoice.of(
        remove=remove, trial=trial, max_drop=max_drop, min_speedup=min_speedup
    )
    found = None if study is None else open_study(study, storage=storage)
    chosen = choice.find(found)
    member = chosen if isinstance(chosen, ParetoTrial) else None
    architecture = chosen.architecture if isinstance(chosen, ParetoTrial) else chosen
    check_free(out)
    schedule = Schedule(epochs, batch_size, lr, seed, compensation)
    with progress_shown(visible=progress) as shown:
        found_source = find_study_source(
            found.record.info if found else None,
            model=model,
            data=data,
            checkpoint=checkpoint,
            pretrained=pretrained,
            img_size=img_size,
            class_map=class_map,
            limits=ImageLimits(training=images),
            remove=architecture.removal,
        )
        if not found_source.images.training:
            raise InputError(
                "has no train/ and val/ below it, so there is nothing to train on",
                parameter="data",
                value=found_source.data_name,
            )
        unpruned = found_source.model.model
        diluted = dilute(unpruned, architecture.removal, compensation=compensation)
        source = found_source.read(shown.stage)
        shown.notes([*source.model.all_notes, *source.data.notes])
        asked = question_baseline(
            unpruned,
            source.data,
            source.data_name,
            shown,
            device=available_device(),
            trust=trust_classes,
        )
        shown.notes(asked)
        checkpoints = CheckpointFile.beside(out, source, architecture, schedule)
        if checkpoints.path.exists():
            shown.notes([f"resuming at the checkpoint {checkpoints.path}"])
        try:
            pruned = train_fully(
                source, diluted, schedule, checkpoints=checkpoints, stage=shown.stage
            )
            compared = judge_and_export(
                pruned,
                source,
                architecture,
                study=found,
                trial=member.trial if member else None,
                weights=f"trained for {counted(epochs, 'epoch')} while the attention faded out, "
                f"{'with' if compensation == 'paper' else 'without'} the paper's compensation",
                doubled=architecture.removal if compensation == "paper" else NOTHING,
                out=out,
                stage=shown.stage,
            )
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(
                f"run the same training again to resume, at most {checkpoints.every} steps back"
            )
            raise
        checkpoints.delete()
    return Trained(
        out,
        architecture.removal.layers,
        architecture.merging or None,
        compared.accuracy,
        compared.unpruned,
        compared.change,
        ParetoPoint.of(found.record.info, member, found.weights) if found and member else None,
    )
