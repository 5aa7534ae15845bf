"""``lambda-nas studies``."""

import typer
from rich.table import Table

from lambda_nas.cli import output
from lambda_nas.cli.options import DEFAULT_STORAGE, JsonOption, StorageOption


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="[bold]Example[/bold]\n\nlambda-nas studies --json")(studies)


def studies(storage: StorageOption = DEFAULT_STORAGE, json: JsonOption = False) -> None:
    """List the studies of a database."""
    from lambda_nas.search.trials import count_stored
    from lambda_nas.store.store import Store

    store = Store.open(storage, create=False)
    rows = [
        {
            "study": info.name,
            "model": info.model,
            "data": info.data,
            "device": info.device,
            "complete": count_stored(info.name, store.optuna).complete,
            "front": len(store.front(info.name)),
        }
        for info in store.studies()
    ]
    if json:
        output.print_json(rows)
        return
    table = Table("study", "model", "data", "device", "trials done", "on the front")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    output.stdout.print(table)
