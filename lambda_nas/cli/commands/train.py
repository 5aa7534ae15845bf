"""``lambda-nas train``."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from lambda_nas.api.terminal_progress import stage
from lambda_nas.cli import output
from lambda_nas.cli.exit_codes import INTERRUPTED
from lambda_nas.cli.options import (
    DEFAULT_STORAGE,
    CheckpointOption,
    ClassMapOption,
    JsonOption,
    MaxDropOption,
    MinSpeedupOption,
    OutOption,
    PretrainedOption,
    StorageOption,
    StudyArgument,
    TrialOption,
)
from lambda_nas.errors import StudyMismatchError
from lambda_nas.reporting.formatting import describe, short_name

EPILOG = """[bold]Examples[/bold]

lambda-nas train deit_tiny-images --data images --epochs 30 --out trained

lambda-nas train digits_vit-digits --trial 4 --epochs 20 --out trained
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=EPILOG)(train)


def train(
    study: StudyArgument,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")],
    out: OutOption,
    trial: TrialOption = None,
    max_drop: MaxDropOption = None,
    min_speedup: MinSpeedupOption = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with train/ and val/.", show_default="the study's"),
    ] = None,
    class_map: ClassMapOption = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The unpruned model: NAME, local-dir:DIR or hf-hub:ID.",
            show_default="the study's",
        ),
    ] = None,
    checkpoint: CheckpointOption = None,
    pretrained: PretrainedOption = False,
    images: Annotated[
        int, typer.Option(min=1, help="Training images at most; all are held in memory.")
    ] = 50_000,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a step.")] = 64,
    lr: Annotated[float, typer.Option(min=0, help="Peak learning rate.")] = 3e-4,
    seed: Annotated[int, typer.Option(help="Of the order and crops of images.")] = 0,
    storage: StorageOption = DEFAULT_STORAGE,
    json: JsonOption = False,
) -> None:
    """Train one architecture of a study at length: its attention fades out over the epochs.

    The unpruned model teaches it; the result is a model that timm loads.
    The same command takes an interrupted training up where it stopped.
    """
    from lambda_nas.api.full_training import CheckpointFile, Schedule, train_fully
    from lambda_nas.api.session import open_source
    from lambda_nas.data.image_folder import ImageLimits
    from lambda_nas.exports.front_trial import results_of
    from lambda_nas.exports.network import check_free
    from lambda_nas.pretrained.entry_points import DIGITS_ARCHITECTURE
    from lambda_nas.records.selection import choose
    from lambda_nas.store.study_store import SqlStudyStore

    store = SqlStudyStore.open(storage, create=False)
    info = store.study(study)
    point = choose(
        info, store.front(study), trial=trial, max_drop=max_drop, min_speedup=min_speedup
    )
    check_free(out)
    digits = info.model == DIGITS_ARCHITECTURE and data is None and model is None
    source = open_source(
        stage,
        model=None if digits else model or info.model,
        data=None if digits else data or Path(info.data),
        checkpoint=checkpoint,
        pretrained=pretrained,
        class_map=class_map,
        seed=info.seed,
        limits=ImageLimits(training=images),
    )
    if source.model.fingerprint != info.model_fingerprint:
        raise StudyMismatchError(
            f"{source.model.name} is not the model that {study} was searched on: give that one "
            "with --model and --checkpoint or --pretrained"
        )
    for text in source.data.notes:
        output.note(text)
    schedule = Schedule(epochs, batch_size, lr, seed)
    keeper = CheckpointFile.beside(out, source, point.architecture, schedule)
    if keeper.path.exists():
        output.note(f"going on at the snapshot {keeper.path}")
    results = replace(
        results_of(info, point),
        data=f"{short_name(source.data_name)} ({len(source.data.evaluation)} images)",
        weights=f"trained for {epochs} epochs while the attention faded out",
        # Of other images, the study knows nothing.
        baseline_accuracy=info.baseline_accuracy if source.data_name == info.data else None,
    )
    try:
        top1 = train_fully(
            source,
            point.architecture,
            schedule,
            keeper=keeper,
            out=out,
            results=results,
            stage=stage,
        )
    except KeyboardInterrupt:
        output.stderr.print(
            f"interrupted: the same command goes on, at most {keeper.every} steps back"
        )
        raise typer.Exit(INTERRUPTED) from None
    if json:
        output.print_json(
            {
                "out": str(out),
                "trial": point.trial,
                "removed": list(point.removal),
                "merging": output.merging_json(point.architecture),
                "accuracy": top1,
                "searched_accuracy": point.accuracy,
                "images": len(source.data.evaluation),
            }
        )
        return
    output.stdout.print(
        f"trial {point.trial}: {describe(point.architecture)}, "
        f"top-1 {100 * top1:.2f}% after {epochs} epochs ({100 * point.accuracy:.2f}% in the "
        f"search, {100 * info.baseline_accuracy:.2f}% unpruned) -> {out}",
        soft_wrap=True,
    )
