"""Plans a search without running it (``lambda-nas search --dry-run``)."""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Unpack

import psutil
import torch
from timm.models import get_model_input_config
from torch import nn

from lambda_nas.api.inputs.config import SearchOptions, configure
from lambda_nas.api.inputs.preparation import PreparedSearch, prepare, quiet_dependencies
from lambda_nas.api.progress.shown import progress_shown
from lambda_nas.api.session import device_of, rungs_of
from lambda_nas.cost.measurement import Price, measure_prices, storage_bytes
from lambda_nas.execution.estimates import Estimate, ImageCounts, estimate
from lambda_nas.execution.progress import in_percent
from lambda_nas.execution.settings import Settings
from lambda_nas.models.surgery import removable_layers
from lambda_nas.store.urls import shown_url, storage_url


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a search would do, and what it would cost.

    Attributes:
        study: Name of the study.
        evaluated: Trials that the study has already.
        storage: URL of the database, without its secrets.
        weights: The folder of the folders of studies' weights.
        model: Name of the model.
        data: Name of the image folder.
        image_size: Height and width of the images as the model sees them.
        images: Numbers of images.
        architectures: How many architectures the search space holds, whatever they cost.
        rungs: How often a trial is evaluated.
        settings: Of the search.
        estimate: What it would cost; times and memory are rough.
        memory_free_bytes: Memory that this machine has left.
    """

    study: str
    evaluated: int
    storage: str
    weights: Path
    model: str
    data: str
    image_size: tuple[int, int]
    images: ImageCounts
    architectures: int
    rungs: int
    settings: Settings
    estimate: Estimate
    memory_free_bytes: int

    @property
    def trials(self) -> int | None:
        """Trials that are left of the budget; ``None`` if the budget is a time."""
        budget = self.settings.budget.trials
        return None if budget is None else max(0, budget - self.evaluated)

    @property
    def seconds(self) -> float:
        """How long the search will take."""
        first = self.estimate.first_trial_s
        if self.settings.budget.seconds is not None:
            return first + self.settings.budget.seconds
        rounds = -(-(self.trials or 0) // self.settings.workers)
        return first + rounds * self.estimate.trial_s


def plan(
    model: nn.Module | str | None = None,
    data: str | Path | None = None,
    *,
    progress: bool = True,
    **options: Unpack[SearchOptions],
) -> Plan:
    """Check everything that a search needs, and say what the search would cost.

    Nothing is written, and no image is decoded.

    Args:
        model: As ``search`` takes it.
        data: As ``search`` takes it.
        progress: Whether to show progress.
        options: Those of ``search``.

    Raises:
        LambdaNasError: For the same reasons as ``search``.
    """
    config = configure(model, data, options)
    with quiet_dependencies(), progress_shown(visible=progress) as shown:
        prepared = prepare(config, shown.stage)
        with shown.stage("Timing a forward pass", 100) as advance:
            price = _price(prepared, on_step=in_percent(advance))
    return _plan(prepared, price, shown_url(storage_url(config.storage)))


def _price(prepared: PreparedSearch, on_step: Callable[[int, int], None]) -> Price:
    """Time the unpruned model with little patience."""
    model, settings = prepared.source.model.model, prepared.settings
    device = device_of(settings)
    shape = get_model_input_config(model)["input_size"]
    sample = torch.zeros(settings.batch_size, *shape, device=device)
    return measure_prices([model.to(device)], [sample], seconds=0, on_step=on_step)[0]


def _plan(prepared: PreparedSearch, price: Price, storage: str) -> Plan:
    source, settings, found = prepared.source, prepared.settings, prepared.found
    model, images = source.model.model, source.images
    channels, height, width = get_model_input_config(model)["input_size"]
    counts = ImageCounts(
        calibration=images.calibration,
        evaluation=images.evaluation,
        training=images.training,
        image_bytes=channels * height * width,
    )
    rungs = rungs_of(model, trains=images.training > 0, seed=settings.seed)
    weights = storage_bytes([*model.parameters(), *model.buffers()])
    return Plan(
        study=prepared.study,
        evaluated=found.evaluated if found else 0,
        storage=storage,
        weights=prepared.weights,
        model=source.model.name,
        data=source.data_name,
        image_size=(height, width),
        images=counts,
        architectures=_count_architectures(settings),
        rungs=len(rungs) + 1,
        settings=settings,
        estimate=estimate(
            price,
            weights,
            len(removable_layers(model)),
            counts,
            rungs,
            settings,
            is_priced=found is not None,
            has_prior=found is not None and found.has_prior,
        ),
        memory_free_bytes=psutil.virtual_memory().available,
    )


def _count_architectures(settings: Settings) -> int:
    """Count removal sets with and without token merging, and merging alone."""
    sets = sum(comb(len(settings.layers), number) for number in range(settings.max_removed + 1))
    return sets * (1 + len(settings.mergings)) - 1
