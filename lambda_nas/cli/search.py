"""``lambda-nas search``."""

import os
from typing import Annotated

import typer

from lambda_nas.cli import output
from lambda_nas.cli.app import INTERRUPTED
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
    parse_budget,
    parse_bytes,
)
from lambda_nas.cli.progress import SearchProgress
from lambda_nas.cli.show import study_json
from lambda_nas.errors import InputError
from lambda_nas.search.job import Settings
from lambda_nas.search.limits import Limits

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
    limits = Limits(max_params, parse_bytes(max_memory), min_throughput, min_speedup)
    if min_throughput is not None and min_speedup is not None:
        raise InputError("give --min-throughput or --min-speedup, not both")

    cores = os.cpu_count() or 1
    if ray_address is None and workers > cores:
        raise InputError(f"--workers {workers}: this machine has {cores} cores, one a worker")
    gpus = _gpus(gpus_per_trial, sharers=1 if ray_address else workers)

    from lambda_nas import run
    from lambda_nas.inputs.spaces import load_space
    from lambda_nas.registry import DIGITS_ARCHITECTURE
    from lambda_nas.store.store import Store

    chosen = load_space(space) if space else None
    if chosen is None and model is None and data is None:
        chosen = load_space("digits")
    elif chosen and model is None and chosen.model != DIGITS_ARCHITECTURE:
        model = chosen.model
    store = Store.open(storage)
    with second_interrupt_exits(), SearchProgress(parsed_budget.trials) as progress:
        source = run.open_source(
            progress.stage,
            model=model,
            data=data,
            checkpoint=checkpoint,
            pretrained=pretrained,
            class_map=class_map,
            seed=seed,
        )
        for text in source.data.notes:
            output.note(text)
        layers, most, seeds = run.resolve_layers(source, chosen)
        name = study or run.default_study_name(source)
        settings = Settings(
            budget=parsed_budget,
            max_removed=most,
            layers=layers,
            workers=workers,
            gpus_per_trial=gpus,
            ray_address=ray_address,
            limits=limits,
            seeds=seeds,
            seed=seed,
        )
        try:
            outcome = run.search(source, settings, store=store, name=name, progress=progress)
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
        f"{counts.refused} pruned by the prior, {counts.failed} failed; ended: {outcome.stopped}"
    )
    _next_steps(name, storage)


def _gpus(given: float | None, *, sharers: int) -> float:
    """Return each trial's part of a GPU; without a say one GPU is shared, if there is one."""
    import torch

    if given is None:
        return 1 / sharers if torch.cuda.is_available() else 0.0
    if given and not torch.cuda.is_available():
        raise InputError(
            f"--gpus-per-trial {given:g}: PyTorch sees no GPU here, and prices are measured where "
            "the search is started; start it on a machine with a GPU"
        )
    if given > 1 and given != int(given):
        raise InputError(f"--gpus-per-trial {given:g}: above one it has to be whole GPUs")
    return given


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
