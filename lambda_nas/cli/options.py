"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from lambda_nas.store import DEFAULT_STORAGE as DEFAULT_STORAGE

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", help="timm NAME, local-dir:DIR or hf-hub:ID.", show_default="digits ViT"
    ),
]
CheckpointOption = Annotated[
    Path | None, typer.Option("--checkpoint", help="Weights file: .safetensors, or .pth.")
]
PretrainedOption = Annotated[
    bool, typer.Option("--pretrained", help="Load timm's own weights for a plain NAME.")
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Image folder, a folder a class, or train/ and val/.")
]
ClassMapOption = Annotated[
    Path | None, typer.Option("--class-map", help="Text file: the head's class names in order.")
]
StorageOption = Annotated[
    str, typer.Option("--storage", help="SQLAlchemy URL of the study database.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
OutOption = Annotated[Path, typer.Option(help="Folder to write; must not hold anything.")]
TrialOption = Annotated[int | None, typer.Option(help="This trial of the front.")]
MaxDropOption = Annotated[
    float | None,
    typer.Option(help="The fastest that loses at most this many points.", show_default="1"),
]
MinSpeedupOption = Annotated[
    float | None, typer.Option(help="The most accurate that is at least this much faster.")
]
StudyArgument = Annotated[str, typer.Argument(help="Name of the study; see `lambda-nas studies`.")]
