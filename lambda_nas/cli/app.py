"""The command group, and what becomes of errors."""

import logging
import os
import warnings
from typing import Annotated

import typer
from typer.core import TyperGroup

import lambda_nas
from lambda_nas.cli.commands import (
    bench,
    dashboard,
    doctor,
    evaluate,
    export,
    prior,
    report,
    search,
    show,
    spaces,
    studies,
    train,
)
from lambda_nas.cli.interrupts import second_signal_exits
from lambda_nas.cli.loudness import logger, with_loudness
from lambda_nas.cli.wording import wording
from lambda_nas.errors import LambdaNasError

COMMANDS = (
    search,
    prior,
    studies,
    show,
    report,
    dashboard,
    doctor,
    train,
    export,
    evaluate,
    bench,
    spaces,
)


class Warnings(logging.Handler):
    """Prints the package's warnings, which hold texts of a user's model and of databases."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a warning, above the live view if there is one."""
        from lambda_nas.api.progress.console import labeled, stderr

        stderr.print(labeled("warning", "yellow", record.getMessage()), soft_wrap=True)


WARNINGS = Warnings(logging.WARNING)


class Group(TyperGroup):
    """Ends a user's mistake in one line and the right exit code, never in a traceback."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Run a command."""
        with second_signal_exits() as interruption:
            try:
                return super().invoke(ctx)
            except LambdaNasError as error:
                text = error.worded(wording(self, ctx.invoked_subcommand))
                _print(f"error: {text}", style="red")
                raise typer.Exit(error.exit_code) from None
            except KeyboardInterrupt as interrupt:
                # The functions note how their work is resumed.
                for note in getattr(interrupt, "__notes__", ()):
                    _print(f"interrupted: {note}")
                raise typer.Exit(interruption.exit_code) from None


def _print(text: str, style: str | None = None) -> None:
    """Print to stderr, in color where that is wanted: rich knows NO_COLOR, FORCE_COLOR and TERM."""
    from lambda_nas.api.progress.console import PlainConsole

    PlainConsole(stderr=True).print(text, style=style, soft_wrap=True)


def main() -> None:
    """Run the command line."""
    quiet_dependencies()
    # A process may run several commands, as the tests do.
    logger.setLevel(logging.NOTSET)
    logger.addHandler(WARNINGS)
    app = typer.Typer(
        cls=Group,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        help="Find the attention layers a vision transformer can live without, on your hardware.",
    )
    app.callback()(with_loudness(options, tells=False))
    for command in COMMANDS:
        command.register(app)
    for registered in app.registered_commands:
        if registered.callback:
            registered.callback = with_loudness(registered.callback)
    app()


def show_version(wanted: bool) -> None:
    """Print the version and leave, if it is wanted."""
    if wanted:
        typer.echo(f"lambda-nas {lambda_nas.__version__}")
        raise typer.Exit


def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Take the options that belong to no command."""
    del version


def quiet_dependencies() -> None:
    """Keep the warnings of our dependencies off the user's screen."""
    warnings.filterwarnings("ignore")
    # Ray's worker processes read the environment.
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    for name in ("timm", "huggingface_hub", "alembic", "optuna", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
