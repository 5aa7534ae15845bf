"""``lambda-nas show``."""

import typer

import lambda_nas
from lambda_nas.cli.loading import loading
from lambda_nas.cli.options import (
    JsonOption,
    PlotOption,
    StorageOption,
    StudyArgument,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="[bold]Example[/bold]\n\nlambda-nas show deit_tiny-images --plot front.html"
    )(show)


def show(
    study: StudyArgument,
    storage: StorageOption = None,
    json: JsonOption = False,
    plot: PlotOption = None,
) -> None:
    """Show the front of a study."""
    with loading():
        open_study = lambda_nas.open_study
    found = open_study(study, storage=storage)

    from lambda_nas.cli import output

    if plot:
        from lambda_nas.reporting import figures

        figures.save(found.plot(), plot, parameter="plot")
        output.note(f"wrote {plot}")
    if json:
        output.print_json(output.study_json(found))
        return
    output.stdout.print(output.front_table(found))
