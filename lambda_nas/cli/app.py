"""The command group, and what becomes of errors."""

import logging
import os
import warnings

import typer
from typer.core import TyperGroup

from lambda_nas.cli.exit_codes import INTERRUPTED
from lambda_nas.errors import LambdaNasError


class Group(TyperGroup):
    """Ends a user's mistake in one line and the right exit code, never in a traceback."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Run a verb."""
        try:
            return super().invoke(ctx)
        except LambdaNasError as error:
            typer.secho(f"error: {error}", err=True, fg="red")
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


def main() -> None:
    """Run the command line."""
    quiet_dependencies()
    app = typer.Typer(
        cls=Group,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        help="Find the attention layers a vision transformer can live without, on your hardware.",
    )
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

    commands = (
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
    for command in commands:
        command.register(app)
    app()


def quiet_dependencies() -> None:
    """Keep the warnings of our dependencies off the user's screen."""
    warnings.filterwarnings("ignore")
    # Ray's worker processes read the environment.
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    for name in ("timm", "huggingface_hub", "alembic", "optuna", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
