"""``lambda-nas prior``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from lambda_nas.api.terminal_progress import stage
from lambda_nas.cli import output
from lambda_nas.cli.options import (
    CheckpointOption,
    ClassMapOption,
    DataOption,
    JsonOption,
    ModelOption,
    PretrainedOption,
)

EPILOG = """[bold]Examples[/bold]

lambda-nas prior --plot prior.html

lambda-nas prior --model local-dir:deit_tiny --data images --score transfer-entropy --json
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=EPILOG)(prior)


def prior(
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    pretrained: PretrainedOption = False,
    data: DataOption = None,
    class_map: ClassMapOption = None,
    score: Annotated[
        Literal["relative-entropy", "transfer-entropy"],
        typer.Option(help="What NOSE minimises."),
    ] = "relative-entropy",
    target: Annotated[
        Literal["head", "features"], typer.Option(help="Where transfer entropy is measured.")
    ] = "head",
    order: Annotated[
        Literal["absolute", "signed"], typer.Option(help="For transfer entropy.")
    ] = "absolute",
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    json: JsonOption = False,
    plot: Annotated[
        Path | None, typer.Option(help="Write a figure as .html, .png or .svg.")
    ] = None,
) -> None:
    """Show what each layer is worth, and the NOSE path, without any trial."""
    from lambda_nas.api import session as run
    from lambda_nas.scoring.forwards import forwards_of
    from lambda_nas.scoring.prior import measure_prior

    source = run.open_source(
        stage,
        model=model,
        data=data,
        checkpoint=checkpoint,
        pretrained=pretrained,
        class_map=class_map,
        seed=seed,
    )
    # The greedy path comes back to many states; the default leaves room for a transplant.
    forwards = forwards_of(source.model.model, source.data.calibration, limit_bytes=2 << 30)
    with stage("Measuring the prior", 2 * len(forwards.layers)) as advance:
        found = measure_prior(forwards, score=score, target=target, order=order, on_step=advance)
    layers = [asdict(layer) for layer in found.layers]
    path = [step.row() for step in found.path]
    if plot:
        from lambda_nas.reporting import figures

        title = f"{source.model.name} on {source.data_name}"
        drawn = figures.draw_prior(
            figures.prior_data(layers, path), title, f"from {found.images} images"
        )
        figures.save(drawn, plot)
        output.note(f"wrote {plot}")
    if json:
        output.print_json(
            {
                "layers": layers,
                "path": path,
                "score": found.score,
                "target": found.target,
                "order": found.order,
                "images": found.images,
            }
        )
        return
    table = Table(
        *("layer", "H(attention)", "H(MLP)", "transfer entropy", "relative entropy", "high freq.")
    )
    for layer in found.layers:
        table.add_row(
            str(layer.index),
            "" if layer.entropy_attn is None else f"{layer.entropy_attn:.2f}",
            "" if layer.entropy_mlp is None else f"{layer.entropy_mlp:.2f}",
            f"{layer.transfer_entropy:+.3f}",
            f"{layer.relative_entropy:.4f}",
            "" if layer.high_frequency is None else f"{layer.high_frequency:.1%}",
        )
    output.stdout.print(table)
    steps = Table("step", "added", "removal set", score, title=f"NOSE path, {found.images} images")
    for index, step in enumerate(found.path, 1):
        steps.add_row(str(index), str(step.added), str(step.removal), f"{step.score:.4f}")
    output.stdout.print(steps)
