"""What a search needs: found and checked before any work, and all problems told at once."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lambda_nas.api.inputs.config import SearchConfig
from lambda_nas.api.inputs.source import FoundSource, Stage, default_study_name, find_source
from lambda_nas.cost.measurement import storage_bytes
from lambda_nas.data.layout import find_layout
from lambda_nas.errors import InputError, Problems
from lambda_nas.execution.cluster import check_cluster, ray_folder
from lambda_nas.execution.estimates import most_files
from lambda_nas.execution.places import bytes_in, check_room, check_writable
from lambda_nas.execution.progress import LOOKING_FOR_CLUSTER
from lambda_nas.execution.settings import Settings
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import check_removal, removable_layers
from lambda_nas.pretrained.entry_points import DIGITS_ARCHITECTURE
from lambda_nas.records.study import check_study_name
from lambda_nas.records.weights import StudyWeights
from lambda_nas.store.checks import FoundStudy, check_database
from lambda_nas.store.sqlite import sqlite_file
from lambda_nas.store.urls import parse_url, storage_url, weights_root
from lambda_nas.strategy.space_files import SpaceConfig, load_space
from lambda_nas.token_merging.blocks import check_mergeable


@dataclass(frozen=True, eq=False)
class PreparedSearch:
    """A search that can begin.

    Attributes:
        source: The unpruned model, and its images before they are decoded.
        settings: How to search.
        study: Name of the study.
        found: What the database has of it; ``None`` if the study is new.
        weights: The folder of the folders of studies' weights.
    """

    source: FoundSource
    settings: Settings
    study: str
    found: FoundStudy | None
    weights: Path


def prepare(config: SearchConfig, stage: Stage) -> PreparedSearch:
    """Find and check everything that a search needs; nothing is written, no image is decoded.

    Raises:
        InputError: If something given can't be used, or two things don't go together.
        StorageError: If the database can't be used.
        ClusterError: If the cluster can't be joined.
        ProblemsError: If there are several problems.
    """
    problems = Problems()
    gpus = 0.0
    with problems.collected():
        gpus = _check_resources(config)
    with problems.collected():
        _check_names(config)
    with problems.collected():
        _check_cluster(config, stage)
    space, model, names_model = None, config.model, config.model is not None
    with problems.collected():
        space, model = _resolve_space(config)
        names_model = True
    source, study, found = None, config.study, None
    # A space that can't be read may be what names the model.
    if names_model:
        with problems.collected():
            source = _find(config, model)
    if source is None:
        with problems.collected():
            _check_folder(config)
    with problems.collected():
        if source is not None and study is None:
            study = default_study_name(source)
            check_study_name(study)
    with problems.collected():
        found = check_database(config.storage, study)
    with problems.collected():
        root, folder = _find_weights(config, study, found)
        if source is not None:
            settings = _settings(config, source.model.model, space, gpus)
            _check_room(folder, source.model.model, settings)
    problems.report()
    assert source is not None
    assert study is not None
    return PreparedSearch(source, settings, study, found, root)


def _check_cluster(config: SearchConfig, stage: Stage) -> None:
    if config.ray_address is None:
        ray_folder()
    else:
        with stage(LOOKING_FOR_CLUSTER, 1):
            check_cluster(config.ray_address)


def _find(config: SearchConfig, model: str | nn.Module | None) -> FoundSource:
    return find_source(
        model=model,
        data=config.data,
        checkpoint=config.checkpoint,
        pretrained=config.pretrained,
        img_size=config.img_size,
        class_map=config.class_map,
        seed=config.seed,
    )


def _check_folder(config: SearchConfig) -> None:
    """Look at least at the folder of images if the model can't be had."""
    if config.data is not None:
        find_layout(Path(config.data))


def _find_weights(
    config: SearchConfig, study: str | None, found: FoundStudy | None
) -> tuple[Path, Path]:
    """Return the root of all weights and this study's folder, which can be written or made."""
    url = parse_url(storage_url(config.storage))
    root = folder = config.weights or weights_root(url)
    if found and found.uuid and study is not None:
        folder = StudyWeights.below(root, study, found.uuid).folder
    # A new folder beside an SQLite file is made in that file's, which is judged with the database.
    is_beside = config.weights is None and sqlite_file(url)
    if not is_beside or os.path.lexists(root):
        check_writable(folder, parameter="weights")
    return root, folder


def _check_room(folder: Path, model: nn.Module, settings: Settings) -> None:
    weights = storage_bytes([*model.parameters(), *model.buffers()])
    check_room(folder, weights * most_files(settings) - bytes_in(folder))


def _settings(
    config: SearchConfig, model: nn.Module, space: SpaceConfig | None, gpus: float
) -> Settings:
    layers, most, seeds = resolve_layers(model, space)
    return Settings(
        budget=config.budget,
        max_removed=most,
        layers=layers,
        mergings=resolve_mergings(model, space),
        workers=config.workers,
        gpus_per_trial=gpus,
        ray_address=config.ray_address,
        trial_timeout=config.trial_timeout,
        constraints=config.constraints,
        seeds=seeds,
        seed=config.seed,
    )


@contextmanager
def quiet_dependencies() -> Iterator[None]:
    """Keep warnings of our dependencies out of the user's cell; what goes wrong is an error."""
    # It says that widgets are missing, which are not used.
    logging.getLogger("ray.widgets").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


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


def resolve_mergings(model: nn.Module, space: SpaceConfig | None) -> tuple[Merging, ...]:
    """Return the ways to merge tokens that a space offers.

    Raises:
        UnsupportedModelError: If there are any, and the model can't merge tokens.
        InputError: If one starts where no block has attention.
    """
    if space is None or not space.tome_r:
        return ()
    check_mergeable(model)
    attention = removable_layers(model)
    late = [start for start in space.tome_start if start > attention[-1]]
    if late:
        raise InputError(
            f"no block from there on has attention, the last that has is {attention[-1]}",
            parameter="tome_start",
            value=late[0],
        )
    return space.mergings


def resolve_layers(
    model: nn.Module, space: SpaceConfig | None
) -> tuple[tuple[int, ...], int, tuple[RemovalSet, ...]]:
    """Return removable layers, the most to remove at once, and the space's named removal sets."""
    layers = removable_layers(model)
    if space is None:
        return layers, max(1, len(layers) // 2), ()
    if space.removable != "all":
        check_removal(model, RemovalSet.of(space.removable))
        layers = tuple(sorted(space.removable))
    seeds = tuple(RemovalSet.of(seed) for seed in space.seeds.values())
    for seed in seeds:
        check_removal(model, seed)
    most = space.max_removed or len(layers)
    return layers, min(most, len(layers)), seeds
