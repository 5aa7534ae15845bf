"""``lambda-nas eval``."""

from pathlib import Path
from typing import Annotated

import typer

from lambda_nas.api.terminal_progress import stage
from lambda_nas.cli import output
from lambda_nas.cli.options import ClassMapOption, JsonOption, PretrainedOption

BATCH_SIZE = 64


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
    import torch

    from lambda_nas.data.image_folder import load_evaluation
    from lambda_nas.execution.progress import in_percent
    from lambda_nas.pretrained.loading import load_model
    from lambda_nas.training.evaluation import evaluate as measure

    network = load_model(model, pretrained=pretrained).model
    with stage("Reading images", 100) as advance:
        images, notes = load_evaluation(
            data, network, class_map=class_map, on_image=in_percent(advance)
        )
    for text in notes:
        output.note(text)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    with stage("Evaluating", -(-len(images) // BATCH_SIZE)) as advance:
        found = measure(network, images, batch_size=BATCH_SIZE, on_batch=lambda _: advance())
    if json:
        output.print_json({"top1": found.top1, "top5": found.top5, "images": found.images})
        return
    output.stdout.print(
        f"top-1 {100 * found.top1:.2f}%  top-5 {100 * found.top5:.2f}%  ({found.images} images)"
    )
