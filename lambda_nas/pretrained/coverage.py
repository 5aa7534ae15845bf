"""Which timm architectures are supported, from the table that ``benchmarks/coverage.py`` wrote."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TABLE = Path(__file__).with_name("coverage.csv")


@dataclass(frozen=True)
class Family:
    """The architectures with attention in one module of timm.

    Attributes:
        name: Name of the module.
        architectures: Number of architectures with residual self-attention or a variant of it.
        covered: Number of architectures with removable layers, each verified layer by layer.
        kept: Reasons why layers can't be removed or architectures were not verified.
    """

    name: str
    architectures: int
    covered: int
    kept: tuple[str, ...]


def families() -> list[Family]:
    """Return the families with attention, sorted by name."""
    by_family: dict[str, list[dict[str, str]]] = {}
    with _TABLE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if int(row["layers"]):
                by_family.setdefault(row["family"], []).append(row)
    return [_family(name, rows) for name, rows in sorted(by_family.items())]


def _family(name: str, rows: Sequence[dict[str, str]]) -> Family:
    reasons = [reason for row in rows for reason in (row["obstacle"], row["failure"]) if reason]
    return Family(
        name=name,
        architectures=len(rows),
        covered=sum(int(row["checked"]) > 0 and not row["failure"] for row in rows),
        kept=tuple(f"{reason} ({reasons.count(reason)})" for reason in dict.fromkeys(reasons)),
    )
