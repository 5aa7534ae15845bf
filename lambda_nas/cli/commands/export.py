"""``lambda-nas export``."""

import shlex
from json import dumps
from pathlib import Path
from typing import Annotated, Literal

import typer

import lambda_nas
from lambda_nas.cli.loading import loading
from lambda_nas.cli.options import (
    CheckpointOption,
    JsonOption,
    MaxDropOption,
    MinSpeedupOption,
    OutOption,
    PretrainedOption,
    RemoveOption,
    StorageOption,
    StudyArgument,
    StudyClassMapOption,
    StudyModelOption,
    TrialOption,
    WeightsOption,
    as_fraction,
)

EPILOG = """[bold]Examples[/bold]

lambda-nas export deit_tiny-images --max-drop 1 --out exported

lambda-nas export deit_tiny-images --trial 4 --plain --out exported

lambda-nas export deit_tiny-images --min-speedup 1.2 --format onnx --out exported

lambda-nas export deit_tiny-images --remove 0,2,4 --out exported
"""

# What the user may paste to see that it loads.
LOADING = {
    "timm": ("import lambda_nas, timm; timm.create_model({}, pretrained=True)", "local-dir:{}"),
    "plain": ("import timm; timm.create_model({}, pretrained=True)", "local-dir:{}"),
    "onnx": ("import onnxruntime; onnxruntime.InferenceSession({})", "{}/model.onnx"),
    "pt2": ("import torch; torch.export.load({}).module()", "{}/model.pt2"),
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EPILOG)(export)


def export(
    study: StudyArgument,
    out: OutOption,
    remove: RemoveOption = None,
    trial: TrialOption = None,
    max_drop: MaxDropOption = None,
    min_speedup: MinSpeedupOption = None,
    format: Annotated[
        Literal["timm", "onnx", "pt2"],
        typer.Option(help="Write a timm folder, an ONNX file, or a file of torch.export."),
    ] = "timm",
    plain: Annotated[
        bool,
        typer.Option(
            "--plain", help="Write for timm without lambda-nas: same outputs, no speed-up."
        ),
    ] = False,
    model: StudyModelOption = None,
    checkpoint: CheckpointOption = None,
    pretrained: PretrainedOption = False,
    data: Annotated[
        Path | None,
        typer.Option(help="The study's image folder, for --remove.", show_default="where it was"),
    ] = None,
    class_map: StudyClassMapOption = None,
    storage: StorageOption = None,
    weights: WeightsOption = None,
    json: JsonOption = False,
) -> None:
    """Write an architecture of a study as a model that timm, ONNX runtimes or PyTorch load.

    A trial comes with the weights that it has left.
    With --remove, the study's model is repaired on its calibration images, as trials are (if there
    is a repair for it), unless a trial of the front has lost just these layers.
    """
    with loading():
        run = lambda_nas.export
    done = run(
        study,
        out,
        remove=remove,
        trial=trial,
        max_drop=as_fraction(max_drop),
        min_speedup=min_speedup,
        format=format,
        plain=plain,
        model=model,
        checkpoint=checkpoint,
        pretrained=pretrained,
        data=data,
        class_map=class_map,
        storage=storage,
        weights=weights,
    )
    from lambda_nas.cli import output
    from lambda_nas.reporting.formatting import percent

    point = done.point
    if json:
        output.print_json(
            {
                "out": str(out),
                "format": format,
                "plain": plain,
                "trial": point.trial if point else None,
                "removed": list(done.removed),
                "merging": output.merging_json(done.merging),
                "accuracy": done.accuracy,
                "images": done.images,
                "unpruned_accuracy": done.unpruned,
                "change": done.change.top1 if done.change else None,
                "change_stderr": done.change.stderr if done.change else None,
                "speedup": done.speedup,
            }
        )
        return
    trial_name = f"trial {point.trial}: " if point else ""
    images = f" of {done.images} images" if done.images else ""
    change = f", change {done.change}" if done.change else ""
    speedup = "speed-up not measured" if done.speedup is None else f"speed-up {done.speedup:.2f}x"
    output.stdout.print(
        f"{trial_name}{done.summary}, top-1 {percent(done.accuracy)}{images} "
        f"({percent(done.unpruned)} unpruned{change}), "
        f"{'no speed-up (--plain)' if plain else speedup} -> {out}",
        soft_wrap=True,
    )
    call, name = LOADING["plain" if plain else format]
    # JSON's strings are Python's, in the quotes that the shell's don't end at.
    snippet = call.format(dumps(name.format(out), ensure_ascii=False))
    output.stdout.print(f"  {shlex.join(['python', '-c', snippet])}", soft_wrap=True)
