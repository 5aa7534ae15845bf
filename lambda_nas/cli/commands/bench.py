"""``lambda-nas bench``."""

from typing import Annotated

import typer
from rich.table import Table

from lambda_nas.api.terminal_progress import stage
from lambda_nas.cli import output
from lambda_nas.cli.options import JsonOption


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        epilog="[bold]Example[/bold]\n\nlambda-nas bench local-dir:deit_tiny local-dir:exported"
    )(bench)


def bench(
    models: Annotated[
        list[str], typer.Argument(help="Models; the first is what the others are compared to.")
    ],
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    json: JsonOption = False,
) -> None:
    """Compare models' throughput, latency, memory and size, interleaved.

    A plain timm NAME is built with random weights: they don't change the price.
    """
    import torch

    from lambda_nas.cost.measurement import measure_prices
    from lambda_nas.execution.progress import in_percent
    from lambda_nas.pretrained.loading import build_for_pricing

    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = [build_for_pricing(name).eval().to(device) for name in models]
    samples = [torch.zeros(batch_size, *_input_size(model), device=device) for model in loaded]
    with stage("Measuring", 100) as advance:
        prices = measure_prices(loaded, samples, on_step=in_percent(advance))
    rows = [
        {
            "model": name,
            "throughput": price.throughput,
            "latency_ms": price.latency_ms,
            "memory_bytes": price.memory_bytes,
            "params": price.params,
            "macs": price.macs,
            "speedup": price.speedup,
        }
        for name, price in zip(models, prices, strict=True)
    ]
    if json:
        output.print_json(rows)
        return
    table = Table("model", "images/s", "ms a batch", "memory", "params", "MACs", "speed-up")
    for name, price in zip(models, prices, strict=True):
        table.add_row(
            name,
            f"{price.throughput:.1f}",
            f"{price.latency_ms:.1f}",
            f"{price.memory_bytes / 1e6:.1f} MB",
            f"{price.params / 1e6:.2f} M",
            f"{price.macs / 1e9:.3g} G",
            f"{price.speedup:.2f}x",
        )
    output.stdout.print(table)


def _input_size(model: "object") -> tuple[int, int, int]:
    from timm.data import resolve_model_data_config

    return tuple(resolve_model_data_config(model)["input_size"])
