"""``lambda-nas dashboard``."""

from typing import Annotated

import typer

from lambda_nas.cli.options import StorageOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="[bold]Example[/bold]\n\nlambda-nas dashboard --port 8081")(dashboard)


def dashboard(
    storage: StorageOption = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address of this machine to listen on. Beyond 127.0.0.1, whoever reaches it can "
            "read, change and delete studies."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8080,
) -> None:
    """Serve the Optuna dashboard of a database, by default to this machine only."""
    from lambda_nas.api.studies import open_dashboard
    from lambda_nas.cli import output

    with open_dashboard(storage, port, host=host) as server:
        output.stderr.print(f"Optuna dashboard at http://{host}:{port}/ (Ctrl-C stops it)")
        server.serve_forever()
