"""Searches from Python: what ``lambda-nas search`` does, and what it found as an object."""

# `import lambda_nas` imports this: whatever is heavy is imported where a function needs it.
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from lambda_nas.api.keywords import in_python_words
from lambda_nas.api.study import Study
from lambda_nas.api.units import parse_budget, parse_bytes
from lambda_nas.cost.constraints import Constraints
from lambda_nas.store import DEFAULT_STORAGE

if TYPE_CHECKING:
    from lambda_nas.strategy.space_files import SpaceConfig


def search(
    model: nn.Module | str | None = None,
    data: str | Path | None = None,
    *,
    budget: int | str = 12,
    space: "str | Path | SpaceConfig | None" = None,
    study: str | None = None,
    storage: str = DEFAULT_STORAGE,
    class_map: str | Path | None = None,
    workers: int = 1,
    gpus_per_trial: float | None = None,
    ray_address: str | None = None,
    max_params: int | None = None,
    max_memory: int | str | None = None,
    min_throughput: float | None = None,
    min_speedup: float | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Study:
    """Search for attention layers that a vision transformer can live without.

    Without model and data it runs on handwritten digits, with nothing to download. The same call
    takes an interrupted study up where it stopped, and a larger budget goes on with it.

    Args:
        model: A network that timm built, with its weights, on any device; it is copied, never
            changed. Or a name: ``local-dir:DIR``, ``hf-hub:ID``, or timm's own, with timm's
            weights.
        data: An image folder, a folder a class; with ``train/`` and ``val/`` below it there is
            training, too.
        budget: Evaluated trials in the whole study (``40``), or wall time (``"90s"``, ``"30m"``,
            ``"2h"``).
        space: Which layers may go: the name of a space that ships with the package, a YAML file,
            or the space itself.
        study: Its name; by default that of model and data.
        storage: SQLAlchemy URL of the study database, by default
            ``sqlite:///studies/lambda_nas.db`` below the working directory.
        class_map: A text file of class names in the order of the head.
        workers: Trials at a time; they share the cores.
        gpus_per_trial: By default one GPU shared by the workers, if there is one.
        ray_address: A Ray cluster to join, ``HOST:PORT`` or ``auto``.
        max_params: Parameters at most.
        max_memory: Bytes at the peak of a forward at most, or a size such as ``"300MB"``.
        min_throughput: Images a second at least.
        min_speedup: Throughput at least, over that of the unpruned model.
        seed: Of the split and the sampler.
        progress: Whether to show it, in a notebook's cell or on the terminal.

    Returns:
        The study, with all that earlier calls found.

    Raises:
        InputError: If something given can't be used.
        UnsupportedModelError: If the model has no attention layer that can be removed.
        StudyMismatchError: If the study exists with another model, other data or another device.
        InfeasibleError: If nothing is within the limits.
        StorageError: If the database can't be used.
        ClusterError: If there is a cluster to join and it can't be joined.
        TrialsFailedError: If trial after trial fails.
    """
    from lambda_nas.api import session as run
    from lambda_nas.api.config import Request, prepare
    from lambda_nas.api.notebook_progress import watched

    with in_python_words(), _quiet_dependencies():
        request = Request(
            budget=parse_budget(str(budget)),
            model=model,
            data=None if data is None else Path(data),
            # Nobody wants random weights pruned.
            pretrained=isinstance(model, str) or (data is not None and model is None),
            class_map=None if class_map is None else Path(class_map),
            space=str(space) if isinstance(space, Path) else space,
            study=study,
            storage=storage,
            workers=workers,
            gpus_per_trial=gpus_per_trial,
            ray_address=ray_address,
            constraints=Constraints(
                max_params,
                parse_bytes(None if max_memory is None else str(max_memory)),
                min_throughput,
                min_speedup,
            ),
            seed=seed,
        )
        with watched(request.budget.trials, visible=progress) as shown:
            job = prepare(request, shown.stage)
            if progress:
                _tell(job.source.notes)
            run.search(
                job.source,
                job.settings,
                store=job.store,
                name=job.name,
                progress=shown,
                command=_call(job.name, request.model, data, budget),
            )
        return Study(job.store.load(job.name))


def open_study(name: str, *, storage: str = DEFAULT_STORAGE) -> Study:
    """Open a study that was searched before, here or on the command line.

    Args:
        name: Of the study.
        storage: SQLAlchemy URL of the study database.

    Raises:
        InputError: If there is none of this name; lists those there are.
        StorageError: If the database is missing or can't be used.
    """
    from lambda_nas.store.study_store import SqlStudyStore

    with in_python_words():
        return Study(SqlStudyStore.open(storage, create=False).load(name))


def _tell(notes: Iterable[str]) -> None:
    from lambda_nas.api.terminal_progress import note as tell

    for note in notes:
        tell(note)


def _call(study: str, model: object, data: object, budget: object) -> str:
    """Write how the study is taken up, for its note and its report."""
    given = {"model": "model" if isinstance(model, nn.Module) else model and repr(model)}
    given |= {"data": data and repr(str(data)), "budget": repr(budget), "study": repr(study)}
    words = ", ".join(f"{key}={value}" for key, value in given.items() if value)
    return f"lambda_nas.search({words})"


@contextmanager
def _quiet_dependencies() -> Iterator[None]:
    """Keep warnings of our dependencies out of the user's cell; what goes wrong is an error."""
    # It says that widgets are missing, which are not used.
    logging.getLogger("ray.widgets").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
