"""``lambda-nas bench``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

import lambda_nas
from lambda_nas.cli.loading import loading
from lambda_nas.cli.options import REMOVE, ImageSizeOption, JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from lambda_nas.cost.measurement import Price

COLUMNS = ("throughput", "latency_ms", "memory_bytes", "params", "macs", "speedup")


EPILOG = """[bold]Examples[/bold]

lambda-nas bench local-dir:deit_tiny local-dir:exported

lambda-nas bench local-dir:deit_tiny --remove 0,2,4 --remove 0,2,4,6 --batch-size 1
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EPILOG)(bench)


def bench(
    model: Annotated[
        list[str],
        typer.Argument(
            help="Models to compare: timm NAMEs, local-dir:DIR or hf-hub:ID; speed-ups are "
            "relative to the first."
        ),
    ],
    remove: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYERS",
            help=f"{REMOVE}, from the first model, and compare the result too; may be repeated.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 32,
    img_size: ImageSizeOption = None,
    json: JsonOption = False,
) -> None:
    """Compare the throughput, latency, memory and size of models, timed in turn.

    A plain timm NAME is built with random weights: their values don't affect these numbers.
    """
    with loading():
        run = lambda_nas.bench
    prices = run(model, remove=remove or (), batch_size=batch_size, img_size=img_size)
    names = [*model, *(f"{model[0]} without {layers}" for layers in remove or ())]

    from lambda_nas.cli import output

    if json:
        output.print_json(
            [
                {"model": name} | {column: getattr(price, column) for column in COLUMNS}
                for name, price in zip(names, prices, strict=True)
            ]
        )
        return
    output.stdout.print(_table(names, prices))


def _table(names: Sequence[str], prices: Sequence["Price"]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from lambda_nas.reporting.formatting import megabytes
    from lambda_nas.reporting.wrapping import AtCommas

    # With lines between the columns, long names would not fit into 80 columns.
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("model", overflow="fold")
    for head in ("images/s", "ms/batch", "memory", "params", "MACs", "speed-up"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, price in zip(names, prices, strict=True):
        table.add_row(
            AtCommas(name),
            f"{price.throughput:.1f}",
            f"{price.latency_ms:.1f}",
            megabytes(price.memory_bytes),
            f"{price.params / 1e6:.2f} M",
            f"{price.macs / 1e9:.3g} G",
            f"{price.speedup:.2f}x",
        )
    return table
