"""A session of a search: the study that it begins or resumes, and its run."""

import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

import torch
from torch import nn

from lambda_nas.api.inputs.config import SearchConfig
from lambda_nas.api.inputs.preparation import prepare
from lambda_nas.api.inputs.source import Source
from lambda_nas.execution.cluster import ray_running
from lambda_nas.execution.driver import SearchResult, measure_baseline, run_search
from lambda_nas.execution.heartbeat import heartbeat, machine
from lambda_nas.execution.progress import (
    Progress,
    SearchBegun,
    StagesPlanned,
    Stopwatch,
    stages_before_trials,
)
from lambda_nas.execution.settings import SearchTask, Settings
from lambda_nas.execution.study_store import RunHandle
from lambda_nas.models.blockwise import is_blockwise
from lambda_nas.pretrained.loading import LoadedModel
from lambda_nas.records.run import RunInfo, versions
from lambda_nas.records.study import StudyInfo
from lambda_nas.records.weights import StudyWeights
from lambda_nas.reporting.dashboard_sync import DashboardSync
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.store.urls import shown_url
from lambda_nas.training.config import LambdaSchedule, Losses, TrainConfig

RUNG_STEPS = 20
RUNGS = 2
# The unpruned model's hidden states say most about each image: on labels alone, so few steps lost
# accuracy (studies/cifar10_deit_tiny).
RUNG_LOSSES = Losses(labels=1.0, logits=1.0, hidden=200.0)


@dataclass(frozen=True, eq=False)
class Session:
    """All that a search needs: ``search`` runs it.

    Attributes:
        source: The unpruned model and its images.
        settings: How to search.
        store: The open study database.
        name: Of the study.
        weights: The folder of the folders of studies' weights.
    """

    source: Source
    settings: Settings
    store: SqlStudyStore
    name: str
    weights: Path


@contextmanager
def open_session(config: SearchConfig, progress: Progress) -> Iterator[Session]:
    """Prepare a search, open the database, and read the images; the database is closed at the end.

    Raises:
        LambdaNasError: For the same reasons as ``prepare``.
    """
    asks = config.data is not None
    if config.ray_address is not None:
        # As for a new study: which one it is will be known with the model and the images.
        progress.tell(StagesPlanned(stages_before_trials(joins=True, asks=asks)))
    prepared = prepare(config, progress.stage)
    source, settings, name = prepared.source, prepared.settings, prepared.study
    with SqlStudyStore.open(config.storage) as store:
        if store.has(name):
            _check_model(store, name, source.model, settings)
        progress.tell(StagesPlanned(_planned(store, name, settings, asks=asks)))
        yield Session(source.read(progress.stage), settings, store, name, prepared.weights)


def _check_model(store: SqlStudyStore, name: str, model: LoadedModel, settings: Settings) -> None:
    store.check_model(
        name,
        model=model.name,
        model_fingerprint=model.fingerprint,
        device=device_name(device_of(settings)),
    )


def search(
    session: Session,
    *,
    progress: Progress,
    command: str,
) -> SearchResult:
    """Begin the study or resume it, and search until the budget is spent.

    Args:
        session: What to search, and how.
        progress: Shows the stages and trials.
        command: What the user gave to have this done; the report says it.

    Raises:
        StudyMismatchError: If the study exists with another model or other data.
        InfeasibleError: If no price satisfies the constraints; a new study is not begun then.
        ClusterError: If there is a cluster to join and it can't be joined.
    """
    timed = Stopwatch(progress)
    asks = bool(session.source.data.class_orders)
    planned = _planned(session.store, session.name, session.settings, asks=asks)
    timed.tell(StagesPlanned(planned))
    with ExitStack() as stack:
        if session.settings.ray_address is not None:
            # Before any work. A Ray of our own comes later: its processes would disturb pricing.
            stack.enter_context(ray_running(session.settings, timed))
        return _search(session, timed, command)


def _search(session: Session, timed: Stopwatch, command: str) -> SearchResult:
    source, settings, store, name = session.source, session.settings, session.store, session.name
    device = device_of(settings)
    task = SearchTask(
        model=source.model.model,
        calibration=source.data.calibration,
        evaluation=source.data.evaluation,
        training=source.data.training,
        rungs=rungs_of(
            source.model.model, trains=source.data.training is not None, seed=settings.seed
        ),
        device=device,
    )
    rungs = len(task.rungs) + 1
    begun = _begun(session, device_name(device), rungs=rungs)
    timed.tell(begun)
    if store.has(name):
        # Whatever is damaged is told before any work.
        store.load(name)
    else:
        accuracy, prices = measure_baseline(task, settings, timed)
        store.create_study(
            StudyInfo(
                uuid=uuid4().hex,
                name=name,
                model=source.model.name,
                model_fingerprint=source.model.fingerprint,
                data=source.data_name,
                data_fingerprint=source.data.fingerprint,
                device=device_name(device),
                layers=settings.layers,
                seed=settings.seed,
                baseline_accuracy=accuracy,
                baseline=prices.unpruned,
                settings=_describe(source, settings, rungs=rungs),
            ),
            prices,
        )
    # Again: another driver may have begun the study meanwhile.
    _check_model(store, name, source.model, settings)
    store.check_data(name, data=source.data_name, data_fingerprint=source.data.fingerprint)
    store.check_mergings(name, settings.mergings)
    timed.tell(replace(begun, unpruned=store.study(name).baseline_accuracy))
    run = store.begin_run(name, _who(source, settings, device_name(device), command))
    publisher = DashboardSync(timed, store, name)
    with (
        publisher.at_the_end(),
        heartbeat(store, run, timed.spent, started=timed.started) as elapsed,
    ):
        return run_search(
            name,
            task,
            settings,
            store=store,
            run_handle=RunHandle(run, elapsed),
            # Another driver may have begun the study meanwhile: its uuid counts.
            weights=StudyWeights.below(session.weights, name, store.study(name).uuid),
            progress=publisher,
        )


def _planned(store: SqlStudyStore, name: str, settings: Settings, *, asks: bool) -> tuple[str, ...]:
    known = store.has(name)
    return stages_before_trials(
        joins=settings.ray_address is not None,
        asks=asks,
        prices=not known,
        prices_merging=bool(settings.mergings),
        measures_prior=not known or store.prior(name) is None,
    )


def _begun(session: Session, device: str, *, rungs: int) -> SearchBegun:
    source, settings = session.source, session.settings
    return SearchBegun(
        study=session.name,
        storage=shown_url(session.store.url),
        model=source.model.name,
        data=source.data_name,
        device=device,
        images=len(source.data.evaluation),
        rungs=rungs,
        settings=settings,
        unpruned=None,
    )


def _who(source: Source, settings: Settings, device: str, command: str) -> RunInfo:
    return RunInfo(
        machine=machine(),
        pid=os.getpid(),
        device=device,
        model_fingerprint=source.model.fingerprint,
        data_fingerprint=source.data.fingerprint,
        versions=versions(),
        seed=settings.seed,
        workers=settings.workers,
        command=command,
    )


def device_of(settings: Settings) -> str:
    """Return where a search measures and trains."""
    return "cuda" if settings.gpus_per_trial > 0 else "cpu"


def device_name(device: str) -> str:
    """Return the name of the processor that prices were measured on."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def losses_for(model: nn.Module) -> Losses:
    """Return what trains best; the hidden states of a row of blocks can be compared one by one."""
    return RUNG_LOSSES if is_blockwise(model) else replace(RUNG_LOSSES, hidden=0.0)


def rungs_of(model: nn.Module, *, trains: bool, seed: int) -> tuple[TrainConfig, ...]:
    """Return the slices of training that a trial gets if there are training images."""
    if not trains:
        return ()
    repaired = is_blockwise(model)
    return tuple(
        TrainConfig(
            steps=RUNG_STEPS,
            batch_size=64,
            lr=3e-4 / (rung + 1),
            seed=seed + rung,
            # Lambda is zero after a transplant, and after the first dilution.
            lambda_schedule=LambdaSchedule(start=0.0) if repaired or rung else LambdaSchedule(),
            losses=losses_for(model),
        )
        for rung in range(RUNGS)
    )


def _describe(source: Source, settings: Settings, *, rungs: int) -> dict[str, object]:
    config = source.model.config
    return {
        "architecture": config.architecture,
        "model_args": config.model_args,
        "pretrained_cfg": config.pretrained_cfg,
        "img_size": list(source.model.image_size),
        "removed_before": list(config.removed),
        "doubled_before": list(config.doubled),
        "data": source.data.description,
        "evaluation_images": len(source.data.evaluation),
        "max_removed": settings.max_removed,
        "batch_size": settings.batch_size,
        "rungs": rungs,
        "repair": source.has_repair,
        "seeds": [list(seed) for seed in settings.seeds],
        "constraints": asdict(settings.constraints),
    }
