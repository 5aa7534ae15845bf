"""``lambda-nas export``."""

from typing import Annotated, Literal

import typer

from lambda_nas.api.terminal_progress import stage
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

lambda-nas export deit_tiny-images --min-speedup 1.2 --format onnx --out exported
"""

# What the user may paste to see that it loads.
LOADING = {
    "timm": "import lambda_nas, timm; timm.create_model('local-dir:{out}', pretrained=True)",
    "plain": "import timm; timm.create_model('local-dir:{out}', pretrained=True)",
    "onnx": "import onnxruntime; onnxruntime.InferenceSession('{out}/model.onnx')",
    "pt2": "import torch; torch.export.load('{out}/model.pt2').module()",
}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=EPILOG)(export)


def export(
    study: StudyArgument,
    out: OutOption,
    trial: TrialOption = None,
    max_drop: MaxDropOption = None,
    min_speedup: MinSpeedupOption = None,
    format: Annotated[
        Literal["timm", "onnx", "pt2"],
        typer.Option(help="A timm folder, an ONNX file, or a file of torch.export."),
    ] = "timm",
    plain: Annotated[
        bool,
        typer.Option("--plain", help="For timm without lambda-nas: same outputs, no speed-up."),
    ] = False,
    storage: StorageOption = DEFAULT_STORAGE,
    json: JsonOption = False,
) -> None:
    """Write an architecture of a study as a model that timm, ONNX runtimes or PyTorch load."""
    from lambda_nas.exports.front_trial import export_point
    from lambda_nas.exports.network import check_request
    from lambda_nas.records.selection import choose
    from lambda_nas.reporting.formatting import describe
    from lambda_nas.store.study_store import SqlStudyStore

    check_request(out, format=format, plain=plain)
    store = SqlStudyStore.open(storage, create=False)
    info = store.study(study)
    point = choose(
        info, store.front(study), trial=trial, max_drop=max_drop, min_speedup=min_speedup
    )
    with stage("Writing", 1) as advance:
        export_point(info, point, out, format=format, plain=plain)
        advance()
    if json:
        output.print_json(
            {
                "out": str(out),
                "format": format,
                "trial": point.trial,
                "removed": list(point.removal),
                "merging": output.merging_json(point.architecture),
                "accuracy": point.accuracy,
                "speedup": point.price.speedup,
            }
        )
        return
    output.stdout.print(
        f"trial {point.trial}: {describe(point.architecture)}, "
        f"top-1 {100 * point.accuracy:.2f}% "
        f"({100 * (point.accuracy - info.baseline_accuracy):+.2f}), "
        f"speed-up {point.price.speedup:.2f}x -> {out}",
        soft_wrap=True,
    )
    loading = LOADING["plain" if plain else format].format(out=out)
    output.stdout.print(f'  python -c "{loading}"', soft_wrap=True)
