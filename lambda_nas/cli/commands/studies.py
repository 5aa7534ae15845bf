"""``lambda-nas studies``."""

from typing import TYPE_CHECKING

import typer

from lambda_nas.cli.options import DEFAULT_STORAGE, JsonOption, StorageOption

if TYPE_CHECKING:
    from rich.table import Table

WIDE = 100


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="[bold]Example[/bold]\n\nlambda-nas studies --json")(studies)


def studies(storage: StorageOption = DEFAULT_STORAGE, json: JsonOption = False) -> None:
    """List the studies of a database."""
    from rich.markup import escape

    from lambda_nas.cli import output
    from lambda_nas.reporting.formatting import short_name
    from lambda_nas.store.study_store import SqlStudyStore
    from lambda_nas.strategy.optuna_trials import count_stored

    with SqlStudyStore.open(storage, create=False) as store:
        infos = store.studies()
        rows = [
            {
                "study": info.name,
                "model": info.model,
                "data": info.data,
                "device": info.device,
                "complete": count_stored(info.name, store.optuna).complete,
                "front": len(store.front(info.name)),
            }
            for info in infos
        ]
        runs = [store.runs(info.name) for info in infos]
    if json:
        output.print_json(rows)
        return
    # Most studies of a database are of one machine; `show` and --json tell it, too.
    wide = output.stdout.width >= WIDE
    table = _table(wide=wide)
    for info, row, of_study in zip(infos, rows, runs, strict=True):
        table.add_row(
            escape(info.name),
            escape(short_name(info.model)),
            escape(short_name(info.data)),
            *([escape(info.device)] if wide else []),
            f"{100 * info.baseline_accuracy:.2f}%",
            str(row["complete"]),
            str(row["front"]),
            f"{of_study[-1].started_at:%Y-%m-%d}" if of_study else "",
        )
    output.stdout.print(table)


def _table(*, wide: bool) -> "Table":
    """Return the columns; names that don't fit go on in the next line, numbers are kept whole."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("study", "model", "data", *(["device"] if wide else [])):
        table.add_column(name, overflow="fold")
    for name in ("unpruned\ntop-1", "trials", "front"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("last run", no_wrap=True)
    return table
