"""``lambda-nas dashboard``."""

from socketserver import ThreadingMixIn
from typing import Annotated
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import typer

from lambda_nas.cli import output
from lambda_nas.cli.options import DEFAULT_STORAGE, StorageOption
from lambda_nas.errors import InputError, StorageError


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="[bold]Example[/bold]\n\nlambda-nas dashboard --port 8081")(dashboard)


def dashboard(
    storage: StorageOption = DEFAULT_STORAGE,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8080,
) -> None:
    """Serve the Optuna dashboard on a database, to this machine only."""
    import optuna_dashboard

    from lambda_nas.api.dashboard_sync import sync_study
    from lambda_nas.store.study_store import SqlStudyStore

    store = SqlStudyStore.open(storage, create=False)
    for info in store.studies():
        try:
            sync_study(store, info.name)
        except StorageError as error:
            # One may look at a database that one may not write to.
            output.note(f"note and plots of {info.name} are as they were: {error}")
    app = optuna_dashboard.wsgi(store.optuna)
    try:
        server = make_server("127.0.0.1", port, app, _Server, _Quiet)
    except OSError as error:
        raise InputError(f"--port {port} can't be used ({error}): choose another") from error
    output.stderr.print(f"Optuna dashboard at http://127.0.0.1:{port}/ (Ctrl-C stops it)")
    with server:
        server.serve_forever()


class _Server(ThreadingMixIn, WSGIServer):
    # A page must not wait for the parameter importances of another.
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""
