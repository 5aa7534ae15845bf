"""What a person asks for, on the command line or in Python, made ready for the search."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from lambda_nas.api.session import (
    Source,
    Stage,
    default_study_name,
    open_source,
    resolve_layers,
    resolve_mergings,
)
from lambda_nas.cost.constraints import Constraints
from lambda_nas.errors import InputError
from lambda_nas.execution.settings import Budget, Settings
from lambda_nas.pretrained.entry_points import DIGITS_ARCHITECTURE
from lambda_nas.store import DEFAULT_STORAGE
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.strategy.space_files import SpaceConfig, load_space


@dataclass(frozen=True, eq=False, kw_only=True)
class Request:
    """The wishes, as they were given.

    Attributes:
        model: A name as ``load_model`` takes it, or a network that timm built.
        data: An image folder; without model and data the embedded digits are searched.
        space: A shipped space's name, a YAML file, or the space itself.
        study: Its name; by default that of model and data.
        gpus_per_trial: By default one shared by the workers, if there is any.
    """

    budget: Budget
    model: str | nn.Module | None = None
    data: Path | None = None
    checkpoint: Path | None = None
    pretrained: bool = False
    class_map: Path | None = None
    space: str | SpaceConfig | None = None
    study: str | None = None
    storage: str = DEFAULT_STORAGE
    workers: int = 1
    gpus_per_trial: float | None = None
    ray_address: str | None = None
    constraints: Constraints = field(default_factory=Constraints)
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Job:
    """All that ``run.search`` needs."""

    source: Source
    settings: Settings
    store: SqlStudyStore
    name: str


def prepare(request: Request, stage: Stage) -> Job:
    """Check the wishes, open the database, and load model and images.

    Raises:
        InputError: If something given can't be used, or two things don't go together.
        StorageError: If the database can't be used.
    """
    gpus = _check_resources(request)
    space, model = _resolve_space(request)
    # Before the images: they take long to read.
    store = SqlStudyStore.open(request.storage)
    source = open_source(
        stage,
        model=model,
        data=request.data,
        checkpoint=request.checkpoint,
        pretrained=request.pretrained,
        class_map=request.class_map,
        seed=request.seed,
    )
    layers, most, seeds = resolve_layers(source, space)
    settings = Settings(
        budget=request.budget,
        max_removed=most,
        layers=layers,
        mergings=resolve_mergings(source, space),
        workers=request.workers,
        gpus_per_trial=gpus,
        ray_address=request.ray_address,
        constraints=request.constraints,
        seeds=seeds,
        seed=request.seed,
    )
    return Job(source, settings, store, request.study or default_study_name(source))


def _check_resources(request: Request) -> float:
    """Refuse what this machine can't do; return each trial's part of a GPU."""
    constraints, workers = request.constraints, request.workers
    if constraints.min_throughput is not None and constraints.min_speedup is not None:
        raise InputError("give --min-throughput or --min-speedup, not both")
    if workers < 1:
        raise InputError(f"--workers {workers}: at least one has to work")
    cores = os.cpu_count() or 1
    if request.ray_address is None and workers > cores:
        raise InputError(f"--workers {workers}: this machine has {cores} cores, one a worker")
    return _gpus(request.gpus_per_trial, sharers=1 if request.ray_address else workers)


def _gpus(given: float | None, *, sharers: int) -> float:
    """Return each trial's part of a GPU; without a say one GPU is shared, if there is one."""
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


def _resolve_space(request: Request) -> tuple[SpaceConfig | None, str | nn.Module | None]:
    """Return the space, the digits' own by default, and the model, which a space may name."""
    space, model = request.space, request.model
    if isinstance(space, str):
        space = load_space(space)
    if space is None:
        return (load_space("digits") if model is None and request.data is None else None), model
    if model is None and space.model != DIGITS_ARCHITECTURE:
        model = space.model
    return space, model
