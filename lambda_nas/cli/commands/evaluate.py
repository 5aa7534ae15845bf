"""``lambda-nas eval``."""

from pathlib import Path
from typing import Annotated

import typer

import lambda_nas
from lambda_nas.cli.loading import loading
from lambda_nas.cli.options import (
    REMOVE,
    ClassMapOption,
    ImageSizeOption,
    JsonOption,
    TrustClassesOption,
)

EPILOG = """[bold]Examples[/bold]

lambda-nas eval local-dir:exported --data images

lambda-nas eval local-dir:deit_tiny --data images --class-map synsets.txt --remove 0,2,4
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("eval", epilog=EPILOG)(evaluate)


def evaluate(
    model: Annotated[
        str, typer.Argument(help="Model to load: a timm NAME, local-dir:DIR or hf-hub:ID.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Image folder with one folder per class; if it holds val/ or the like, that is "
            "used."
        ),
    ],
    remove: Annotated[
        str | None,
        typer.Option(metavar="LAYERS", help=f"{REMOVE}, first, without any repair."),
    ] = None,
    img_size: ImageSizeOption = None,
    class_map: ClassMapOption = None,
    trust_classes: TrustClassesOption = False,
    json: JsonOption = False,
) -> None:
    """Measure a model's top-1 and top-5 accuracy on an image folder."""
    with loading():
        run = lambda_nas.evaluate
    found = run(
        model,
        data,
        remove=remove,
        img_size=img_size,
        class_map=class_map,
        trust_classes=trust_classes,
    )

    from lambda_nas.cli import output
    from lambda_nas.reporting.formatting import percent

    if json:
        output.print_json({"top1": found.top1, "top5": found.top5, "images": found.images})
        return
    output.stdout.print(
        f"top-1 {percent(found.top1)}  top-5 {percent(found.top5)}  ({found.images} images)"
    )
