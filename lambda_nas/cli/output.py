"""What people and machines are shown: tables and JSON on stdout, everything else on stderr."""

import json
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.table import Table

from lambda_nas.api.progress.console import PlainConsole
from lambda_nas.api.progress.terminal import note as note
from lambda_nas.api.progress.terminal import stderr as stderr
from lambda_nas.api.study import ParetoPoint, Study
from lambda_nas.reporting.front_table import FRONT_HEAD, front_rows, front_title

stdout = PlainConsole()
if not stdout.is_terminal:
    # Nothing is lost to the 80 columns that a pipe is taken for.
    stdout.width = 160


def print_json(value: object) -> None:
    """Print a JSON document on stdout, unstyled and unwrapped."""
    print(json.dumps(value, indent=2))  # noqa: T201


def merging_json(point: ParetoPoint) -> dict[str, int] | None:
    """Return how an architecture merges tokens as JSON, ``None`` if it doesn't."""
    return asdict(point.merging) if point.merging else None


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
        "merging": merging_json(point),
        "accuracy": point.accuracy,
        "throughput": point.throughput,
        "speedup": point.speedup,
        "memory_bytes": point.memory_bytes,
        "params": point.params,
        "macs": point.macs,
        "rung": point.rung,
    }


def front_table(study: Study) -> Table:
    """Return the baseline and the front, cheapest last."""
    info, front = study.record.info, study.record.front
    # With lines between the columns, the last one would not fit into 80.
    table = Table(
        title=front_title(info),
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in FRONT_HEAD:
        if column == "architecture":
            table.add_column(column, overflow="fold", min_width=14)
        else:
            table.add_column(column, justify="right")
    for row in front_rows(info, front):
        # The unpruned model has no trial.
        table.add_row(*row, style=None if row[0] else "dim")
    return table
