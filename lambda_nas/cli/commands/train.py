"""``lambda-nas train``."""

from typing import Annotated

import typer

import lambda_nas
from lambda_nas.cli.loading import loading
from lambda_nas.cli.options import (
    CheckpointOption,
    ClassMapOption,
    JsonOption,
    MaxDropOption,
    MinSpeedupOption,
    OutOption,
    PretrainedOption,
    StorageOption,
    StudyArgument,
    StudyDataOption,
    StudyModelOption,
    TrialOption,
    as_fraction,
)

EPILOG = """[bold]Examples[/bold]

lambda-nas train deit_tiny-images --data images --epochs 30 --out trained

lambda-nas train digits_vit-digits --trial 4 --epochs 20 --out trained
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EPILOG)(train)


def train(
    study: StudyArgument,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")],
    out: OutOption,
    trial: TrialOption = None,
    max_drop: MaxDropOption = None,
    min_speedup: MinSpeedupOption = None,
    data: StudyDataOption = None,
    class_map: ClassMapOption = None,
    model: StudyModelOption = None,
    checkpoint: CheckpointOption = None,
    pretrained: PretrainedOption = False,
    images: Annotated[
        int,
        typer.Option(min=1, help="Maximum number of training images; all are held in memory."),
    ] = 50_000,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per step.")] = 64,
    lr: Annotated[float, typer.Option(min=0, help="Peak learning rate.")] = 3e-4,
    seed: Annotated[
        int, typer.Option(help="Random seed for the order and the augmentation of images.")
    ] = 0,
    storage: StorageOption = None,
    json: JsonOption = False,
) -> None:
    """Train an architecture from a study in full.

    The attention to be removed fades out over the first half of the epochs.
    The unpruned model is the teacher; the result is a model that timm loads.
    Run the same command again to resume.
    """
    with loading():
        run = lambda_nas.train
    done = run(
        study,
        out,
        epochs=epochs,
        trial=trial,
        max_drop=as_fraction(max_drop),
        min_speedup=min_speedup,
        data=data,
        class_map=class_map,
        model=model,
        checkpoint=checkpoint,
        pretrained=pretrained,
        images=images,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        storage=storage,
    )
    from lambda_nas.cli import output

    point, top1 = done.point, done.accuracy.top1
    if json:
        output.print_json(
            {
                "out": str(out),
                "trial": point.trial,
                "removed": list(point.removed),
                "merging": output.merging_json(point),
                "accuracy": top1,
                "searched_accuracy": point.accuracy,
                "images": done.accuracy.images,
            }
        )
        return
    output.stdout.print(
        f"trial {point.trial}: {point.summary}, top-1 {100 * top1:.2f}% after {epochs} epochs "
        f"({100 * point.accuracy:.2f}% in the search, "
        f"{100 * done.baseline.accuracy:.2f}% unpruned) -> {out}",
        soft_wrap=True,
    )
