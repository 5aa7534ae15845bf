"""``lambda-nas report``."""

from pathlib import Path
from typing import Annotated

import typer

import lambda_nas
from lambda_nas.cli.loading import loading
from lambda_nas.cli.options import StorageOption, StudyArgument

EPILOG = """[bold]Example[/bold]

lambda-nas report deit_tiny-images --out report.html --png front.png
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EPILOG)(report)


def report(
    study: StudyArgument,
    out: Annotated[Path, typer.Option(help="HTML file to write.")],
    image: Annotated[
        Path | None,
        typer.Option("--png", help="Write the front as an image as well: .png or .svg."),
    ] = None,
    storage: StorageOption = None,
) -> None:
    """Write a study as one page that needs no network.

    The page says what was searched, what was found, and which architecture to pick.
    """
    with loading():
        run = lambda_nas.report
    run(study, out, image=image, storage=storage)

    from lambda_nas.cli import output

    for written in filter(None, (out, image)):
        output.note(f"wrote {written}")
