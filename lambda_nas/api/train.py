"""Trains an architecture of a study in full (``lambda-nas train``)."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from lambda_nas.api.full_training import CheckpointFile, Schedule, train_fully
from lambda_nas.api.progress.shown import progress_shown
from lambda_nas.api.session import Source, Stage, open_source
from lambda_nas.api.study import Measurement, ParetoPoint, open_study
from lambda_nas.data.image_folder import ImageLimits
from lambda_nas.errors import StudyMismatchError
from lambda_nas.exports.front_trial import results_of
from lambda_nas.exports.network import check_free
from lambda_nas.pretrained.entry_points import DIGITS_ARCHITECTURE
from lambda_nas.records.selection import choose
from lambda_nas.records.study import StudyInfo
from lambda_nas.reporting.formatting import short_name
from lambda_nas.training.evaluation import Accuracy


@dataclass(frozen=True)
class Trained:
    """What was trained and written.

    Attributes:
        out: The folder, in timm's form.
        point: The member of the front, as the search measured it.
        accuracy: After the training.
        baseline: The unpruned model, as the search measured it.
    """

    out: Path
    point: ParetoPoint
    accuracy: Accuracy
    baseline: Measurement


def train(
    study: str,
    out: str | Path,
    *,
    epochs: int,
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
    seed: int = 0,
    storage: str | None = None,
    progress: bool = True,
) -> Trained:
    """Train an architecture from a study in full.

    The attention to be removed fades out over the first half of the epochs. The unpruned model is
    the teacher; the result is a model that timm loads. Run the same training again to resume an
    interrupted one.

    Args:
        study: Name of the study.
        out: Folder to write; it must not hold anything yet.
        epochs: Passes over the training images.
        trial: Number of a trial on the front.
        max_drop: Take the fastest trial that loses at most this fraction of top-1; by default
            0.01, one point.
        min_speedup: Take the most accurate trial with at least this speed-up.
        data: Folder with ``train/`` and ``val/``; by default the study's.
        class_map: A text file of class names in the order of the head.
        model: The unpruned model, as ``search`` takes it; by default the study's.
        checkpoint: A file of weights to load into the model of that name.
        pretrained: Load timm's weights for one of its names; by default unless ``checkpoint`` is
            given.
        images: Maximum number of training images; all are held in memory.
        batch_size: Images per step.
        lr: Peak learning rate.
        seed: Random seed for the order and the augmentation of images.
        storage: SQLAlchemy URL of the study database; by default that of ``LAMBDA_NAS_STORAGE``, or
            else ``sqlite:///studies/lambda_nas.db`` below the working directory.
        progress: Whether to show progress.

    Raises:
        InputError: If something given can't be used, or there are no training images.
        StudyMismatchError: If the model is not the one that was searched.
        InfeasibleError: If no trial of the front qualifies; names the nearest.
        NonFiniteError: If a loss is NaN or infinite.
        StorageError: If the database is missing or can't be used.
    """
    out = Path(out)
    found = open_study(study, storage=storage)
    info = found.record.info
    member = choose(
        info, found.record.front, trial=trial, max_drop=max_drop, min_speedup=min_speedup
    )
    check_free(out)
    schedule = Schedule(epochs, batch_size, lr, seed)
    with progress_shown(visible=progress) as shown:
        source = _open_study_source(
            shown.stage,
            info,
            model=model,
            data=data,
            checkpoint=checkpoint,
            pretrained=pretrained,
            class_map=class_map,
            images=images,
        )
        checkpoints = CheckpointFile.beside(out, source, member.architecture, schedule)
        shown.notes([*source.model.notes, *source.data.notes])
        if checkpoints.path.exists():
            shown.notes([f"resuming at the checkpoint {checkpoints.path}"])
        try:
            accuracy = train_fully(
                source,
                member.architecture,
                schedule,
                checkpoints=checkpoints,
                out=out,
                results=replace(
                    results_of(info, member),
                    data=f"{short_name(source.data_name)} ({len(source.data.evaluation)} images)",
                    weights=f"trained for {epochs} epochs while the attention faded out",
                    # Of other images, the study knows nothing.
                    baseline_accuracy=(
                        info.baseline_accuracy if source.data_name == info.data else None
                    ),
                ),
                stage=shown.stage,
            )
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(
                f"run the same training again to resume, at most {checkpoints.every} steps back"
            )
            raise
    return Trained(out, ParetoPoint.of(info, member), accuracy, found.baseline)


def _open_study_source(
    stage: Stage,
    info: StudyInfo,
    *,
    model: nn.Module | str | None,
    data: str | Path | None,
    checkpoint: str | Path | None,
    pretrained: bool | None,
    class_map: str | Path | None,
    images: int,
) -> Source:
    """Load the study's model and images, or those given in their place."""
    digits = info.model == DIGITS_ARCHITECTURE and data is None and model is None
    source = open_source(
        stage,
        model=None if digits else model or info.model,
        data=None if digits else data or info.data,
        checkpoint=checkpoint,
        pretrained=pretrained,
        class_map=class_map,
        seed=info.seed,
        limits=ImageLimits(training=images),
    )
    if source.model.fingerprint != info.model_fingerprint:
        raise StudyMismatchError(
            f"{source.model.name} is not the model that {info.name} was searched on",
            advice="give that one with `model` and `checkpoint` or `pretrained`",
        )
    return source
