"""``lambda-nas search``."""

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    PretrainedOption,
    StorageOption,
    TrustClassesOption,
    WeightsOption,
)

if TYPE_CHECKING:
    from lambda_nas.api.inputs.config import SearchOptions
    from lambda_nas.api.plan import Plan
    from lambda_nas.api.study import Study

EPILOG = """[bold]Examples[/bold]

lambda-nas search --budget 12

lambda-nas search --model local-dir:deit_tiny --data images --budget 30m

lambda-nas search --model local-dir:deit_tiny --data images --budget 40 --dry-run

lambda-nas search --model deit_small_patch16_224 --pretrained --data imagenet --min-speedup 1.2
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EPILOG)(search)


def search(
    space: Annotated[
        str | None, typer.Option(help="Search space: the NAME of a shipped one, or a YAML FILE.")
    ] = None,
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    pretrained: PretrainedOption = False,
    img_size: ImageSizeOption = None,
    data: DataOption = None,
    class_map: ClassMapOption = None,
    trust_classes: TrustClassesOption = False,
    budget: Annotated[
        str, typer.Option(help="Number of evaluated trials (40), or wall time (90s, 30m, 2h).")
    ] = "12",
    study: Annotated[
        str | None, typer.Option(help="Name of the study.", show_default="from model and data")
    ] = None,
    storage: StorageOption = None,
    weights: WeightsOption = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Trials that run at the same time; they share the cores.")
    ] = 1,
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="GPUs per trial; several trials share one if this is a fraction.",
            show_default="the workers share one GPU, if there is one; in a cluster, one per trial",
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(envvar="RAY_ADDRESS", help="Ray cluster to join: HOST:PORT, or auto."),
    ] = None,
    trial_timeout: Annotated[
        str | None,
        typer.Option(
            help="How long a trial may take (90s, 10m, 2h) before it counts as hung.",
            show_default="20 times the slowest, at least 2m",
        ),
    ] = None,
    max_params: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of parameters.")
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option(help="Maximum memory of a forward pass, such as 300MB.")
    ] = None,
    min_throughput: Annotated[
        float | None, typer.Option(min=0, help="Minimum throughput in images per second.")
    ] = None,
    min_speedup: Annotated[
        float | None, typer.Option(min=0, help="Minimum speed-up over the unpruned model.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed for the data split and the sampler.")] = 0,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check everything and print the plan and its cost; search nothing."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Search for attention layers that a vision transformer can live without.

    Without --model and --data it searches the handwritten digits, with nothing to download.
    Run the same command again to resume.
    """
    options: SearchOptions = {
        "budget": budget,
        "space": space,
        "study": study,
        "storage": storage,
        "weights": weights,
        "checkpoint": checkpoint,
        "pretrained": pretrained,
        "img_size": img_size,
        "class_map": class_map,
        "trust_classes": trust_classes,
        "workers": workers,
        "gpus_per_trial": gpus_per_trial,
        "ray_address": ray_address,
        "trial_timeout": trial_timeout,
        "max_params": max_params,
        "max_memory": max_memory,
        "min_throughput": min_throughput,
        "min_speedup": min_speedup,
        "seed": seed,
    }
    if dry_run:
        with loading():
            planned = lambda_nas.plan
        _print_plan(planned(model, data, **options), json=json)
        return
    with loading():
        run = lambda_nas.search
    began = time.monotonic()
    found = run(
        model,
        data,
        **options,
        command=shlex.join(["lambda-nas", *sys.argv[1:]]),
    )
    from lambda_nas.cli import output

    if json:
        output.print_json(output.study_json(found))
        return
    output.stdout.print(output.front_table(found))
    _print_end(found, storage, weights, seconds=time.monotonic() - began)


def _print_plan(plan: "Plan", *, json: bool) -> None:
    from lambda_nas.cli import output, plan_output

    if json:
        output.print_json(plan_output.plan_json(plan))
    else:
        output.stdout.print(plan_output.plan_table(plan))


def _print_end(
    found: "Study", storage: str | None, weights: Path | None, *, seconds: float
) -> None:
    from lambda_nas.cli import output
    from lambda_nas.reporting.formatting import command, counted, duration, storage_hint
    from lambda_nas.store.urls import storage_url

    shown = None if storage == storage_url(None) else storage
    counts = found.counts
    output.stdout.print(
        f"{counted(counts.complete, 'trial')} done, {counts.stopped} stopped early, "
        f"{counts.rejected} rejected by the gate, {counts.failed} failed; "
        f"ended after {duration(seconds)}: {found.ended}"
    )
    output.stdout.print("\nNext:", style="bold")
    if hint := storage_hint(shown):
        output.stdout.print(f"  {hint}", soft_wrap=True)
    for step in (
        command(
            *("export", found.name, "--max-drop", 1, "--out", "exported"),
            *(("--weights", weights) if weights else ()),
            storage=shown,
        ),
        command("report", found.name, "--out", "report.html", storage=shown),
        command("dashboard", None, storage=shown),
        command("show", found.name, storage=shown),
    ):
        output.stdout.print(f"  {step}", soft_wrap=True)
