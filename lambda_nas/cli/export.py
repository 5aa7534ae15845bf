"""``lambda-nas export``."""

from typing import Annotated, Literal

import typer

from lambda_nas.cli import output
from lambda_nas.cli.options import (
    DEFAULT_STORAGE,
    JsonOption,
    MaxDropOption,
    MinSpeedupOption,
    OutOption,
    StorageOption,
    StudyArgument,
    TrialOption,
)

EPILOG = """[bold]Examples[/bold]

lambda-nas export deit_tiny-images --max-drop 1 --out exported

lambda-nas export deit_tiny-images --trial 4 --plain --out exported
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=EPILOG)(export)


def export(
    study: StudyArgument,
    out: OutOption,
    trial: TrialOption = None,
    max_drop: MaxDropOption = None,
    min_speedup: MinSpeedupOption = None,
    format: Annotated[Literal["timm"], typer.Option(help="What to write.")] = "timm",
    plain: Annotated[
        bool,
        typer.Option("--plain", help="For timm without lambda-nas: same outputs, no speed-up."),
    ] = False,
    storage: StorageOption = DEFAULT_STORAGE,
    json: JsonOption = False,
) -> None:
    """Write an architecture of a study as a model that timm loads."""
    from lambda_nas.choice import choose, export_point
    from lambda_nas.store.store import Store

    del format
    store = Store.open(storage, create=False)
    info = store.study(study)
    point = choose(
        info, store.front(study), trial=trial, max_drop=max_drop, min_speedup=min_speedup
    )
    export_point(info, point, out, plain=plain)
    if json:
        output.print_json(
            {
                "out": str(out),
                "trial": point.trial,
                "removed": list(point.removal),
                "accuracy": point.accuracy,
                "speedup": point.price.speedup,
            }
        )
        return
    output.stdout.print(
        f"trial {point.trial}: {point.removal} removed, top-1 {100 * point.accuracy:.2f}% "
        f"({100 * (point.accuracy - info.baseline_accuracy):+.2f}), "
        f"speed-up {point.price.speedup:.2f}x -> {out}",
        soft_wrap=True,
    )
    first = "import timm" if plain else "import lambda_nas, timm"
    output.stdout.print(
        f"  python -c \"{first}; timm.create_model('local-dir:{out}', pretrained=True)\"",
        soft_wrap=True,
    )
