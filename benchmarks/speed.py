"""Compare the measured speed-up with the one that the multiply-accumulates imply.

    python benchmarks/speed.py --models deit_tiny_patch16_224 --batch-sizes 1 64

Times a model without attention in 1 to 6 layers against the unpruned one, all in turn within each
round, and prints which share of the implied speed-up is measured. The weights are random, because
they make no difference.
"""

import argparse

import timm
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from lambda_nas.cost.measurement import measure_prices
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention

MODELS = ("deit_tiny_patch16_224", "deit_small_patch16_224", "deit_base_patch16_224")
MOST = 6


def main() -> None:
    """Time each model in each way and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=(1, 64))
    parser.add_argument("--modes", nargs="+", choices=("eager", "compile"), default=("eager",))
    parser.add_argument(
        "--seconds", type=float, default=240.0, help="time limit for each row of the table"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    table = Table()
    columns = ("model", "mode", "batch", "images/s", *(f"{n} removed" for n in range(1, MOST + 1)))
    for column in columns:
        table.add_column(column, justify="left" if column in ("model", "mode") else "right")
    for name in options.models:
        for mode in options.modes:
            for batch_size in options.batch_sizes:
                row = _row(name, mode, batch_size, options)
                table.add_row(name, mode, str(batch_size), *row)
    Console(width=140).print(table)
    print("measured speed-up, of what the MACs imply: measured / implied = share")


def _row(name: str, mode: str, batch_size: int, options: argparse.Namespace) -> list[str]:
    unpruned = timm.create_model(name).to(options.device).eval()
    sets = [RemovalSet.of(range(size)) for size in range(MOST + 1)]
    models: list[nn.Module] = [remove_attention(unpruned, removal).model for removal in sets]
    if mode == "compile":
        # Sets of other sizes are other graphs of the same code, each compiled for itself.
        torch._dynamo.reset()
        for model in models:
            model.compile(dynamic=False)
    shape = batch_size, *unpruned.pretrained_cfg["input_size"]
    sample = torch.rand(*shape, device=options.device)
    prices = measure_prices(models, [sample] * len(models), seconds=options.seconds)
    cells = [f"{prices[0].throughput:.1f}"]
    for price in prices[1:]:
        implied = prices[0].macs / price.macs
        share = price.speedup / implied
        cells.append(f"{price.speedup:.2f} / {implied:.2f} = {share:.2f}")
    return cells


if __name__ == "__main__":
    main()
