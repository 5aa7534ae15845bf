"""``lambda-nas dashboard``."""

from typing import Annotated

import typer

from lambda_nas.cli.options import DEFAULT_STORAGE, StorageOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="[bold]Example[/bold]\n\nlambda-nas dashboard --port 8081")(dashboard)


def dashboard(
    storage: StorageOption = DEFAULT_STORAGE,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8080,
) -> None:
    """Serve the Optuna dashboard of a database, to this machine only."""
    from lambda_nas.cli import output
    from lambda_nas.errors import StorageError
    from lambda_nas.reporting.dashboard_server import open_server
    from lambda_nas.reporting.dashboard_sync import sync_study
    from lambda_nas.store.study_store import SqlStudyStore

    with SqlStudyStore.open(storage, create=False) as store:
        for info in store.studies():
            try:
                sync_study(store, info.name)
            except StorageError as error:
                # One may look at a database that one may not write to.
                output.note(f"note and plots of {info.name} are as they were: {error}")
        with open_server(store, port) as server:
            output.stderr.print(f"Optuna dashboard at http://127.0.0.1:{port}/ (Ctrl-C stops it)")
            server.serve_forever()
