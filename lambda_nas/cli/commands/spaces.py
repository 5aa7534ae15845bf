"""``lambda-nas spaces``."""

from typing import Annotated

import typer

from lambda_nas.cli.options import JsonOption

EPILOG = """[bold]Examples[/bold]

lambda-nas spaces

lambda-nas spaces --coverage
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EPILOG)(spaces)


def spaces(
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Show which architectures of timm are covered.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """List the search spaces that come with the package, or the architectures covered."""
    if coverage:
        _print_coverage(json=json)
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from lambda_nas.cli import output
    from lambda_nas.strategy.space_files import load_space, shipped_spaces

    found = [load_space(name) for name in shipped_spaces()]
    if json:
        output.print_json([space.model_dump() for space in found])
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("space", "model", "max. removed", "named removal sets"):
        table.add_column(name, overflow="fold")
    for space in found:
        sets = ", ".join(f"{name} {layers}" for name, layers in space.seeds.items())
        most = "all" if space.max_removed is None else str(space.max_removed)
        table.add_row(space.name, space.model, most, sets)
    output.stdout.print(table)


def _print_coverage(*, json: bool) -> None:
    from dataclasses import asdict

    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from lambda_nas.cli import output
    from lambda_nas.pretrained.coverage import families

    found = families()
    if json:
        output.print_json([asdict(family) for family in found])
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("family", no_wrap=True)
    for name in ("architectures", "covered"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("not covered, and why", overflow="fold")
    for family in found:
        counts = str(family.architectures), str(family.covered)
        table.add_row(family.name, *counts, "; ".join(family.kept))
    output.stdout.print(table)
    total, covered = (
        sum(getattr(family, name) for family in found) for name in ("architectures", "covered")
    )
    output.stdout.print(f"{covered} of {total} architectures with attention are covered")
