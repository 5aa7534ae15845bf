"""``lambda-nas prior``."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

import lambda_nas
from lambda_nas.cli.loading import loading
from lambda_nas.cli.options import (
    CheckpointOption,
    ClassMapOption,
    DataOption,
    ImageSizeOption,
    JsonOption,
    ModelOption,
    PlotOption,
    PretrainedOption,
)

if TYPE_CHECKING:
    from lambda_nas.api.prior import MeasuredPrior

EPILOG = """[bold]Examples[/bold]

lambda-nas prior --plot prior.html

lambda-nas prior --model local-dir:deit_tiny --data images --score transfer-entropy --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EPILOG)(prior)


def prior(
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    pretrained: PretrainedOption = False,
    img_size: ImageSizeOption = None,
    data: DataOption = None,
    class_map: ClassMapOption = None,
    score: Annotated[
        Literal["relative-entropy", "transfer-entropy"],
        typer.Option(help="The score that NOSE minimizes."),
    ] = "relative-entropy",
    target: Annotated[
        Literal["head", "features"], typer.Option(help="Where transfer entropy is measured.")
    ] = "head",
    order: Annotated[
        Literal["absolute", "signed"],
        typer.Option(help="Minimize the absolute or the signed transfer entropy."),
    ] = "absolute",
    seed: Annotated[int, typer.Option(help="Random seed for the data split.")] = 0,
    json: JsonOption = False,
    plot: PlotOption = None,
) -> None:
    """Show what each layer is worth, and the NOSE path, without any trial."""
    with loading():
        run = lambda_nas.prior
        from lambda_nas.reporting import figures
    if plot:
        figures.check_target(plot, parameter="plot")
    found = run(
        model,
        data,
        checkpoint=checkpoint,
        pretrained=pretrained,
        img_size=img_size,
        class_map=class_map,
        score=score,
        target=target,
        order=order,
        seed=seed,
    )
    from dataclasses import asdict

    from lambda_nas.cli import output

    if plot:
        figures.save(found.plot(), plot, parameter="plot")
        output.note(f"wrote {plot}")
    if json:
        output.print_json(
            {
                "layers": [asdict(layer) for layer in found.layers],
                "path": [step.row() for step in found.path],
                "score": found.score,
                "target": found.target,
                "order": found.order,
                "images": found.images,
            }
        )
        return
    _print_tables(found)


def _print_tables(found: "MeasuredPrior") -> None:
    from rich.table import Table

    from lambda_nas.cli import output
    from lambda_nas.reporting.wrapping import AtCommas

    layers = Table(
        *("layer", "H(attention)", "H(MLP)", "transfer entropy", "relative entropy", "high freq.")
    )
    for layer in found.layers:
        layers.add_row(
            str(layer.index),
            "" if layer.entropy_attn is None else f"{layer.entropy_attn:.2f}",
            "" if layer.entropy_mlp is None else f"{layer.entropy_mlp:.2f}",
            f"{layer.transfer_entropy:+.3f}",
            f"{layer.relative_entropy:.4f}",
            "" if layer.high_frequency is None else f"{layer.high_frequency:.1%}",
        )
    output.stdout.print(layers)
    path = Table(
        *("step", "added", "removal set", found.score), title=f"NOSE path, {found.images} images"
    )
    for index, step in enumerate(found.path, 1):
        path.add_row(str(index), str(step.added), AtCommas(str(step.removal)), f"{step.score:.4f}")
    output.stdout.print(path)
