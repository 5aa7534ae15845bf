"""``lambda-nas show``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lambda_nas.cli import output
from lambda_nas.cli.options import DEFAULT_STORAGE, JsonOption, StorageOption, StudyArgument
from lambda_nas.records.trial import ParetoTrial

if TYPE_CHECKING:
    from lambda_nas.store.study_store import SqlStudyStore


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        epilog="[bold]Example[/bold]\n\nlambda-nas show deit_tiny-images --plot front.html"
    )(show)


def show(
    study: StudyArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    json: JsonOption = False,
    plot: Annotated[
        Path | None, typer.Option(help="Write the front as .html, .png or .svg.")
    ] = None,
) -> None:
    """Show a study's front."""
    from lambda_nas.store.study_store import SqlStudyStore

    store = SqlStudyStore.open(storage, create=False)
    info, front = store.study(study), store.front(study)
    if plot:
        from lambda_nas.reporting import figures

        figures.save(figures.front(store.load(study)), plot)
        output.note(f"wrote {plot}")
    if json:
        output.print_json(study_json(store, study))
        return
    output.stdout.print(output.front_table(info, front))


def study_json(store: "SqlStudyStore", name: str) -> dict[str, object]:
    """Return a study in the form of the design's part 7."""
    from lambda_nas.records.front import hypervolume
    from lambda_nas.strategy.optuna_trials import count_stored

    info, front = store.study(name), store.front(name)
    counts = count_stored(name, store.optuna)
    base = info.baseline
    return {
        "study": name,
        "model": info.model,
        "data": info.data,
        "device": info.device,
        "baseline": {
            "accuracy": info.baseline_accuracy,
            "throughput": base.throughput,
            "memory_bytes": base.memory_bytes,
            "params": base.params,
            "macs": base.macs,
        },
        "front": [_point_json(point) for point in front],
        "trials": {
            "complete": counts.complete,
            "pruned": counts.pruned,
            "failed": counts.failed,
        },
        "hypervolume": hypervolume(front, base),
    }


def _point_json(point: ParetoTrial) -> dict[str, object]:
    return {
        "trial": point.trial,
        "removed": list(point.removal),
        "merging": output.merging_json(point.architecture),
        "accuracy": point.accuracy,
        "throughput": point.price.throughput,
        "speedup": point.price.speedup,
        "memory_bytes": point.price.memory_bytes,
        "params": point.price.params,
        "macs": point.price.macs,
        "rung": point.rung,
    }
