"""What a search is asked for: checked, and resolved to the settings of a session."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from lambda_nas.api.session import Session, Source, Stage, default_study_name, open_source
from lambda_nas.cost.constraints import Constraints
from lambda_nas.errors import InputError
from lambda_nas.execution.settings import Budget, Settings
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import check_removal, removable_layers
from lambda_nas.pretrained.entry_points import DIGITS_ARCHITECTURE
from lambda_nas.records.study import check_study_name
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.strategy.space_files import SpaceConfig, load_space
from lambda_nas.token_merging.blocks import check_mergeable

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


@dataclass(frozen=True, eq=False, kw_only=True)
class SearchConfig:
    """A search as it was asked for.

    Attributes:
        budget: When to stop.
        model: A name as ``load_model`` takes it, or a network that timm built.
        data: An image folder; without model and data the built-in digits are searched.
        checkpoint: A file of weights for the model.
        pretrained: Whether to load timm's weights; by default unless there is a checkpoint.
        img_size: Side of the square images to search on, if it isn't the model's own.
        class_map: A text file of class names in the order of the head.
        space: Name of a shipped space, a YAML file, or the space itself.
        study: Name of the study; by default that of model and data.
        storage: SQLAlchemy URL of the study database, if it is not the default one.
        workers: Trials that run at the same time.
        gpus_per_trial: By default the workers share one GPU, if there is one.
        ray_address: The Ray cluster to join; ``None`` starts one for this search.
        constraints: Constraints on the price of an architecture.
        seed: Random seed for the data split and the sampler.
    """

    budget: Budget
    model: str | nn.Module | None = None
    data: str | Path | None = None
    checkpoint: str | Path | None = None
    pretrained: bool | None = None
    img_size: int | None = None
    class_map: str | Path | None = None
    space: str | Path | SpaceConfig | None = None
    study: str | None = None
    storage: str | None = None
    workers: int = 1
    gpus_per_trial: float | None = None
    ray_address: str | None = None
    constraints: Constraints = field(default_factory=Constraints)
    seed: int = 0


@contextmanager
def open_session(config: SearchConfig, stage: Stage) -> Iterator[Session]:
    """Check what was asked for, open the database, and load model and images.

    The database is closed at the end.

    Raises:
        InputError: If something given can't be used, or two things don't go together.
        StorageError: If the database can't be used.
    """
    _check_names(config)
    gpus = _check_resources(config)
    space, model = _resolve_space(config)
    # Before the images: they take long to read.
    with SqlStudyStore.open(config.storage) as store:
        source = open_source(
            stage,
            model=model,
            data=config.data,
            checkpoint=config.checkpoint,
            pretrained=config.pretrained,
            img_size=config.img_size,
            class_map=config.class_map,
            seed=config.seed,
        )
        layers, most, seeds = resolve_layers(source, space)
        settings = Settings(
            budget=config.budget,
            max_removed=most,
            layers=layers,
            mergings=resolve_mergings(source, space),
            workers=config.workers,
            gpus_per_trial=gpus,
            ray_address=config.ray_address,
            constraints=config.constraints,
            seeds=seeds,
            seed=config.seed,
        )
        name = default_study_name(source) if config.study is None else config.study
        check_study_name(name)
        yield Session(source, settings, store, name)


def _check_names(config: SearchConfig) -> None:
    """Refuse names that can't be stored."""
    if config.study is not None:
        check_study_name(config.study)
    for parameter in ("model", "data", "checkpoint", "class_map", "space"):
        value = getattr(config, parameter)
        if not isinstance(value, str | Path):
            continue
        try:
            str(value).encode()
        except UnicodeEncodeError as error:
            raise InputError(
                "the name is not in UTF-8, and no database stores it",
                parameter=parameter,
                value=value,
                advice="rename it",
            ) from error


def _check_resources(config: SearchConfig) -> float:
    """Refuse what this machine can't do; return the GPUs per trial."""
    constraints, workers = config.constraints, config.workers
    if constraints.min_throughput is not None and constraints.min_speedup is not None:
        raise InputError("give `min_throughput` or `min_speedup`, not both")
    if workers < 1:
        raise InputError("must be at least 1", parameter="workers", value=workers)
    cores = os.cpu_count() or 1
    if config.ray_address is None and workers > cores:
        raise InputError(
            f"too many: each worker needs a core, and this machine has {cores}",
            parameter="workers",
            value=workers,
        )
    return _gpus(config.gpus_per_trial, sharers=1 if config.ray_address else workers)


def _gpus(given: float | None, *, sharers: int) -> float:
    """Return the GPUs per trial; by default one GPU is shared, if there is one."""
    if given is None:
        return 1 / sharers if torch.cuda.is_available() else 0.0
    if given and not torch.cuda.is_available():
        raise InputError(
            "PyTorch sees no GPU here, and prices are measured where the search is started",
            parameter="gpus_per_trial",
            value=f"{given:g}",
            advice="start it on a machine with a GPU",
        )
    if given > 1 and given != int(given):
        raise InputError(
            "a value above 1 must be a whole number",
            parameter="gpus_per_trial",
            value=f"{given:g}",
        )
    return given


def _resolve_space(
    config: SearchConfig,
) -> tuple[SpaceConfig | None, str | nn.Module | None]:
    """Return the space, the digits' own by default, and the model, which a space may name."""
    space, model = config.space, config.model
    if isinstance(space, str | Path):
        space = load_space(str(space))
    if space is None:
        return (load_space("digits") if model is None and config.data is None else None), model
    if model is None and space.model != DIGITS_ARCHITECTURE:
        model = space.model
    return space, model


def resolve_mergings(source: Source, space: SpaceConfig | None) -> tuple[Merging, ...]:
    """Return the ways to merge tokens that a space offers.

    Raises:
        UnsupportedModelError: If there are any, and the model can't merge tokens.
        InputError: If one starts where no block has attention.
    """
    if space is None or not space.tome_r:
        return ()
    check_mergeable(source.model.model)
    attention = removable_layers(source.model.model)
    late = [start for start in space.tome_start if start > attention[-1]]
    if late:
        raise InputError(
            f"no block from there on has attention, the last that has is {attention[-1]}",
            parameter="tome_start",
            value=late[0],
        )
    return space.mergings


def resolve_layers(
    source: Source, space: SpaceConfig | None
) -> tuple[tuple[int, ...], int, tuple[RemovalSet, ...]]:
    """Return removable layers, the most to remove at once, and the space's named removal sets."""
    layers = removable_layers(source.model.model)
    if space is None:
        return layers, max(1, len(layers) // 2), ()
    if space.removable != "all":
        check_removal(source.model.model, RemovalSet.of(space.removable))
        layers = tuple(sorted(space.removable))
    seeds = tuple(RemovalSet.of(seed) for seed in space.seeds.values())
    for seed in seeds:
        check_removal(source.model.model, seed)
    most = space.max_removed or len(layers)
    return layers, min(most, len(layers)), seeds


def parse_budget(text: str) -> Budget:
    """Read ``40`` (evaluated trials) or ``90s``, ``30m``, ``2h`` (wall time).

    Raises:
        InputError: If it is neither, or not above zero.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match and float(match[1]) > 0:
        return Budget(seconds=float(match[1]) * _SECONDS[match[2]])
    if text.isascii() and text.isdigit() and int(text) > 0:
        return Budget(trials=int(text))
    raise InputError(
        "not a budget",
        parameter="budget",
        value=text,
        allowed="a number of trials above 0, such as 40, or a time such as 90s, 30m or 2h",
    )


def parse_bytes(text: str) -> int:
    """Read a size such as ``300MB``, ``1.5GiB`` or ``200000000``, in bytes.

    Raises:
        InputError: If it is no size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(|[kmg]i?)b?", text.lower())
    if not match:
        raise InputError(
            "not a size",
            parameter="max_memory",
            value=text,
            allowed="a size such as 300MB or 1.5GiB",
        )
    return int(float(match[1]) * _BYTES[match[2]])
