"""``lambda-nas search``."""

from typing import Annotated

import typer

from lambda_nas.api.terminal_progress import SearchProgress
from lambda_nas.api.units import parse_budget, parse_bytes
from lambda_nas.cli import output
from lambda_nas.cli.commands.show import study_json
from lambda_nas.cli.exit_codes import INTERRUPTED
from lambda_nas.cli.interrupts import second_interrupt_exits
from lambda_nas.cli.options import (
    DEFAULT_STORAGE,
    CheckpointOption,
    ClassMapOption,
    DataOption,
    JsonOption,
    ModelOption,
    PretrainedOption,
    StorageOption,
)
from lambda_nas.cost.constraints import Constraints

EPILOG = """[bold]Examples[/bold]

lambda-nas search --budget 12

lambda-nas search --model local-dir:deit_tiny --data images --budget 30m

lambda-nas search --model deit_small_patch16_224 --pretrained --data imagenet --min-speedup 1.2
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=EPILOG)(search)


def search(
    space: Annotated[
        str | None, typer.Option(help="Search space: a shipped NAME, or FILE.")
    ] = None,
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    pretrained: PretrainedOption = False,
    data: DataOption = None,
    class_map: ClassMapOption = None,
    budget: Annotated[str, typer.Option(help="Evaluated trials (40), or time (30m, 2h).")] = "12",
    study: Annotated[
        str | None, typer.Option(help="Name of the study.", show_default="from model and data")
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
    workers: Annotated[
        int, typer.Option(min=1, help="Trials at a time; they share the cores.")
    ] = 1,
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(
            min=0, show_default="one GPU shared by the workers, if any; in a cluster one a trial"
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(envvar="RAY_ADDRESS", help="Ray cluster to join: HOST:PORT, or auto."),
    ] = None,
    max_params: Annotated[int | None, typer.Option(min=1, help="At most this many.")] = None,
    max_memory: Annotated[str | None, typer.Option(help="At most this, such as 300MB.")] = None,
    min_throughput: Annotated[float | None, typer.Option(min=0, help="Images/s.")] = None,
    min_speedup: Annotated[float | None, typer.Option(min=0, help="Over the unpruned.")] = None,
    seed: Annotated[int, typer.Option(help="Of the split and the sampler.")] = 0,
    json: JsonOption = False,
) -> None:
    """Search for attention layers that a vision transformer can live without.

    Without --model and --data it runs on handwritten digits, with nothing to download.
    The same command takes an interrupted study up where it stopped.
    """
    parsed_budget = parse_budget(budget)
    constraints = Constraints(max_params, parse_bytes(max_memory), min_throughput, min_speedup)

    from lambda_nas.api import session as run
    from lambda_nas.api.config import Request, prepare

    request = Request(
        budget=parsed_budget,
        model=model,
        data=data,
        checkpoint=checkpoint,
        pretrained=pretrained,
        class_map=class_map,
        space=space,
        study=study,
        storage=storage,
        workers=workers,
        gpus_per_trial=gpus_per_trial,
        ray_address=ray_address,
        constraints=constraints,
        seed=seed,
    )
    with second_interrupt_exits(), SearchProgress(parsed_budget.trials) as progress:
        job = prepare(request, progress.stage)
        store, name = job.store, job.name
        for text in job.source.notes:
            output.note(text)
        try:
            outcome = run.search(
                job.source, job.settings, store=store, name=name, progress=progress
            )
        except KeyboardInterrupt:
            output.stderr.print(
                f"interrupted; study {name} is safe: the same command takes it up again"
            )
            raise typer.Exit(INTERRUPTED) from None
    if json:
        output.print_json(study_json(store, name))
        return
    output.stdout.print(output.front_table(store.study(name), outcome.front))
    counts = outcome.counts
    output.stdout.print(
        f"{counts.complete} trials done, {counts.stopped} stopped early, "
        f"{counts.rejected} pruned by the prior, {counts.failed} failed; ended: {outcome.stopped}"
    )
    _next_steps(name, storage)


def _next_steps(name: str, storage: str) -> None:
    where = "" if storage == DEFAULT_STORAGE else f" --storage {storage}"
    output.stdout.print("\nNext:", style="bold")
    for command in (
        f"lambda-nas export {name}{where} --max-drop 1 --out exported",
        f"lambda-nas report {name}{where} --out report.html",
        f"lambda-nas dashboard{where}",
        f"lambda-nas show {name}{where}",
    ):
        output.stdout.print(f"  {command}", soft_wrap=True)
