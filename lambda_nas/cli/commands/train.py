"""``lambda-nas train``."""

import time
from typing import Annotated, Literal

import typer

import lambda_nas
from lambda_nas.cli.loading import loading
from lambda_nas.cli.options import (
    CheckpointOption,
    ImageSizeOption,
    JsonOption,
    MaxDropOption,
    MinSpeedupOption,
    OutOption,
    PretrainedOption,
    RemoveOption,
    StorageOption,
    StudyClassMapOption,
    StudyDataOption,
    StudyModelOption,
    TrialOption,
    TrustClassesOption,
    as_fraction,
)

EPILOG = """[bold]Examples[/bold]

lambda-nas train deit_tiny-images --max-drop 2 --epochs 30 --out trained

lambda-nas train digits_vit-digits --trial 4 --epochs 20 --out trained

lambda-nas train --model local-dir:deit_tiny --data images --remove 0,2,4 --epochs 30 --out trained
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EPILOG)(train)


def train(
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")],
    out: OutOption,
    study: Annotated[
        str | None,
        typer.Argument(help="Name of the study; not needed with --remove, --model and --data."),
    ] = None,
    remove: RemoveOption = None,
    trial: TrialOption = None,
    max_drop: MaxDropOption = None,
    min_speedup: MinSpeedupOption = None,
    data: StudyDataOption = None,
    img_size: ImageSizeOption = None,
    class_map: StudyClassMapOption = None,
    trust_classes: TrustClassesOption = False,
    model: StudyModelOption = None,
    checkpoint: CheckpointOption = None,
    pretrained: PretrainedOption = False,
    images: Annotated[
        int,
        typer.Option(min=1, help="Maximum number of training images; all are held in memory."),
    ] = 50_000,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per step.")] = 64,
    lr: Annotated[float, typer.Option(min=0, help="Peak learning rate.")] = 3e-4,
    compensation: Annotated[
        Literal["paper", "none"],
        typer.Option(
            help="Whether a block's input makes up for its fading attention, as in the "
            "paper, or nothing does."
        ),
    ] = "none",
    seed: Annotated[
        int, typer.Option(help="Random seed for the order and the augmentation of images.")
    ] = 0,
    storage: StorageOption = None,
    json: JsonOption = False,
) -> None:
    """Train an architecture in full: a trial of a study, or one named with --remove.

    The attention to be removed fades out over the first half of the epochs.
    The unpruned model is the teacher; the result is a model that timm loads.
    Run the same command again to resume.
    """
    with loading():
        run = lambda_nas.train
    began = time.monotonic()
    done = run(
        study,
        out,
        epochs=epochs,
        remove=remove,
        trial=trial,
        max_drop=as_fraction(max_drop),
        min_speedup=min_speedup,
        data=data,
        img_size=img_size,
        class_map=class_map,
        trust_classes=trust_classes,
        model=model,
        checkpoint=checkpoint,
        pretrained=pretrained,
        images=images,
        batch_size=batch_size,
        lr=lr,
        compensation=compensation,
        seed=seed,
        storage=storage,
    )
    seconds = time.monotonic() - began
    from lambda_nas.cli import output
    from lambda_nas.reporting.formatting import counted, duration, percent

    point, top1 = done.point, done.accuracy.top1
    if json:
        output.print_json(
            {
                "out": str(out),
                "trial": point.trial if point else None,
                "removed": list(done.removed),
                "merging": output.merging_json(done.merging),
                "accuracy": top1,
                "images": done.accuracy.images,
                "unpruned_accuracy": done.unpruned.top1,
                "change": done.change.top1,
                "change_stderr": done.change.stderr,
                "searched_accuracy": point.accuracy if point else None,
            }
        )
        return
    trial_name = f"trial {point.trial}: " if point else ""
    searched = f", {percent(point.accuracy)} in the search" if point else ""
    output.stdout.print(
        f"{trial_name}{done.summary}, top-1 {percent(top1)} of {done.accuracy.images} images "
        f"after {counted(epochs, 'epoch')} in {duration(seconds)} "
        f"({percent(done.unpruned.top1)} unpruned, change {done.change}{searched}) -> {out}",
        soft_wrap=True,
    )
