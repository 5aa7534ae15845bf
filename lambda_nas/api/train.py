"""Trains one architecture in full (``lambda-nas train``)."""

import math
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from lambda_nas.api.full_training import CheckpointFile, Schedule, train_fully
from lambda_nas.api.inputs.named import Choice, describe_results, open_study_source
from lambda_nas.api.progress.shown import progress_shown
from lambda_nas.api.study import Measurement, ParetoPoint, open_study
from lambda_nas.data.selection import ImageLimits
from lambda_nas.errors import InputError
from lambda_nas.exports.network import check_free
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import NO_MERGING, Merging
from lambda_nas.models.removal import Layers
from lambda_nas.pretrained.loading import NOTHING
from lambda_nas.reporting.formatting import describe
from lambda_nas.training.dilution import Compensation
from lambda_nas.training.evaluation import Accuracy


@dataclass(frozen=True)
class Trained:
    """What was trained and written.

    Attributes:
        out: The folder, in timm's form.
        removed: The layers without attention.
        merging: How the other layers merge tokens, if they do.
        accuracy: After the training.
        point: The member of the front that was trained, as the search measured it; ``None`` if
            the layers were named and no member has lost just these.
        baseline: The unpruned model, as the search measured it; ``None`` without a study.
    """

    out: Path
    removed: tuple[int, ...]
    merging: Merging | None
    accuracy: Accuracy
    point: ParetoPoint | None
    baseline: Measurement | None

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
    class_map: str | Path | None = None,
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
        class_map: A text file of class names in the order of the head.
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
        InputError: If something given can't be used, or there are no training images.
        UnsupportedModelError: If the paper's compensation can't be folded into this model.
        StudyMismatchError: If the model is not the one that was searched.
        InfeasibleError: If no trial of the front qualifies; names the nearest.
        NonFiniteError: If a loss is NaN or infinite.
        StorageError: If the database is missing or can't be used.
    """
    out = Path(out)
    choice = Choice.of(remove=remove, trial=trial, max_drop=max_drop, min_speedup=min_speedup)
    if study is None and choice.remove is None:
        raise InputError(
            "is missing",
            parameter="study",
            advice="name one, or give `remove` with `model` and `data`",
        )
    found = None if study is None else open_study(study, storage=storage)
    member = choice.on_front(found) if found else None
    architecture = member.architecture if member else Architecture(choice.remove or NOTHING)
    check_free(out)
    schedule = Schedule(epochs, batch_size, lr, seed, compensation)
    with progress_shown(visible=progress) as shown:
        source = open_study_source(
            shown.stage,
            found.record.info if found else None,
            model=model,
            data=data,
            checkpoint=checkpoint,
            pretrained=pretrained,
            class_map=class_map,
            limits=ImageLimits(training=images),
            remove=choice.remove or NOTHING,
        )
        checkpoints = CheckpointFile.beside(out, source, architecture, schedule)
        shown.notes([*source.model.all_notes, *source.data.notes])
        if checkpoints.path.exists():
            shown.notes([f"resuming at the checkpoint {checkpoints.path}"])
        try:
            accuracy = train_fully(
                source,
                architecture,
                schedule,
                checkpoints=checkpoints,
                out=out,
                results=describe_results(
                    source,
                    architecture,
                    study=found,
                    trial=member.trial if member else None,
                    weights=f"trained for {epochs} epochs while the attention faded out",
                    accuracy=math.nan,
                ),
                stage=shown.stage,
            )
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(
                f"run the same training again to resume, at most {checkpoints.every} steps back"
            )
            raise
    return Trained(
        out,
        architecture.removal.layers,
        architecture.merging or None,
        accuracy,
        ParetoPoint.of(found.record.info, member, found.weights) if found and member else None,
        found.baseline if found else None,
    )
