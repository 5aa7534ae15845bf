"""``lambda-nas dashboard``."""

from typing import Annotated

import typer

from lambda_nas.cli.options import StorageOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="[bold]Example[/bold]\n\nlambda-nas dashboard --port 8081")(dashboard)


def dashboard(
    storage: StorageOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8080,
) -> None:
    """Serve the Optuna dashboard of a database, to this machine only."""
    from lambda_nas.api.studies import open_dashboard
    from lambda_nas.cli import output

    with open_dashboard(storage, port, note=output.note) as server:
        output.stderr.print(f"Optuna dashboard at http://127.0.0.1:{port}/ (Ctrl-C stops it)")
        server.serve_forever()
