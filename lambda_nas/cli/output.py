"""What people and machines are shown: tables and JSON on stdout, everything else on stderr."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lambda_nas.api.terminal_progress import note as note
from lambda_nas.api.terminal_progress import stderr as stderr
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.study import StudyInfo
from lambda_nas.records.trial import ParetoTrial
from lambda_nas.reporting.front_table import FRONT_HEAD, front_rows, front_title

stdout = Console(highlight=False)
if not stdout.is_terminal:
    # Nothing is lost to the 80 columns that a pipe is taken for.
    stdout.width = 160


def print_json(value: object) -> None:
    """Print a JSON document on stdout, unstyled and unwrapped."""
    print(json.dumps(value, indent=2))  # noqa: T201


def merging_json(one: Architecture) -> dict[str, int] | None:
    """Return how an architecture merges tokens as JSON, ``None`` if it doesn't."""
    return asdict(one.merging) if one.merging else None


def front_table(info: StudyInfo, front: Sequence[ParetoTrial]) -> Table:
    """Return the baseline and the front, cheapest last."""
    # With lines between the columns, the last one would not fit into 80.
    table = Table(
        title=escape(front_title(info)),
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in FRONT_HEAD:
        if column == "removed layers":
            table.add_column(column, overflow="fold", min_width=14)
        else:
            table.add_column(column, justify="right")
    for row in front_rows(info, front):
        # The unpruned model has no trial.
        table.add_row(*row, style=None if row[0] else "dim")
    return table
