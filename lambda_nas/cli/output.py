"""What people and machines are shown: tables and JSON on stdout, everything else on stderr."""

import json
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lambda_nas.core.cost import Price
from lambda_nas.report.words import short_name
from lambda_nas.search.values import FrontPoint, StudyInfo

stdout = Console(highlight=False)
if not stdout.is_terminal:
    # Nothing is lost to the 80 columns that a pipe is taken for.
    stdout.width = 160
stderr = Console(stderr=True, highlight=False)


def print_json(value: object) -> None:
    """Print a JSON document on stdout, unstyled and unwrapped."""
    print(json.dumps(value, indent=2))  # noqa: T201


def note(text: str) -> None:
    """Tell the user something on stderr."""
    stderr.print(f"[dim]note:[/dim] {text}", soft_wrap=True)


def front_table(info: StudyInfo, front: Sequence[FrontPoint]) -> Table:
    """Return the baseline and the front, cheapest last."""
    title = f"{info.name}: {short_name(info.model)} on {short_name(info.data)}, {info.device}"
    # With lines between the columns, the last one would not fit into 80.
    table = Table(
        title=escape(title),
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("trial", justify="right")
    table.add_column("removed layers", overflow="fold", min_width=14)
    for column in ("top-1", "change", "speed-up", "images/s", "memory", "params"):
        table.add_column(column, justify="right")
    table.add_row("", "none", *_cells(info.baseline_accuracy, info.baseline, info), style="dim")
    for point in front:
        cells = _cells(point.accuracy, point.price, info)
        table.add_row(str(point.trial), str(point.removal), *cells)
    return table


def _cells(accuracy: float, price: Price, info: StudyInfo) -> list[str]:
    return [
        f"{100 * accuracy:.2f}%",
        f"{100 * (accuracy - info.baseline_accuracy):+.2f}",
        f"{price.speedup:.2f}x",
        f"{price.throughput:.1f}",
        f"{price.memory_bytes / 1e6:.1f} MB",
        f"{price.params / 1e6:.2f} M",
    ]
