"""What people and machines are shown: tables and JSON on stdout, everything else on stderr."""

import json
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.measure import Measurement
from rich.table import Table

from lambda_nas.api.progress.console import PlainConsole
from lambda_nas.api.progress.console import note as note
from lambda_nas.api.progress.console import stderr as stderr
from lambda_nas.api.study import ParetoPoint, Study
from lambda_nas.models.merging import Merging
from lambda_nas.reporting.front_table import FRONT_HEAD, front_rows, front_title
from lambda_nas.reporting.wrapping import AtCommas

stdout = PlainConsole()
if not stdout.file.isatty():
    # Nothing is lost to the 80 columns that a pipe is taken for.
    stdout.width = 160


def print_json(value: object) -> None:
    """Print a JSON document on stdout, unstyled and unwrapped."""
    print(json.dumps(value, indent=2))  # noqa: T201


def merging_json(merging: Merging | None) -> dict[str, int] | None:
    """Return how an architecture merges tokens as JSON, ``None`` if it doesn't."""
    return asdict(merging) if merging else None


def study_json(study: Study) -> dict[str, object]:
    """Return a study in the form of the design's part 7."""
    info, base, counts = study.record.info, study.baseline, study.counts
    return {
        "study": study.name,
        "model": info.model,
        "data": info.data,
        "device": info.device,
        "baseline": {
            name: getattr(base, name)
            for name in ("accuracy", "throughput", "memory_bytes", "params", "macs")
        },
        "front": [_point_json(point) for point in study.front],
        "trials": {
            "complete": counts.complete,
            "pruned": counts.pruned,
            "failed": counts.failed,
        },
        "hypervolume": study.hypervolume,
    }


def _point_json(point: ParetoPoint) -> dict[str, object]:
    return {
        "trial": point.trial,
        "removed": list(point.removed),
        "merging": merging_json(point.merging),
        "accuracy": point.accuracy,
        "throughput": point.throughput,
        "speedup": point.speedup,
        "memory_bytes": point.memory_bytes,
        "params": point.params,
        "macs": point.macs,
        "rung": point.rung,
    }


LEFT_OUT = ("params", "images/s", "memory")
"""Columns that a narrow terminal has no room for, in this order; --json has them."""


def front_table(study: Study) -> Table:
    """Return the baseline and the front, cheapest last, in columns that fit the terminal."""
    for left_out in range(len(LEFT_OUT) + 1):
        columns = [column for column in FRONT_HEAD if column not in LEFT_OUT[:left_out]]
        table = _front_table(study, columns)
        unlimited = stdout.options.update_width(10_000)
        if Measurement.get(stdout, unlimited, table).minimum <= stdout.width:
            break
    return table


def _front_table(study: Study, columns: list[str]) -> Table:
    info, front = study.record.info, study.record.front
    # With lines between the columns, the last one would not fit into 80.
    table = Table(
        title=front_title(info),
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    rows = [dict(zip(FRONT_HEAD, row, strict=True)) for row in front_rows(info, front)]
    for column in columns:
        if column == "architecture":
            table.add_column(column, min_width=14)
        else:
            longest = max(len(text) for text in (column, *(row[column] for row in rows)))
            table.add_column(column, justify="right", no_wrap=True, min_width=longest)
    for row in rows:
        cells = [
            AtCommas(row[column]) if column == "architecture" else row[column] for column in columns
        ]
        # The unpruned model has no trial.
        table.add_row(*cells, style=None if row["trial"] else "dim")
    return table
