"""``lambda-nas dashboard``."""

from typing import Annotated

import typer

from lambda_nas.cli import output
from lambda_nas.cli.options import DEFAULT_STORAGE, StorageOption
from lambda_nas.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="[bold]Example[/bold]\n\nlambda-nas dashboard --port 8081")(dashboard)


def dashboard(
    storage: StorageOption = DEFAULT_STORAGE,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8080,
) -> None:
    """Open the Optuna dashboard on a database."""
    import optuna
    import optuna_dashboard

    from lambda_nas.store.store import Store

    store = Store.open(storage, create=False)
    output.stderr.print(f"Optuna dashboard at http://127.0.0.1:{port}/ (Ctrl-C stops it)")
    try:
        optuna_dashboard.run_server(
            optuna.storages.RDBStorage(store.optuna_url), host="127.0.0.1", port=port
        )
    except OSError as error:
        raise InputError(f"--port {port} can't be used ({error}): choose another") from error
