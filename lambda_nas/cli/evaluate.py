"""``lambda-nas eval``."""

from pathlib import Path
from typing import Annotated

import typer

from lambda_nas.cli import output
from lambda_nas.cli.options import ClassMapOption, JsonOption, PretrainedOption
from lambda_nas.cli.progress import stage


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        "eval", epilog="[bold]Example[/bold]\n\nlambda-nas eval local-dir:exported --data images"
    )(evaluate)


def evaluate(
    model: Annotated[str, typer.Argument(help="timm NAME, local-dir:DIR or hf-hub:ID.")],
    data: Annotated[Path, typer.Option(help="Image folder; val/ below it if there is one.")],
    class_map: ClassMapOption = None,
    pretrained: PretrainedOption = True,
    json: JsonOption = False,
) -> None:
    """Measure a model's top-1 and top-5 on an image folder."""
    from lambda_nas.core.evaluation import evaluate as measure
    from lambda_nas.inputs.images import load_evaluation
    from lambda_nas.inputs.models import load_model

    loaded = load_model(model, pretrained=pretrained)
    images, notes = load_evaluation(data, loaded.model, class_map=class_map)
    for text in notes:
        output.note(text)
    batch_size = 64
    with stage("Evaluating", -(-len(images) // batch_size)) as advance:
        found = measure(loaded.model, images, batch_size=batch_size, on_batch=lambda _: advance())
    if json:
        output.print_json({"top1": found.top1, "top5": found.top5, "images": found.images})
        return
    output.stdout.print(
        f"top-1 {100 * found.top1:.2f}%  top-5 {100 * found.top5:.2f}%  ({found.images} images)"
    )
