"""``lambda-nas studies``."""

from typing import TYPE_CHECKING

import typer

from lambda_nas.cli.options import JsonOption, StorageOption

if TYPE_CHECKING:
    from rich.table import Table

WIDE = 100


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="[bold]Example[/bold]\n\nlambda-nas studies --json")(studies)


def studies(storage: StorageOption = None, json: JsonOption = False) -> None:
    """List the studies of a database."""
    from lambda_nas.api.studies import list_studies
    from lambda_nas.cli import output
    from lambda_nas.reporting.formatting import percent, short_name

    found = list_studies(storage)
    if json:
        output.print_json(
            [
                {
                    "study": study.name,
                    "model": study.model,
                    "data": study.data,
                    "device": study.device,
                    "complete": study.complete,
                    "front": study.front,
                }
                for study in found
            ]
        )
        return
    # Most studies of a database are of one machine; `show` and --json tell it, too.
    wide = output.stdout.width >= WIDE
    table = _table(wide=wide)
    for study in found:
        table.add_row(
            study.name,
            short_name(study.model),
            short_name(study.data),
            *([study.device] if wide else []),
            percent(study.baseline_accuracy),
            str(study.complete),
            str(study.front),
            f"{study.last_run:%Y-%m-%d}" if study.last_run else "",
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
