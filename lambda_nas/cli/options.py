"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from lambda_nas.store import DEFAULT_STORAGE, VARIABLE

WHOLE = 0.999999
"""The largest drop that the options pass on: the functions refuse 1, which looks like 1 point."""

StudyArgument = Annotated[
    str, typer.Argument(help="Name of the study; `lambda-nas studies` lists them.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Model to load: a timm NAME, local-dir:DIR or hf-hub:ID.",
        show_default="the digits ViT",
    ),
]
StudyModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="The unpruned model: a timm NAME, local-dir:DIR or hf-hub:ID.",
        show_default="the study's",
    ),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option("--checkpoint", help="File of weights to load: .safetensors or .pth."),
]
PretrainedOption = Annotated[
    bool, typer.Option("--pretrained", help="Load timm's weights for a plain NAME.")
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Image folder: one folder per class, or train/ and val/ with those in them."
    ),
]
StudyDataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Folder with train/ and val/.", show_default="the study's"),
]
ImageSizeOption = Annotated[
    int | None,
    typer.Option(
        "--img-size",
        min=1,
        help="Side of the square images; timm resamples the model's positions.",
        show_default="what the model was built for",
    ),
]
ClassMapOption = Annotated[
    Path | None,
    typer.Option(
        "--class-map",
        help="Text file (.txt) that names the class of each output of the head, one per line.",
        show_default="label_names of the model's config, else the order of the folders",
    ),
]
StudyClassMapOption = Annotated[
    Path | None,
    typer.Option(
        "--class-map",
        help="Text file (.txt) that names the class of each output of the head, one per line.",
        show_default="the study's, or as for a search",
    ),
]
TrustClassesOption = Annotated[
    bool,
    typer.Option(
        "--trust-classes",
        help="Accept the order of classes even if the model is no better than chance.",
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        help="SQLAlchemy URL of the study database.",
        show_default=f"{VARIABLE} of the environment, or else {DEFAULT_STORAGE}",
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        help="Folder of the weights of studies.",
        show_default="beside an SQLite database, else studies/weights/",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
OutOption = Annotated[Path, typer.Option(help="Folder to write; it must be empty or absent.")]
TrialOption = Annotated[
    int | None, typer.Option(help="Number of the trial to take; it must be on the front.")
]
REMOVE = "Remove these attention layers, such as 0,2,4"
RemoveOption = Annotated[
    str | None,
    typer.Option("--remove", metavar="LAYERS", help=f"{REMOVE}, in place of a trial's."),
]
MaxDropOption = Annotated[
    float | None,
    typer.Option(
        help="Take the fastest trial that loses at most this many points of top-1.",
        show_default="1",
    ),
]
MinSpeedupOption = Annotated[
    float | None, typer.Option(help="Take the most accurate trial with at least this speed-up.")
]
PlotOption = Annotated[
    Path | None, typer.Option("--plot", help="Write a figure as well: .html, .png or .svg.")
]


def as_fraction(points: float | None) -> float | None:
    """Return points of top-1 as the fraction that the functions take."""
    return None if points is None else min(points / 100, WHOLE)
